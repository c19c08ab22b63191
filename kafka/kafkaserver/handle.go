package kafkaserver

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// dispatch hands a request to whoever answers it. It is false at the end of the connection.
func (st *stream) dispatch(r *Request) bool {
	c := st.c
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		c.giveFrame(r.frame)
		return false
	}
	st.queue.push(r)
	beside := st.aside.busy || r.size >= asideSize
	if st.current = r; beside {
		st.current = nil
	}
	c.bytes += r.size
	if r.Key == kafkawire.KeyFetch {
		st.fetches++
	}
	c.counts.requests++
	authentic, expires := c.authentic, c.expires
	c.mu.Unlock()
	if f := c.srv.trace.Request; f != nil {
		f(r)
	}
	switch {
	case r.Key == kafkawire.KeyAPIVersions:
		c.apiVersions(r)
		return true
	case (r.Key == kafkawire.KeySASLHandshake || r.Key == kafkawire.KeySASLAuthenticate) && r.Key.Supports(r.Version):
		return st.sasl(r)
	}
	if err := st.mayHandle(r, authentic, expires); err != nil {
		r.Fail(err)
		return false
	}
	st.handle(r, beside)
	return true
}

// sasl answers a request of the client's authentication, which belongs on the main stream. It is false at the end of the
// connection.
func (st *stream) sasl(r *Request) bool {
	switch {
	case !st.isMain():
		r.Fail(errOutOfOrder)
		return false
	case r.Key == kafkawire.KeySASLHandshake:
		return st.c.handshake(r)
	}
	return st.c.authenticate(r)
}

// mayHandle makes sure that the client is let in and that the backend knows the request.
func (st *stream) mayHandle(r *Request, authentic bool, expires time.Time) error {
	if !authentic {
		if err := st.c.letAnonymous(); err != nil {
			return err
		}
	} else if !expires.IsZero() && r.Received.After(expires) {
		return errExpired
	}
	if st.session == nil {
		if err := st.connect(); err != nil {
			return fmt.Errorf("kafkaserver: the backend takes no connection: %w", err)
		}
	}
	if !st.apis.takes(r.Key, r.Version) {
		return kafkawire.ErrUnsupportedVersion
	}
	return nil
}

// takes reports whether a backend takes a request.
func (a *APIs) takes(key kafkawire.APIKey, version int16) bool {
	if !key.Supports(version) {
		return false
	}
	for i := range a.Versions {
		if v := &a.Versions[i]; v.Key == key {
			return v.Min <= version && version <= v.Max
		}
	}
	return false
}

// answered takes the answer to a request.
func (st *stream) answered(r *Request, rep reply) {
	c := st.c
	now := time.Now()
	c.mu.Lock()
	if r.done {
		c.mu.Unlock()
		rep.release()
		c.srv.logger.Error("a request was answered twice", "remote", c.nc.RemoteAddr(), "request", r.Key)
		return
	}
	r.done = true
	r.reply = rep
	c.output += rep.size // until it moves on to st.out
	frame := r.frame
	r.frame, r.Body = nil, nil
	c.bytes -= r.size
	if r.Key == kafkawire.KeyFetch {
		st.fetches--
	}
	c.srv.counts.answered(r.Key, now.Sub(r.Received))
	if f := c.srv.trace.Response; f != nil {
		f(r, rep.size)
	}
	if r == st.queue.front() {
		st.advance()
	}
	later := r == st.current && !c.ended && !st.eof
	c.room(st)
	if later {
		c.mu.Unlock() // the reader flushes
	} else {
		st.flush()
	}
	if frame != nil {
		c.giveFrame(frame)
	}
}

// room wakes who waits for requests in process to be fewer, or for output to leave, with c.mu held. st is where that happened.
func (c *Conn) room(st *stream) {
	if st.paused || st.eof {
		st.nudge()
	}
	if len(c.others) == 0 {
		return
	}
	c.eachStream(func(st *stream) {
		if st.paused {
			st.nudge()
		}
	})
}

// advance puts the answers at the front of the queue in the output, with c.mu held.
func (st *stream) advance() {
	c := st.c
	for r := st.queue.front(); r != nil && r.done; r = st.queue.front() {
		st.queue.pop()
		c.output -= r.reply.size
		if c.ended && !c.draining || st.gone {
			r.reply.release()
			continue
		}
		if r.reply.buf != nil {
			c.counts.responses++
		}
		r.reply.appendTo(&st.out, c.srv.chunks)
	}
	st.count()
}
