package kafkaserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// readSize is the size of the buffer that a read fills when no large request is on its way.
const readSize = 64 << 10

// directSize is how much of a request must be missing for it to be read into its own memory.
const directSize = 32 << 10

// reader is the memory that a read fills. Connections that wait hold none.
type reader struct{ buf []byte }

// input is what a connection has read and not handled.
type input struct {
	rd    *reader
	head  [4]byte // the begin of a size
	nhead int
	frame *Buffer // a request that has begun; nil: none
	size  int     // of that request
	got   int     // of that request
	known int     // the size of the largest request that came whole: memory for as much is there at once
	held  *Buffer // input that the reader did not get to, while it waits
}

// lender is a Conn as netio.Space.
type lender Conn

// Acquire implements netio.Space.
func (l *lender) Acquire() []byte {
	in := &l.in
	if in.frame != nil && in.size-in.got >= directSize {
		(*Conn)(l).growFrame()
		return in.frame.Bytes[in.got:]
	}
	in.rd = l.srv.takeReader()
	return in.rd.buf
}

// Release implements netio.Space.
func (l *lender) Release() {
	if l.in.rd != nil {
		l.srv.giveReader(l.in.rd)
		l.in.rd = nil
	}
}

// newFrame begins a request of n bytes. Memory for a large one comes with what arrives of it, unless the client has
// sent one as large before.
func (c *Conn) newFrame(n int) {
	in := &c.in
	in.size, in.got = n, 0
	in.frame = NewBuffer(min(n, max(2*in.known, readSize)))
	c.srv.memory.add(cap(in.frame.Bytes))
}

// growFrame makes room for more of the request if there is little.
func (c *Conn) growFrame() {
	in := &c.in
	if room := len(in.frame.Bytes) - in.got; room >= min(readSize/4, in.size-in.got) {
		return
	}
	grown := NewBuffer(min(in.size, max(2*in.got, readSize)))
	copy(grown.Bytes, in.frame.Bytes)
	c.srv.memory.add(cap(grown.Bytes) - cap(in.frame.Bytes))
	in.frame.Release()
	in.frame = grown
}

// dropFrame forgets the request.
func (c *Conn) dropFrame() {
	if f := c.in.frame; f != nil {
		c.in.frame = nil
		c.giveFrame(f)
	}
}

// giveFrame gives the memory of a request back.
func (c *Conn) giveFrame(f *Buffer) {
	n := cap(f.Bytes)
	f.Release()
	c.srv.memory.add(-n)
}

// loop reads and handles input until the connection is at its end. It is the goroutine of a connection.
func (c *Conn) loop() {
	for {
		n, err := c.io.Read((*lender)(c))
		if err != nil {
			if c.lingers(err) {
				continue
			}
			c.finish(err)
			return
		}
		c.read(n)
	}
}

// read handles n bytes that were read.
func (c *Conn) read(n int) {
	c.mu.Lock()
	c.counts.received += int64(n)
	ended := c.ended
	if !ended {
		c.active()
	}
	c.busy = true
	c.mu.Unlock()
	in := &c.in
	switch {
	case ended: // what comes is dropped
	case in.rd != nil:
		c.feed(in.rd.buf[:n])
	default:
		in.got += n
		c.feed(nil)
	}
	(*lender)(c).Release()
	if in.held != nil {
		in.held.Release()
		in.held = nil
	}
	c.mu.Lock()
	c.busy = false
	c.current = nil
	if c.ended {
		c.mu.Unlock()
		c.dropFrame()
		c.mu.Lock()
	}
	c.partial = in.frame != nil || in.nhead > 0
	c.flush()
}

// feed takes input to requests and handles those that are whole.
func (c *Conn) feed(b []byte) {
	in := &c.in
	for {
		if in.frame != nil {
			for len(b) > 0 && in.got < in.size {
				c.growFrame()
				n := copy(in.frame.Bytes[in.got:], b)
				in.got += n
				b = b[n:]
			}
			if in.got < in.size {
				return
			}
			f := in.frame
			in.frame, in.known = nil, max(in.known, in.size)
			var ok bool
			if b, ok = c.whole(f, b); !ok {
				return
			}
		}
		n := copy(in.head[in.nhead:], b)
		in.nhead += n
		b = b[n:]
		if in.nhead < len(in.head) {
			return
		}
		size := int32(binary.BigEndian.Uint32(in.head[:]))
		if err := c.checkSize(size); err != nil {
			c.fail(err)
			return
		}
		var ok bool
		if b, ok = c.await(b, gate{size: int(size), begin: true}); !ok {
			return
		}
		in.nhead = 0
		c.newFrame(int(size))
	}
}

