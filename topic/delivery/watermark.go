package delivery

import "math/bits"

// Watermark collects completions that come in any order and tells up to where
// all are complete. It serves acknowledgements that must go out in receive
// order, publisher confirms that one answer with the multiple flag covers, and
// the offset that a consumer may commit.
//
// Completions beyond [Watermark.Low] take one bit for each number between,
// rounded up; the caller bounds how far ahead they may be. When there are none,
// at most 128 bytes are kept, none after [Watermark.Reset].
//
// The zero value waits for number 0. It is not safe for concurrent use.
type Watermark struct {
	low  uint64
	ring []uint64 // bit seq modulo its length; the words are a power of two
	n    int      // completions beyond low
}

const watermarkKeep = 16 // words

// Low returns the lowest number that is not complete.
func (w *Watermark) Low() uint64 { return w.low }

// Ahead returns how many completions wait for lower ones.
func (w *Watermark) Ahead() int { return w.n }

// Done completes seq and reports whether Low has moved. Completing a number
// again changes nothing.
func (w *Watermark) Done(seq uint64) bool {
	if seq < w.low {
		return false
	}
	if seq > w.low {
		w.wait(seq)
		return false
	}
	w.low++
	for w.n > 0 {
		i, bit := w.at(w.low)
		run := bits.TrailingZeros64(^(w.ring[i] >> bit))
		if run == 0 {
			return true
		}
		w.ring[i] &^= (1<<run - 1) << bit
		w.n -= run
		w.low += uint64(run)
	}
	if len(w.ring) > watermarkKeep {
		w.ring = nil
	}
	return true
}

// Reset forgets all completions, gives the memory back and waits for low.
func (w *Watermark) Reset(low uint64) { *w = Watermark{low: low} }

func (w *Watermark) at(seq uint64) (word int, bit uint) {
	return int(seq / 64 & uint64(len(w.ring)-1)), uint(seq % 64)
}

// wait marks seq, which is above low.
func (w *Watermark) wait(seq uint64) {
	if need := seq/64 - w.low/64 + 1; need > uint64(len(w.ring)) {
		old := *w
		w.ring = make([]uint64, 1<<bits.Len64(need-1))
		for i := range uint64(len(old.ring)) {
			from, _ := old.at(w.low + i*64)
			to, _ := w.at(w.low + i*64)
			w.ring[to] = old.ring[from]
		}
	}
	i, bit := w.at(seq)
	if w.ring[i]&(1<<bit) == 0 {
		w.ring[i] |= 1 << bit
		w.n++
	}
}
