package journal

import (
	"iter"
	"slices"
)

// Refs counts who needs the records of a journal, by their LSN. Most records are needed by one or two for a short time,
// some by one for a long time: a chunk of neighbouring numbers is a list of those that are needed, or an array while
// there are many. The zero value has no counts. It is not safe for concurrent use.
type Refs struct {
	chunks map[uint64]*refChunk
	last   *refChunk // the chunk that was asked for last
	lastNo uint64
	many   map[uint64]uint32 // what is beyond manyRefs
}

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
	fewRefs   = 128 // as many are a list
	manyRefs  = 255
)

// refChunk counts for the numbers of one chunk.
type refChunk struct {
	few []fewRef // sorted
	all *[chunkSize]uint8
	n   int // how many numbers have a count
}

// fewRef is a number within its chunk and its count.
type fewRef struct {
	at uint16
	n  uint8
}

func (r *Refs) chunk(no uint64, make_ bool) *refChunk {
	if r.last != nil && r.lastNo == no {
		return r.last
	}
	c := r.chunks[no]
	if c == nil {
		if !make_ {
			return nil
		}
		if r.chunks == nil {
			r.chunks = make(map[uint64]*refChunk)
		}
		c = new(refChunk)
		r.chunks[no] = c
	}
	r.last, r.lastNo = c, no
	return c
}

// Get returns how many need a record.
func (r *Refs) Get(lsn uint64) int {
	c := r.chunk(lsn>>chunkBits, false)
	if c == nil {
		return 0
	}
	n := int(c.get(uint16(lsn % chunkSize)))
	if n == manyRefs {
		n += int(r.many[lsn])
	}
	return n
}

// Add counts k more, and returns how many there were.
func (r *Refs) Add(lsn uint64, k int) int {
	c, at := r.chunk(lsn>>chunkBits, true), uint16(lsn%chunkSize)
	n := int(c.get(at))
	if n == manyRefs {
		n += int(r.many[lsn])
	}
	c.set(at, uint8(min(n+k, manyRefs)))
	if n+k > manyRefs {
		if r.many == nil {
			r.many = make(map[uint64]uint32)
		}
		r.many[lsn] = uint32(n + k - manyRefs)
	}
	return n
}

// Remove counts one less, and returns how many are left.
func (r *Refs) Remove(lsn uint64) int {
	no, at := lsn>>chunkBits, uint16(lsn%chunkSize)
	c := r.chunk(no, false)
	if c == nil {
		return 0
	}
	n := c.get(at)
	switch {
	case n == 0:
		return 0
	case n == manyRefs && r.many[lsn] > 0:
		left := r.many[lsn] - 1
		if left == 0 {
			delete(r.many, lsn)
		} else {
			r.many[lsn] = left
		}
		return manyRefs + int(left)
	}
	c.set(at, n-1)
	if c.n == 0 {
		delete(r.chunks, no)
		if r.last == c {
			r.last = nil
		}
	}
	return int(n - 1)
}

// Len returns how many records somebody needs.
func (r *Refs) Len() (n int) {
	for _, c := range r.chunks {
		n += c.n
	}
	return n
}

// All returns the records that somebody needs, in no order, and how many do.
func (r *Refs) All() iter.Seq2[uint64, int] {
	return func(yield func(uint64, int) bool) {
		for no := range r.chunks {
			for at := range uint64(chunkSize) {
				if n := r.Get(no<<chunkBits + at); n > 0 && !yield(no<<chunkBits+at, n) {
					return
				}
			}
		}
	}
}

func (c *refChunk) find(at uint16) (int, bool) {
	if n := len(c.few); n > 0 && c.few[n-1].at < at { // most come in their order
		return n, false
	}
	return slices.BinarySearchFunc(c.few, at, func(f fewRef, at uint16) int { return int(f.at) - int(at) })
}

func (c *refChunk) get(at uint16) uint8 {
	if c.all != nil {
		return c.all[at]
	}
	if i, ok := c.find(at); ok {
		return c.few[i].n
	}
	return 0
}

func (c *refChunk) set(at uint16, n uint8) {
	if c.all != nil {
		c.setAll(at, n)
		return
	}
	i, ok := c.find(at)
	switch {
	case ok && n == 0:
		c.few = slices.Delete(c.few, i, i+1)
		c.n--
	case ok:
		c.few[i].n = n
	case n > 0 && len(c.few) < fewRefs:
		c.few = slices.Insert(c.few, i, fewRef{at, n})
		c.n++
	case n > 0:
		c.all = new([chunkSize]uint8)
		for _, f := range c.few {
			c.all[f.at] = f.n
		}
		c.few = nil
		c.setAll(at, n)
	}
}

func (c *refChunk) setAll(at uint16, n uint8) {
	old := c.all[at]
	c.all[at] = n
	switch {
	case old == 0 && n > 0:
		c.n++
	case old > 0 && n == 0:
		if c.n--; c.n > fewRefs/4 || c.n == 0 {
			return
		}
		few := make([]fewRef, 0, c.n)
		for at, n := range c.all {
			if n > 0 {
				few = append(few, fewRef{uint16(at), n})
			}
		}
		c.all, c.few = nil, few
	}
}
