package amqpserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// writeTries is how many non-blocking writes one flush makes while others go on filling the output.
const writeTries = 4

// outlet is a way to the client with what waits for it: the connection, or the stream of a channel. The mutex of the Conn
// guards it.
type outlet struct {
	c       *Conn
	s       *stream  // nil: stream 0, or all there is
	nc      net.Conn // what is written to
	io      *netio.Conn
	out     netserve.Output
	writing bool // somebody writes, and goes on until the output is empty
	dirty   bool // among those of the mux
}

// added tells that n bytes were appended to the last chunk of the output.
func (o *outlet) added(n int) {
	o.out.Added(n)
	if o.c.mux != nil {
		o.c.mux.added(o, n)
	}
}

// share puts b in the output without copying it.
func (o *outlet) share(b []byte) {
	o.out.Share(o.c.srv.chunks, b)
	if o.c.mux != nil {
		o.c.mux.added(o, len(b))
	}
}

// outlet returns the way to the client for frames of a channel, with c.mu held; nil when there is none any more.
func (c *Conn) outlet(channel uint16) *outlet {
	if c.mux == nil || channel == 0 {
		return &c.main
	}
	if s := c.mux.streams[channel]; s != nil {
		return &s.outlet
	}
	return nil
}

// waiting returns how many bytes of output wait on the connection, with c.mu held.
func (c *Conn) waiting() int {
	if c.mux != nil {
		return c.mux.size
	}
	return c.main.out.Size()
}

// crowded reports, with c.mu held, whether a message of that size must wait for what is in the output.
func (c *Conn) crowded(o *outlet, size int) bool {
	if c.mux != nil {
		return c.mux.crowded(c, o, size)
	}
	return o.out.Size() > c.srv.limits.SoftLimit
}

// writing reports whether somebody writes, with c.mu held.
func (c *Conn) writing() bool { return c.main.writing || c.mux != nil && c.mux.writers > 0 }

// drop drops the output that nobody writes, with c.mu held. Who writes does it for the rest.
func (c *Conn) drop() {
	if !c.main.writing {
		c.main.drop()
	}
	if c.mux != nil {
		c.mux.drop()
	}
}

// drop drops the output.
func (o *outlet) drop() {
	n := o.out.Size()
	o.out.Drop()
	if m := o.c.mux; m != nil && n > 0 {
		m.size -= n
	}
}

// unlock ends a change of c, with c.mu held: what came up is seen to at the flush of b, or at once.
func (c *Conn) unlock(b *Batch) {
	if lim, n := &c.srv.limits, c.waiting(); n > lim.HardLimit && n-lim.MaxMessage > lim.HardLimit && !c.ended {
		c.abort(lost(&amqp091.Error{Code: amqp091.ResourceError, Hard: true, Text: "the client does not take its output"}))
	}
	switch {
	case c.main.out.Empty() && !c.confirming && !c.toServe() && !c.ended && !c.mux.due():
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
	if c.mux != nil {
		c.flushStreams()
		return
	}
	o := &c.main
	if o.writing {
		hurry := c.aborted
		c.mu.Unlock()
		if hurry {
			netserve.Close(c.nc) // whoever writes drops the output
		}
		return
	}
	o.writing = !o.out.Empty()
	for try := 0; o.writing && try < writeTries; try++ {
		*v = o.out.Vector(*v)
		c.mu.Unlock()
		n, err := o.io.TryWrite(*v)
		c.mu.Lock()
		all := n == netserve.Size(*v)
		o.wrote(n, err)
		if !all && o.writing {
			break
		}
	}
	clear(*v)
	if o.writing {
		c.mu.Unlock()
		go o.write()
		return
	}
	c.finishWriting()
}

// confirm puts the confirms that the machine has gathered in the output, with c.mu held.
func (c *Conn) confirm(now time.Time) {
	c.confirming = false
	if c.mux != nil {
		c.confirmStreams(now)
		return
	}
	n := c.machine.Confirms()
	if n == 0 {
		return
	}
	o := &c.main
	t := o.out.Room(c.srv.chunks, n)
	start := len(t.Buf)
	t.Buf = c.machine.AppendConfirms(now, t.Buf)
	o.added(len(t.Buf) - start)
	c.traceSent(t.Buf[start:])
}

// write is the transient goroutine that writes what a flush could not, and ends when the output is empty.
func (o *outlet) write() {
	var v net.Buffers
	c := o.c
	timeout := c.srv.limits.SlowTimeout
	c.mu.Lock()
	for o.writing {
		v = o.out.Vector(v)
		c.mu.Unlock()
		if timeout > 0 {
			o.nc.SetWriteDeadline(time.Now().Add(timeout))
		}
		n, err := o.nc.Write(netserve.Part(o.nc, v[0]))
		c.mu.Lock()
		o.wrote(n, o.writeError(n, err))
	}
	if c.mux != nil {
		c.flushStreams()
		return
	}
	c.finishWriting()
}

// writeError makes of an error of Write what it means: a deadline is an error when nothing at all was taken, or when the
// transport cannot go on after it.
func (o *outlet) writeError(n int, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if n > 0 && netserve.Resumable(o.nc) {
		return nil
	}
	return &amqp091.Error{Code: amqp091.ResourceError, Hard: true, Text: "the client takes no output", Err: err}
}

// wrote notes that n bytes of output are written, with c.mu held. It clears o.writing at the end of the output.
func (o *outlet) wrote(n int, err error) {
	c := o.c
	o.out.Advance(n)
	c.counts.bytesSent += int64(n)
	if c.mux != nil {
		c.mux.wrote(o, n, err)
		return
	}
	if err != nil {
		c.abort(lost(err))
	}
	if n > 0 && c.ended && !c.shut {
		c.arm(lingerTime)
	}
	if c.aborted {
		o.out.Drop()
	}
	if o.out.Empty() {
		o.writing = false
	}
	if c.recovered != nil && o.out.Size() <= c.srv.limits.HardLimit/4 {
		close(c.recovered)
		c.recovered = nil
	}
	if len(c.starved) > 0 && o.out.Size() <= c.srv.limits.SoftLimit/2 {
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
