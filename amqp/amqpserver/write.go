package amqpserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// writeTries is how many non-blocking writes one flush makes while others go on filling the output.
const writeTries = 4

// unlock ends a change of c, with c.mu held: what came up is seen to at the flush of b, or at once.
func (c *Conn) unlock(b *Batch) {
	if lim := &c.srv.limits; c.out.Size() > lim.HardLimit && c.out.Size()-lim.MaxMessage > lim.HardLimit && !c.ended {
		c.abort(lost(&amqp091.Error{Code: amqp091.ResourceError, Hard: true, Text: "the client does not take its output"}))
	}
	switch {
	case c.out.Empty() && !c.confirming && !c.toServe() && !c.ended:
	case b == nil:
		var v net.Buffers
		c.flush(time.Now(), &v)
		return
	case !c.queued:
		c.queued = true
		b.written = append(b.written, c)
	}
	c.mu.Unlock()
}

// flush sees to what came up, with c.mu held, and unlocks. v is memory for the chunks.
func (c *Conn) flush(now time.Time, v *net.Buffers) {
	if c.confirming {
		c.confirm(now)
	}
	if c.toServe() && !c.serving {
		c.serving = true
		go c.serve()
	}
	if c.writing {
		hurry := c.aborted
		c.mu.Unlock()
		if hurry {
			netserve.Close(c.nc) // whoever writes drops the output
		}
		return
	}
	c.writing = !c.out.Empty()
	for try := 0; c.writing && try < writeTries; try++ {
		*v = c.out.Vector(*v)
		c.mu.Unlock()
		n, err := c.io.TryWrite(*v)
		c.mu.Lock()
		all := n == netserve.Size(*v)
		c.wrote(n, err)
		if !all && c.writing {
			break
		}
	}
	clear(*v)
	if c.writing {
		c.mu.Unlock()
		go c.write()
		return
	}
	c.finishWriting()
}

// confirm puts the confirms that the machine has gathered in the output, with c.mu held.
func (c *Conn) confirm(now time.Time) {
	c.confirming = false
	n := c.machine.Confirms()
	if n == 0 {
		return
	}
	t := c.out.Room(c.srv.chunks, n)
	start := len(t.Buf)
	t.Buf = c.machine.AppendConfirms(now, t.Buf)
	c.out.Added(len(t.Buf) - start)
	c.traceSent(t.Buf[start:])
}

// write is the transient goroutine that writes what a flush could not, and ends when the output is empty.
func (c *Conn) write() {
	var v net.Buffers
	timeout := c.srv.limits.SlowTimeout
	c.mu.Lock()
	for c.writing {
		v = c.out.Vector(v)
		c.mu.Unlock()
		if timeout > 0 {
			c.nc.SetWriteDeadline(time.Now().Add(timeout))
		}
		n, err := c.nc.Write(netserve.Part(c.nc, v[0]))
		c.mu.Lock()
		c.wrote(n, c.writeError(n, err))
	}
	c.finishWriting()
}

// writeError makes of an error of Write what it means: a deadline is an error when nothing at all was taken, or when the
// transport cannot go on after it.
func (c *Conn) writeError(n int, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if n > 0 && netserve.Resumable(c.nc) {
		return nil
	}
	return &amqp091.Error{Code: amqp091.ResourceError, Hard: true, Text: "the client takes no output", Err: err}
}

// wrote notes that n bytes of output are written, with c.mu held. It clears c.writing at the end of the output.
func (c *Conn) wrote(n int, err error) {
	c.out.Advance(n)
	c.counts.bytesSent += int64(n)
	if err != nil {
		c.abort(lost(err))
	}
	if n > 0 && c.ended && !c.shut {
		c.arm(lingerTime)
	}
	if c.aborted {
		c.out.Drop()
	}
	if c.out.Empty() {
		c.writing = false
	}
	if c.recovered != nil && c.out.Size() <= c.srv.limits.HardLimit/4 {
		close(c.recovered)
		c.recovered = nil
	}
	if len(c.starved) > 0 && c.out.Size() <= c.srv.limits.SoftLimit/2 {
		for _, ch := range c.starved {
			ch.starved = false
		}
		c.ready = append(c.ready, c.starved...)
		clear(c.starved)
		c.starved = c.starved[:0]
		if !c.serving {
			c.serving = true
			go c.serve()
		}
	}
}

// finishWriting follows when nobody writes, with c.mu held, and unlocks. After the end of the connection it ends the sending
// side, so that the client reads what was sent before it sees the end, or closes after an abort.
func (c *Conn) finishWriting() {
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
	if !c.ended || c.shut && !c.aborted {
		c.mu.Unlock()
		return
	}
	c.shut = true
	if c.aborted {
		c.mu.Unlock()
		netserve.Close(c.nc)
		return
	}
	c.arm(lingerTime)
	c.mu.Unlock()
	netserve.CloseWrite(c.nc)
}

// lost returns the cause of an end by an error of the transport.
func lost(err error) error {
	if _, ok := errors.AsType[*amqp091.Error](err); ok {
		return fmt.Errorf("%w (%w)", err, net.ErrClosed)
	}
	return fmt.Errorf("amqpserver: connection lost: %w (%w)", err, net.ErrClosed)
}
