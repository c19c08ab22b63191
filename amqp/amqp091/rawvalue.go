package amqp091

import (
	"encoding/binary"
	"iter"
	"math"
	"time"

	"github.com/quartet-mq/quartet/codec"
)

// The types of fields, as RabbitMQ has them.
const (
	TagVoid      byte = 'V' // no value
	TagBool      byte = 't' // one octet
	TagInt8      byte = 'b'
	TagUint8     byte = 'B'
	TagInt16     byte = 's'
	TagUint16    byte = 'u'
	TagInt32     byte = 'I'
	TagUint32    byte = 'i'
	TagInt64     byte = 'l'
	TagInt64L    byte = 'L' // as l; only read
	TagFloat32   byte = 'f'
	TagFloat64   byte = 'd'
	TagDecimal   byte = 'D' // an octet, the scale, and an unsigned 32-bit number
	TagString    byte = 'S' // four bytes of length, and text
	TagBytes     byte = 'x' // four bytes of length, and bytes
	TagArray     byte = 'A' // four bytes of length, and values
	TagTimestamp byte = 'T' // seconds of Unix time, 64 bits
	TagTable     byte = 'F' // four bytes of length, and fields
)

// RawValue is a value of a field as on the wire. Data does not contain the length of a string, array or table.
type RawValue struct {
	Tag  byte
	Data []byte
}

// fixedSize returns the size of the values of a type, -1 when they have a length of their own, -2 for an unknown type.
func fixedSize(tag byte) int {
	switch tag {
	case TagVoid:
		return 0
	case TagBool, TagInt8, TagUint8:
		return 1
	case TagInt16, TagUint16:
		return 2
	case TagInt32, TagUint32, TagFloat32:
		return 4
	case TagDecimal:
		return 5
	case TagInt64, TagInt64L, TagFloat64, TagTimestamp:
		return 8
	case TagString, TagBytes, TagArray, TagTable:
		return -1
	}
	return -2
}

// nextValue takes the first value from b.
func nextValue(b []byte) (v RawValue, rest []byte, ok bool) {
	if len(b) == 0 {
		return RawValue{}, nil, false
	}
	n := fixedSize(b[0])
	v.Tag, b = b[0], b[1:]
	if n < 0 {
		if n == -2 || len(b) < 4 {
			return RawValue{}, nil, false
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return RawValue{}, nil, false
		}
		n = int(size)
	}
	if len(b) < n {
		return RawValue{}, nil, false
	}
	v.Data = b[:n:n]
	return v, b[n:], true
}

// malformedValue tells what is wrong with the first value of b.
func malformedValue(b []byte) error {
	if len(b) > 0 && fixedSize(b[0]) == -2 {
		return errFieldType
	}
	return codec.ErrShort
}

func (v RawValue) valid(depth int) error {
	switch v.Tag {
	case TagTable:
		return validTable(v.Data, depth+1)
	case TagArray:
		if depth+1 > MaxDepth {
			return errDepth
		}
		for b := v.Data; len(b) > 0; {
			e, rest, ok := nextValue(b)
			if !ok {
				return malformedValue(b)
			}
			if err := e.valid(depth + 1); err != nil {
				return err
			}
			b = rest
		}
	}
	return nil
}

// whole reports whether Data has the size that the type asks for.
func (v RawValue) whole() bool {
	n := fixedSize(v.Tag)
	return n == len(v.Data) || n == -1
}

// Bool returns the value of a boolean.
func (v RawValue) Bool() (value, ok bool) {
	if v.Tag != TagBool || len(v.Data) != 1 {
		return false, false
	}
	return v.Data[0] != 0, true
}

// Int returns the value of an integer of any width.
func (v RawValue) Int() (int64, bool) {
	if !v.whole() {
		return 0, false
	}
	d := v.Data
	switch v.Tag {
	case TagInt8:
		return int64(int8(d[0])), true
	case TagUint8:
		return int64(d[0]), true
	case TagInt16:
		return int64(int16(binary.BigEndian.Uint16(d))), true
	case TagUint16:
		return int64(binary.BigEndian.Uint16(d)), true
	case TagInt32:
		return int64(int32(binary.BigEndian.Uint32(d))), true
	case TagUint32:
		return int64(binary.BigEndian.Uint32(d)), true
	case TagInt64, TagInt64L:
		return int64(binary.BigEndian.Uint64(d)), true
	}
	return 0, false
}

