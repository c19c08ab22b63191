package kafkaserver

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// dispatch hands a request to whoever answers it. It is false at the end of the connection.
func (c *Conn) dispatch(r *Request) bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		c.giveFrame(r.frame)
		return false
	}
	c.queue.push(r)
	beside := c.aside.busy || r.size >= asideSize
	if c.current = r; beside {
		c.current = nil
	}
	c.bytes += r.size
	if r.Key == kafkawire.KeyFetch {
		c.fetches++
	}
	c.counts.requests++
	c.mu.Unlock()
	if f := c.srv.trace.Request; f != nil {
		f(r)
	}
	switch {
	case r.Key == kafkawire.KeyAPIVersions:
		c.apiVersions(r)
		return true
	case r.Key == kafkawire.KeySASLHandshake && r.Key.Supports(r.Version):
		return c.handshake(r)
	case r.Key == kafkawire.KeySASLAuthenticate && r.Key.Supports(r.Version):
		return c.authenticate(r)
	}
	if err := c.mayHandle(r); err != nil {
		r.Fail(err)
		return false
	}
	c.handle(r, beside)
	return true
}

// mayHandle makes sure that the client is let in and that the backend knows the request.
func (c *Conn) mayHandle(r *Request) error {
	if !c.auth.done {
		if err := c.anonymous(); err != nil {
			return err
		}
	} else if c.auth.expired(r.Received) {
		return errExpired
	}
	if c.session == nil {
		session, err := c.srv.backend.Connect(c)
		if err != nil {
			return fmt.Errorf("kafkaserver: the backend takes no connection: %w", err)
		}
		c.session = session
		c.auth.apis = c.srv.backend.APIs()
	}
	if !c.auth.apis.takes(r.Key, r.Version) {
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
func (c *Conn) answered(r *Request, rep reply) {
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
	frame := r.frame
	r.frame, r.Body = nil, nil
	c.bytes -= r.size
	if r.Key == kafkawire.KeyFetch {
		c.fetches--
	}
	c.srv.counts.answered(r.Key, now.Sub(r.Received))
	if f := c.srv.trace.Response; f != nil {
		f(r, rep.size)
	}
	if r == c.queue.front() {
		c.advance()
	}
	later := r == c.current && !c.ended
	if c.paused {
		c.nudge()
	}
	if later {
		c.mu.Unlock() // the reader flushes
	} else {
		c.flush()
	}
	if frame != nil {
		c.giveFrame(frame)
	}
}

// advance puts the answers at the front of the queue in the output, with c.mu held.
func (c *Conn) advance() {
	for r := c.queue.front(); r != nil && r.done; r = c.queue.front() {
		c.queue.pop()
		if c.ended && !c.draining {
			r.reply.release()
			continue
		}
		if r.reply.buf != nil {
			c.counts.responses++
		}
		r.reply.appendTo(&c.out, c.srv.chunks)
	}
}
