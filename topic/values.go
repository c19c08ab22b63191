package topic

import (
	"slices"
	"sync/atomic"
)

const (
	fewValues    = 16 // most in an immutable slice
	backToValues = 8  // a large set that has become this small is a slice again
	chunkLen     = 64
)

// values is the set of values of one filter, for any number of concurrent
// readers and one writer at a time. Few are an immutable slice. Many are in
// chunks, so that adding and removing takes constant time whatever the number.
// Values never move while a set is used, so a reader sees each that is there
// during its whole loop exactly once.
type values[T comparable] struct {
	few  []T
	many *chunks[T] // nil when few holds all
}

// each yields the values until yield returns false, and then returns false.
// v may be nil.
func (v *values[T]) each(yield func(T) bool) bool {
	if v == nil {
		return true
	}
	if v.many != nil {
		return v.many.each(yield)
	}
	for _, x := range v.few {
		if !yield(x) {
			return false
		}
	}
	return true
}

// with returns the set with x in it, v itself when it grew in place, or false
// when x was there. v may be nil.
func (v *values[T]) with(x T) (*values[T], bool) {
	switch {
	case v == nil:
		return &values[T]{few: []T{x}}, true
	case v.many != nil:
		return v, v.many.add(x)
	case slices.Contains(v.few, x):
		return v, false
	case len(v.few) < fewValues:
		few := make([]T, len(v.few)+1)
		few[copy(few, v.few)] = x
		return &values[T]{few: few}, true
	}
	many := newChunks[T]()
	for _, old := range v.few {
		many.add(old)
	}
	many.add(x)
	return &values[T]{many: many}, true
}

// without returns the set without x, v itself when it shrank in place, nil when
// it is empty then, or false when x was not there. v may be nil.
func (v *values[T]) without(x T) (*values[T], bool) {
	if v == nil {
		return nil, false
	}
	if v.many == nil {
		i := slices.Index(v.few, x)
		switch {
		case i < 0:
			return v, false
		case len(v.few) == 1:
			return nil, true
		}
		few := make([]T, 0, len(v.few)-1)
		few = append(append(few, v.few[:i]...), v.few[i+1:]...)
		return &values[T]{few: few}, true
	}
	if !v.many.remove(x) {
		return v, false
	}
	switch n := len(v.many.index); {
	case n <= backToValues:
		return &values[T]{few: v.many.list()}, true
	case n < len(*v.many.dir.Load())*chunkLen/8:
		many := newChunks[T]()
		for _, x := range v.many.list() {
			many.add(x)
		}
		return &values[T]{many: many}, true
	}
	return v, true
}

// chunks is a large set.
type chunks[T comparable] struct {
	dir   atomic.Pointer[[]atomic.Pointer[chunk[T]]] // nil chunks are empty
	index map[T]uint32                               // the number of the chunk; the writer's
	room  []uint32                                   // chunks that are not full; the writer's
}

// chunk has values in its first n places. They are only added at the end;
// removing one makes another chunk.
type chunk[T any] struct {
	n    atomic.Int32
	vals [chunkLen]T
}

func newChunks[T comparable]() *chunks[T] {
	c := &chunks[T]{index: map[T]uint32{}}
	c.dir.Store(&[]atomic.Pointer[chunk[T]]{})
	return c
}

func (c *chunks[T]) each(yield func(T) bool) bool {
	dir := *c.dir.Load()
	for i := range dir {
		chunk := dir[i].Load()
		if chunk == nil {
			continue
		}
		for j := range chunk.n.Load() {
			if !yield(chunk.vals[j]) {
				return false
			}
		}
	}
	return true
}

func (c *chunks[T]) list() []T {
	out := make([]T, 0, len(c.index))
	c.each(func(x T) bool {
		out = append(out, x)
		return true
	})
	return out
}

func (c *chunks[T]) add(x T) bool {
	if _, found := c.index[x]; found {
		return false
	}
	if len(c.room) == 0 {
		c.grow()
	}
	i := c.room[len(c.room)-1]
	slot := &(*c.dir.Load())[i]
	in := slot.Load()
	if in == nil {
		in = new(chunk[T])
		in.vals[0] = x
		in.n.Store(1)
		slot.Store(in)
	} else {
		in.vals[in.n.Load()] = x
		in.n.Add(1)
	}
	if in.n.Load() == chunkLen {
		c.room = c.room[:len(c.room)-1]
	}
	c.index[x] = i
	return true
}

func (c *chunks[T]) remove(x T) bool {
	i, found := c.index[x]
	if !found {
		return false
	}
	delete(c.index, x)
	slot := &(*c.dir.Load())[i]
	old := slot.Load()
	if old.n.Load() == chunkLen {
		c.room = append(c.room, i)
	}
	var without *chunk[T]
	for _, y := range old.vals[:old.n.Load()] {
		if x == y {
			continue
		}
		if without == nil {
			without = new(chunk[T])
		}
		without.vals[without.n.Load()] = y
		without.n.Add(1)
	}
	slot.Store(without)
	return true
}

// grow doubles the directory.
func (c *chunks[T]) grow() {
	old := *c.dir.Load()
	dir := make([]atomic.Pointer[chunk[T]], max(1, 2*len(old)))
	for i := range old {
		dir[i].Store(old[i].Load())
	}
	for i := len(dir) - 1; i >= len(old); i-- {
		c.room = append(c.room, uint32(i))
	}
	c.dir.Store(&dir)
}
