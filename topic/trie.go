package topic

import (
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
)

// Trie is a set of pairs of a filter and a value, such as subscriptions, that
// finds the values whose filters match a name.
//
// It is safe for concurrent use. Matching takes no lock, never waits for a
// writer and allocates nothing; writers take turns. A Match sees every pair
// whose Insert returned before its loop began, unless the pair is deleted
// meanwhile, and may see or miss one that is inserted or deleted while it runs.
// It yields a pair at most once, unless that very pair is deleted and inserted
// again meanwhile. A value under several filters that match is yielded for
// each of them.
//
// Insert and Delete take time for the levels of the filter and not for the
// number of filters or of values under one filter, apart from copying a table
// when it has doubled. A filter of its own with one value takes about 140 bytes
// without and 170 with a wildcard beyond the filter string, which is kept.
//
// Use [NewTrie] to make one. A Trie must not be copied.
type Trie[T comparable] struct {
	syntax Syntax
	seed   maphash.Seed
	n      atomic.Int64
	pool   sync.Pool // *states[T], for AMQP

	mu    sync.Mutex        // held by writers
	exact children[node[T]] // filters without a wildcard, whole
	wild  node[T]           // root of the filters with a wildcard
}

// node is where a filter ends or goes on. An empty one is removed.
type node[T comparable] struct {
	literal children[node[T]]
	single  atomic.Pointer[node[T]] // below a wildcard for one level
	hash    atomic.Pointer[node[T]] // below '#'
	values  atomic.Pointer[values[T]]
}

func (n *node[T]) empty() bool {
	return n.values.Load() == nil && n.literal.empty() && n.single.Load() == nil && n.hash.Load() == nil
}

// NewTrie returns an empty Trie for filters and names of a syntax.
func NewTrie[T comparable](s Syntax) *Trie[T] {
	return &Trie[T]{syntax: s, seed: maphash.MakeSeed()}
}

// Len returns the number of pairs.
func (t *Trie[T]) Len() int { return int(t.n.Load()) }

// Insert adds a valid filter with a value and reports whether the pair is new.
func (t *Trie[T]) Insert(filter string, v T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n *node[T]
	if t.syntax.HasWildcard(filter) {
		n = &t.wild
		for l := t.syntax.levels(filter); l.more; {
			n = t.child(n, filter, l.next())
		}
	} else {
		n = t.under(&t.exact, filter, filter)
	}
	values, added := n.values.Load().with(v)
	if added {
		n.values.Store(values)
		t.n.Add(1)
	}
	return added
}

// child returns the node below n for a level of filter, which is made if need
// be.
func (t *Trie[T]) child(n *node[T], filter, level string) *node[T] {
	p := &n.single
	switch level {
	case t.syntax.single():
	case "#":
		p = &n.hash
	default:
		return t.under(&n.literal, filter, level)
	}
	if p.Load() == nil {
		p.Store(new(node[T]))
	}
	return p.Load()
}

func (t *Trie[T]) under(c *children[node[T]], filter, key string) *node[T] {
	e := c.get(t.seed, key)
	if e == nil {
		e = &entry[node[T]]{key: levelKey(filter, key)}
		c.put(t.seed, e)
	}
	return &e.p
}

// Delete removes a pair and reports whether it was there.
func (t *Trie[T]) Delete(filter string, v T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var removed bool
	if t.syntax.HasWildcard(filter) {
		removed = t.remove(&t.wild, t.syntax.levels(filter), v)
	} else {
		removed = t.removeUnder(&t.exact, filter, levels{}, v)
	}
	if removed {
		t.n.Add(-1)
	}
	return removed
}

// remove takes v away from the filter l below n, and the nodes that are empty
// then.
func (t *Trie[T]) remove(n *node[T], l levels, v T) bool {
	if !l.more {
		values, removed := n.values.Load().without(v)
		if removed {
			n.values.Store(values)
		}
		return removed
	}
	p := &n.single
	switch level := l.next(); level {
	case t.syntax.single():
	case "#":
		p = &n.hash
	default:
		return t.removeUnder(&n.literal, level, l, v)
	}
	child := p.Load()
	if child == nil || !t.remove(child, l, v) {
		return false
	}
	if child.empty() {
		p.Store(nil)
	}
	return true
}

func (t *Trie[T]) removeUnder(c *children[node[T]], key string, l levels, v T) bool {
	e := c.get(t.seed, key)
	if e == nil || !t.remove(&e.p, l, v) {
		return false
	}
	if e.p.empty() {
		c.remove(t.seed, e)
	}
	return true
}

// Match yields the values of the filters that match a name, in no particular
// order.
func (t *Trie[T]) Match(name string) iter.Seq[T] {
	return func(yield func(T) bool) { t.match(name, yield) }
}

// MatchBytes is [Trie.Match] for a byte slice, which must not change until the
// loop has ended.
func (t *Trie[T]) MatchBytes(name []byte) iter.Seq[T] {
	return func(yield func(T) bool) { t.match(view(name), yield) }
}
