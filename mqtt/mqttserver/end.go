package mqttserver

import (
	"io"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// lingerTime is how long a connection stays open after its end so that the client takes the last packets.
const lingerTime = 2 * time.Second

// end ends the life of the connection, with c.mu held: no input is handled any more and nothing is sent but what is in
// the output already.
func (c *Conn) end(cause error) {
	if c.ended {
		return
	}
	c.ended, c.cause = true, cause
	c.machine.Lost()
	if c.recovered != nil {
		close(c.recovered)
		c.recovered = nil
	}
	if c.ext != nil {
		c.ext.end()
	}
	if c.cancel != nil {
		c.cancel()
	}
	if !c.srv.draining() {
		c.arm(lingerTime)
	}
}

// abort is end without the output, with c.mu held. The flush that follows closes the connection.
func (c *Conn) abort(cause error) {
	c.end(cause)
	c.aborted = true
	if !c.writing {
		c.out.Drop()
	}
	if c.ext != nil {
		c.ext.drop()
	}
}

// arm sets the timer, with c.mu held.
func (c *Conn) arm(d time.Duration) {
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
		return
	}
	c.timer.Reset(d)
}

// tick is called by the timer.
func (c *Conn) tick() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		netserve.Close(c.nc)
		return
	}
	now := time.Now()
	if c.throttle {
		c.arm(time.Second)
		c.mu.Unlock()
		return
	}
	c.machine.Advance(now)
	c.drain(nil)
	if at := c.machine.Timeout(); !at.IsZero() && !c.ended {
		c.arm(at.Sub(now))
	}
	c.unlock(nil)
}

// finish is the end of the goroutine that reads: err is why it reads no more.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	if !c.ended {
		c.abort(lost(err))
	}
	var drained chan struct{}
	if err == io.EOF && c.writing && !c.aborted {
		drained = make(chan struct{})
		c.drained = drained
	}
	c.mu.Unlock()
	if drained != nil {
		<-drained
	}
	c.serve()
	c.nc.Close()
	if c.ext != nil {
		c.ext.wait()
	}
	c.mu.Lock()
	c.shut = true
	if !c.writing {
		c.out.Drop()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.srv.remove(c)
	c.srv.logger.Debug("connection ended", "listener", c.listener.Name, "remote", c.nc.RemoteAddr(), "client", c.clientID, "cause", c.cause)
	if f := c.srv.trace.Closed; f != nil {
		f(c, c.cause)
	}
}

// serve makes the calls of the session that came up outside of the goroutine that reads.
func (c *Conn) serve() {
	b := c.srv.takeBatch()
	c.calls.Lock()
	c.call(b)
	c.calls.Unlock()
	b.Flush()
	c.srv.giveBatch(b)
}

// toServe reports whether the session is to be called, with c.mu held.
func (c *Conn) toServe() bool {
	return len(c.todo) > 0 || c.ready || c.ended && !c.detached && c.session != nil
}
