package amqpserver

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
)

// stream is the stream of a channel. It carries one channel from channel.open to its end. The client opens it; the channel
// is known by the first frame.
//
// When the channel has ended by channel.close and close-ok, from whichever side, the server ends its sending side behind the
// last frame and has the client do the same. When the stream ends before, in either direction, the channel ends as if the
// client had closed it, but for the close-ok.
type stream struct {
	outlet
	st netio.Stream
	in input // of the goroutine that reads

	// The mutex of the Conn guards the rest.
	channel  uint16 // 0: not known yet
	ch       *Channel
	deadline time.Time // for channel.open
	waits    *stream   // that of a channel with the same number, which is about to end
	late     bool      // it has waited too long
	over     bool      // there is no channel any more, nor will there be
	broken   bool      // it cannot be written
	read     bool      // nothing more is read
	shut     bool      // the sending side has ended
	closed   bool
}

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	nc net.Conn
}

// LocalAddr implements net.Conn.
func (c streamConn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c streamConn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// serveStream serves a new stream, in a goroutine of its own.
func (c *Conn) serveStream(st netio.Stream) {
	m := c.mux
	nc := streamConn{st, c.nc}
	s := &stream{st: st, deadline: time.Now().Add(c.srv.limits.HandshakeTimeout)}
	s.outlet = outlet{c: c, s: s, nc: nc, io: netio.NewConn(nc)}
	s.in = input{c: c, s: s, io: s.io}
	c.mu.Lock()
	m.all[s] = struct{}{}
	c.mu.Unlock()
	st.SetReadDeadline(s.deadline)
	m.served.Go(func() { s.finish(s.in.loop()) })
}

// errWait: the bytes of a stream can not be handled now, or not at all.
var errWait = errors.New("amqpserver: not now")

// receive gives the machine what came on the stream, with c.mu held.
func (s *stream) receive(now time.Time, b []byte) (n int, err error) {
	c := s.c
	switch {
	case c.down, s.broken:
		return len(b), nil
	case len(b) == 0:
		return 0, nil
	case s.over:
		return s.violation(now, b, amqp091.ChannelError, "frame on a stream behind the end of its channel")
	case s.channel != 0:
		return c.machine.ReceiveOn(now, s.channel, b)
	case len(b) < 3:
		return 0, nil
	}
	id := binary.BigEndian.Uint16(b[1:])
	other := c.mux.streams[id]
	switch {
	case id == 0:
		return s.violation(now, b, amqp091.CommandInvalid, "frame of channel 0 on the stream of a channel")
	case other == nil:
		s.channel = id
		c.mux.streams[id] = s
		return c.machine.ReceiveOn(now, id, b)
	case c.machine.Channel(id) != nil || other.ch == nil || s.late:
		return s.violation(now, b, amqp091.ChannelError, "second stream for a channel")
	}
	// The server has closed the channel, and what the client has said to that is still under way on the other stream.
	s.waits = other
	s.in.rd.stop = true
	return 0, errWait
}

// violation closes the connection because of what came on the stream.
func (s *stream) violation(now time.Time, b []byte, code amqp091.Code, text string) (n int, err error) {
	s.c.machine.Close(now, amqp091.HardError(code, "%s", text))
	return len(b), errWait
}

// waitFree waits for the end of the channel that has the number of this one, with c.mu held.
func (s *stream) waitFree() {
	c := s.c
	if s.waits == nil {
		return
	}
	t := time.NewTimer(time.Until(s.deadline))
	defer t.Stop()
	for c.mux.streams[s.waits.channel] == s.waits && !c.down && !s.late {
		if c.mux.freed == nil {
			c.mux.freed = make(chan struct{})
		}
		freed := c.mux.freed
		c.mu.Unlock()
		late := false
		select {
		case <-freed:
		case <-t.C:
			late = true
		}
		c.mu.Lock()
		s.late = late
	}
	s.waits = nil
}

// opened notes, with c.mu held, that the channel is there: the client may be silent now.
func (s *stream) opened(ch *Channel) {
	s.ch = ch
	s.st.SetReadDeadline(time.Time{})
}

// unbind notes, with c.mu held, that the channel with a number has ended, and all that is to be said on it is in the output.
func (c *Conn) unbind(channel uint16) {
	if c.mux == nil {
		return
	}
	if s := c.mux.streams[channel]; s != nil {
		s.release()
	}
}

// release makes the number of the channel free, with c.mu held.
func (s *stream) release() {
	m := s.c.mux
	if m.streams[s.channel] == s {
		delete(m.streams, s.channel)
		m.wake()
	}
	s.over = true
	m.touch(&s.outlet)
}

// lose ends the channel of a stream that has ended before it, with c.mu held.
func (c *Conn) lose(s *stream) {
	if s.ch != nil && !c.ended {
		s.ch.m.Lost(nil)
		c.drain(nil)
	}
	s.release()
}

// finish is the end of the goroutine that reads: err is why it reads no more.
func (s *stream) finish(error) {
	c := s.c
	c.mu.Lock()
	s.read = true
	c.lose(s)
	c.unlock(nil)
}

// closing reports, with c.mu held and nothing to write, whether the stream is to be closed now.
func (s *stream) closing() bool {
	if s.closed || !s.broken && !(s.over && s.read) {
		return false
	}
	s.closed = true
	delete(s.c.mux.all, s)
	return true
}

// shutting reports, with c.mu held and nothing to write, whether the sending side is to end now.
func (s *stream) shutting() bool {
	if s.closed || s.shut || !s.over {
		return false
	}
	s.shut = true
	return true
}
