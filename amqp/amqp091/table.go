package amqp091

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Table is a field table, in the order of the wire. Keys are of at most 255 bytes and should be unique. A value has
// one of these types, with RabbitMQ's letter for it:
//
//	nil V, bool t, int8 b, uint8 B, int16 s, uint16 u, int32 I, uint32 i, int64 l, float32 f, float64 d, [Decimal] D,
//	string S, []byte x, []any A, [time.Time] T (whole seconds), Table F
//
// An int is encoded as int32 when it fits, otherwise as int64. Nil and the empty table are the same.
type Table []Field

// Field is one field of a [Table].
type Field struct {
	Key   string
	Value any
}

// Decimal is the number Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value uint32
}

// Get returns the value of the first field with a key.
func (t Table) Get(key string) (any, bool) {
	if i := t.index(key); i >= 0 {
		return t[i].Value, true
	}
	return nil, false
}

func (t Table) index(key string) int {
	return slices.IndexFunc(t, func(f Field) bool { return f.Key == key })
}

// Set sets the value of the first field with a key, or appends one.
func (t *Table) Set(key string, value any) {
	if i := t.index(key); i >= 0 {
		(*t)[i].Value = value
		return
	}
	*t = append(*t, Field{key, value})
}

// Delete removes all fields with a key.
func (t *Table) Delete(key string) {
	*t = slices.DeleteFunc(*t, func(f Field) bool { return f.Key == key })
}

// Equal reports whether both tables have the same fields, in whatever order; only fields that share a key must be in the
// same order. Values are equal when they have the same type on the wire and the same value; floating point numbers are
// compared bit by bit.
func (t Table) Equal(u Table) bool {
	if len(t) != len(u) {
		return false
	}
	if !slices.EqualFunc(t, u, func(a, b Field) bool { return a.Key == b.Key }) {
		t, u = t.sorted(), u.sorted()
	}
	return slices.EqualFunc(t, u, equalFields)
}

// sorted returns a copy that is sorted by key.
func (t Table) sorted() Table {
	t = slices.Clone(t)
	slices.SortStableFunc(t, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	return t
}

func equalFields(a, b Field) bool { return a.Key == b.Key && equalValues(a.Value, b.Value) }

func equalValues(a, b any) bool {
	a, b = plainValue(a), plainValue(b)
	switch a := a.(type) {
	case float32:
		b, ok := b.(float32)
		return ok && math.Float32bits(a) == math.Float32bits(b)
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case []byte:
		b, ok := b.([]byte)
		return ok && string(a) == string(b)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Unix() == b.Unix()
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalValues)
	case Table:
		b, ok := b.(Table)
		return ok && a.Equal(b)
	case nil, bool, int8, uint8, int16, uint16, int32, uint32, int64, string, Decimal:
		return a == b
	}
	return false
}

// plainValue turns an int into the type in which it is encoded.
func plainValue(v any) any {
	n, ok := v.(int)
	if !ok {
		return v
	}
	if math.MinInt32 <= n && n <= math.MaxInt32 {
		return int32(n)
	}
	return int64(n)
}

// Clone returns a deep copy.
func (t Table) Clone() Table {
	out := slices.Clone(t)
	for i := range out {
		out[i].Value = cloneValue(out[i].Value)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return slices.Clone(v)
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = cloneValue(out[i])
		}
		return out
	case Table:
		return v.Clone()
	}
	return v
}

// Append appends the fields of t as a [RawTable]. The error is an *[Error] with code SYNTAX_ERROR, and dst is returned
// as it was, when a value is of another type than those of a table, a key is too long or t is nested too deeply.
func (t Table) Append(dst []byte) ([]byte, error) {
	out, err := appendFields(dst, t, 1)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendField appends one field to the content of a table; the error is that of [Table.Append].
func AppendField(dst RawTable, key string, value any) (RawTable, error) {
	out, err := appendField(dst, Field{key, value}, 1)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendFields(dst []byte, t Table, depth int) (_ []byte, err error) {
	if depth > MaxDepth {
		return dst, errEncode(errDepth.Error())
	}
	for _, f := range t {
		if dst, err = appendField(dst, f, depth); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func appendField(dst []byte, f Field, depth int) ([]byte, error) {
	if len(f.Key) > math.MaxUint8 {
		return dst, errEncode("a key of a table is longer than 255 bytes")
	}
	dst = append(append(dst, byte(len(f.Key))), f.Key...)
	return appendValue(dst, f.Value, depth)
}

// appendTable appends a table with its length.
func appendTable(dst []byte, t Table, depth int) ([]byte, error) {
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	dst, err := appendFields(dst, t, depth)
	if err != nil {
		return dst, err
	}
	return finishLong(dst, start)
}

func appendArray(dst []byte, list []any, depth int) (_ []byte, err error) {
	if depth > MaxDepth {
		return dst, errEncode(errDepth.Error())
	}
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	for _, v := range list {
		if dst, err = appendValue(dst, v, depth); err != nil {
			return dst, err
		}
	}
	return finishLong(dst, start)
}

// finishLong sets the length of what begins at start, in the four bytes before it.
func finishLong(dst []byte, start int) ([]byte, error) {
	n := len(dst) - start
	if uint64(n) > math.MaxUint32 {
		return dst, errEncode("a table is too long")
	}
	binary.BigEndian.PutUint32(dst[start-4:], uint32(n))
	return dst, nil
}

// appendValue appends the tag and the value of something that is in a table or array of the given depth.
func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	be := binary.BigEndian
	switch v := plainValue(v).(type) {
	case nil:
		return append(dst, TagVoid), nil
	case bool:
		if v {
			return append(dst, TagBool, 1), nil
		}
		return append(dst, TagBool, 0), nil
	case int8:
		return append(dst, TagInt8, byte(v)), nil
	case uint8:
		return append(dst, TagUint8, v), nil
	case int16:
		return be.AppendUint16(append(dst, TagInt16), uint16(v)), nil
	case uint16:
		return be.AppendUint16(append(dst, TagUint16), v), nil
	case int32:
		return be.AppendUint32(append(dst, TagInt32), uint32(v)), nil
	case uint32:
		return be.AppendUint32(append(dst, TagUint32), v), nil
	case int64:
		return be.AppendUint64(append(dst, TagInt64), uint64(v)), nil
	case float32:
		return be.AppendUint32(append(dst, TagFloat32), math.Float32bits(v)), nil
	case float64:
		return be.AppendUint64(append(dst, TagFloat64), math.Float64bits(v)), nil
	case Decimal:
		return be.AppendUint32(append(dst, TagDecimal, v.Scale), v.Value), nil
	case string:
		dst = append(append(dst, TagString, 0, 0, 0, 0), v...)
		return finishLong(dst, len(dst)-len(v))
	case []byte:
		dst = append(append(dst, TagBytes, 0, 0, 0, 0), v...)
		return finishLong(dst, len(dst)-len(v))
	case time.Time:
		return be.AppendUint64(append(dst, TagTimestamp), uint64(v.Unix())), nil
	case []any:
		return appendArray(append(dst, TagArray), v, depth+1)
	case Table:
		return appendTable(append(dst, TagTable), v, depth+1)
	}
	return dst, errEncode(fmt.Sprintf("a table cannot hold a %T", v))
}
