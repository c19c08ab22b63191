package topic

import (
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
)

// Names maps names to values, such as topics to their retained messages, and
// finds the names that match a filter.
//
// It is safe for concurrent use. Reading takes no lock, never waits for a
// writer and allocates nothing; writers take turns. A loop over Match yields
// every name that is there during the whole loop exactly once, with a value
// that it had at some time meanwhile. Names that are set or deleted while it
// runs may be yielded or not.
//
// Set and Delete take time for the levels of the name and not for the number of
// names, apart from copying a table when it has doubled. In MQTT, Match takes
// time for the names below the levels in front of the first wildcard that
// match as far as they are looked at; in AMQP for all names below the first
// '#'. A name takes about 80 bytes beyond the name string, which is kept, and
// what a pointer as its value points to.
//
// Use [NewNames] to make one. Names must not be copied.
type Names[T any] struct {
	syntax Syntax
	seed   maphash.Seed
	n      atomic.Int64

	mu    sync.Mutex // held by writers
	root  children[place[T]]
	empty atomic.Pointer[T] // the value of the empty name
}

// place is what is at a level and below it. Its state is replaced as a whole,
// so that readers see the step from one form to the next at once.
type place[T any] struct {
	state atomic.Pointer[content[T]] // nil once the place is removed
}

// content has one of three forms: a name that ends here or, as long as it is
// alone, further down; places below; both, and then the name ends here.
type content[T any] struct {
	name  string // "" for none
	v     T
	below *children[place[T]] // nil for none
}

// NewNames returns an empty Names for a syntax.
func NewNames[T any](s Syntax) *Names[T] {
	return &Names[T]{syntax: s, seed: maphash.MakeSeed()}
}

// Len returns the number of names.
func (m *Names[T]) Len() int { return int(m.n.Load()) }

// Get returns the value of a name, or false when there is none.
func (m *Names[T]) Get(name string) (v T, ok bool) {
	if name == "" {
		if p := m.empty.Load(); p != nil {
			return *p, true
		}
		return v, false
	}
	c := &m.root
	for l := m.syntax.levels(name); l.more; {
		e := c.get(m.seed, l.next())
		if e == nil {
			return v, false
		}
		here := e.p.state.Load()
		if here == nil {
			return v, false
		}
		if here.name == name {
			return here.v, true
		}
		if c = here.below; c == nil {
			return v, false
		}
	}
	return v, false
}

// GetBytes is [Names.Get] for a byte slice, which is not kept.
func (m *Names[T]) GetBytes(name []byte) (v T, ok bool) { return m.Get(view(name)) }

// Set gives a valid name a value and returns the value that it had before, if
// any. The name is kept.
func (m *Names[T]) Set(name string, v T) (old T, replaced bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name == "" {
		in := v // so that only this one is allocated
		if p := m.empty.Swap(&in); p != nil {
			return *p, true
		}
	} else if old, replaced = m.set(name, v); replaced {
		return old, true
	}
	m.n.Add(1)
	return old, false
}

func (m *Names[T]) set(name string, v T) (old T, replaced bool) {
	c := &m.root
	for l := m.syntax.levels(name); ; {
		level := l.next()
		e := c.get(m.seed, level)
		if e == nil {
			m.put(c, name, level, &content[T]{name: name, v: v})
			return old, false
		}
		here := e.p.state.Load()
		if here.name == name {
			e.p.state.Store(&content[T]{name: here.name, v: v, below: here.below})
			return here.v, true
		}
		depth := len(name) - len(l.rest) // of what follows the level, in l.more
		if !l.more {
			depth = len(name) + 1
		}
		if here.name != "" && len(here.name) >= depth {
			here = m.lower(here, depth)
		}
		if !l.more {
			e.p.state.Store(&content[T]{name: name, v: v, below: here.below})
			return old, false
		}
		if here.below == nil {
			here = &content[T]{name: here.name, v: here.v, below: new(children[place[T]])}
		}
		// Nobody who reads looks below before the state is stored, and a
		// level that is empty for a moment is not wrong.
		e.p.state.Store(here)
		c = here.below
	}
}

// lower returns the content of a place whose only name, which ends further
// down, has been moved one level down. depth is where that level begins.
func (m *Names[T]) lower(here *content[T], depth int) *content[T] {
	l := m.syntax.levels(here.name[depth:])
	below := new(children[place[T]])
	m.put(below, here.name, l.next(), here)
	return &content[T]{below: below}
}

func (m *Names[T]) put(c *children[place[T]], name, level string, in *content[T]) {
	e := &entry[place[T]]{key: levelKey(name, level)}
	e.p.state.Store(in)
	c.put(m.seed, e)
}

// Delete removes a name and returns the value that it had, if any.
func (m *Names[T]) Delete(name string) (v T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name == "" {
		if p := m.empty.Swap(nil); p != nil {
			v, ok = *p, true
		}
	} else {
		v, ok = m.remove(&m.root, m.syntax.levels(name), name)
	}
	if ok {
		m.n.Add(-1)
	}
	return v, ok
}

// remove takes a name away, whose levels from those of c on are l, and the
// places that are empty then.
func (m *Names[T]) remove(c *children[place[T]], l levels, name string) (v T, ok bool) {
	e := c.get(m.seed, l.next())
	if e == nil {
		return v, false
	}
	here := e.p.state.Load()
	left := content[T]{below: here.below}
	switch {
	case here.name == name:
		v = here.v
	case here.below == nil || !l.more:
		return v, false
	default:
		if v, ok = m.remove(here.below, l, name); !ok || !here.below.empty() {
			return v, ok
		}
		left = content[T]{name: here.name, v: here.v}
	}
	if left.name == "" && left.below == nil {
		e.p.state.Store(nil)
		c.remove(m.seed, e)
	} else {
		e.p.state.Store(&left)
	}
	return v, true
}

// Match yields the names that match a valid filter and their values, in no
// particular order. What is yielded as the name equals what was given to Set.
func (m *Names[T]) Match(filter string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) { m.match(filter, yield) }
}
