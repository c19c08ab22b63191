package kafka

import (
	"iter"
	"math"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// FetchKey names a partition of a fetch session: by the name of the topic up to version 12 of Fetch, by its id since.
type FetchKey struct {
	Topic     string
	ID        kafkawire.UUID
	Partition int32
}

// FetchWant is what a client wants of a partition.
type FetchWant struct {
	Offset      int64
	LogStart    int64 // of a follower, -1 otherwise
	MaxBytes    int32
	LeaderEpoch int32 // that the client knows, -1 for none
	LastEpoch   int32 // of the last record that the client has, -1 for none
}

// FetchServerPartition is a partition of a fetch session.
type FetchServerPartition struct {
	FetchKey
	FetchWant
	// Value is whatever the owner of the session keeps with the partition.
	Value any

	high, start int64 // what the client was told last, -1 for nothing
	prev, next  *FetchServerPartition
}

// FetchAnswer is what a broker has to say about a partition.
type FetchAnswer struct {
	// Records tells that there are some.
	Records bool
	// Special tells of something else that the client must learn: an error, a diverging epoch, a better replica.
	Special bool
	// Failed tells that it is an error.
	Failed               bool
	HighWatermark, Start int64
}

// FetchServerSession is the broker's side of an incremental fetch session (KIP-227): the broker remembers what the client wants, so
// that requests and responses have only what changes. It is a machine without clock or lock, for one goroutine at a time.
// Make one with [NewFetchServerSession].
type FetchServerSession struct {
	ids   bool
	epoch int32
	parts map[FetchKey]*FetchServerPartition
	root  FetchServerPartition // of the ring of partitions in their order
}

// The epochs of fetch requests with a meaning of their own.
const (
	// FetchNoSession is the epoch of a request that ends its session, if it has one, and wants none.
	FetchNoSession int32 = -1
	// FetchNewSession is the epoch of a request that ends its session, if it has one, and wants a new one.
	FetchNewSession int32 = 0
)

// NewFetchServerSession returns an empty session that expects epoch 1 next. ids tells that its topics are named by id.
func NewFetchServerSession(ids bool) *FetchServerSession {
	s := &FetchServerSession{ids: ids, epoch: 1, parts: make(map[FetchKey]*FetchServerPartition)}
	s.root.prev, s.root.next = &s.root, &s.root
	return s
}

// NextFetchEpoch returns the epoch after another: they count up, and from the largest number go to 1.
func NextFetchEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 || epoch < 0 {
		return 1
	}
	return epoch + 1
}

// Continue begins to serve the next request of the session. It fails when the epoch is another than the expected one, with
// INVALID_FETCH_SESSION_EPOCH, or when the request names topics in the other way, with FETCH_SESSION_TOPIC_ID_ERROR; the
// session stays as it is then.
func (s *FetchServerSession) Continue(epoch int32, ids bool) error {
	switch {
	case epoch != s.epoch:
		return &Error{Code: kafkawire.ErrInvalidFetchSessionEpoch}
	case ids != s.ids:
		return &Error{Code: kafkawire.ErrFetchSessionTopicIDError}
	}
	s.epoch = NextFetchEpoch(epoch)
	return nil
}

// Epoch returns the epoch that is expected next.
func (s *FetchServerSession) Epoch() int32 { return s.epoch }

// Len returns how many partitions there are.
func (s *FetchServerSession) Len() int { return len(s.parts) }

// Set adds a partition at the end, or changes what the client wants of it.
func (s *FetchServerSession) Set(k FetchKey, w FetchWant) *FetchServerPartition {
	p := s.parts[k]
	if p == nil {
		p = &FetchServerPartition{FetchKey: k, high: -1, start: -1}
		s.parts[k] = p
		s.push(p)
	}
	p.FetchWant = w
	return p
}

// Forget removes a partition.
func (s *FetchServerSession) Forget(k FetchKey) {
	if p := s.parts[k]; p != nil {
		delete(s.parts, k)
		p.unlink()
	}
}

// All visits the partitions in the order in which they are to be served.
func (s *FetchServerSession) All() iter.Seq[*FetchServerPartition] {
	return func(yield func(*FetchServerPartition) bool) {
		for p := s.root.next; p != &s.root; p = p.next {
			if !yield(p) {
				return
			}
		}
	}
}

// Answer notes what the client is told about a partition and reports whether an incremental response must have it. One with
// records goes to the end of the order, so that all have their turn.
func (s *FetchServerSession) Answer(p *FetchServerPartition, a FetchAnswer) bool {
	if p.next == nil {
		return false // it was forgotten
	}
	tell := a.Records || a.Special || a.Failed || p.high != a.HighWatermark || p.start != a.Start
	p.high, p.start = a.HighWatermark, a.Start
	if a.Failed {
		// The client must learn that the error is over.
		p.high = -1
	}
	if a.Records {
		p.unlink()
		s.push(p)
	}
	return tell
}

func (s *FetchServerSession) push(p *FetchServerPartition) {
	p.prev, p.next = s.root.prev, &s.root
	p.prev.next, p.next.prev = p, p
}

func (p *FetchServerPartition) unlink() {
	p.prev.next, p.next.prev = p.next, p.prev
	p.prev, p.next = nil, nil
}