// errSize is the error of a request that is too large, or negative.
var errSize = errors.New("kafkaserver: illegal size of a request")

// checkSize checks the size of a request. A client that begins with a large one is let in before it is read, if at all.
func (c *Conn) checkSize(n int32) error {
	limit := c.srv.limits.MaxRequest
	if !c.auth.done {
		limit = c.srv.limits.MaxHandshake
		if int(n) > limit && int(n) <= c.srv.limits.MaxRequest && c.anonymous() == nil {
			limit = c.srv.limits.MaxRequest
		}
	}
	if n < 0 || int(n) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", errSize, n, limit)
	}
	return nil
}

// whole handles a request that came whole. b is the input after it, which it returns, moved perhaps. ok is false at the
// end of the connection.
func (c *Conn) whole(f *Buffer, b []byte) (rest []byte, ok bool) {
	if c.auth.raw {
		ok = c.rawToken(f.Bytes)
		c.giveFrame(f)
		return b, ok
	}
	r, err := c.request(f)
	if err != nil {
		c.giveFrame(f)
		c.fail(err)
		return b, false
	}
	if b, ok = c.await(b, gate{fetch: r.Key == kafkawire.KeyFetch}); !ok {
		c.giveFrame(f)
		return b, false
	}
	return b, c.dispatch(r)
}

// request reads the header of a request.
func (c *Conn) request(f *Buffer) (*Request, error) {
	var h kafkawire.RequestHeader
	body, err := h.Decode(f.Bytes)
	if err != nil {
		return nil, err
	}
	if string(h.ClientID) != c.clientID {
		c.clientID = string(h.ClientID)
	}
	return &Request{Conn: c, Key: h.Key, Version: h.Version, CorrelationID: h.CorrelationID, ClientID: c.clientID, Body: body,
		Received: time.Now(), frame: f, size: len(f.Bytes) + 4}, nil
}

// gate is what the reader waits for before it goes on.
type gate struct {
	begin bool // to begin a request of size bytes
	size  int
	fetch bool // to handle a Fetch
}

// open reports whether the reader may go on, with c.mu held.
func (c *Conn) open(g gate) bool {
	lim := &c.srv.limits
	if g.fetch {
		return c.fetches < lim.MaxFetches && c.out.Size() <= lim.OutputLimit
	}
	if !g.begin {
		return true
	}
	n := c.queue.len()
	return n < lim.MaxInflight && c.bytes < lim.InflightBytes && c.out.Size() <= lim.OutputLimit &&
		(!c.srv.memory.full() || n == 0 && g.size <= freeRequest)
}

// await waits until the reader may go on, with b, the input that was not looked at, in memory of its own. ok is false when
// the connection has ended.
func (c *Conn) await(b []byte, g gate) (rest []byte, ok bool) {
	c.mu.Lock()
	if c.open(g) || c.ended {
		ok = !c.ended
		c.mu.Unlock()
		return b, ok
	}
	c.current, c.paused = nil, true
	c.flush()
	b = c.hold(b)
	c.srv.memory.wait(c)
	c.mu.Lock()
	for !c.open(g) && !c.ended {
		c.mu.Unlock()
		<-c.wake
		c.mu.Lock()
	}
	c.paused = false
	ok = !c.ended
	c.mu.Unlock()
	c.srv.memory.forget(c)
	return b, ok
}

// hold gives the reader back and keeps b.
func (c *Conn) hold(b []byte) []byte {
	in := &c.in
	if in.rd == nil {
		return b // it is held already, or empty
	}
	if len(b) > 0 {
		in.held = NewBuffer(len(b))
		copy(in.held.Bytes, b)
		b = in.held.Bytes
	}
	(*lender)(c).Release()
	return b
}

// unexpected makes io.EOF within a request io.ErrUnexpectedEOF.
func (c *Conn) unexpected(err error) error {
	if err == io.EOF && (c.in.frame != nil || c.in.nhead > 0) {
		return io.ErrUnexpectedEOF
	}
	return err
}
