package kafkaclient

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// acks are the records of a partition that were delivered and may be done in any order.
type acks struct {
	closed atomic.Bool // done does nothing

	mu    sync.Mutex
	marks delivery.Watermark // of records, numbered in the order in which they were delivered
	runs  []ackRun           // where records without gaps between their offsets begin
	next  uint64             // number of the next record
	end   int64              // the offset after everything that was delivered
	epoch int32              // of the leader at end
}

// ackRun is records without gaps between their offsets.
type ackRun struct {
	first  uint64 // number of the first one
	offset int64
	epoch  int32 // of the leader
}

// newAcks begins at an offset.
func newAcks(offset int64, epoch int32) *acks { return &acks{end: offset, epoch: epoch} }

// delivered adds records, in order.
func (a *acks) delivered(list []*Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range list {
		r.acks = a
		if a.marks.Low() == a.next {
			a.runs = a.runs[:0]
		}
		if n := len(a.runs); n == 0 || a.runs[n-1].offset+int64(a.next-a.runs[n-1].first) != r.Offset || a.runs[n-1].epoch != r.LeaderEpoch {
			a.runs = append(a.runs, ackRun{a.next, r.Offset, r.LeaderEpoch})
		}
		a.next++
		a.end, a.epoch = r.Offset+1, r.LeaderEpoch
	}
}

// passed moves the end on when there are no more records before an offset.
func (a *acks) passed(offset int64) {
	a.mu.Lock()
	a.end = max(a.end, offset)
	a.mu.Unlock()
}

// done completes the record of an offset.
func (a *acks) done(offset int64) {
	if a.closed.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := sort.Search(len(a.runs), func(i int) bool { return a.runs[i].offset > offset }) - 1
	if i < 0 {
		return
	}
	seq := a.runs[i].first + uint64(offset-a.runs[i].offset)
	if seq >= a.next || i+1 < len(a.runs) && seq >= a.runs[i+1].first {
		return
	}
	if a.marks.Done(seq) {
		n := 0
		for n+1 < len(a.runs) && a.runs[n+1].first <= a.marks.Low() {
			n++
		}
		a.runs = a.runs[n:]
	}
}

// low is the offset up to which everything is done, with the epoch of the leader for the record before it, as far as known.
func (a *acks) low() (offset int64, epoch int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	low := a.marks.Low()
	if low == a.next {
		return a.end, a.epoch
	}
	r := a.runs[0]
	return r.offset + int64(low-r.first), r.epoch
}

// waiting is how many records are not done.
func (a *acks) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.next-a.marks.Low()) - a.marks.Ahead()
}
