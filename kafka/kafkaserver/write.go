package kafkaserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// writeTries is how many non-blocking writes one flush makes while others go on filling the output.
const writeTries = 4

// flush writes what waits as output, with c.mu held, and unlocks.
func (c *Conn) flush() {
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
		c.vector = c.out.Vector(c.vector)
		v := c.vector
		c.mu.Unlock()
		n, err := c.io.TryWrite(v)
		c.mu.Lock()
		all := n == netserve.Size(v)
		c.wrote(n, err)
		if !all && c.writing {
			break
		}
	}
	clear(c.vector)
	if c.writing {
		c.mu.Unlock()
		go c.write()
		return
	}
	c.finishWriting()
}

// write is the transient goroutine that writes what a flush could not, and ends when the output is empty.
func (c *Conn) write() {
	var v net.Buffers
	timeout := c.srv.limits.StallTimeout
	c.mu.Lock()
	for c.writing {
		v = c.out.Vector(v)
		if len(v) == 0 { // nothing but empty pieces
			c.wrote(0, nil)
			continue
		}
		c.mu.Unlock()
		c.nc.SetWriteDeadline(time.Now().Add(timeout))
		n, err := c.writeSome(v)
		c.mu.Lock()
		c.wrote(n, c.writeError(n, err))
	}
	c.finishWriting()
}

// writeSome waits until some of v is written: all of it where the transport can go on after a deadline.
func (c *Conn) writeSome(v net.Buffers) (n int, err error) {
	if len(v) == 1 || !netserve.Resumable(c.nc) {
		return c.nc.Write(netserve.Part(c.nc, v[0]))
	}
	many, err := (&v).WriteTo(c.nc)
	return int(many), err
}

// errStalled is the cause of the end of a client that takes no output, or goes on with no request.
var errStalled = errors.New("kafkaserver: the client has stalled")

// writeError makes of an error of Write what it means: a deadline is an error when nothing at all was taken, or when the
// transport cannot go on after it.
func (c *Conn) writeError(n int, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if n > 0 && netserve.Resumable(c.nc) {
		return nil
	}
	return errStalled
}

// wrote notes that n bytes of output are written, with c.mu held. It clears c.writing at the end of the output.
func (c *Conn) wrote(n int, err error) {
	c.out.Advance(n)
	c.counts.sent += int64(n)
	if n > 0 {
		c.active()
	}
	if err != nil {
		c.abort(lost(err))
	}
	if c.aborted {
		c.out.Drop()
	}
	if c.out.Empty() {
		c.writing = false
	}
	if c.paused && c.out.Size() <= c.srv.limits.OutputLimit {
		c.nudge()
	}
}

// finishWriting follows when nobody writes, with c.mu held, and unlocks. After the end of the connection it ends the
// sending side, so that the client reads what was sent before it sees the end, or closes after an abort.
func (c *Conn) finishWriting() {
	if !c.ended || c.shut && !c.aborted || c.draining && c.queue.len() > 0 {
		c.mu.Unlock()
		return
	}
	c.shut = true
	aborted := c.aborted
	c.rearm()
	c.mu.Unlock()
	if aborted {
		netserve.Close(c.nc)
	} else {
		netserve.CloseWrite(c.nc)
	}
}

// lost returns the cause of an end by an error of the transport.
func lost(err error) error {
	return fmt.Errorf("kafkaserver: connection lost: %w (%w)", err, net.ErrClosed)
}
