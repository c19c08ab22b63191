package amqpbroker

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// headersMatch is what a binding of a headers exchange asks of a message. It does not change.
//
// Equal are numbers of the same value, timestamps among them, whatever their width, and strings and byte arrays of the
// same bytes; a void value asks only that the header is there. A number is never equal to a string or a boolean.
type headersMatch struct {
	any   bool // one of the pairs is enough
	pairs []headerPair
}

type headerPair struct {
	key   string
	value headerValue
}

// newHeadersMatch reads the arguments of a binding. x-match is all, which is the default, any, all-with-x or any-with-x;
// without "-with-x" arguments whose name begins with "x-" do not count.
func newHeadersMatch(args amqp091.Table) (*headersMatch, error) {
	m := &headersMatch{}
	withX := false
	if v, ok := args.Get("x-match"); ok {
		s, ok := v.(string)
		if !ok {
			return nil, amqp091.SoftError(amqp091.PreconditionFailed,
				"Invalid x-match field type %s (value %v); expected longstr", typeName(v), v)
		}
		switch s {
		case "all":
		case "any":
			m.any = true
		case "all-with-x":
			withX = true
		case "any-with-x":
			m.any, withX = true, true
		default:
			return nil, amqp091.SoftError(amqp091.PreconditionFailed,
				"Invalid x-match field value <<\"%s\">>; expected all, any, all-with-x, or any-with-x", s)
		}
	}
	raw, err := args.Append(nil)
	if err != nil {
		return nil, err
	}
	for k, v := range amqp091.RawTable(raw).All() {
		key := string(k)
		if key == "x-match" || !withX && strings.HasPrefix(key, "x-") {
			continue
		}
		m.pairs = append(m.pairs, headerPair{key, headerValueOf(v)})
	}
	return m, nil
}

// matches reports whether the headers of a message are what m asks for.
func (m *headersMatch) matches(headers amqp091.RawTable) bool {
	for i := range m.pairs {
		if m.pairs[i].in(headers) == m.any {
			return m.any
		}
	}
	return !m.any
}

func (p *headerPair) in(headers amqp091.RawTable) bool {
	v, ok := headers.Get(p.key)
	return ok && (p.value.class == classVoid || p.value.equal(headerValueOf(v)))
}

// index returns the keys in the trie of the exchange under which the binding is found. A message is looked up under the
// empty one and under two keys for each of its headers, one of which has the value.
func (m *headersMatch) index(seed maphash.Seed) []string {
	if m.any {
		at := make([]string, len(m.pairs))
		for i, p := range m.pairs {
			at[i] = string(p.value.appendIndex(nil, seed, []byte(p.key)))
		}
		return at
	}
	if len(m.pairs) == 0 {
		return []string{""}
	}
	best := m.pairs[0]
	for _, p := range m.pairs {
		if p.value.class != classVoid {
			best = p // a value says more than that there is one
			break
		}
	}
	return []string{string(best.value.appendIndex(nil, seed, []byte(best.key)))}
}

// routeHeaders is route for a headers exchange. A binding is visited once for each of its places in the index at which the
// message is looked up.
func (r *router[D]) routeHeaders(headers amqp091.RawTable, visit func(D)) {
	for b := range r.trie.MatchBytes(nil) {
		visit(b.dest) // it asks for nothing
	}
	if r.len() == 0 {
		return
	}
	buf := r.buffer()
	defer r.bufs.Put(buf)
	for k, v := range headers.All() {
		for _, value := range [...]headerValue{headerValueOf(v), {class: classVoid}} {
			for b := range r.trie.MatchBytes(value.appendIndex(buf[:0], r.seed, k)) {
				if b.headers.matches(headers) {
					visit(b.dest)
				}
			}
		}
	}
}

// headerValue is the value of a header in the form in which it is compared.
type headerValue struct {
	class byte
	n     uint64
	data  []byte
}

// The classes of values. Values of different classes are never equal.
const (
	classVoid  = amqp091.TagVoid
	classInt   = amqp091.TagInt64   // n is the number
	classFloat = amqp091.TagFloat64 // with a fraction or beyond 64 bits; n is its bits
	classBool  = amqp091.TagBool
	classText  = amqp091.TagString
	// Decimals, arrays and tables have their tag, and are compared by what is on the wire.
)

func headerValueOf(v amqp091.RawValue) headerValue {
	d := v.Data
	switch v.Tag {
	case amqp091.TagInt8:
		return headerValue{class: classInt, n: uint64(int64(int8(d[0])))}
	case amqp091.TagUint8:
		return headerValue{class: classInt, n: uint64(d[0])}
	case amqp091.TagInt16:
		return headerValue{class: classInt, n: uint64(int64(int16(binary.BigEndian.Uint16(d))))}
	case amqp091.TagUint16:
		return headerValue{class: classInt, n: uint64(binary.BigEndian.Uint16(d))}
	case amqp091.TagInt32:
		return headerValue{class: classInt, n: uint64(int64(int32(binary.BigEndian.Uint32(d))))}
	case amqp091.TagUint32:
		return headerValue{class: classInt, n: uint64(binary.BigEndian.Uint32(d))}
	case amqp091.TagInt64, amqp091.TagInt64L, amqp091.TagTimestamp:
		return headerValue{class: classInt, n: binary.BigEndian.Uint64(d)}
	case amqp091.TagFloat32:
		return floatValue(float64(math.Float32frombits(binary.BigEndian.Uint32(d))))
	case amqp091.TagFloat64:
		return floatValue(math.Float64frombits(binary.BigEndian.Uint64(d)))
	case amqp091.TagBool:
		return headerValue{class: classBool, n: uint64(min(d[0], 1))}
	case amqp091.TagString, amqp091.TagBytes:
		return headerValue{class: classText, data: d}
	case amqp091.TagVoid:
		return headerValue{class: classVoid}
	}
	return headerValue{class: v.Tag, data: d}
}

// floatValue makes integers of floats that are ones, so that 1.0 equals 1.
func floatValue(f float64) headerValue {
	if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
		return headerValue{class: classInt, n: uint64(int64(f))}
	}
	return headerValue{class: classFloat, n: math.Float64bits(f)}
}

func (v headerValue) equal(w headerValue) bool {
	return v.class == w.class && v.n == w.n && string(v.data) == string(w.data)
}

// appendIndex appends a key for a header with this value: a hash in hexadecimal digits. Those that collide are told apart
// by matches.
func (v headerValue) appendIndex(dst []byte, seed maphash.Seed, key []byte) []byte {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(key)
	h.WriteByte(0)
	h.WriteByte(v.class)
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], v.n)
	h.Write(n[:])
	h.Write(v.data)
	const digits = "0123456789abcdef"
	sum := h.Sum64()
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[sum>>shift&15])
	}
	return dst
}
