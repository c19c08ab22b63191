package topic

import (
	"slices"
	"sync"
)

func (t *Trie[T]) match(name string, yield func(T) bool) {
	if e := t.exact.get(t.seed, name); e != nil && !e.p.values.Load().each(yield) {
		return
	}
	if t.syntax == AMQP {
		t.matchAMQP(name, yield)
	} else {
		t.matchMQTT(&t.wild, MQTT.levels(name), reserved(name), yield)
	}
}

// matchMQTT yields what is at and below n for the rest of a name.
// first tells that wildcards in front do not count.
func (t *Trie[T]) matchMQTT(n *node[T], l levels, first bool, yield func(T) bool) bool {
	for {
		if below := n.hash.Load(); below != nil && !first && !below.values.Load().each(yield) {
			return false
		}
		if !l.more {
			return n.values.Load().each(yield)
		}
		level := l.next()
		if below := n.single.Load(); below != nil && !first && !t.matchMQTT(below, l, false, yield) {
			return false
		}
		e := n.literal.get(t.seed, level)
		if e == nil {
			return true
		}
		n, first = &e.p, false
	}
}

// states is the nodes that a name has reached after some of its words, when
// the trie is read as an automaton.
//
// A node reaches its children by one word, and that of '#' by none. The latter
// stays reached for good, since '#' takes any word. So only a node of '#' can
// be reached in two ways, and only when it is below another one.
type states[T comparable] struct {
	now    []state[T]            // at this word, apart from those of '#'
	next   []state[T]            // at the next word
	hashes []*node[T]            // nodes of '#'
	seen   map[*node[T]]struct{} // of hashes below another, once there are many
}

type state[T comparable] struct {
	n     *node[T]
	below bool // a node of '#'
}

const (
	listedHashes = 16   // how many nodes of '#' are looked through one by one
	pooledStates = 1024 // the largest states that are worth keeping
)

func (t *Trie[T]) matchAMQP(name string, yield func(T) bool) {
	s, ok := t.pool.Get().(*states[T])
	if !ok {
		s = &states[T]{seen: map[*node[T]]struct{}{}}
	}
	t.run(s, name)
	for _, at := range s.next {
		if !at.n.values.Load().each(yield) {
			break
		}
	}
	s.release(&t.pool)
}

// run reads the words of a name. The nodes that it ends at are s.next then.
func (t *Trie[T]) run(s *states[T], name string) {
	s.reach(&t.wild, false)
	for l := AMQP.levels(name); l.more; {
		word := l.next()
		s.now, s.next = s.next, s.now[:0]
		loops := s.hashes
		for _, from := range s.now {
			t.step(s, from, word)
		}
		for _, n := range loops {
			t.step(s, state[T]{n, true}, word)
		}
	}
	for _, n := range s.hashes {
		s.next = append(s.next, state[T]{n, true})
	}
}

// step reaches the children of a node by a word.
func (t *Trie[T]) step(s *states[T], from state[T], word string) {
	if child := from.n.single.Load(); child != nil {
		s.reach(child, from.below)
	}
	if e := from.n.literal.get(t.seed, word); e != nil {
		s.reach(&e.p, from.below)
	}
}

// reach adds n, and the nodes of '#' that follow without a word.
func (s *states[T]) reach(n *node[T], below bool) {
	s.next = append(s.next, state[T]{n, below})
	for n = n.hash.Load(); n != nil; n = n.hash.Load() {
		if below && s.has(n) {
			return // and what follows it
		}
		s.hashes = append(s.hashes, n)
		below = true
	}
}

// has reports whether a node of '#' below another one has been reached, and
// remembers it.
func (s *states[T]) has(n *node[T]) bool {
	if len(s.hashes) < listedHashes {
		return slices.Contains(s.hashes, n)
	}
	if len(s.seen) == 0 {
		for _, other := range s.hashes {
			s.seen[other] = struct{}{}
		}
	}
	_, found := s.seen[n]
	s.seen[n] = struct{}{}
	return found
}

// release forgets all nodes and gives s to the pool.
func (s *states[T]) release(pool *sync.Pool) {
	if max(cap(s.now), cap(s.next), cap(s.hashes)) > pooledStates {
		return
	}
	clear(s.now[:cap(s.now)])
	clear(s.next[:cap(s.next)])
	clear(s.hashes)
	clear(s.seen)
	s.now, s.next, s.hashes = s.now[:0], s.next[:0], s.hashes[:0]
	pool.Put(s)
}
