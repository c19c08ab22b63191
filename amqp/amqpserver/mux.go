package amqpserver

import (
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
)

// mux is what a connection has more in which each channel has a stream of its own (amqp091.Streams). The mutex of the Conn
// guards it. Its methods without a lock may be called for nil.
type mux struct {
	nc      netio.Streams
	streams map[uint16]*stream   // by the channel that they carry, until its end
	all     map[*stream]struct{} // that are not closed
	dirty   []*outlet            // of streams, that a flush is to look at
	size    int                  // bytes of output that wait, of all streams
	writers int                  // streams that somebody writes to
	freed   chan struct{}        // closed when a channel has ended; nil when nobody waits
	slots   chan struct{}        // as many as there are streams in all
	served  sync.WaitGroup       // goroutines that read or accept
}

// spareStreams is how many streams a client may have open beyond the number of its channels: for those that have no channel
// yet, or none any more.
const spareStreams = 16

// newMux returns the mux of a connection, nil if its channels are all on one stream.
func newMux(nc net.Conn) *mux {
	n, ok := nc.(netio.Negotiated)
	if !ok || n.Protocol() != amqp091.Streams {
		return nil
	}
	s, ok := nc.(netio.Streams)
	if !ok {
		return nil
	}
	return &mux{nc: s, streams: make(map[uint16]*stream), all: make(map[*stream]struct{})}
}

