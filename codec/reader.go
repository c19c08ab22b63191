package codec

import "encoding/binary"

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
	b   []byte // the input up to the end of this Reader; nil after a failure
	off int    // offset of the next byte; 0 after a failure
	err *Error
}

// NewReader returns a Reader over b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns nil, or the first failure as an [*Error].
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Fail makes the Reader fail at the current offset for the given reason, which
// is kept as it is when it is an [*Error] already, such as that of a Reader
// made by [Reader.Sub]. It does nothing after a failure or when err is nil.
func (r *Reader) Fail(err error) {
	if err == nil || r.err != nil {
		return
	}
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Offset: r.off, Err: err}
	}
	*r = Reader{err: e}
}

//go:noinline
func (r *Reader) short() { r.Fail(ErrShort) }

// Len returns the number of bytes left, 0 after a failure.
func (r *Reader) Len() int { return len(r.b) - r.off }

// Offset returns the offset of the next byte in the input, or that of the
// failure.
func (r *Reader) Offset() int {
	if r.err != nil {
		return r.err.Offset
	}
	return r.off
}

// Uint8 reads one byte.
func (r *Reader) Uint8() (v uint8) {
	if r.off < len(r.b) {
		v = r.b[r.off]
		r.off++
	} else {
		r.short()
	}
	return v
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() (v uint16) {
	if len(r.b)-r.off >= 2 {
		v = binary.BigEndian.Uint16(r.b[r.off:])
		r.off += 2
	} else {
		r.short()
	}
	return v
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() (v uint32) {
	if len(r.b)-r.off >= 4 {
		v = binary.BigEndian.Uint32(r.b[r.off:])
		r.off += 4
	} else {
		r.short()
	}
	return v
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() (v uint64) {
	if len(r.b)-r.off >= 8 {
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
func (r *Reader) Bytes(n int) []byte {
	if uint(n) > uint(len(r.b)-r.off) {
		r.short()
		return nil
	}
	end := r.off + n
	v := r.b[r.off:end:end]
	r.off = end
	return v
}

// Bytes16 reads a two-byte length and that many bytes: binary data and strings
// of MQTT.
func (r *Reader) Bytes16() []byte {
	if len(r.b)-r.off < 2 {
		r.short()
		return nil
	}
	start := r.off + 2
	end := start + int(binary.BigEndian.Uint16(r.b[r.off:]))
	if end > len(r.b) {
		r.short()
		return nil
	}
	r.off = end
	return r.b[start:end:end]
}

// Bytes32 reads a four-byte unsigned length and that many bytes.
func (r *Reader) Bytes32() []byte {
	n := r.Uint32()
	if uint64(n) > uint64(r.Len()) {
		r.short()
		return nil
	}
	return r.Bytes(int(n))
}

// Rest reads everything that is left.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Skip passes over n bytes. A negative n fails with [ErrShort].
func (r *Reader) Skip(n int) {
	if uint(n) > uint(len(r.b)-r.off) {
		r.short()
		return
	}
	r.off += n
}

// Sub passes over n bytes and returns a Reader for them. Its offsets count
// from the start of the same input, so that its errors say the right place.
// A failure of the part is not one of the whole; hand it over with
// r.Fail(part.Err()). After a failure, or when n bytes are not there, the part
// has failed too.
func (r *Reader) Sub(n int) Reader {
	start := r.off
	r.Skip(n)
	if r.err != nil {
		return Reader{err: r.err}
	}
	return Reader{b: r.b[:r.off:r.off], off: start}
}

// Count guards a count n of elements that follow and take at least minSize
// bytes each: it returns n, or fails with [ErrLimit] and returns 0 when n is
// negative or when that many cannot fit in the rest of the input. Memory for n
// elements may be allocated after it. A minSize below 1 counts as 1; a caller
// whose elements can take no bytes needs a limit of its own.
func (r *Reader) Count(n, minSize int) int {
	if r.err != nil {
		return 0
	}
	if n < 0 || n > r.Len()/max(minSize, 1) {
		r.Fail(ErrLimit)
		return 0
	}
	return n
}
