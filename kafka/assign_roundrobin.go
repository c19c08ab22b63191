package kafka

import "slices"

// RoundRobinAssignor deals all partitions out one by one, to members in the order of their names, as the Java client's
// "roundrobin" does.
type RoundRobinAssignor struct{}

// Name returns "roundrobin".
func (RoundRobinAssignor) Name() string { return "roundrobin" }

// Cooperative returns false.
func (RoundRobinAssignor) Cooperative() bool { return false }

// UserData returns nil.
func (RoundRobinAssignor) UserData([]TopicPartition, int32) []byte { return nil }

// Assign implements [Assignor].
func (RoundRobinAssignor) Assign(members []Subscriber, topics []TopicLayout) [][]TopicPartition {
	l := newLayout(members, topics)
	turns := make([]int, len(members))
	for i := range turns {
		turns[i] = i
	}
	slices.SortStableFunc(turns, l.byInstance)
	assigned := make([][]int, len(members))
	next := 0
	for t := range l.topics {
		for p := range l.topics[t].Racks {
			for {
				m := turns[next]
				next = (next + 1) % len(turns)
				if _, wants := slices.BinarySearch(l.wants[m], t); wants {
					assigned[m] = append(assigned[m], l.base[t]+p)
					break
				}
			}
		}
	}
	return l.result(assigned)
}
