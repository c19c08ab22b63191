package topic

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	fewChildren   = 8 // most in an immutable array
	backToFew     = 4 // a table that has become this small is an array again
	smallTable    = 32
	keyPinsAtMost = 256 // bytes
)

// entry is a value under a key. It stays where it is until it is removed.
type entry[P any] struct {
	key string
	p   P
}

// levelKey returns a level of name as a key. A substring costs nothing, but a
// short key must not keep a very long name alive.
func levelKey(name, level string) string {
	if len(name)-len(level) > keyPinsAtMost {
		return strings.Clone(level)
	}
	return level
}

// children maps keys to values for any number of concurrent readers and one
// writer at a time. Few are a small immutable array, many a hash table, so that
// an operation takes constant time whatever the number.
//
// A reader that has begun to loop sees each entry that is there during the
// whole loop exactly once, because entries never move: a writer that needs
// another array or table makes a new one and leaves the old as it is.
type children[P any] struct {
	p atomic.Pointer[branch[P]] // nil when empty
}

type branch[P any] struct {
	few  []*entry[P]
	wide *table[P] // nil when few holds all
}

func (c *children[P]) empty() bool { return c.p.Load() == nil }

// get returns the entry of key or nil.
func (c *children[P]) get(seed maphash.Seed, key string) *entry[P] {
	b := c.p.Load()
	if b == nil {
		return nil
	}
	if b.wide != nil {
		return b.wide.get(hash(seed, key), key)
	}
	for _, e := range b.few {
		if e.key == key {
			return e
		}
	}
	return nil
}

// all yields the entries in the order in which they were put.
func (c *children[P]) all() iter.Seq[*entry[P]] {
	return func(yield func(*entry[P]) bool) {
		b := c.p.Load()
		if b == nil {
			return
		}
		for _, e := range b.few {
			if !yield(e) {
				return
			}
		}
		if b.wide == nil {
			return
		}
		for i := range b.wide.entries {
			if e := b.wide.entries[i].Load(); e != nil && !yield(e) {
				return
			}
		}
	}
}

// put adds an entry whose key is not there yet.
func (c *children[P]) put(seed maphash.Seed, e *entry[P]) {
	b := c.p.Load()
	switch {
	case b == nil:
		c.p.Store(&branch[P]{few: []*entry[P]{e}})
	case b.wide != nil:
		if b.wide.full() {
			b = &branch[P]{wide: b.wide.rebuild()}
			b.wide.put(hash(seed, e.key), e)
			c.p.Store(b)
		} else {
			b.wide.put(hash(seed, e.key), e)
		}
	case len(b.few) < fewChildren:
		few := make([]*entry[P], len(b.few)+1)
		few[copy(few, b.few)] = e
		c.p.Store(&branch[P]{few: few})
	default:
		t := newTable[P](smallTable)
		for _, old := range b.few {
			t.put(hash(seed, old.key), old)
		}
		t.put(hash(seed, e.key), e)
		c.p.Store(&branch[P]{wide: t})
	}
}

// remove takes an entry out that is there.
func (c *children[P]) remove(seed maphash.Seed, e *entry[P]) {
	b := c.p.Load()
	if b.wide != nil {
		b.wide.remove(hash(seed, e.key), e)
		switch {
		case b.wide.n <= backToFew:
			few := make([]*entry[P], 0, b.wide.n)
			c.p.Store(&branch[P]{few: slices.AppendSeq(few, c.all())})
		case b.wide.sparse():
			c.p.Store(&branch[P]{wide: b.wide.rebuild()})
		}
		return
	}
	if len(b.few) == 1 {
		c.p.Store(nil)
		return
	}
	few := make([]*entry[P], 0, len(b.few)-1)
	for _, old := range b.few {
		if old != e {
			few = append(few, old)
		}
	}
	c.p.Store(&branch[P]{few: few})
}

// hash is 32 bits for a table. The seed keeps peers from choosing keys that
// collide.
func hash(seed maphash.Seed, key string) uint32 { return uint32(maphash.String(seed, key)) }

// table is a hash table with linear probing that keeps its entries in the order
// in which they came. A slot has the hash of an entry in its high half and one
// more than its index in the low one, and is 0 until it is used. Neither slots
// nor places of entries are used again, so that a probe of a reader does not end
// too early; a removed entry is nil.
type table[P any] struct {
	slots   []atomic.Uint64 // a power of two
	entries []atomic.Pointer[entry[P]]
	n       int // entries that are not nil; the writer's
	used    int // entries in front that have been used; the writer's
}

func newTable[P any](size int) *table[P] {
	return &table[P]{
		slots:   make([]atomic.Uint64, size),
		entries: make([]atomic.Pointer[entry[P]], size-size/8),
	}
}

func (t *table[P]) get(h uint32, key string) *entry[P] {
	mask := uint32(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i].Load()
		if slot == 0 {
			return nil
		}
		if uint32(slot>>32) == h {
			if e := t.entries[uint32(slot)-1].Load(); e != nil && e.key == key {
				return e
			}
		}
	}
}

// full reports that there is no place for another entry.
func (t *table[P]) full() bool { return t.used == len(t.entries) }

// sparse reports that the table is much too large.
func (t *table[P]) sparse() bool { return len(t.slots) > smallTable && t.n < len(t.slots)/8 }

// put stores an entry in a table that is not full. The entry is stored before
// its slot: a reader that sees the slot sees the entry.
func (t *table[P]) put(h uint32, e *entry[P]) {
	mask := uint32(len(t.slots) - 1)
	i := h & mask
	for t.slots[i].Load() != 0 {
		i = (i + 1) & mask
	}
	t.entries[t.used].Store(e)
	t.used++
	t.n++
	t.slots[i].Store(uint64(h)<<32 | uint64(t.used))
}

func (t *table[P]) remove(h uint32, e *entry[P]) {
	mask := uint32(len(t.slots) - 1)
	i := h & mask
	for {
		slot := t.slots[i].Load()
		if at := &t.entries[uint32(slot)-1]; at.Load() == e {
			at.Store(nil)
			t.n--
			return
		}
		i = (i + 1) & mask
	}
}

// rebuild returns a table of the right size with the same entries in the same
// order, at most three quarters full.
func (t *table[P]) rebuild() *table[P] {
	hashes := make([]uint32, len(t.entries))
	for i := range t.slots {
		if slot := t.slots[i].Load(); slot != 0 {
			hashes[uint32(slot)-1] = uint32(slot >> 32)
		}
	}
	out := newTable[P](max(smallTable, 1<<bits.Len(uint(t.n*4/3))))
	for i := range t.entries {
		if e := t.entries[i].Load(); e != nil {
			out.put(hashes[i], e)
		}
	}
	return out
}
