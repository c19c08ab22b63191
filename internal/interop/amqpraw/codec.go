package amqpraw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Types of frames.
const (
	FrameMethod    = 1
	FrameHeader    = 2
	FrameBody      = 3
	FrameHeartbeat = 8
	FrameEnd       = 0xCE
)

// Header is what a client sends first.
const Header = "AMQP\x00\x00\x09\x01"

// A Frame is a frame as it came.
type Frame struct {
	Type    byte
	Channel uint16
	Payload []byte
}

// AppendFrame appends a frame.
func AppendFrame(dst []byte, typ byte, channel uint16, payload []byte) []byte {
	dst = append(dst, typ)
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, payload...)
	return append(dst, FrameEnd)
}

// A Table is a field table. Values are nil, bool, the sized integers, int (the smallest of int32 and int64), float32, float64,
// string, []byte, []any, time.Time, [Decimal] and Table.
type Table map[string]any

// A Decimal is a value of that type.
type Decimal struct {
	Scale byte
	Value int32
}

// Props are the properties of a message by name, such as "delivery-mode". Numbers may be int.
type Props map[string]any

// AppendHeader appends a frame with a content header.
func AppendHeader(dst []byte, channel uint16, size uint64, p Props) []byte {
	var b, list writer
	var flags uint16
	n := 0
	for i, a := range properties {
		v, ok := p[a.name]
		if !ok {
			continue
		}
		n++
		flags |= 1 << (15 - i)
		list.value(a.typ, v)
	}
	if n != len(p) {
		panic(fmt.Sprintf("amqpraw: unknown property in %v", p))
	}
	b.short(60)
	b.short(0)
	b.longlong(size)
	b.short(flags)
	return AppendFrame(dst, FrameHeader, channel, append(b, list...))
}

// DecodeHeader decodes the payload of a content header.
func DecodeHeader(payload []byte) (size uint64, p Props, err error) {
	r := reader{b: payload}
	r.short()
	r.short()
	size = r.longlong()
	flags := r.short()
	p = make(Props)
	for i, a := range properties {
		if flags&(1<<(15-i)) != 0 {
			p[a.name] = r.value(a.typ)
		}
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errors.New("bytes after the properties")
	}
	return size, p, r.err
}

// AppendPublish appends the frames of a message.
func AppendPublish(dst []byte, channel uint16, exchange, key string, mandatory bool, p Props, body []byte) []byte {
	dst = AppendMethod(dst, channel, "basic.publish", "exchange", exchange, "routing-key", key, "mandatory", mandatory)
	return AppendContent(dst, channel, p, body)
}

// AppendContent appends a content header and a body in frames that any peer takes.
func AppendContent(dst []byte, channel uint16, p Props, body []byte) []byte {
	const most = 4096 - 8
	dst = AppendHeader(dst, channel, uint64(len(body)), p)
	for len(body) > 0 {
		n := min(len(body), most)
		dst = AppendFrame(dst, FrameBody, channel, body[:n])
		body = body[n:]
	}
	return dst
}

// A writer appends values.
type writer []byte

func (w *writer) octet(v byte)      { *w = append(*w, v) }
func (w *writer) short(v uint16)    { *w = binary.BigEndian.AppendUint16(*w, v) }
func (w *writer) long(v uint32)     { *w = binary.BigEndian.AppendUint32(*w, v) }
func (w *writer) longlong(v uint64) { *w = binary.BigEndian.AppendUint64(*w, v) }

func (w *writer) shortstr(s string) {
	if len(s) > 255 {
		panic("amqpraw: short string too long")
	}
	*w = append(append(*w, byte(len(s))), s...)
}

func (w *writer) longstr(s string) {
	w.long(uint32(len(s)))
	*w = append(*w, s...)
}

// args appends the arguments of a method and takes them out of values.
func (w *writer) args(args []arg, values map[string]any) {
	bits, n := byte(0), 0
	for _, a := range args {
		v := values[a.name]
		delete(values, a.name)
		if a.typ == 't' {
			if n == 8 {
				w.octet(bits)
				bits, n = 0, 0
			}
			if v == true {
				bits |= 1 << n
			}
			n++
			continue
		}
		if n > 0 {
			w.octet(bits)
			bits, n = 0, 0
		}
		w.value(a.typ, v)
	}
	if n > 0 {
		w.octet(bits)
	}
}

func (w *writer) value(typ byte, v any) {
	switch typ {
	case 'o':
		w.octet(byte(integer(v)))
	case 'h':
		w.short(uint16(integer(v)))
	case 'l':
		w.long(uint32(integer(v)))
	case 'L':
		w.longlong(integer(v))
	case 'T':
		t, ok := v.(time.Time)
		if !ok {
			w.longlong(integer(v))
			return
		}
		w.longlong(uint64(t.Unix()))
	case 's':
		s, _ := v.(string)
		w.shortstr(s)
	case 'S':
		s, _ := v.(string)
		w.longstr(s)
	case 'F':
		t, _ := v.(Table)
		w.table(t)
	}
}

