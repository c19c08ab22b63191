package amqpbroker

import (
	"container/heap"
	"encoding/binary"
)

// delayedHeap is a heap of entries, the earliest first.
type delayedHeap []delayedEntry

func (h delayedHeap) less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].pos < h[j].pos
}

func (h *delayedHeap) push(e delayedEntry) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

// pop takes the earliest out.
func (h *delayedHeap) pop() delayedEntry {
	s := *h
	e, last := s[0], len(s)-1
	s[0], s[last] = s[last], delayedEntry{}
	s = s[:last]
	s.down(0)
	if cap(s) > 4096 && last < cap(s)/4 {
		s = append(make(delayedHeap, 0, cap(s)/2), s...)
	}
	*h = s
	return e
}

func (h delayedHeap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2; child++ {
			if child < len(h) && h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// init makes a heap of what is in any order.
func (h delayedHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// spanBits is how many bits of a time in milliseconds are the time within a span: 65 seconds.
const spanBits = 16

// delayedFar is the entries that are due later, in spans of time: about eight bytes each.
type delayedFar struct {
	spans map[int64]*delayedSpan
	order spanHeap
	n     int
}

// delayedSpan is the entries of one span, one after the other.
type delayedSpan struct {
	b    []byte
	prev uint64
}

// add adds an entry that the journal has.
func (f *delayedFar) add(span int64, e delayedEntry) {
	s := f.spans[span]
	if s == nil {
		if f.spans == nil {
			f.spans = make(map[int64]*delayedSpan)
		}
		s = new(delayedSpan)
		f.spans[span] = s
		heap.Push(&f.order, span)
	}
	s.b = binary.AppendVarint(s.b, int64(e.pos-s.prev))
	s.b = binary.AppendUvarint(s.b, uint64(e.due-span<<spanBits))
	s.b = binary.AppendUvarint(s.b, uint64(e.size))
	s.prev = e.pos
	f.n++
}

// first returns the first span.
func (f *delayedFar) first() (span int64, ok bool) {
	if len(f.order) == 0 {
		return 0, false
	}
	return f.order[0], true
}

// take takes the entries of the first span out.
func (f *delayedFar) take(yield func(delayedEntry)) {
	span := heap.Pop(&f.order).(int64)
	s := f.spans[span]
	delete(f.spans, span)
	pos := uint64(0)
	for b := s.b; len(b) > 0; {
		d, n := binary.Varint(b)
		b = b[n:]
		at, n := binary.Uvarint(b)
		b = b[n:]
		size, n := binary.Uvarint(b)
		b = b[n:]
		pos += uint64(d)
		yield(delayedEntry{due: span<<spanBits + int64(at), pos: pos, size: int(size)})
		f.n--
	}
}

// spanHeap is a heap of spans, the earliest first.
type spanHeap []int64

func (h spanHeap) Len() int           { return len(h) }
func (h spanHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h spanHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *spanHeap) Push(x any) { *h = append(*h, x.(int64)) }

// Pop implements heap.Interface.
func (h *spanHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	*h = (*h)[:last]
	return v
}
