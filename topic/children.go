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

// all yields the entries in no particular order.
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

// hash is never 0. The seed keeps peers from choosing keys that collide.
func hash(seed maphash.Seed, key string) uint32 {
	return max(1, uint32(maphash.String(seed, key)))
}

// table is an open hash table with linear probing. The hash of a slot is 0
// until the slot is used for the first time and never 0 again, so that a probe
// of a reader does not end too early; a removed entry is nil under its hash.
type table[P any] struct {
	hashes  []atomic.Uint32 // as many as entries, a power of two
	entries []atomic.Pointer[entry[P]]
	n       int // entries; the writer's
	used    int // slots whose hash is not 0; the writer's
}

func newTable[P any](size int) *table[P] {
	return &table[P]{
		hashes:  make([]atomic.Uint32, size),
		entries: make([]atomic.Pointer[entry[P]], size),
	}
}

func (t *table[P]) get(h uint32, key string) *entry[P] {
	mask := uint32(len(t.hashes) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch t.hashes[i].Load() {
		case 0:
			return nil
		case h:
			if e := t.entries[i].Load(); e != nil && e.key == key {
				return e
			}
		}
	}
}

// full reports that there is no slot for another entry.
func (t *table[P]) full() bool { return t.used >= len(t.hashes)-len(t.hashes)/8 }

// sparse reports that the table is much too large.
func (t *table[P]) sparse() bool { return len(t.hashes) > smallTable && t.n < len(t.hashes)/8 }

// put stores an entry in a table that is not full. The entry is stored before
// its hash: a reader that sees the hash sees the entry.
func (t *table[P]) put(h uint32, e *entry[P]) {
	mask := uint32(len(t.hashes) - 1)
	i := h & mask
	for t.entries[i].Load() != nil {
		i = (i + 1) & mask
	}
	if t.hashes[i].Load() == 0 {
		t.used++
	}
	t.entries[i].Store(e)
	t.hashes[i].Store(h)
	t.n++
}

func (t *table[P]) remove(h uint32, e *entry[P]) {
	mask := uint32(len(t.hashes) - 1)
	i := h & mask
	for t.entries[i].Load() != e {
		i = (i + 1) & mask
	}
	t.entries[i].Store(nil)
	t.n--
}

// rebuild returns a table of the right size with the same entries, at most
// three quarters full.
func (t *table[P]) rebuild() *table[P] {
	size := max(smallTable, 1<<bits.Len(uint(t.n*4/3)))
	out := newTable[P](size)
	for i := range t.entries {
		if e := t.entries[i].Load(); e != nil {
			out.put(t.hashes[i].Load(), e)
		}
	}
	return out
}
