package kafka

import "slices"

// RangeAssignor gives each member of a topic a range of its partitions, to members in the order of their names, as the
// Java client's "range" does. Partitions of the same number go to the same member when topics have equally many
// partitions and the same members.
//
// When members and replicas tell their racks, a partition goes to a member in one of its racks as far as the balance
// allows (KIP-881).
type RangeAssignor struct{}

// Name returns "range".
func (RangeAssignor) Name() string { return "range" }

// Cooperative returns false.
func (RangeAssignor) Cooperative() bool { return false }

// UserData returns nil.
func (RangeAssignor) UserData([]TopicPartition, int32) []byte { return nil }

// Assign implements [Assignor].
func (RangeAssignor) Assign(members []Subscriber, topics []TopicLayout) [][]TopicPartition {
	r := ranges{layout: newLayout(members, topics), assigned: make([][]int, len(members))}
	for t := range r.topics {
		r.states = append(r.states, r.newTopic(t))
	}
	if slices.ContainsFunc(r.states, func(s *rangeTopic) bool { return s.racks }) {
		r.matchRacks()
	}
	for _, s := range r.states {
		r.fill(s, func(int, int) bool { return true })
	}
	return r.result(r.assigned)
}

// ranges is one run of the assignor.
type ranges struct {
	*layout
	states   []*rangeTopic
	assigned [][]int
}

// rangeTopic is a topic of which some partitions are assigned.
type rangeTopic struct {
	topic   int
	members []int // in order
	free    []int // partitions that are not assigned, by number
	count   []int // how many each of members has
	least   int   // how many each gets
	more    int   // how many members still get one more
	racks   bool  // that they matter
}

func (r *ranges) newTopic(t int) *rangeTopic {
	s := &rangeTopic{topic: t, members: slices.Clone(r.wanted[t]), free: make([]int, len(r.topics[t].Racks))}
	slices.SortStableFunc(s.members, r.byInstance)
	for i := range s.free {
		s.free[i] = i
	}
	s.count = make([]int, len(s.members))
	s.least, s.more = len(s.free)/len(s.members), len(s.free)%len(s.members)
	at := make(map[string]bool)
	for _, m := range s.members {
		if rack := r.rack(m); rack != "" {
			at[rack] = true
		}
	}
	s.racks = useRacks(at, r.topics[t].Racks)
	return s
}

// room is how many more partitions a member may get.
func (s *rangeTopic) room(member int) int {
	return max(0, s.least+min(s.more, 1)-s.count[member])
}

// match reports whether a member, by its place in the topic, is in a rack with the partition, or in none.
func (r *ranges) match(s *rangeTopic, member, partition int) bool {
	rack := r.rack(s.members[member])
	return rack == "" || slices.Contains(r.topics[s.topic].Racks[partition], rack)
}

// give assigns partitions, which are not free any more, to a member.
func (r *ranges) give(s *rangeTopic, member int, partitions ...int) {
	for _, p := range partitions {
		r.assigned[s.members[member]] = append(r.assigned[s.members[member]], r.base[s.topic]+p)
	}
	if s.count[member] += len(partitions); s.count[member] > s.least {
		s.more--
	}
}

// fill gives each member what it has room for, of the partitions that may be its own.
func (r *ranges) fill(s *rangeTopic, may func(member, partition int) bool) {
	for m := range s.members {
		room := s.room(m)
		take := make([]int, 0, room)
		s.free = slices.DeleteFunc(s.free, func(p int) bool {
			ok := len(take) < room && may(m, p)
			if ok {
				take = append(take, p)
			}
			return ok
		})
		if len(take) > 0 {
			r.give(s, m, take...)
		}
	}
}

// matchRacks assigns partitions to members in their racks. Topics with the same members and number of partitions are done
// together.
func (r *ranges) matchRacks() {
	done := make([]bool, len(r.states))
	for i, s := range r.states {
		if done[i] {
			continue
		}
		together := []*rangeTopic{s}
		for j := i + 1; j < len(r.states); j++ {
			if o := r.states[j]; slices.Equal(o.members, s.members) && len(o.free) == len(s.free) &&
				r.anyRack(o) == r.anyRack(s) {
				done[j] = true
				together = append(together, o)
			}
		}
		if len(together) > 1 {
			r.matchTogether(together)
		} else if s.racks {
			r.fill(s, func(m, p int) bool { return r.match(s, m, p) })
		}
	}
}

// anyRack reports whether one of the members tells its rack.
func (r *ranges) anyRack(s *rangeTopic) bool {
	return slices.ContainsFunc(s.members, func(m int) bool { return r.rack(m) != "" })
}

// matchTogether gives partitions of the same number to a member whose rack has replicas of all of them.
func (r *ranges) matchTogether(topics []*rangeTopic) {
	first := topics[0]
	if !r.anyRack(first) {
		return
	}
	left := make([]int, len(first.members))
	for i := range left {
		left[i] = i
	}
	for p := range len(r.topics[first.topic].Racks) {
		i := slices.IndexFunc(left, func(m int) bool {
			return !slices.ContainsFunc(topics, func(s *rangeTopic) bool { return !r.match(s, m, p) || s.room(m) == 0 })
		})
		if i < 0 {
			continue
		}
		m := left[i]
		for _, s := range topics {
			r.give(s, m, p)
			s.free = slices.DeleteFunc(s.free, func(q int) bool { return q == p })
		}
		if !slices.ContainsFunc(topics, func(s *rangeTopic) bool { return s.room(m) > 0 }) {
			left = slices.Delete(left, i, i+1)
		}
	}
}
