package kafka

import (
	"cmp"
	"slices"
)

// generalSticky assigns partitions to members whose subscriptions differ.
type generalSticky struct {
	*sticky
	sorted   []int   // members by how many partitions they have, then by name
	previous []int32 // member that had a partition in an older generation, -1 for none
	moves    stickyMoves
}

// assignGeneral keeps what members may keep, gives the rest to those with the fewest partitions, and moves partitions as
// long as that makes it more even.
func (s *sticky) assignGeneral() {
	g := generalSticky{sticky: s, previous: s.previousOwners()}
	revoked, kept := false, false
	for p, m := range s.owner {
		if m < 0 {
			continue
		}
		_, wants := slices.BinarySearch(s.wants[m], s.topicOf(p))
		if !wants || s.mismatch(int(m), p) {
			s.owner[p] = -1
			revoked = true
			continue
		}
		s.count[m]++
		kept = true
	}
	all := s.byDemand()
	free := slices.DeleteFunc(slices.Clone(all), func(p int) bool { return s.owner[p] >= 0 })
	g.sorted = slices.Clone(s.byID)
	slices.SortStableFunc(g.sorted, func(a, b int) int { return cmp.Compare(s.count[a], s.count[b]) })
	g.balance(all, free, !kept, revoked)
}

// byDemand returns all partitions, those first whose topics the fewest members want.
func (s *sticky) byDemand() []int {
	topics := make([]int, len(s.topics))
	for t := range topics {
		topics[t] = t
	}
	slices.SortStableFunc(topics, func(t, u int) int { return cmp.Compare(len(s.wanted[t]), len(s.wanted[u])) })
	all := make([]int, 0, s.total)
	for _, t := range topics {
		for p := range s.topics[t].Racks {
			all = append(all, s.base[t]+p)
		}
	}
	return all
}

// previousOwners finds who had each partition in the latest generation before the newest.
func (s *sticky) previousOwners() []int32 {
	owners := make([]int32, s.total)
	for p := range owners {
		owners[p] = -1
	}
	for _, m := range s.order {
		c := &s.claims[m]
		if c.generation >= s.newest {
			continue
		}
		for _, name := range c.partitions {
			if p, ok := s.number(name); ok && (owners[p] < 0 || c.generation > s.claims[owners[p]].generation) {
				owners[p] = int32(m)
			}
		}
	}
	return owners
}

// balance distributes free partitions and then evens out.
func (g *generalSticky) balance(all, free []int, initial, revoked bool) {
	rest := free
	if g.racked {
		rest = slices.DeleteFunc(slices.Clone(free), func(p int) bool { return g.assignLeast(p, true) })
	}
	for _, p := range rest {
		g.assignLeast(p, false)
	}
	// Only partitions of topics that several members want can move.
	fixed := func(p int) bool { return len(g.wanted[g.topicOf(p)]) < 2 }
	all, free = slices.DeleteFunc(all, fixed), slices.DeleteFunc(slices.Clone(free), fixed)
	busy := g.participants()
	g.sorted = slices.DeleteFunc(g.sorted, func(m int) bool { return !busy[m] })
	before, counts := slices.Clone(g.owner), slices.Clone(g.count)
	if !revoked {
		g.reassign(free, busy)
	}
	if moved := g.reassign(all, busy); moved && !initial && g.score(g.count, busy) >= g.score(counts, busy) {
		g.owner, g.count = before, counts
	}
}

// participants tells which members could get or lose a partition.
func (g *generalSticky) participants() []bool {
	busy := make([]bool, len(g.members))
	for m := range g.members {
		most := 0
		for _, t := range g.wants[m] {
			most += len(g.topics[t].Racks)
		}
		busy[m] = g.count[m] < most
	}
	for p, m := range g.owner {
		if m >= 0 && len(g.wanted[g.topicOf(p)]) >= 2 {
			busy[m] = true
		}
	}
	return busy
}

