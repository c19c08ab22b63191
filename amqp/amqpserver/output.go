package amqpserver

import (
	"net"
	"sync"
)

// LargeBody is the size in bytes up to which the body of a message is copied into the output of each connection. Longer
// ones are sent from where they are.
const LargeBody = 4 << 10

// Sizes of the chunks of output. The first one is small: most connections have one message at a time.
const (
	smallChunk = 4 << 10
	bigChunk   = 32 << 10
)

// chunk is a piece of output.
type chunk struct {
	next *chunk
	buf  []byte
	off  int  // of buf, what is written already
	lent bool // buf is not the chunk's own
	home *sync.Pool
}

// chunks lends the memory of output.
type chunks struct{ small, big, shared sync.Pool }

func newChunks() *chunks {
	p := new(chunks)
	p.small.New = func() any { return &chunk{buf: make([]byte, 0, smallChunk), home: &p.small} }
	p.big.New = func() any { return &chunk{buf: make([]byte, 0, bigChunk), home: &p.big} }
	p.shared.New = func() any { return &chunk{home: &p.shared} }
	return p
}

// output is what waits to be written on a connection: a list of chunks, none when it is empty.
type output struct {
	head, tail *chunk
	size       int // bytes
}

// room returns the last chunk with place for n more bytes.
func (o *output) room(p *chunks, n int) *chunk {
	t := o.tail
	if t != nil && cap(t.buf)-len(t.buf) >= n && !t.lent {
		return t
	}
	switch {
	case (t == nil || t.lent) && n <= smallChunk:
		t = p.small.Get().(*chunk)
	case n <= bigChunk:
		t = p.big.Get().(*chunk)
	default:
		t = &chunk{buf: make([]byte, 0, n)}
	}
	o.push(t)
	return t
}

// share appends b without copying it.
func (o *output) share(p *chunks, b []byte) *chunk {
	t := p.shared.Get().(*chunk)
	t.buf, t.lent = b, true
	o.push(t)
	o.size += len(b)
	return t
}

func (o *output) push(t *chunk) {
	if o.head == nil {
		o.head = t
	} else {
		o.tail.next = t
	}
	o.tail = t
}

// append copies b.
func (o *output) append(p *chunks, b []byte) {
	t := o.room(p, len(b))
	t.buf = append(t.buf, b...)
	o.size += len(b)
}

// maxVector is how many chunks are written at a time.
const maxVector = 8

// vector returns the unwritten front of the output, in v's memory.
func (o *output) vector(v net.Buffers) net.Buffers {
	v = v[:0]
	for t := o.head; t != nil && len(v) < maxVector; t = t.next {
		if t.off < len(t.buf) {
			v = append(v, t.buf[t.off:])
		}
	}
	return v
}

// advance takes n written bytes off the front and gives their chunks back.
func (o *output) advance(n int) {
	o.size -= n
	for t := o.head; t != nil; t = o.head {
		rest := len(t.buf) - t.off
		if n < rest {
			t.off += n
			return
		}
		n -= rest
		o.head = t.next
		t.release()
	}
	o.tail = nil
}

// drop gives everything back.
func (o *output) drop() { o.advance(o.size) }

// release gives the chunk back to where it came from. One that has grown is not kept.
func (t *chunk) release() {
	home, buf := t.home, t.buf[:0]
	switch {
	case home == nil:
		return
	case t.lent:
		buf = nil
	case cap(buf) != smallChunk && cap(buf) != bigChunk:
		return
	}
	*t = chunk{buf: buf, home: home}
	home.Put(t)
}
