package codec

import "io"

const (
	// DefaultMax is the limit of a [Buffer] whose Max is zero, in bytes.
	DefaultMax = 1 << 20

	bufferStart = 512     // first size, and room below which Fill makes more
	bufferKeep  = 4 << 10 // size that is not worth shrinking
	bufferBulk  = 64 << 10
	quietPeriod = 16 // how many times in a row a large buffer must be of little use
)

// Buffer collects bytes from a stream until they make whole frames. The reader
// of a connection calls [Buffer.Fill], decodes frames from [Buffer.Bytes] and
// calls [Buffer.Discard] for what it decoded; a partial frame stays.
//
// It grows by doubling, only when the bytes that have arrived fill it, and
// never beyond Max. When it has been empty again and again without need for
// its size, it becomes smaller.
//
// The zero value is ready to use. It is not safe for concurrent use.
type Buffer struct {
	// Max is the most bytes that the buffer holds, such as the largest frame
	// that is acceptable. Zero means [DefaultMax].
	Max int

	b     []byte
	off   int // b[off:] has not been discarded
	peak  int // the largest Len since the buffer was last empty
	quiet int // how often in a row it became empty after a small peak
	bulk  bool
}

func (b *Buffer) limit() int {
	if b.Max <= 0 {
		return DefaultMax
	}
	return b.Max
}

// Len returns the number of bytes held.
func (b *Buffer) Len() int { return len(b.b) - b.off }

// Cap returns the number of bytes allocated.
func (b *Buffer) Cap() int { return cap(b.b) }

// Bytes returns the bytes held. They are valid until the next Fill, Append or
// Release; Discard leaves them as they are.
func (b *Buffer) Bytes() []byte { return b.b[b.off:len(b.b):len(b.b)] }

// Fill calls r.Read once and holds what it returns. It fails with [ErrLimit],
// without reading, when Max bytes are held already. Other errors are those of
// r; bytes that come with an error are held all the same.
func (b *Buffer) Fill(r io.Reader) (n int, err error) {
	if b.Len() >= b.limit() {
		return 0, ErrLimit
	}
	b.room(1)
	free := b.b[len(b.b):min(cap(b.b), b.off+b.limit())]
	n, err = r.Read(free)
	if n < 0 || n > len(free) {
		return 0, io.ErrNoProgress
	}
	b.bulk = n == len(free)
	b.hold(n)
	return n, err
}

// Append copies p to the end. It fails with [ErrLimit] and holds nothing of p
// when more than Max bytes would be held.
func (b *Buffer) Append(p []byte) error {
	if len(p) > b.limit()-b.Len() {
		return ErrLimit
	}
	if len(p) > cap(b.b)-len(b.b) {
		b.room(len(p))
	}
	copy(b.b[len(b.b):cap(b.b)], p)
	b.hold(len(p))
	return nil
}

func (b *Buffer) hold(n int) {
	b.b = b.b[:len(b.b)+n]
	b.peak = max(b.peak, b.Len())
}

// room moves what is held to the front and makes the buffer larger so that
// need more bytes fit; need is within the limit.
func (b *Buffer) room(need int) {
	held := b.Len()
	size := cap(b.b)
	switch {
	case size-held < need:
		size = max(2*size, held+need, bufferStart)
	case b.bulk && size < bufferBulk:
		size *= 2 // a single Read filled it: more is waiting
	case b.off == 0 || cap(b.b)-len(b.b) >= max(need, size/4):
		return
	}
	b.bulk = false
	size = min(size, max(b.limit(), bufferStart))
	if size > cap(b.b) {
		grown := make([]byte, held, size)
		copy(grown, b.Bytes())
		b.b = grown
	} else {
		b.b = b.b[:copy(b.b[:held], b.Bytes())]
	}
	b.off = 0
}

// Discard drops the first n bytes. n is at most Len; more drops everything.
func (b *Buffer) Discard(n int) {
	b.off += min(max(n, 0), b.Len())
	if b.off < len(b.b) {
		return
	}
	b.b, b.off = b.b[:0], 0
	if cap(b.b) <= bufferKeep || b.peak > cap(b.b)/4 {
		b.quiet = 0
	} else if b.quiet++; b.quiet == quietPeriod {
		b.b, b.quiet = nil, 0
	}
	b.peak = 0
}

// Release gives the memory back when nothing is held, for a connection that is
// idle. It does nothing otherwise.
func (b *Buffer) Release() {
	if b.Len() == 0 {
		*b = Buffer{Max: b.Max}
	}
}
