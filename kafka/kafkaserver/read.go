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

// lender is a stream as netio.Space.
type lender stream

// Acquire implements netio.Space.
func (l *lender) Acquire() []byte {
	in := &l.in
	if in.frame != nil && in.size-in.got >= directSize {
		(*stream)(l).growFrame()
		return in.frame.Bytes[in.got:]
	}
	in.rd = l.c.srv.takeReader()
	return in.rd.buf
}

// Release implements netio.Space.
func (l *lender) Release() {
	if l.in.rd != nil {
		l.c.srv.giveReader(l.in.rd)
		l.in.rd = nil
	}
}

// newFrame begins a request of n bytes. Memory for a large one comes with what arrives of it, unless the client has
// sent one as large before.
func (st *stream) newFrame(n int) {
	c := st.c
	in := &st.in
	in.size, in.got = n, 0
	in.frame = NewBuffer(min(n, max(2*in.known, readSize)))
	c.srv.memory.add(cap(in.frame.Bytes))
}

// growFrame makes room for more of the request if there is little.
func (st *stream) growFrame() {
	c := st.c
	in := &st.in
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
func (st *stream) dropFrame() {
	c := st.c
	if f := st.in.frame; f != nil {
		st.in.frame = nil
		c.giveFrame(f)
	}
}

// giveFrame gives the memory of a request back.
func (c *Conn) giveFrame(f *Buffer) {
	n := cap(f.Bytes)
	f.Release()
	c.srv.memory.add(-n)
}

// loop reads and handles input until the stream is at its end. It is the goroutine of a stream.
func (st *stream) loop() {
	for {
		n, err := st.io.Read((*lender)(st))
		if err != nil {
			switch {
			case !st.isMain():
				st.finishStream(err)
			case st.c.lingers(err):
				continue
			default:
				st.c.finish(err)
			}
			return
		}
		st.read(n)
	}
}

// read handles n bytes that were read.
func (st *stream) read(n int) {
	c := st.c
	c.mu.Lock()
	c.counts.received += int64(n)
	ended := c.ended
	if !ended {
		c.active()
	}
	st.busy = true
	c.mu.Unlock()
	in := &st.in
	switch {
	case ended: // what comes is dropped
	case in.rd != nil:
		st.feed(in.rd.buf[:n])
	default:
		in.got += n
		st.feed(nil)
	}
	(*lender)(st).Release()
	if in.held != nil {
		in.held.Release()
		in.held = nil
	}
	c.mu.Lock()
	st.busy = false
	st.current = nil
	if c.ended {
		c.mu.Unlock()
		st.dropFrame()
		c.mu.Lock()
	}
	if st.partial = in.frame != nil || in.nhead > 0; st.partial {
		st.since = int64(time.Since(c.srv.epoch))
	}
	st.flush()
}

// feed takes input to requests and handles those that are whole.
func (st *stream) feed(b []byte) {
	in := &st.in
	for {
		if in.frame != nil {
			for len(b) > 0 && in.got < in.size {
				st.growFrame()
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
			if b, ok = st.whole(f, b); !ok {
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
		if err := st.checkSize(size); err != nil {
			st.c.fail(err)
			return
		}
		var ok bool
		if b, ok = st.await(b, gate{size: int(size), begin: true}); !ok {
			return
		}
		in.nhead = 0
		st.newFrame(int(size))
	}
}

// errSize is the error of a request that is too large, or negative.
var errSize = errors.New("kafkaserver: illegal size of a request")

// checkSize checks the size of a request. A client that begins with a large one is let in before it is read, if at all.
func (st *stream) checkSize(n int32) error {
	c := st.c
	limit := c.srv.limits.MaxRequest
	if st.session == nil && !c.isAuthentic() { // with a session it is let in
		limit = c.srv.limits.MaxHandshake
		if int(n) > limit && int(n) <= c.srv.limits.MaxRequest && c.letAnonymous() == nil {
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
func (st *stream) whole(f *Buffer, b []byte) (rest []byte, ok bool) {
	c := st.c
	if st.isMain() && c.auth.raw {
		ok = c.rawToken(f.Bytes)
		c.giveFrame(f)
		return b, ok
	}
	r, err := st.request(f)
	if err != nil {
		c.giveFrame(f)
		c.fail(err)
		return b, false
	}
	if c.early != nil && !c.isConfirmed() && !c.mayEarly(r) {
		if b, ok = st.await(b, gate{confirm: true}); !ok {
			c.giveFrame(f)
			return b, false
		}
	}
	if b, ok = st.await(b, gate{fetch: r.Key == kafkawire.KeyFetch}); !ok {
		c.giveFrame(f)
		return b, false
	}
	return b, st.dispatch(r)
}

// request reads the header of a request.
func (st *stream) request(f *Buffer) (*Request, error) {
	var h kafkawire.RequestHeader
	body, err := h.DecodeLimited(f.Bytes, st.c.srv.limits.MaxElements)
	if err != nil {
		return nil, err
	}
	if string(h.ClientID) != st.clientID {
		st.clientID = string(h.ClientID)
	}
	return &Request{Conn: st.c, st: st, Key: h.Key, Version: h.Version, CorrelationID: h.CorrelationID, ClientID: st.clientID, Body: body,
		Received: time.Now(), frame: f, size: len(f.Bytes) + 4}, nil
}

// gate is what the reader waits for before it goes on.
type gate struct {
	begin   bool // to begin a request of size bytes
	size    int
	fetch   bool // to handle a Fetch
	confirm bool // to handle what must not be early data
}

// open reports whether the reader may go on, with c.mu held.
func (st *stream) open(g gate) bool {
	c := st.c
	lim := &c.srv.limits
	switch {
	case g.confirm:
		return c.isConfirmed()
	case g.fetch:
		return st.fetches < lim.MaxFetches && c.output <= lim.OutputLimit
	case !g.begin:
		return true
	}
	n := st.queue.len()
	return n < lim.MaxInflight && c.bytes < lim.InflightBytes && c.output <= lim.OutputLimit &&
		(!c.srv.memory.full() || n == 0 && g.size <= freeRequest)
}

// await waits until the reader may go on, with b, the input that was not looked at, in memory of its own. ok is false when
// the connection has ended.
func (st *stream) await(b []byte, g gate) (rest []byte, ok bool) {
	c := st.c
	c.mu.Lock()
	if st.open(g) || c.ended {
		ok = !c.ended
		c.mu.Unlock()
		return b, ok
	}
	var confirmed <-chan struct{}
	if g.confirm {
		confirmed = c.early
	}
	st.current, st.paused = nil, true
	st.flush()
	b = st.hold(b)
	c.srv.memory.wait(st)
	c.mu.Lock()
	for !st.open(g) && !c.ended {
		c.mu.Unlock()
		select {
		case <-st.wake:
		case <-confirmed:
		}
		c.mu.Lock()
	}
	st.paused = false
	ok = !c.ended
	c.mu.Unlock()
	c.srv.memory.forget(st)
	return b, ok
}

// hold gives the reader back and keeps b.
func (st *stream) hold(b []byte) []byte {
	in := &st.in
	if in.rd == nil {
		return b // it is held already, or empty
	}
	if len(b) > 0 {
		in.held = NewBuffer(len(b))
		copy(in.held.Bytes, b)
		b = in.held.Bytes
	}
	(*lender)(st).Release()
	return b
}

// unexpected makes io.EOF within a request io.ErrUnexpectedEOF.
func (st *stream) unexpected(err error) error {
	if err == io.EOF && (st.in.frame != nil || st.in.nhead > 0) {
		return io.ErrUnexpectedEOF
	}
	return err
}
