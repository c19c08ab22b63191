package amqpbroker

import (
	"math"
	"strconv"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// hashRoutes is how an x-consistent-hash exchange chooses: each message follows one binding, and messages with the same
// routing key, or the same value of the header or property that the exchange is told to look at, follow the same. The key of
// a binding is its weight, its share of the values.
//
// It is weighted rendezvous hashing: each binding draws a number for the value, and the best wins. A change of bindings
// moves only those values that have to move, which a table of buckets does not do when one is removed, and large weights
// cost no memory. The draw depends on the names of the destinations, so that a restart changes nothing.
type hashRoutes[D comparable] struct {
	header   string // to look at, or
	property hashProperty
	name     func(D) string
	equal    bool // x-modulus-hash: all bindings have the same weight, whatever their key

	targets atomic.Pointer[[]hashTarget[D]] // nil when it must be made again
}

type hashTarget[D comparable] struct {
	dest   D
	seed   uint64
	weight float64
}

// hashProperty is what is hashed.
type hashProperty uint8

const (
	hashRoutingKey hashProperty = iota
	hashHeader
	hashCorrelationID
	hashMessageID
	hashTimestamp
)

// maxWeight bounds the key of a binding.
const maxWeight = 1 << 31

func newHashRoutes[D comparable](args amqp091.Table, name func(D) string) (*hashRoutes[D], error) {
	h := &hashRoutes[D]{name: name}
	header, hasHeader := args.Get("hash-header")
	property, hasProperty := args.Get("hash-property")
	var ok bool
	switch {
	case hasHeader && hasProperty:
		return nil, amqp091.SoftError(amqp091.PreconditionFailed, "hash-header and hash-property are mutually exclusive")
	case hasHeader:
		if h.header, ok = header.(string); !ok {
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "hash-header must be a string")
		}
		h.property = hashHeader
	case hasProperty:
		switch property {
		case "correlation_id":
			h.property = hashCorrelationID
		case "message_id":
			h.property = hashMessageID
		case "timestamp":
			h.property = hashTimestamp
		default:
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "Unsupported property: %v", property)
		}
	}
	return h, nil
}

// weight returns the weight of a binding.
func (h *hashRoutes[D]) weight(key string) (float64, error) {
	if h.equal {
		return 1, nil
	}
	n, err := strconv.ParseInt(key, 10, 64)
	switch {
	case err != nil:
		return 0, amqp091.SoftError(amqp091.PreconditionFailed, "The binding key must be an integer: <<\"%s\">>", key)
	case n <= 0:
		return 0, amqp091.SoftError(amqp091.PreconditionFailed, "The binding key must be greater than 0")
	case n > maxWeight:
		return 0, amqp091.SoftError(amqp091.PreconditionFailed, "The binding key must be at most %d", int64(maxWeight))
	}
	return float64(n), nil
}

// rebuild makes the targets of r again after a change.
func (h *hashRoutes[D]) rebuild(r *router[D]) *[]hashTarget[D] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if targets := h.targets.Load(); targets != nil {
		return targets
	}
	targets := make([]hashTarget[D], 0, len(r.all))
	for _, b := range r.all {
		weight, _ := h.weight(b.key)
		seed := fnvAdd(fnvAdd(fnvAdd(fnvStart, h.name(b.dest)), "\x00"), b.key)
		targets = append(targets, hashTarget[D]{b.dest, mix(seed), weight})
	}
	h.targets.Store(&targets)
	return &targets
}

func (h *hashRoutes[D]) route(r *router[D], key []byte, props amqp091.RawProperties, visit func(D)) {
	targets := h.targets.Load()
	if targets == nil {
		targets = h.rebuild(r)
	}
	if len(*targets) == 0 {
		return
	}
	sum := h.sum(key, props)
	best, least := 0, math.Inf(1)
	for i := range *targets {
		t := &(*targets)[i]
		// A uniform number in (0, 1], whose logarithm over the weight is the time of the first event of a process of this
		// rate. The first to have one wins: with a chance in proportion to its rate.
		u := (float64(mix(sum^t.seed)>>11) + 1) / (1 << 53)
		if at := -math.Log(u) / t.weight; at < least || at == least && t.seed < (*targets)[best].seed {
			best, least = i, at
		}
	}
	visit((*targets)[best].dest)
}

// sum hashes what decides. A message that does not have it is treated as one where it is empty.
func (h *hashRoutes[D]) sum(key []byte, props amqp091.RawProperties) uint64 {
	switch h.property {
	case hashHeader:
		v, ok := props.Headers().Get(h.header)
		if !ok {
			return fnvStart
		}
		value := headerValueOf(v)
		if value.class == classInt {
			return fnvInt(fnvStart, value.n)
		}
		return fnvAdd(fnvStart, value.data)
	case hashCorrelationID:
		key, _ = props.CorrelationID()
	case hashMessageID:
		key, _ = props.MessageID()
	case hashTimestamp:
		t, ok := props.Timestamp()
		if !ok {
			return fnvStart
		}
		return fnvInt(fnvStart, uint64(t.Unix()))
	}
	return fnvAdd(fnvStart, key)
}

// fnvStart is the hash of nothing of FNV-1a with 64 bits.
const fnvStart = 14695981039346656037

func fnvAdd[T string | []byte](h uint64, s T) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func fnvInt(h, n uint64) uint64 {
	for i := range 8 {
		h = (h ^ n>>(8*i)&0xFF) * 1099511628211
	}
	return h
}

// mix spreads what FNV leaves in few bits: the finalizer of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}
