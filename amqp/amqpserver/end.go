package amqpserver

import (
	"io"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// lingerTime is how long a connection stays open after its end while nothing moves, so that the client takes the last frames.
// What it still sends until it has seen them is read and dropped: a TCP connection that is closed with input unread is reset,
// and a reset may take the last frames from the client.
const lingerTime = 2 * time.Second

// lingerLimit is how long a connection stays open after its end at most.
const lingerLimit = 30 * time.Second

// closing notes, with c.mu held, that the session is at its end: channels are closed, only the last words are exchanged.
func (c *Conn) closing(cause error) {
	if c.down {
		return
	}
	c.down, c.cause = true, cause
	c.release()
	c.mux.release()
	if c.cancel != nil {
		c.cancel()
	}
	c.rearm()
}

// end ends the life of the connection, with c.mu held: no input is handled any more and nothing is sent but what is in
// the output already.
func (c *Conn) end(cause error) {
	if c.ended {
		return
	}
	c.closing(cause)
	c.ended = true
	c.machine.Lost()
	if c.recovered != nil {
		close(c.recovered)
		c.recovered = nil
	}
	c.nc.SetReadDeadline(time.Now().Add(lingerLimit))
	if !c.srv.draining() {
		c.arm(lingerTime)
	}
}

// abort is end without the output, with c.mu held. The flush that follows closes the connection.
func (c *Conn) abort(cause error) {
	c.end(cause)
	c.aborted = true
	c.drop()
}

// arm sets the timer, with c.mu held.
func (c *Conn) arm(d time.Duration) {
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
		return
	}
	c.timer.Reset(d)
}

// rearm sets the timer to what the machine waits for, with c.mu held.
func (c *Conn) rearm() {
	if at := c.machine.Timeout(); !at.IsZero() && !c.ended {
		c.arm(max(time.Until(at), 0))
	}
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
	if c.busy.Load() && !c.paused {
		c.machine.Pause(now, false) // as if something had come
	}
	c.machine.Advance(now)
	c.drain(nil)
	c.rearm()
	c.unlock(nil)
}

// setPaused tells the machine that the client is not read on purpose, or is read again, with c.mu held. Where channels have streams of
// their own that holds while one of them is not read: what waits on it may hold up the others in the transport.
func (c *Conn) setPaused(paused bool) {
	if paused {
		c.pauses++
	} else {
		c.pauses--
	}
	if was := c.paused; c.down || was == (c.pauses > 0) {
		return
	}
	c.paused = paused
	c.machine.Pause(time.Now(), paused)
	c.rearm()
}

// finish is the end of the goroutine that reads: err is why it reads no more.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	if !c.ended {
		if c.down {
			c.end(nil) // it has said goodbye
		} else {
			c.abort(lost(err))
		}
	}
	var drained chan struct{}
	if err == io.EOF && c.writing() && !c.aborted {
		drained = make(chan struct{})
		c.drained = drained
	}
	c.mu.Unlock()
	if drained != nil {
		<-drained
	}
	c.serve()
	c.nc.Close()
	c.mux.wait()
	c.mu.Lock()
	c.shut = true
	c.drop()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.srv.remove(c)
	c.srv.logger.Debug("connection ended", "listener", c.listener.Name, "remote", c.nc.RemoteAddr(), "user", c.user, "cause", c.cause)
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
	return len(c.gone) > 0 || len(c.ready) > 0 || c.down && !c.detached
}
