package delivery

import (
	"iter"
	"math/bits"
)

const (
	windowStart = 4   // slots of the first ring
	windowKeep  = 16  // slots that an empty window keeps in any case
	windowMost  = 128 // slots that it keeps at most
)

// Window is the deliveries that have been sent and not settled, each with a
// value of the caller's. They are numbered by dense increasing sequence numbers
// in send order, from 0. Settling out of order leaves holes; the lowest number
// moves on as soon as the deliveries before it are settled.
//
// Every operation takes amortised constant time. Memory is one slot of V and a
// flag for each number from [Window.Low] to [Window.Next], rounded up to a
// power of two; nobody but the caller bounds [Window.Span]. When a window
// becomes empty it gives more than 128 slots back, and more than 16 of which it
// needed less than a quarter. The rest, kept for the next delivery, goes back
// with [Window.Release].
//
// The zero value is an empty window. A Window must not be copied after use and
// is not safe for concurrent use.
type Window[V any] struct {
	ring []slot[V] // the number seq is at seq modulo the length, a power of two
	low  uint64    // lowest unsettled, or next
	next uint64
	n    int    // unsettled
	peak uint64 // largest span since the window was empty
}

type slot[V any] struct {
	v         V
	unsettled bool
}

// Len returns the number of unsettled deliveries.
func (w *Window[V]) Len() int { return w.n }

// Low returns the lowest unsettled number, or [Window.Next] when there is none.
func (w *Window[V]) Low() uint64 { return w.low }

// Next returns the number that the next Add returns.
func (w *Window[V]) Next() uint64 { return w.next }

// Span returns Next minus Low: how many numbers are between the oldest
// unsettled delivery and the newest, holes included.
func (w *Window[V]) Span() uint64 { return w.next - w.low }

// Add appends an unsettled delivery and returns its number.
func (w *Window[V]) Add(v V) uint64 {
	if w.Span() == uint64(len(w.ring)) {
		w.grow(w.Span() + 1)
	}
	seq := w.next
	*w.at(seq) = slot[V]{v: v, unsettled: true}
	w.next++
	w.n++
	w.peak = max(w.peak, w.Span())
	return seq
}

// SkipTo leaves a gap so that the next Add returns seq, for restoring saved
// deliveries under their old numbers. It does nothing when seq is below Next.
// While there are unsettled deliveries the gap takes memory.
func (w *Window[V]) SkipTo(seq uint64) {
	if seq <= w.next {
		return
	}
	if w.n == 0 {
		w.low = seq
	} else if span := seq - w.low; span > uint64(len(w.ring)) {
		w.grow(span)
	}
	w.next = seq
}

// Get returns the value of an unsettled delivery, or nil. It may be changed in
// place, and the pointer is valid until the next Add, SkipTo, Settle or Reset.
func (w *Window[V]) Get(seq uint64) *V {
	if seq < w.low || seq >= w.next {
		return nil
	}
	if s := w.at(seq); s.unsettled {
		return &s.v
	}
	return nil
}

// Settle removes an unsettled delivery and returns its value. It reports false
// when there is none of that number.
func (w *Window[V]) Settle(seq uint64) (v V, ok bool) {
	p := w.Get(seq)
	if p == nil {
		return v, false
	}
	v = *p
	*w.at(seq) = slot[V]{}
	w.n--
	if w.n == 0 {
		w.low = w.next
		if n := len(w.ring); n > windowMost || n > windowKeep && w.peak < uint64(n/4) {
			w.ring = nil
		}
		w.peak = 0
		return v, true
	}
	for !w.at(w.low).unsettled {
		w.low++
	}
	return v, true
}

// SettleThrough settles everything up to and including seq, in send order, as
// the loop goes: each delivery just before it is yielded. Those that a loop
// does not reach because it ends early stay unsettled.
func (w *Window[V]) SettleThrough(seq uint64) iter.Seq2[uint64, V] {
	return w.SettleRange(0, seq)
}

// SettleRange settles what is unsettled from first to last inclusive, as
// [Window.SettleThrough] does. A range beyond the window costs nothing.
func (w *Window[V]) SettleRange(first, last uint64) iter.Seq2[uint64, V] {
	return func(yield func(uint64, V) bool) {
		end := w.next
		for seq := max(first, w.low); seq <= last && seq < end; seq = max(seq+1, w.low) {
			if v, ok := w.Settle(seq); ok && !yield(seq, v) {
				return
			}
		}
	}
}

// Unsettled yields the unsettled deliveries in send order. The loop may change
// the values, settle the current one or any other, and add, which is not
// yielded. The pointers are valid as those of [Window.Get].
func (w *Window[V]) Unsettled() iter.Seq2[uint64, *V] {
	return func(yield func(uint64, *V) bool) {
		end := w.next
		for seq := w.low; seq < end; seq = max(seq+1, w.low) {
			if p := w.Get(seq); p != nil && !yield(seq, p) {
				return
			}
		}
	}
}

// Reset makes w the zero value: numbers begin at 0 again.
func (w *Window[V]) Reset() { *w = Window[V]{} }

// Release gives the memory back that an empty window keeps for the next
// delivery. It does nothing when there are unsettled deliveries.
func (w *Window[V]) Release() {
	if w.n == 0 {
		w.ring = nil
	}
}

func (w *Window[V]) at(seq uint64) *slot[V] {
	return &w.ring[seq&uint64(len(w.ring)-1)]
}

// grow makes room for a span.
func (w *Window[V]) grow(span uint64) {
	old := *w
	w.ring = make([]slot[V], max(windowStart, 1<<bits.Len64(span-1)))
	for seq := w.low; seq < w.next; seq++ {
		*w.at(seq) = *old.at(seq)
	}
}