// acceptStreams accepts the streams of a connection that is open. Those that the client has opened before have waited in the
// transport, which bounds them, for as long as a handshake may take.
func (c *Conn) acceptStreams() {
	m := c.mux
	if m == nil || !c.isOpen() {
		return
	}
	_, channels, _ := c.Tuning()
	m.slots = make(chan struct{}, int(channels)+spareStreams)
	ctx := c.Context()
	m.served.Go(func() {
		for {
			select {
			case m.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			st, err := m.nc.AcceptStream(ctx)
			if err != nil {
				return // the reader of stream 0 finds out why
			}
			c.serveStream(st)
		}
	})
}

// wait waits for the goroutines that read.
func (m *mux) wait() {
	if m != nil {
		m.served.Wait()
	}
}

// wake lets those look again who wait for the end of a channel.
func (m *mux) wake() {
	if m != nil && m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// release ends the streams behind what is in their output. So a client knows when it has everything that was said on channels before
// connection.close.
func (m *mux) release() {
	if m == nil {
		return
	}
	for _, s := range m.streams {
		s.release()
	}
	m.wake()
}

// due reports whether a flush has something to do.
func (m *mux) due() bool { return m != nil && len(m.dirty) > 0 }

// touch has the next flush look at a stream.
func (m *mux) touch(o *outlet) {
	if !o.dirty {
		o.dirty = true
		m.dirty = append(m.dirty, o)
	}
}

// added notes n bytes of output.
func (m *mux) added(o *outlet, n int) {
	m.size += n
	if o.s != nil {
		m.touch(o)
	}
}

// drop drops the output that nobody writes.
func (m *mux) drop() {
	for s := range m.all {
		if !s.writing {
			s.drop()
		}
	}
}

// share returns how many bytes of output one stream may have beyond which it has to wait. The output of all streams is bounded
// together, and a stream of which the client takes nothing must not stop the others. So the share is a part of what is left of
// half of the hard limit: the more streams stand still, the less each of them has, and there is always some for one more.
func (m *mux) share(c *Conn) int { return (c.srv.limits.HardLimit/2 - m.size) / 4 }

// crowded reports whether a delivery of that size must wait. A small one on a stream without output goes through.
func (m *mux) crowded(c *Conn, o *outlet, size int) bool {
	lim, own := &c.srv.limits, o.out.Size()
	switch {
	case own > 0:
		return own > lim.SoftLimit || own+size > m.share(c)
	case size <= LargeBody:
		return m.size > lim.HardLimit/4*3
	}
	return m.size > 0 && m.size+size > lim.HardLimit/2
}

// behind reports whether the input of a stream must wait until the client takes more of the output. Stream 0 has few answers,
// and what the client says on it, such as connection.close and heartbeats, does not wait for channels.
func (m *mux) behind(c *Conn, in *input) bool {
	lim := &c.srv.limits
	if in.s == nil {
		return c.main.out.Size() > lim.SoftLimit
	}
	own := in.s.out.Size()
	if own == 0 {
		return m.size > lim.HardLimit/4*3
	}
	return own > m.share(c)
}

// late is behind without the lock.
func (c *Conn) late(in *input) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && c.mux.behind(c, in)
}

// waitStream waits until input can go on: for a channel with the same number that is about to end, for the end of a block if
// that has stopped it, and for the client to take the output.
func (in *input) waitStream(blocked bool) {
	c := in.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.s != nil {
		in.s.waitFree()
	}
	for blocked && c.blocked && !c.down {
		wait := c.unblocked
		c.pause(func() { <-wait })
	}
	for !c.ended && c.mux.behind(c, in) {
		if c.recovered == nil {
			c.recovered = make(chan struct{})
		}
		wait := c.recovered
		c.pause(func() { <-wait })
	}
}

// relieved sees to what waits for room in the output.
func (m *mux) relieved(c *Conn) {
	if c.recovered != nil {
		close(c.recovered)
		c.recovered = nil
	}
	if len(c.starved) == 0 {
		return
	}
	lim := &c.srv.limits
	rest := c.starved[:0]
	for _, ch := range c.starved {
		open := ch.m.Open()
		if own := ch.o.out.Size(); open && (own > 0 && own > min(lim.SoftLimit, m.share(c))/2 || m.crowded(c, ch.o, ch.wanted)) {
			rest = append(rest, ch)
			continue
		}
		ch.starved = false
		if open {
			c.ready = append(c.ready, ch)
		}
	}
	clear(c.starved[len(rest):])
	c.starved = rest
	if len(c.ready) > 0 && !c.serving {
		c.serving = true
		go c.serve()
	}
}

// wrote is the end of outlet.wrote.
func (m *mux) wrote(o *outlet, n int, err error) {
	c, s := o.c, o.s
	m.size -= n
	switch {
	case err == nil:
	case s == nil:
		c.abort(lost(err))
	default:
		s.broken = true
		c.lose(s)
	}
	if n > 0 && c.ended && !c.shut {
		c.arm(lingerTime)
	}
	if c.aborted || s != nil && s.broken {
		o.drop()
	}
	if o.out.Empty() {
		o.writing = false
		if s != nil {
			m.writers--
			m.touch(o)
		}
	}
	m.relieved(c)
}

// confirmStreams is confirm for channels with streams of their own.
func (c *Conn) confirmStreams(now time.Time) {
	for ch, n := c.machine.Confirmable(); ch != nil; ch, n = c.machine.Confirmable() {
		o := c.outlet(ch.ID())
		if o == nil {
			ch.AppendConfirms(now, nil)
			continue
		}
		t := o.out.Room(c.srv.chunks, n)
		start := len(t.Buf)
		t.Buf = ch.AppendConfirms(now, t.Buf)
		o.added(len(t.Buf) - start)
		c.traceSent(t.Buf[start:])
	}
}

// flushStreams starts to write what waits and ends the streams that are at their end, with c.mu held, and unlocks.
func (c *Conn) flushStreams() {
	m := c.mux
	var over, shut []*stream
	for i, o := range m.dirty {
		m.dirty[i] = nil
		o.dirty = false
		switch {
		case o.writing:
		case !o.out.Empty():
			o.writing = true
			m.writers++
			go o.write()
		case o.s.closing():
			over = append(over, o.s)
		case o.s.shutting():
			shut = append(shut, o.s)
		}
	}
	m.dirty = m.dirty[:0]
	if o := &c.main; !o.writing && !o.out.Empty() {
		o.writing = true
		go o.write()
	}
	if c.writing() {
		hurry := c.aborted
		c.mu.Unlock()
		if hurry {
			c.nc.Close() // whoever writes drops the output
		}
	} else {
		c.finishWriting()
	}
	for _, s := range shut {
		s.st.CloseWrite()
		s.st.SetReadDeadline(time.Now().Add(lingerTime)) // for the client's end
	}
	for _, s := range over {
		s.st.Close()
		<-m.slots
	}
}
