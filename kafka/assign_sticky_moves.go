package kafka

import "slices"

// stickyMoves remembers which partitions went from whom to whom.
type stickyMoves struct {
	of     map[int]way           // of each partition that has moved
	topics map[topicWay]*javaSet // partitions of each topic that went some way
}

// way is from where to where a partition went.
type way struct{ from, to int }

type topicWay struct {
	topic int
	way
}

// instead returns the partition to move in place of p: one of the same topic that went the other way before.
func (s *stickyMoves) instead(topic, p, from, to int) int {
	if w, moved := s.of[p]; moved {
		from = w.from
	}
	if back := s.topics[topicWay{topic, way{to, from}}]; back != nil {
		return back.first()
	}
	return p
}

// moved notes a move. One that goes on counts from where the partition was at first, one that goes back not at all.
func (s *stickyMoves) moved(l *layout, topic, p, from, to int) {
	if s.of == nil {
		s.of, s.topics = make(map[int]way), make(map[topicWay]*javaSet)
	}
	if w, moved := s.of[p]; moved {
		delete(s.of, p)
		key := topicWay{topic, w}
		if s.topics[key].remove(p); s.topics[key].empty() {
			delete(s.topics, key)
		}
		if w.from == to {
			return
		}
		from = w.from
	}
	w := way{from, to}
	s.of[p] = w
	key := topicWay{topic, w}
	if s.topics[key] == nil {
		s.topics[key] = &javaSet{}
	}
	s.topics[key].add(p, javaPartitionHash(l.name(p)))
}

// javaSet is a set in which the first element is the one that a HashSet of Java would give first. The balance does not
// depend on it, but members whose leader is a Java client sometimes and one of ours at others should not see partitions
// move because of that.
type javaSet struct {
	entries []javaEntry // in the order in which they came
	size    int         // of the table
}

type javaEntry struct {
	value int
	hash  uint32
}

func (s *javaSet) add(value int, hash uint32) {
	s.entries = append(s.entries, javaEntry{value, hash})
	s.size = javaTable(max(s.size, 16), len(s.entries))
}

func (s *javaSet) remove(value int) {
	s.entries = slices.DeleteFunc(s.entries, func(e javaEntry) bool { return e.value == value })
}

func (s *javaSet) empty() bool { return len(s.entries) == 0 }

func (s *javaSet) first() int {
	best := s.entries[0]
	for _, e := range s.entries[1:] {
		if javaBucket(e.hash, s.size) < javaBucket(best.hash, s.size) {
			best = e
		}
	}
	return best.value
}
