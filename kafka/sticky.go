package kafka

import "slices"

// Sticky chooses partitions for records without a key as the Java client does since KIP-794: it stays with one until
// about a batch was produced to it, then goes to a random other one, of which those with shorter queues are more likely.
// There is one for each topic.
//
// Randomness is an argument, and any number will do.
type Sticky struct {
	// BatchSize is how many bytes to produce to a partition before the next is chosen. Zero means 16,384.
	BatchSize int

	current  int32
	chosen   bool
	produced int
	ids      []int32 // partitions to choose from, by load; empty: all alike
	weights  []int   // running sums
}

func (s *Sticky) batchSize() int {
	if s.BatchSize <= 0 {
		return 16 << 10
	}
	return s.BatchSize
}

// Chosen reports whether Partition would stay with the partition that it returned last, of n. Loads that SetLoad tells count
// when it would not.
func (s *Sticky) Chosen(n int32) bool { return s.chosen && s.current < n }

// Partition returns the partition for the next record, one of those that are available, or of all n when none is.
func (s *Sticky) Partition(available []int32, n int32, random uint32) int32 {
	if s.Chosen(n) {
		return s.current
	}
	s.current, s.chosen, s.produced = s.choose(available, n, random), true, 0
	return s.current
}

func (s *Sticky) choose(available []int32, n int32, random uint32) int32 {
	switch random &= 0x7fffffff; {
	case len(s.weights) > 0:
		total := s.weights[len(s.weights)-1]
		i, found := slices.BinarySearch(s.weights, int(random)%total)
		if found {
			i++ // a sum belongs to the partition after it
		}
		return s.ids[i]
	case len(available) > 0:
		return available[int(random)%len(available)]
	}
	return int32(random) % max(n, 1)
}

// Produced tells that bytes were added to the current partition. full tells that they completed a batch: then the next
// partition is chosen once BatchSize was produced, and without that once it was twice as much, so that batches are not cut
// short.
func (s *Sticky) Produced(bytes int, full bool) {
	s.produced += bytes
	if s.produced >= 2*s.batchSize() || s.produced >= s.batchSize() && full {
		s.chosen = false
	}
}

// SetLoad tells how many batches wait for each of some partitions, which from then on are the only ones to be chosen.
// Without any, all are alike again. all tells that these are all partitions of the topic.
func (s *Sticky) SetLoad(ids []int32, queued []int, all bool) {
	s.ids, s.weights = s.ids[:0], s.weights[:0]
	if len(ids) == 0 || len(queued) != len(ids) {
		return
	}
	least, most := slices.Min(queued), slices.Max(queued)
	if least == most && all {
		return
	}
	s.ids = append(s.ids, ids...)
	sum := 0
	for _, n := range queued {
		sum += most + 1 - n
		s.weights = append(s.weights, sum)
	}
}
