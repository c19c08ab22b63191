package codec

import (
	"encoding/binary"
	"math"
)

// Reader is a cursor over a byte slice. Integers are big endian.
//
// The first failure sticks: from then on every method returns the zero value
// and [Reader.Err] tells the failure, so that a decoder reads all its fields
// and checks once.
//
// A Reader does not copy. Slices that it returns are parts of the input, with
// their capacity clipped, and are valid for as long as the input is. A Reader
// is a small value; a copy of it reads on independently. It is not safe for
// concurrent use. The zero value is a Reader of no input.
type Reader struct {
	b   []byte // the input up to the end of this Reader
	off int    // offset of the next byte; the sign bit is set after a failure
	err *Error // the failure, unless it is the plain ErrShort at off
}

// NewReader returns a Reader over b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns nil, or the first failure as an [*Error].
func (r *Reader) Err() error {
	if r.off >= 0 {
		return nil
	}
	if r.err == nil {
		r.err = &Error{Offset: r.Offset(), Err: ErrShort}
	}
	return r.err
}

// Fail makes the Reader fail at the current offset for the given reason, which
// is kept as it is when it is an [*Error] already, such as that of a Reader
// made by [Reader.Sub]. It does nothing after a failure or when err is nil.
func (r *Reader) Fail(err error) {
	if err == nil || r.off < 0 {
		return
	}
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Offset: r.off, Err: err}
	}
	r.off = e.Offset
	r.err = e
	r.short()
}

// short marks the failure. Setting the sign bit costs so little that the
// methods which read are inlined: as an unsigned number the offset is then
// beyond every input.
func (r *Reader) short() { r.off |= math.MinInt }

// Len returns the number of bytes left, 0 after a failure.
func (r *Reader) Len() int {
	if r.off < 0 {
		return 0
	}
	return len(r.b) - r.off
}

// Offset returns the offset of the next byte in the input, or that of the
// failure.
func (r *Reader) Offset() int { return r.off & math.MaxInt }

// Uint8 reads one byte.
func (r *Reader) Uint8() (v uint8) {
	if uint(r.off) < uint(len(r.b)) {
		v = r.b[r.off]
		r.off++
	} else {
		r.short()
	}
	return v
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() (v uint16) {
	if uint(r.off)+2 <= uint(len(r.b)) {
		v = binary.BigEndian.Uint16(r.b[r.off:])
		r.off += 2
	} else {
		r.short()
	}
	return v
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() (v uint32) {
	if uint(r.off)+4 <= uint(len(r.b)) {
		v = binary.BigEndian.Uint32(r.b[r.off:])
		r.off += 4
	} else {
		r.short()
	}
	return v
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() (v uint64) {
	if uint(r.off)+8 <= uint(len(r.b)) {
		v = binary.BigEndian.Uint64(r.b[r.off:])
		r.off += 8
	} else {
		r.short()
	}
	return v
}

// Int8 reads one byte in two's complement.
func (r *Reader) Int8() int8 { return int8(r.Uint8()) }

// Int16 reads two bytes in two's complement.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Int32 reads four bytes in two's complement.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Int64 reads eight bytes in two's complement.
func (r *Reader) Int64() int64 { return int64(r.Uint64()) }

// Bytes reads n bytes. A negative n fails with [ErrShort].
func (r *Reader) Bytes(n int) (v []byte) {
	if end := r.off + n; r.off >= 0 && r.off <= end && end <= len(r.b) {
		v = r.b[r.off:end:end]
		r.off = end
	} else {
		r.short()
	}
	return v
}

// Bytes16 reads a two-byte length and that many bytes: binary data and strings
// of MQTT.
func (r *Reader) Bytes16() []byte {
	if start := uint(r.off) + 2; start <= uint(len(r.b)) {
		end := start + uint(binary.BigEndian.Uint16(r.b[r.off:]))
		if end <= uint(len(r.b)) {
			r.off = int(end)
			return r.b[start:end:end]
		}
	}
	r.short()
	return nil
}

// Bytes32 reads a four-byte unsigned length and that many bytes.
func (r *Reader) Bytes32() []byte {
	if start := uint(r.off) + 4; start <= uint(len(r.b)) {
		n := binary.BigEndian.Uint32(r.b[r.off:])
		if uint64(n) <= uint64(uint(len(r.b))-start) {
			end := start + uint(n)
			r.off = int(end)
			return r.b[start:end:end]
		}
	}
	r.short()
	return nil
}

// Rest reads everything that is left.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Skip passes over n bytes. A negative n fails with [ErrShort].
func (r *Reader) Skip(n int) { r.Bytes(n) }

// Sub passes over n bytes and returns a Reader for them. Its offsets count
// from the start of the same input, so that its errors say the right place.
// A failure of the part is not one of the whole; hand it over with
// r.Fail(part.Err()). After a failure, or when n bytes are not there, the part
// has failed too.
func (r *Reader) Sub(n int) Reader {
	start := r.off
	r.Skip(n)
	if r.off < 0 {
		return Reader{off: r.off, err: r.err}
	}
	return Reader{b: r.b[:r.off:r.off], off: start}
}

// Count guards a count n of elements that follow and take at least minSize
// bytes each: it returns n, or fails with [ErrLimit] and returns 0 when n is
// negative or when that many cannot fit in the rest of the input. Memory for n
// elements may be allocated after it. A minSize below 1 counts as 1; a caller
// whose elements can take no bytes needs a limit of its own.
func (r *Reader) Count(n, minSize int) int {
	if r.off < 0 {
		return 0
	}
	if n < 0 || n > r.Len()/max(minSize, 1) {
		r.Fail(ErrLimit)
		return 0
	}
	return n
}