// integer returns a number of any type.
func integer(v any) uint64 {
	switch v := v.(type) {
	case nil:
		return 0
	case int:
		return uint64(v)
	case uint8:
		return uint64(v)
	case uint16:
		return uint64(v)
	case uint32:
		return uint64(v)
	case uint64:
		return v
	}
	panic(fmt.Sprintf("amqpraw: %T is not a number", v))
}

func (w *writer) table(t Table) {
	at := len(*w)
	w.long(0)
	for _, k := range slices.Sorted(maps.Keys(t)) {
		w.shortstr(k)
		w.field(t[k])
	}
	binary.BigEndian.PutUint32((*w)[at:], uint32(len(*w)-at-4))
}

// field appends a value with its type.
func (w *writer) field(v any) {
	switch v := v.(type) {
	case nil:
		w.octet('V')
	case bool:
		w.octet('t')
		if v {
			w.octet(1)
		} else {
			w.octet(0)
		}
	case int8:
		w.octet('b')
		w.octet(byte(v))
	case uint8:
		w.octet('B')
		w.octet(v)
	case int16:
		w.octet('s')
		w.short(uint16(v))
	case uint16:
		w.octet('u')
		w.short(v)
	case int32:
		w.octet('I')
		w.long(uint32(v))
	case uint32:
		w.octet('i')
		w.long(v)
	case int64:
		w.octet('l')
		w.longlong(uint64(v))
	case int:
		if v == int(int32(v)) {
			w.field(int32(v))
		} else {
			w.field(int64(v))
		}
	case float32:
		w.octet('f')
		w.long(math.Float32bits(v))
	case float64:
		w.octet('d')
		w.longlong(math.Float64bits(v))
	case Decimal:
		w.octet('D')
		w.octet(v.Scale)
		w.long(uint32(v.Value))
	case string:
		w.octet('S')
		w.longstr(v)
	case []byte:
		w.octet('x')
		w.longstr(string(v))
	case time.Time:
		w.octet('T')
		w.longlong(uint64(v.Unix()))
	case Table:
		w.octet('F')
		w.table(v)
	case []any:
		w.octet('A')
		at := len(*w)
		w.long(0)
		for _, x := range v {
			w.field(x)
		}
		binary.BigEndian.PutUint32((*w)[at:], uint32(len(*w)-at-4))
	default:
		panic(fmt.Sprintf("amqpraw: %T in a table", v))
	}
}

var errShort = errors.New("too short")

// A reader takes values off the front. The first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.err, r.b = errShort, nil
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) octet() byte      { return r.take(1)[0] }
func (r *reader) short() uint16    { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) long() uint32     { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) longlong() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) shortstr() string { return string(r.take(int(r.octet()))) }
func (r *reader) longstr() string  { return string(r.take(int(r.long()))) }

func (r *reader) value(typ byte) any {
	switch typ {
	case 'o':
		return r.octet()
	case 'h':
		return r.short()
	case 'l':
		return r.long()
	case 'L':
		return r.longlong()
	case 'T':
		return time.Unix(int64(r.longlong()), 0).UTC()
	case 's':
		return r.shortstr()
	case 'S':
		return r.longstr()
	default:
		return r.table()
	}
}

func (r *reader) table() Table {
	in := reader{b: r.take(int(r.long()))}
	t := make(Table)
	for in.err == nil && len(in.b) > 0 {
		k := in.shortstr()
		t[k] = in.field()
	}
	if in.err != nil {
		r.err = in.err
	}
	return t
}

func (r *reader) field() any {
	switch typ := r.octet(); typ {
	case 'V':
		return nil
	case 't':
		return r.octet() != 0
	case 'b':
		return int8(r.octet())
	case 'B':
		return r.octet()
	case 's':
		return int16(r.short())
	case 'u':
		return r.short()
	case 'I':
		return int32(r.long())
	case 'i':
		return r.long()
	case 'l':
		return int64(r.longlong())
	case 'f':
		return math.Float32frombits(r.long())
	case 'd':
		return math.Float64frombits(r.longlong())
	case 'D':
		return Decimal{r.octet(), int32(r.long())}
	case 'S':
		return r.longstr()
	case 'x':
		return []byte(r.longstr())
	case 'T':
		return time.Unix(int64(r.longlong()), 0).UTC()
	case 'F':
		return r.table()
	case 'A':
		in := reader{b: r.take(int(r.long()))}
		list := []any{}
		for in.err == nil && len(in.b) > 0 {
			list = append(list, in.field())
		}
		if in.err != nil {
			r.err = in.err
		}
		return list
	default:
		if r.err == nil {
			r.err = fmt.Errorf("field of type %q", typ)
		}
		r.b = nil
		return nil
	}
}
