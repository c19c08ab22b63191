package kafka

import (
	"cmp"
	"slices"
)

// equalSticky assigns partitions to members that all subscribe to the same topics. Then every member gets least of them,
// and some one more.
type equalSticky struct {
	*sticky
	least, most int
	over        int // members that have more than the least
	overMost    int // how many that should be
	under       []int
	exact       []int // members that have the least and may get one more
}

// assignEqual keeps what fits, then fills up: in the racks first, if they matter.
func (s *sticky) assignEqual() {
	n := len(s.members)
	e := equalSticky{sticky: s, least: s.total / n, most: (s.total + n - 1) / n, overMost: s.total % n}
	e.keep()
	var free []int
	for p, m := range s.owner {
		if m < 0 {
			free = append(free, p)
		}
	}
	byRank := func(a, b int) int { return cmp.Compare(s.rank[a], s.rank[b]) }
	slices.SortStableFunc(e.under, byRank)
	slices.SortStableFunc(e.exact, byRank)
	if s.racked {
		// Those that fewer members are near to come first.
		slices.SortStableFunc(free, func(p, q int) int { return cmp.Compare(e.neighbours(p), e.neighbours(q)) })
		free = e.fillRacks(free)
	}
	e.fill(free)
}

// neighbours is how many members are in the racks of a partition.
func (e *equalSticky) neighbours(p int) (n int) {
	racks := e.racks(p)
	for i, r := range racks {
		if !slices.Contains(racks[:i], r) {
			n += e.near[r]
		}
	}
	return n
}

// keep leaves with each member what it has and may keep.
func (e *equalSticky) keep() {
	have := make([][]int, len(e.members))
	for p, m := range e.owner {
		if m >= 0 {
			if e.contested[p] || e.mismatch(int(m), p) {
				e.owner[p] = -1
				continue
			}
			have[m] = append(have[m], p)
		}
	}
	for _, m := range e.order {
		list := have[m]
		slices.SortFunc(list, func(p, q int) int {
			t, u := e.topicOf(p), e.topicOf(q)
			return cmp.Or(cmp.Compare(p-e.base[t], q-e.base[u]), cmp.Compare(t, u))
		})
		quota := len(list)
		switch {
		case len(list) < e.least:
			e.under = append(e.under, m)
		case len(list) >= e.most && e.over < e.overMost:
			quota = e.most
			if e.over++; e.over == e.overMost {
				e.exact = nil
			}
		default:
			quota = e.least
			if e.over < e.overMost {
				e.exact = append(e.exact, m)
			}
		}
		e.count[m] = quota
		for _, p := range list[quota:] {
			e.owner[p] = -1
		}
	}
}

// fillRacks gives partitions to members that are near and returns those for which there is none.
func (e *equalSticky) fillRacks(free []int) (left []int) {
	next := 0
	for _, p := range free {
		if i := e.nextNear(p, e.under, next); i >= 0 {
			m := e.under[i]
			e.give(p, m)
			if e.count[m] >= e.least {
				e.under = slices.Delete(e.under, i, i+1)
				if e.count[m] < e.most && e.over < e.overMost {
					e.exact = append(e.exact, m)
				}
			} else {
				i++
			}
			if next = 0; len(e.under) > 0 {
				next = i % len(e.under)
			}
			continue
		}
		i := e.nextNear(p, e.exact, 0)
		if i < 0 {
			left = append(left, p)
			continue
		}
		m := e.exact[i]
		e.give(p, m)
		if e.count[m] == e.most {
			e.exact = slices.Delete(e.exact, i, i+1)
			if e.over++; e.over == e.overMost {
				e.exact = nil
			}
		}
	}
	return left
}

// nextNear returns the place of a member that is near to a partition, -1 for none.
func (e *equalSticky) nextNear(p int, members []int, from int) int {
	racks := e.racks(p)
	for i := range members {
		at := (from + i) % len(members)
		if r := e.rack(members[at]); r != "" && slices.Contains(racks, r) {
			return at
		}
	}
	return -1
}

// fill deals partitions out to those that have less than the least, then one each to others.
func (e *equalSticky) fill(free []int) {
	next := 0
	for _, p := range free {
		if next >= len(e.under) {
			next = 0
		}
		if len(e.under) == 0 {
			if len(e.exact) == 0 {
				return // cannot be: the numbers add up
			}
			e.give(p, e.exact[0])
			e.exact = e.exact[1:]
			continue
		}
		m := e.under[next]
		e.give(p, m)
		if e.count[m] == e.least {
			e.under = slices.Delete(e.under, next, next+1)
			e.exact = append(e.exact, m)
		} else {
			next++
		}
	}
}
