package kafkaserver

import (
	"math/bits"
	"sync"
)

// The classes of pooled memory: powers of two from 512 bytes to 4 MiB.
const (
	minClass = 9
	maxClass = 22
)

// Buffer is pooled memory, for record bytes in responses for example. It is not safe for concurrent use.
type Buffer struct {
	// Bytes is the memory.
	Bytes []byte

	whole []byte
}

var buffers [maxClass + 1]sync.Pool

// NewBuffer returns a buffer of n bytes, whose contents are whatever was there before.
func NewBuffer(n int) *Buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &Buffer{Bytes: make([]byte, n)}
	}
	b, ok := buffers[class].Get().(*Buffer)
	if !ok {
		b = &Buffer{whole: make([]byte, 1<<class)}
	}
	b.Bytes = b.whole[:n]
	return b
}

// Release gives the memory back. Neither the buffer nor its bytes may be used afterwards.
func (b *Buffer) Release() {
	n := len(b.whole)
	b.Bytes = nil
	if n == 0 {
		return
	}
	buffers[bits.Len(uint(n))-1].Put(b)
}

// grown takes memory that has been appended to: if it has moved, the old is gone and the new is b's.
func (b *Buffer) grown(out []byte) {
	if cap(out) == cap(b.whole) && len(b.whole) > 0 && &out[:1][0] == &b.whole[0] {
		b.Bytes = out
		return
	}
	// Memory that has moved is of a class if it is large enough: what is beyond a power of two is not used.
	b.Bytes, b.whole = out, nil
	if n := bits.Len(uint(cap(out))) - 1; n >= minClass && n <= maxClass {
		b.whole = out[: 1<<n : cap(out)]
	}
}