// assignLeast gives a partition to the member with the fewest that wants it.
func (g *generalSticky) assignLeast(p int, near bool) bool {
	t := g.topicOf(p)
	for _, m := range g.sorted {
		if _, wants := slices.BinarySearch(g.wants[m], t); wants && (!near || !g.mismatch(m, p)) {
			g.out(m)
			g.give(p, m)
			g.in(m)
			return true
		}
	}
	return false
}

func (g *generalSticky) less(a, b int) int {
	return cmp.Or(cmp.Compare(g.count[a], g.count[b]), cmp.Compare(g.rank[a], g.rank[b]))
}

// out and in take a member out of the sorted ones before its count changes, and put it back after that.
func (g *generalSticky) out(m int) {
	if i, found := slices.BinarySearchFunc(g.sorted, m, g.less); found {
		g.sorted = slices.Delete(g.sorted, i, i+1)
	}
}

func (g *generalSticky) in(m int) {
	i, _ := slices.BinarySearchFunc(g.sorted, m, g.less)
	g.sorted = slices.Insert(g.sorted, i, m)
}

// score is the sum of the differences between all pairs of members.
func (g *generalSticky) score(counts []int, busy []bool) (sum int) {
	var list []int
	for m, n := range counts {
		if busy[m] {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	for i, n := range list {
		sum += n * (2*i - len(list) + 1)
	}
	return sum
}

// balanced reports whether no partition could go to a member that has at least two fewer than its own.
func (g *generalSticky) balanced() bool {
	if len(g.sorted) == 0 || g.count[g.sorted[0]] >= g.count[g.sorted[len(g.sorted)-1]]-1 {
		return true
	}
	most := make([]int, len(g.topics)) // partitions of the fullest member of each topic
	for t := range g.topics {
		for p := range g.topics[t].Racks {
			if m := g.owner[g.base[t]+p]; m >= 0 {
				most[t] = max(most[t], g.count[m])
			}
		}
	}
	for _, m := range g.sorted {
		for _, t := range g.wants[m] {
			if g.count[m]+1 < most[t] {
				return false
			}
		}
	}
	return true
}

// reassign goes over the partitions, as often as that helps, and moves those that should be elsewhere.
func (g *generalSticky) reassign(partitions []int, busy []bool) (moved bool) {
	for again := true; again; {
		again = false
		for _, p := range partitions {
			if g.balanced() {
				break
			}
			m, t := int(g.owner[p]), g.topicOf(p)
			if m < 0 {
				continue
			}
			if q := g.previous[p]; q >= 0 && busy[q] && g.count[m] > g.count[q]+1 {
				if _, wants := slices.BinarySearch(g.wants[q], t); wants {
					g.move(p, int(q))
					again, moved = true, true
					continue
				}
			}
			near := false
			if g.racked && g.rack(m) != "" && slices.Contains(g.racks(p), g.rack(m)) {
				near = slices.ContainsFunc(g.wanted[t], func(o int) bool {
					r := g.rack(o)
					return r != "" && slices.Contains(g.racks(p), r) && g.count[m] > g.count[o]+1
				})
			}
			if near || slices.ContainsFunc(g.wanted[t], func(o int) bool { return g.count[m] > g.count[o]+1 }) {
				g.moveToLeast(p, t)
				again, moved = true, true
			}
		}
	}
	return moved
}

// moveToLeast moves a partition to the member with the fewest that wants it.
func (g *generalSticky) moveToLeast(p, t int) {
	for _, m := range g.sorted {
		if _, wants := slices.BinarySearch(g.wants[m], t); wants {
			g.move(p, m)
			return
		}
	}
}

// move moves a partition to a member, or another of the same topic that moved the other way before: then less has moved.
func (g *generalSticky) move(p, to int) {
	t := g.topicOf(p)
	p = g.moves.instead(t, p, int(g.owner[p]), to)
	from := int(g.owner[p])
	g.out(from)
	g.out(to)
	g.moves.moved(g.layout, t, p, from, to)
	g.owner[p] = int32(to)
	g.count[from]--
	g.count[to]++
	g.in(to)
	g.in(from)
}
