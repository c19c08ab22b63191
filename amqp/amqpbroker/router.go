package amqpbroker

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/topic"
)

// router holds the bindings of one exchange and finds those that a message follows. D is a destination: a queue or another
// exchange.
//
// It is safe for concurrent use. route takes no lock, never waits for a writer and allocates nothing, apart from the first
// one after a change of an x-consistent-hash exchange. It sees each binding that was there before it began and is still
// there when it ends.
//
// Bindings have no other order than that in which they were made; it is the order of bindings.
type router[D comparable] struct {
	kind exchangeKind
	trie *topic.Trie[*binding[D]] // nil for x-consistent-hash and x-random
	hash *hashRoutes[D]
	seed maphash.Seed // of the index of a headers exchange
	bufs sync.Pool    // *routeBuffer, for names in the trie that are not routing keys

	n   atomic.Int64
	mu  sync.Mutex                    // held by writers
	all map[bindingID[D]]*binding[D]  // nil until the first
	seq uint64                        // of the binding that was made last
	set atomic.Pointer[[]*binding[D]] // for x-random; nil when it must be made again
}

// binding is one binding of a router. It does not change.
type binding[D comparable] struct {
	dest D
	key  string
	args amqp091.Table // shared, must not be changed
	seq  uint64        // grows from one binding of a router to the next

	headers *headersMatch // of a headers exchange
}

// bindingID is what makes bindings the same: the arguments in any order.
type bindingID[D comparable] struct {
	dest D
	key  string
	args string // see argsID
}

// exchangeKind is how an exchange chooses among its bindings.
type exchangeKind uint8

const (
	kindDirect exchangeKind = iota + 1
	kindFanout
	kindTopic
	kindHeaders
	kindHash   // x-consistent-hash, x-modulus-hash
	kindRandom // x-random, x-local-random
)

// exchangeKinds are the types of exchanges by the name that they have on the wire.
var exchangeKinds = map[string]exchangeKind{
	"direct":            kindDirect,
	"fanout":            kindFanout,
	"topic":             kindTopic,
	"headers":           kindHeaders,
	"x-consistent-hash": kindHash,
	"x-modulus-hash":    kindHash,
	"x-random":          kindRandom,
	"x-local-random":    kindRandom,
}

// newRouter returns the router of a new exchange of a type other than x-delayed-message, which has the router of the type
// that its argument names. args are those of the exchange. name gives the name of a destination, which x-consistent-hash
// needs so that it routes alike after a restart.
//
// The error is the one that closes the channel: the type is not known or the arguments are not those of the type.
func newRouter[D comparable](kind string, args amqp091.Table, name func(D) string) (*router[D], error) {
	k, ok := exchangeKinds[kind]
	if !ok {
		return nil, amqp091.SoftError(amqp091.PreconditionFailed, "unknown exchange type '%s'", kind)
	}
	r := &router[D]{kind: k, seed: maphash.MakeSeed()}
	switch k {
	case kindHash:
		if kind == "x-modulus-hash" {
			r.hash = &hashRoutes[D]{name: name, equal: true}
			break
		}
		h, err := newHashRoutes(args, name)
		if err != nil {
			return nil, err
		}
		r.hash = h
	case kindTopic:
		r.trie = topic.NewTrie[*binding[D]](topic.AMQP)
	case kindDirect, kindFanout, kindHeaders:
		// Without wildcards it is a table of sets.
		r.trie = topic.NewTrie[*binding[D]](topic.MQTT)
	}
	return r, nil
}

// len returns the number of bindings.
func (r *router[D]) len() int { return int(r.n.Load()) }

