package amqp091

import (
	"encoding/binary"
	"math"
)

// encoder appends the arguments of a method. The first failure sticks.
type encoder struct {
	b     []byte
	start int
	err   error
}

func newEncoder(dst []byte) encoder { return encoder{b: dst, start: len(dst)} }

func (e *encoder) uint8(v uint8)       { e.b = append(e.b, v) }
func (e *encoder) uint16(v uint16)     { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) uint32(v uint32)     { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) uint64(v uint64)     { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) code(v Code)         { e.uint16(uint16(v)) }
func (e *encoder) methodID(v MethodID) { e.uint32(uint32(v)) }

// bits appends up to eight bits in one octet, the first in the lowest.
func (e *encoder) bits(list ...bool) {
	var octet uint8
	for i, set := range list {
		if set {
			octet |= 1 << i
		}
	}
	e.uint8(octet)
}

func (e *encoder) fail(name, reason string) {
	if e.err == nil {
		e.err = errEncode(name + " " + reason)
	}
}

// shortString appends a short string among the arguments of a method.
func (e *encoder) shortString(name, v string) {
	if !validShort(v) {
		e.fail(name, "is not UTF-8")
	}
	e.shortProperty(name, v)
}

// shortProperty appends a short string of any bytes.
func (e *encoder) shortProperty(name, v string) {
	if len(v) > math.MaxUint8 {
		e.fail(name, "is longer than 255 bytes")
		return
	}
	e.b = append(append(e.b, byte(len(v))), v...)
}

func (e *encoder) longString(name, v string) {
	if uint64(len(v)) > math.MaxUint32 {
		e.fail(name, "is too long")
		return
	}
	e.uint32(uint32(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) longBytes(name string, v []byte) {
	if uint64(len(v)) > math.MaxUint32 {
		e.fail(name, "is too long")
		return
	}
	e.uint32(uint32(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) table(_ string, t Table) {
	b, err := appendTable(e.b, t, 1)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.b = b
}

// end returns what was appended, or dst as it was and the error.
func (e *encoder) end(id MethodID) ([]byte, error) {
	if e.err != nil {
		return e.b[:e.start], withMethod(e.err, id)
	}
	return e.b, nil
}
