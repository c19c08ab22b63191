package mqttserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/mqtt"
)

// writeTries is how many non-blocking writes one flush makes while others go on filling the output.
const writeTries = 4

// unlock ends a change of c, with c.mu held: what came up is seen to at the flush of b, or at once.
func (c *Conn) unlock(b *Batch) {
	if c.ext != nil && len(c.ext.dirty) > 0 {
		c.ext.see(b)
	}
	switch {
	case c.out.Empty() && !c.toServe() && !c.ended:
	case b == nil:
		var v net.Buffers
		c.flush(&v)
		return
	case !c.queued:
		c.queued = true
		b.written = append(b.written, &c.stream)
	}
	c.mu.Unlock()
}

// flush sees to what came up, with c.mu held, and unlocks. v is memory for the chunks.
func (st *stream) flush(v *net.Buffers) {
	c := st.c
	if c.toServe() && !c.serving {
		c.serving = true
		go c.serve()
	}
	if st.writing {
		hurry := c.aborted
		c.mu.Unlock()
		if hurry {
			netserve.Close(c.nc) // whoever writes drops the output
		}
		return
	}
	st.writing = !st.out.Empty()
	for try := 0; st.writing && try < writeTries; try++ {
		*v = st.out.Vector(*v)
		c.mu.Unlock()
		n, err := st.io.TryWrite(*v)
		c.mu.Lock()
		all := n == netserve.Size(*v)
		st.wrote(n, err)
		if !all && st.writing {
			break
		}
	}
	clear(*v)
	if st.writing {
		c.mu.Unlock()
		go st.write()
		return
	}
	st.finishWriting()
}

// write is the transient goroutine that writes what a flush could not, and ends when the output is empty.
func (st *stream) write() {
	c := st.c
	var v net.Buffers
	timeout := c.srv.limits.SlowTimeout
	c.mu.Lock()
	for st.writing {
		v = st.out.Vector(v)
		c.mu.Unlock()
		if timeout > 0 {
			st.nc.SetWriteDeadline(time.Now().Add(timeout))
		}
		n, err := st.nc.Write(netserve.Part(st.nc, v[0]))
		c.mu.Lock()
		st.wrote(n, st.writeError(n, err))
	}
	st.finishWriting()
}

// writeError makes of an error of Write what it means: a deadline is an error when nothing at all was taken, or when the
// transport cannot go on after it.
func (st *stream) writeError(n int, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if n > 0 && netserve.Resumable(st.nc) {
		return nil
	}
	return &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Reason: "slow consumer", Err: err}
}

// wrote notes that n bytes of output are written, with c.mu held. It clears st.writing at the end of the output.
func (st *stream) wrote(n int, err error) {
	c, before, marks := st.c, st.out.Size(), st.out.Marks()
	st.out.Advance(n)
	c.counts.bytesSent += int64(n)
	st.sent += int64(n)
	switch {
	case err == nil:
	case st.id == 0:
		c.abort(lost(err))
	default:
		st.dead = true
	}
	if c.aborted || st.dead {
		st.out.Drop()
	}
	if st.out.Empty() {
		st.writing = false
	}
	st.grown(st.out.Size()-before, st.out.Marks()-marks)
	st.relax()
	if c.ext != nil {
		c.ext.relax(st)
	}
}

// relax tells those who wait that there is room in the output again, if there is, with c.mu held.
func (st *stream) relax() {
	c := st.c
	if !st.recovers() {
		return
	}
	if st.recovered != nil {
		close(st.recovered)
		st.recovered = nil
	}
	if st.slow {
		st.slow = false
		if f := c.srv.trace.Slow; f != nil {
			f(c, false)
		}
	}
	if st.refused {
		st.refused = false
		c.tellReady()
	}
}

// tellReady has the session told that there is room, with c.mu held.
func (c *Conn) tellReady() {
	c.ready = true
	if !c.serving {
		c.serving = true
		go c.serve()
	}
}

// finishWriting follows when nobody writes, with c.mu held, and unlocks. After the end of the connection it closes, or
// ends the sending side, so that the client reads what was sent before it sees the end.
func (st *stream) finishWriting() {
	c := st.c
	if st.drained != nil {
		close(st.drained)
		st.drained = nil
	}
	if st.id != 0 {
		st.finishData()
		return
	}
	if !c.ended || c.shut && !c.aborted {
		c.mu.Unlock()
		return
	}
	c.shut = true
	abrupt := c.aborted || c.bye != nil
	if !abrupt {
		c.arm(lingerTime)
	}
	var idle []*dataStream
	if c.ext != nil && !abrupt {
		idle = c.ext.idle()
	}
	c.mu.Unlock()
	if abrupt {
		netserve.Close(c.nc)
		return
	}
	netserve.CloseWrite(c.nc)
	for _, d := range idle { // the others follow when their output is written
		netserve.CloseWrite(d.nc)
	}
}

// lost returns the cause of an end by an error of the transport.
func lost(err error) error {
	if _, ok := errors.AsType[*mqtt.Error](err); ok {
		return fmt.Errorf("%w (%w)", err, net.ErrClosed)
	}
	return fmt.Errorf("mqttserver: connection lost: %w (%w)", err, net.ErrClosed)
}