// bind makes a binding. It is idempotent: when there is one of the same destination, key and arguments it is returned, and
// added is false. The arguments are kept and must not change.
//
// The error is the one that closes the channel: the key or the arguments are not those of the type of exchange.
func (r *router[D]) bind(dest D, key string, args amqp091.Table) (b *binding[D], added bool, err error) {
	id := bindingID[D]{dest, key, argsID(args)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.all[id]; b != nil {
		return b, false, nil
	}
	b = &binding[D]{dest: dest, key: key, args: args, seq: r.seq + 1}
	switch r.kind {
	case kindDirect:
		r.trie.Insert(literalKey(key), b)
	case kindFanout:
		r.trie.Insert("", b)
	case kindTopic:
		r.trie.Insert(key, b)
	case kindHeaders:
		if b.headers, err = newHeadersMatch(args); err != nil {
			return nil, false, err
		}
		for _, at := range b.headers.index(r.seed) {
			r.trie.Insert(at, b)
		}
	case kindHash:
		if _, err = r.hash.weight(key); err != nil {
			return nil, false, err
		}
		r.hash.targets.Store(nil)
	case kindRandom:
		r.set.Store(nil)
	}
	if r.all == nil {
		r.all = make(map[bindingID[D]]*binding[D])
	}
	r.all[id] = b
	r.seq++
	r.n.Store(int64(len(r.all)))
	return b, true, nil
}

// unbind removes a binding and returns it, nil when there is none.
func (r *router[D]) unbind(dest D, key string, args amqp091.Table) *binding[D] {
	id := bindingID[D]{dest, key, argsID(args)}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.all[id]
	if b == nil {
		return nil
	}
	delete(r.all, id)
	r.n.Store(int64(len(r.all)))
	switch r.kind {
	case kindDirect:
		r.trie.Delete(literalKey(key), b)
	case kindFanout:
		r.trie.Delete("", b)
	case kindTopic:
		r.trie.Delete(key, b)
	case kindHeaders:
		for _, at := range b.headers.index(r.seed) {
			r.trie.Delete(at, b)
		}
	case kindHash:
		r.hash.targets.Store(nil)
	case kindRandom:
		r.set.Store(nil)
	}
	return b
}

// remove is unbind for a binding of this router, and reports whether it was still there.
func (r *router[D]) remove(b *binding[D]) bool { return r.unbind(b.dest, b.key, b.args) != nil }

// bindings returns the bindings in the order in which they were made.
func (r *router[D]) bindings() []*binding[D] {
	r.mu.Lock()
	out := make([]*binding[D], 0, len(r.all))
	for _, b := range r.all {
		out = append(out, b)
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b *binding[D]) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// route calls visit for the destination of each binding that a message follows: more than once for a destination with
// several bindings, so the caller keeps duplicates apart, which it must anyway where exchanges are bound to exchanges. key
// and props are those of the message and stay as they are until route returns. visit may be called while others bind.
func (r *router[D]) route(key []byte, props amqp091.RawProperties, visit func(D)) {
	switch r.kind {
	case kindTopic:
		for b := range r.trie.MatchBytes(key) {
			visit(b.dest)
		}
	case kindDirect:
		if !plainKey(key) {
			buf := r.buffer()
			defer r.bufs.Put(buf)
			key = literal(buf[:0], key)
		}
		for b := range r.trie.MatchBytes(key) {
			visit(b.dest)
		}
	case kindFanout:
		for b := range r.trie.MatchBytes(nil) {
			visit(b.dest)
		}
	case kindHeaders:
		r.routeHeaders(props.Headers(), visit)
	case kindHash:
		r.hash.route(r, key, props, visit)
	case kindRandom:
		r.routeRandom(visit)
	}
}

// routeBuffer has room for a name in the trie.
type routeBuffer [2*maxKey + 1]byte

func (r *router[D]) buffer() *routeBuffer {
	if b, ok := r.bufs.Get().(*routeBuffer); ok {
		return b
	}
	return new(routeBuffer)
}

// maxKey is the size of the longest routing key, which is a short string.
const maxKey = 255

// literal appends a name that stands for a key that is not plain in a trie of the syntax of MQTT. It has no wildcard, and
// no other key has it.
func literal(dst, key []byte) []byte {
	dst = append(dst, 0)
	for _, c := range key {
		switch c {
		case '+':
			dst = append(dst, 0, 'p')
		case '#':
			dst = append(dst, 0, 'h')
		case 0:
			dst = append(dst, 0, '0')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// plainKey reports whether a key stands for itself in a trie: nothing in it could be a wildcard.
func plainKey[K string | []byte](key K) bool {
	for i := range len(key) {
		if c := key[i]; c == '+' || c == '#' || c == 0 {
			return false
		}
	}
	return true
}

func literalKey(key string) string {
	if plainKey(key) {
		return key
	}
	return string(literal(nil, []byte(key)))
}

// argsID returns the same for arguments that are the same, in whatever order: RabbitMQ sorts them, so its clients may send
// them in any.
func argsID(args amqp091.Table) string {
	if len(args) == 0 {
		return ""
	}
	sorted := args
	less := func(a, b amqp091.Field) int { return strings.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(args, less) {
		sorted = slices.Clone(args)
		slices.SortStableFunc(sorted, less)
	}
	out, err := sorted.Append(nil)
	if err != nil {
		return fmt.Sprintf("%#v", sorted) // a value of a type that cannot be sent; it came from the program itself
	}
	return string(out)
}
