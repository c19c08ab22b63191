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
func (st *stream) flush() {
	c := st.c
	if st.writing {
		hurry := c.aborted
		c.mu.Unlock()
		if hurry {
			netserve.Close(st.nc) // whoever writes drops the output
		}
		return
	}
	st.writing = !st.out.Empty()
	for try := 0; st.writing && try < writeTries; try++ {
		st.vector = st.out.Vector(st.vector)
		v, part := st.vector, st.out.File()
		size := netserve.Size(v) + part.Size
		c.mu.Unlock()
		n, err := st.put(v, part, false)
		c.mu.Lock()
		all := n == size
		st.wrote(n, err)
		if !all && st.writing {
			break
		}
	}
	clear(st.vector)
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
	timeout := c.srv.limits.StallTimeout
	c.mu.Lock()
	for st.writing {
		v = st.out.Vector(v)
		part := st.out.File()
		if len(v) == 0 && part.Size == 0 { // nothing but empty pieces
			st.wrote(0, nil)
			continue
		}
		c.mu.Unlock()
		st.nc.SetWriteDeadline(time.Now().Add(timeout))
		n, err := st.put(v, part, true)
		c.mu.Lock()
		st.wrote(n, st.writeError(n, err))
	}
	st.finishWriting()
}

// put writes the front of the output: v, or the part of a file if there is one. With wait it waits until some of it is written.
func (st *stream) put(v net.Buffers, part netserve.FilePart, wait bool) (n int, err error) {
	switch {
	case part.Size > 0 && wait:
		return st.io.SendFile(part.File, part.Offset, part.Size)
	case part.Size > 0:
		return st.io.TrySendFile(part.File, part.Offset, part.Size)
	case wait:
		return st.writeSome(v)
	}
	return st.io.TryWrite(v)
}

// writeSome waits until some of v is written: all of it where the transport can go on after a deadline.
func (st *stream) writeSome(v net.Buffers) (n int, err error) {
	if len(v) == 1 || !netserve.Resumable(st.nc) {
		return st.nc.Write(netserve.Part(st.nc, v[0]))
	}
	many, err := (&v).WriteTo(st.nc)
	return int(many), err
}

// errStalled is the cause of the end of a client that takes no output, or goes on with no request.
var errStalled = errors.New("kafkaserver: the client has stalled")

// writeError makes of an error of Write what it means: a deadline is an error when nothing at all was taken, or when the
// transport cannot go on after it.
func (st *stream) writeError(n int, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if n > 0 && netserve.Resumable(st.nc) {
		return nil
	}
	return errStalled
}

// wrote notes that n bytes of output are written, with c.mu held. It clears st.writing at the end of the output.
func (st *stream) wrote(n int, err error) {
	c := st.c
	st.out.Advance(n)
	c.counts.sent += int64(n)
	if n > 0 {
		c.active()
	}
	switch {
	case err == nil:
	case st.isMain() || errors.Is(err, errStalled):
		c.abort(lost(err))
	default:
		st.gone = true // the client wants no responses; it may still close in good order
	}
	if c.aborted || st.gone {
		st.out.Drop()
	}
	if st.out.Empty() {
		st.writing = false
	}
	st.count()
	if c.output <= c.srv.limits.OutputLimit {
		c.room(st)
	}
}

// finishWriting follows when nobody writes, with c.mu held, and unlocks. After the end of the connection it ends the
// sending side, so that the client reads what was sent before it sees the end, or closes after an abort.
func (st *stream) finishWriting() {
	c := st.c
	if !st.isMain() {
		st.nudge() // it may be at its end
		if c.aborted {
			c.main.flush()
			return
		}
		c.mu.Unlock()
		return
	}
	if !c.ended || c.shut && !c.aborted || c.draining && st.queue.len() > 0 || len(c.others) > 0 && !c.aborted {
		c.mu.Unlock()
		return
	}
	c.shut = true
	aborted := c.aborted
	c.rearm()
	c.mu.Unlock()
	if aborted {
		netserve.Close(st.nc)
	} else {
		netserve.CloseWrite(st.nc)
	}
}

// lost returns the cause of an end by an error of the transport.
func lost(err error) error {
	return fmt.Errorf("kafkaserver: connection lost: %w (%w)", err, net.ErrClosed)
}
