package amqpbroker

import (
	"container/heap"
	"encoding/binary"
	"math/bits"
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

// levelBits is how many bits of a time in milliseconds tell the spans of a level apart.
const levelBits = 6

// spanKey is a span of time: its beginning and, in the lowest bits, its level turned around. That of level 0 is one
// millisecond, each level has spans that are 64 times as long. The order of keys is that in which spans are taken.
type spanKey int64

const (
	levelKeyBits = 4
	maxLevel     = 1<<levelKeyBits - 1
)

func keyOf(due int64, level int) spanKey {
	return spanKey(due>>(levelBits*level)<<(levelBits*level)<<levelKeyBits | int64(maxLevel-level))
}

func (k spanKey) start() int64 { return int64(k >> levelKeyBits) }
func (k spanKey) level() int   { return maxLevel - int(k&maxLevel) }

// delayedFar is the entries that are due later, in spans of time that are the longer the later they are: about eight bytes
// each. When the first one begins, it is divided into shorter ones.
type delayedFar struct {
	floor int64 // no entry is due before
	spans map[spanKey]*delayedSpan
	order spanHeap
	n     int
}

// add adds an entry that the journal has, and that is not due before the floor.
func (f *delayedFar) add(e delayedEntry) { f.put(e, f.floor) }

// put puts an entry into the longest span that begins after a time, or into that of its millisecond.
func (f *delayedFar) put(e delayedEntry, after int64) {
	k := keyOf(e.due, max(bits.Len64(uint64(e.due^after))-1, 0)/levelBits)
	s := f.spans[k]
	if s == nil {
		if f.spans == nil {
			f.spans = make(map[spanKey]*delayedSpan)
		}
		s = new(delayedSpan)
		f.spans[k] = s
		heap.Push(&f.order, k)
	}
	s.push(e, k.start())
	f.n++
}

// first returns when the first span begins.
func (f *delayedFar) first() (at int64, ok bool) {
	if len(f.order) == 0 {
		return 0, false
	}
	return f.order[0].start(), true
}

// take takes an entry out that is due up to a limit, in the order of time. It divides spans for that, with not more entries
// than steps says, from which it takes them off.
func (f *delayedFar) take(limit int64, steps *int) (e delayedEntry, ok bool) {
	for ; *steps > 0; *steps-- {
		if len(f.order) == 0 || f.order[0].start() > limit {
			break
		}
		k := f.order[0]
		start := k.start()
		f.floor = max(f.floor, start)
		s := f.spans[k]
		e = s.shift(start)
		if f.n--; s.n == 0 {
			heap.Pop(&f.order)
			delete(f.spans, k)
		}
		if k.level() == 0 {
			return e, true
		}
		f.put(e, start)
	}
	return delayedEntry{}, false
}

// all takes all entries out, in any order.
func (f *delayedFar) all(yield func(delayedEntry)) {
	for k, s := range f.spans {
		for s.n > 0 {
			yield(s.shift(k.start()))
		}
	}
	*f = delayedFar{}
}

// delayedSpan is a queue of entries, one after the other in pages.
type delayedSpan struct {
	full [][]byte
	page []byte // the last one, to which entries are appended
	off  int    // in the first page
	n    int
	prev uint64 // the number before the first entry
	last uint64 // of the last entry
}

const (
	spanPageMin = 64
	spanPageMax = 4 << 10
	spanEntry   = 3 * binary.MaxVarintLen64 // that is the most which an entry takes
)

// push appends an entry that is not due before base.
func (s *delayedSpan) push(e delayedEntry, base int64) {
	if size := cap(s.page); size-len(s.page) < spanEntry {
		if len(s.page) > 0 {
			s.full = append(s.full, s.page)
		}
		s.page = make([]byte, 0, min(max(spanPageMin, 2*size), spanPageMax))
	}
	s.page = binary.AppendVarint(s.page, int64(e.pos-s.last))
	s.page = binary.AppendUvarint(s.page, uint64(e.due-base))
	s.page = binary.AppendUvarint(s.page, uint64(e.size))
	s.last = e.pos
	s.n++
}

// shift takes the first entry out. There is one.
func (s *delayedSpan) shift(base int64) delayedEntry {
	b := s.page
	if len(s.full) > 0 {
		b = s.full[0]
	}
	d, n := binary.Varint(b[s.off:])
	s.off += n
	at, n := binary.Uvarint(b[s.off:])
	s.off += n
	size, n := binary.Uvarint(b[s.off:])
	s.off += n
	s.prev += uint64(d)
	s.n--
	if s.off == len(b) {
		s.off = 0
		if len(s.full) > 0 {
			s.full[0] = nil
			s.full = s.full[1:]
		} else {
			s.page = s.page[:0]
		}
	}
	return delayedEntry{due: base + int64(at), pos: s.prev, size: int(size)}
}

// spanHeap is a heap of spans, the earliest first.
type spanHeap []spanKey

func (h spanHeap) Len() int           { return len(h) }
func (h spanHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h spanHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *spanHeap) Push(x any) { *h = append(*h, x.(spanKey)) }

// Pop implements heap.Interface.
func (h *spanHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	*h = (*h)[:last]
	return v
}
