package kafkaserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// lingerTime is how long a connection stays open after its end, so that the client takes the last responses. What it still
// sends until it has seen the end is read and dropped: a TCP connection that is closed with input unread is reset, and a
// reset may take the last responses from the client.
const lingerTime = 2 * time.Second

// lingerLimit is how long a connection is read after its end at most.
const lingerLimit = 30 * time.Second

// The causes of the end of a silent client.
var (
	errIdle      = errors.New("kafkaserver: nothing has moved for too long")
	errHandshake = errors.New("kafkaserver: the client has not authenticated in time")
)

// end ends the life of the connection, with c.mu held: no request is handled any more, and nothing is sent but what is in
// the output already.
func (c *Conn) end(cause error) {
	if c.ended {
		return
	}
	c.ended, c.cause = true, cause
	if c.cancel != nil {
		c.cancel()
	}
	c.eachStream(func(st *stream) {
		st.nudge()
		st.nc.SetReadDeadline(longAgo) // the reader is to know
	})
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// abort is end without the output, with c.mu held. The flush that follows closes the connection.
func (c *Conn) abort(cause error) {
	c.end(cause)
	c.aborted, c.draining = true, false
	c.eachStream(func(st *stream) {
		if !st.writing {
			st.out.Drop()
			st.count()
		}
		st.nudge()
	})
}

// fail ends the connection because of what the client or the backend did. It is logged.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if !c.ended {
		c.srv.logger.Warn("connection closed", "listener", c.listener.Name, "remote", c.nc.RemoteAddr(), "principal", c.principal, "err", err)
		c.end(fmt.Errorf("%w (%w)", err, net.ErrClosed))
	}
	c.main.flush()
}

// drain ends the connection when what is in process is answered.
func (c *Conn) drain() {
	c.mu.Lock()
	if !c.ended {
		c.draining = true
		c.end(ErrServerClosed)
	}
	c.main.flush()
}

// finish is the end of the goroutine that reads the main stream: err is why it reads no more.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	switch {
	case c.ended:
		c.abort(nil)
	case c.main.unexpected(err) == io.EOF:
		c.abort(nil)
	default:
		c.abort(lost(c.main.unexpected(err)))
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	cause := c.cause
	c.main.flush()
	c.main.dropFrame()
	c.awaitStreams()
	c.main.leave(cause)
	c.nc.Close()
	c.srv.remove(c)
	c.srv.logger.Debug("connection ended", "listener", c.listener.Name, "remote", c.nc.RemoteAddr(), "cause", cause)
	if f := c.srv.trace.Closed; f != nil {
		f(c, cause)
	}
}

// leave tells the session that it is over, once. One that streams share is told by the main one.
func (st *stream) leave(cause error) {
	s := st.session
	if st.isMain() && s == nil {
		st.c.letting.Lock()
		s = st.c.session // another stream has made it
		st.c.letting.Unlock()
	}
	if s != nil && !st.left {
		st.awaitAside()
		st.left = true
		s.Closed(cause)
	}
}

// lingers reports whether the connection has ended but is still read: the client has to see the last responses. err is that
// of the read.
func (c *Conn) lingers(err error) bool {
	c.mu.Lock()
	ok, draining, cause := c.ended && !c.aborted && errors.Is(err, os.ErrDeadlineExceeded), c.draining, c.cause
	if ok {
		limit := time.Time{}
		if !draining {
			limit = time.Now().Add(lingerLimit)
		}
		c.nc.SetReadDeadline(limit)
		ok = !c.lingering
		c.lingering = true
	}
	c.mu.Unlock()
	if !ok {
		return false
	}
	if d, is := c.main.session.(Drainer); draining && is {
		c.main.awaitAside()
		d.Drain()
	} else if !draining && c.streams == nil {
		c.main.leave(cause)
	}
	return true
}

// rearm sets the timer to what is due next, with c.mu held.
func (c *Conn) rearm() {
	d := c.due(time.Now())
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else if c.shut {
		c.timer.Reset(max(d, 0))
	}
}

// due returns how long the connection may still do what it does, with c.mu held. It is not positive when that has been too
// long.
func (c *Conn) due(now time.Time) time.Duration {
	lim := &c.srv.limits
	silence := now.Sub(c.srv.epoch) - time.Duration(c.moved.Load())
	switch {
	case c.shut:
		return lingerTime - silence
	case c.ended:
		return lim.StallTimeout // whoever writes sees to it
	case !c.authentic && !c.lenient, !c.isConfirmed():
		return lim.HandshakeTimeout - now.Sub(c.begun)
	}
	works, rest := false, lim.StallTimeout
	c.eachStream(func(st *stream) {
		switch {
		case st.busy || st.paused || st.queue.len() > 0 || st.writing:
			works = true
		case st.partial:
			rest = min(rest, lim.StallTimeout-(now.Sub(c.srv.epoch)-time.Duration(st.since)))
		}
	})
	switch {
	case works:
		return min(lim.IdleTimeout, rest)
	case c.partial():
		return rest
	}
	return min(lim.IdleTimeout-silence, rest)
}

// partial reports whether a request has begun to arrive, with c.mu held.
func (c *Conn) partial() (is bool) {
	c.eachStream(func(st *stream) { is = is || st.partial })
	return is
}

// tick is called by the timer.
func (c *Conn) tick() {
	c.mu.Lock()
	d := c.due(time.Now())
	if d > 0 {
		c.timer.Reset(d)
		c.mu.Unlock()
		return
	}
	switch {
	case c.shut:
		c.mu.Unlock()
		netserve.Close(c.nc)
		return
	case !c.authentic && !c.lenient, !c.isConfirmed():
		c.abort(lost(errHandshake))
	case c.partial():
		c.abort(lost(errStalled))
	default:
		c.abort(lost(errIdle))
	}
	c.main.flush()
}