// Float returns the value of a floating point number of either width.
func (v RawValue) Float() (float64, bool) {
	switch {
	case v.Tag == TagFloat32 && len(v.Data) == 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.Data))), true
	case v.Tag == TagFloat64 && len(v.Data) == 8:
		return math.Float64frombits(binary.BigEndian.Uint64(v.Data)), true
	}
	return 0, false
}

// Text returns the content of a string; it is part of what v was read from.
func (v RawValue) Text() ([]byte, bool) { return v.Data, v.Tag == TagString }

// Bytes returns the content of a value of type bytes; it is part of what v was read from.
func (v RawValue) Bytes() ([]byte, bool) { return v.Data, v.Tag == TagBytes }

// Time returns the value of a timestamp.
func (v RawValue) Time() (time.Time, bool) {
	if v.Tag != TagTimestamp || len(v.Data) != 8 {
		return time.Time{}, false
	}
	return fromTimestamp(binary.BigEndian.Uint64(v.Data)), true
}

// Table returns the content of a table; it is part of what v was read from.
func (v RawValue) Table() (RawTable, bool) {
	if v.Tag != TagTable {
		return nil, false
	}
	return v.Data, true
}

// IsArray reports whether v is an array.
func (v RawValue) IsArray() bool { return v.Tag == TagArray }

// Values iterates over the values of an array; there are none when v is something else. It allocates nothing.
func (v RawValue) Values() iter.Seq[RawValue] {
	return func(yield func(RawValue) bool) {
		if v.Tag != TagArray {
			return
		}
		for b := v.Data; len(b) > 0; {
			e, rest, ok := nextValue(b)
			if !ok || !yield(e) {
				return
			}
			b = rest
		}
	}
}

// Value returns the decoded value, of a type that [Table] lists. Nothing of it is part of what v was read from. It is
// nil for a void, and for a value that is malformed.
func (v RawValue) Value() any {
	value, err := v.decode(0)
	if err != nil {
		return nil
	}
	return value
}

// decode decodes a value that is in a table or array of the given depth.
func (v RawValue) decode(depth int) (any, error) {
	if !v.whole() {
		return nil, codec.ErrShort
	}
	d := v.Data
	switch v.Tag {
	case TagVoid:
		return nil, nil
	case TagBool:
		return d[0] != 0, nil
	case TagInt8:
		return int8(d[0]), nil
	case TagUint8:
		return d[0], nil
	case TagInt16:
		return int16(binary.BigEndian.Uint16(d)), nil
	case TagUint16:
		return binary.BigEndian.Uint16(d), nil
	case TagInt32:
		return int32(binary.BigEndian.Uint32(d)), nil
	case TagUint32:
		return binary.BigEndian.Uint32(d), nil
	case TagInt64, TagInt64L:
		return int64(binary.BigEndian.Uint64(d)), nil
	case TagFloat32:
		return math.Float32frombits(binary.BigEndian.Uint32(d)), nil
	case TagFloat64:
		return math.Float64frombits(binary.BigEndian.Uint64(d)), nil
	case TagDecimal:
		return Decimal{Scale: d[0], Value: binary.BigEndian.Uint32(d[1:])}, nil
	case TagString:
		return string(d), nil
	case TagBytes:
		return append([]byte{}, d...), nil
	case TagTimestamp:
		return fromTimestamp(binary.BigEndian.Uint64(d)), nil
	case TagArray:
		return decodeArray(d, depth+1)
	case TagTable:
		return decodeTable(d, depth+1)
	}
	return nil, errFieldType
}

func decodeArray(b []byte, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, errDepth
	}
	n := 0
	for range (RawValue{Tag: TagArray, Data: b}).Values() {
		n++
	}
	out := make([]any, 0, n)
	for len(b) > 0 {
		e, rest, ok := nextValue(b)
		if !ok {
			return nil, malformedValue(b)
		}
		value, err := e.decode(depth)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
		b = rest
	}
	return out, nil
}

// fromTimestamp returns the time of a timestamp on the wire, in UTC.
func fromTimestamp(v uint64) time.Time { return time.Unix(int64(v), 0).UTC() }
