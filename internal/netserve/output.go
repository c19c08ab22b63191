package netserve

import (
	"net"
	"sync"

	"github.com/quartet-mq/quartet/internal/netio"
)

// Sizes of the chunks of output. The first one is small: most connections have one message at a time.
const (
	smallChunk = 4 << 10
	bigChunk   = 32 << 10
)

// Chunk is a piece of output.
type Chunk struct {
	// Buf is what the chunk holds. Append to it what [Output.Room] was asked for, then call [Output.Added].
	Buf []byte

	next  *Chunk
	off   int      // of Buf, what is written already
	marks int      // that are here
	lent  bool     // Buf is not the chunk's own
	file  FilePart // instead of Buf
	owner Owner
	home  *sync.Pool
}

// FilePart is a part of a file. The zero value is none.
type FilePart struct {
	File   netio.File
	Offset int64
	Size   int
}

// Owner takes memory back that was lent.
type Owner interface{ Release() }

// Chunks lends the memory of output. It is safe for concurrent use.
type Chunks struct{ small, big, shared sync.Pool }

// NewChunks returns a source of chunks.
func NewChunks() *Chunks {
	p := new(Chunks)
	p.small.New = func() any { return &Chunk{Buf: make([]byte, 0, smallChunk), home: &p.small} }
	p.big.New = func() any { return &Chunk{Buf: make([]byte, 0, bigChunk), home: &p.big} }
	p.shared.New = func() any { return &Chunk{home: &p.shared} }
	return p
}

// Output is what waits to be written on a connection: a list of chunks, none when it is empty. The zero value is empty. It
// is not safe for concurrent use.
type Output struct {
	head, tail *Chunk
	size       int // bytes
	marks      int
}

// Empty reports whether nothing waits.
func (o *Output) Empty() bool { return o.head == nil }

// Size returns how many bytes wait.
func (o *Output) Size() int { return o.size }

// Marks returns how many marks are in what waits.
func (o *Output) Marks() int { return o.marks }

// Room returns the last chunk with place for n more bytes.
func (o *Output) Room(p *Chunks, n int) *Chunk {
	t := o.tail
	if t != nil && cap(t.Buf)-len(t.Buf) >= n && !t.lent {
		return t
	}
	switch {
	case (t == nil || t.lent) && n <= smallChunk:
		t = p.small.Get().(*Chunk)
	case n <= bigChunk:
		t = p.big.Get().(*Chunk)
	default:
		t = &Chunk{Buf: make([]byte, 0, n)}
	}
	o.push(t)
	return t
}

// Added tells that n bytes were appended to the last chunk.
func (o *Output) Added(n int) { o.size += n }

// Mark sets a mark in the last chunk, to count messages for example. It is gone with the chunk.
func (o *Output) Mark() {
	o.tail.marks++
	o.marks++
}

// Share appends b without copying it: it must not change any more.
func (o *Output) Share(p *Chunks, b []byte) {
	t := p.shared.Get().(*Chunk)
	t.Buf, t.lent = b, true
	o.push(t)
	o.size += len(b)
}

// Lend is Share for memory that may change again when it is written or dropped: then owner, if it is not nil, is told.
func (o *Output) Lend(p *Chunks, b []byte, owner Owner) {
	o.Share(p, b)
	o.tail.owner = owner
}

// LendFile is Lend for a part of a file.
func (o *Output) LendFile(p *Chunks, part FilePart, owner Owner) {
	o.Lend(p, nil, owner)
	o.tail.file = part
	o.size += part.Size
}

func (o *Output) push(t *Chunk) {
	if o.head == nil {
		o.head = t
	} else {
		o.tail.next = t
	}
	o.tail = t
}

// Append copies b.
func (o *Output) Append(p *Chunks, b []byte) {
	t := o.Room(p, len(b))
	t.Buf = append(t.Buf, b...)
	o.size += len(b)
}

// maxVector is how many chunks are written at a time.
const maxVector = 8

// Vector returns the front of the output, in v's memory, which keeps nothing of an earlier one. It ends before a part of a
// file.
func (o *Output) Vector(v net.Buffers) net.Buffers {
	v = v[:0]
	for t := o.head; t != nil && t.file.Size == 0 && len(v) < maxVector; t = t.next {
		if t.off < len(t.Buf) {
			v = append(v, t.Buf[t.off:])
		}
	}
	clear(v[len(v):cap(v)])
	return v
}

// File returns what is left of the part of a file that is the front of the output, if it is one.
func (o *Output) File() FilePart {
	if o.head == nil || o.head.file.Size == 0 {
		return FilePart{}
	}
	p := o.head.file
	p.Offset, p.Size = p.Offset+int64(o.head.off), p.Size-o.head.off
	return p
}

// Advance takes n written bytes off the front and gives their chunks back.
func (o *Output) Advance(n int) {
	o.size -= n
	for t := o.head; t != nil; t = o.head {
		rest := len(t.Buf) + t.file.Size - t.off
		if n < rest {
			t.off += n
			return
		}
		n -= rest
		o.marks -= t.marks
		o.head = t.next
		t.release()
	}
	o.tail = nil
}

// Drop gives everything back.
func (o *Output) Drop() { o.Advance(o.size) }

// release gives the chunk back to where it came from. One that has grown is not kept.
func (t *Chunk) release() {
	home, buf := t.home, t.Buf[:0]
	if t.owner != nil {
		t.owner.Release()
	}
	switch {
	case home == nil:
		return
	case t.lent:
		buf = nil
	case cap(buf) != smallChunk && cap(buf) != bigChunk:
		return
	}
	*t = Chunk{Buf: buf, home: home}
	home.Put(t)
}

// Size returns how many bytes chunks hold.
func Size(v net.Buffers) (n int) {
	for _, b := range v {
		n += len(b)
	}
	return n
}
