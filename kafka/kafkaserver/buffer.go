package kafkaserver

import (
	"math/bits"
	"sync"
)

// The pooled sizes of memory are those of two to the power of minExp to maxExp and, between two of them, three more: at
// most a fifth of the memory is not used.
const (
	minExp = 9  // 512 bytes
	maxExp = 23 // 8 MiB
)

// Buffer is pooled memory, for record bytes in responses for example. It is not safe for concurrent use.
type Buffer struct {
	// Bytes is the memory.
	Bytes []byte

	whole []byte // of a pooled size; nil: not pooled
}

var buffers = [4 * (maxExp + 1)]sync.Pool{}

// class returns the smallest pooled size that holds n bytes, and the place of its pool.
func class(n int) (size, pool int) {
	n = max(n, 1<<minExp)
	exp := bits.Len(uint(n - 1)) // n is in (2^(exp-1), 2^exp]
	step := 1 << (exp - 3)
	quarter := (n - 1<<(exp-1) + step - 1) / step // 1 to 4
	return 1<<(exp-1) + quarter*step, 4*exp + quarter - 4
}

// NewBuffer returns a buffer of n bytes, whose contents are whatever was there before.
func NewBuffer(n int) *Buffer {
	if n > 1<<maxExp {
		return &Buffer{Bytes: make([]byte, n)}
	}
	size, pool := class(n)
	b, ok := buffers[pool].Get().(*Buffer)
	if !ok {
		b = &Buffer{whole: make([]byte, size)}
	}
	b.Bytes = b.whole[:n:size]
	return b
}

// Release gives the memory back. Neither the buffer nor its bytes may be used afterwards.
func (b *Buffer) Release() {
	b.Bytes = nil
	if n := len(b.whole); n > 0 {
		_, pool := class(n)
		buffers[pool].Put(b)
	}
}

// grown takes memory that was appended to b's, and has moved perhaps.
func (b *Buffer) grown(out []byte) {
	if n := len(b.whole); n == 0 || cap(out) != n || &out[:1][0] != &b.whole[0] {
		b.whole = nil
		if n := floor(cap(out)); n > 0 {
			b.whole = out[:n]
		}
	}
	b.Bytes = out
}

// floor returns the largest pooled size up to n, 0 when there is none.
func floor(n int) int {
	if n < 1<<minExp || n > 1<<maxExp {
		return 0
	}
	size, _ := class(n)
	if size > n { // the size below that is a step of it smaller
		exp := bits.Len(uint(size - 1))
		size -= 1 << (exp - 3)
	}
	return size
}
