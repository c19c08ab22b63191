package mqttserver

import (
	"io"
	"net"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// stream is an ordered sequence of packets in both directions: stream 0, which is all of a connection on TCP, or a data
// stream. Output waits in each of them, and each has somebody who writes it.
type stream struct {
	c  *Conn
	nc net.Conn
	io *netio.Conn
	id uint64
	in input // of the goroutine that reads

	// Under c.mu:
	out       netserve.Output
	sent      int64 // bytes that were written
	lateIn    *Batch
	recovered chan struct{} // closed when the output is no longer late
	drained   chan struct{} // closed when nobody writes any more
	pauses    int           // that were in vain since it is late
	queued    bool          // in the list of a batch, which will flush
	writing   bool          // somebody writes, and goes on until the output is empty
	slow      bool
	refused   bool // the session was refused room in the output
	dead      bool // a data stream that has ended: nothing comes or goes any more
}

// streamShift is how many bits of the number of a stream tell its kind (RFC 9000, section 2.1). Those of data streams are
// zero: the client opens them, and both sides send.
const streamShift = 2

// maxStreams is how many data streams a connection may have during its life: backends may keep their numbers in 25 bits.
const maxStreams = 1 << 25

// streamOf returns a stream of the connection by number, nil when it has ended. c.mu is held.
func (c *Conn) streamOf(id uint64) *stream {
	if id == 0 {
		return &c.stream
	}
	if c.ext != nil {
		if d := c.ext.open[id]; d != nil && !d.dead {
			return &d.stream
		}
	}
	return nil
}

// load returns what counts against the limits of output: the bytes and messages that wait. Beside others a stream counts
// twice, for itself and for all of them together: it may fill no more than what the others leave. So one that is not read
// takes half of the room at most, another one a quarter, and there is always some left. c.mu is held.
func (st *stream) load() (bytes, marks int) {
	bytes, marks = st.out.Size(), st.out.Marks()
	if x := st.c.ext; x != nil && len(x.open) > 0 {
		bytes += x.size + st.c.stream.out.Size()
		marks += x.marks + st.c.stream.out.Marks()
	}
	return bytes, marks
}

// behind reports whether more waits for the stream than a limit allows before those who publish to it are to pause. Where
// others wait together with it, it must have a share in that. c.mu is held.
func (st *stream) behind(limit int) bool {
	size, _ := st.load()
	return size > limit && (st.out.Size() > limit/16 || len(st.c.others()) == 0)
}

// others returns the data streams of the connection, with c.mu held.
func (c *Conn) others() map[uint64]*dataStream {
	if c.ext == nil {
		return nil
	}
	return c.ext.open
}

// recovers reports whether so little waits that there is room again, with c.mu held.
func (st *stream) recovers() bool {
	_, marks := st.load()
	limit := st.c.srv.limits.MaxQueued
	if marks > limit/2 && (st.out.Marks() > limit/32 || len(st.c.others()) == 0) {
		return false
	}
	return !st.behind(st.c.srv.limits.SoftLimit / 2)
}

// grown notes that the output has changed by so many bytes and messages, with c.mu held. Output of a data stream must be
// seen to by unlock.
func (st *stream) grown(bytes, marks int) {
	if st.id == 0 {
		return
	}
	x := st.c.ext
	x.size += bytes
	x.marks += marks
	if bytes > 0 && !st.queued && !st.writing {
		x.dirty = append(x.dirty, st)
	}
}

// dataStream is a stream that the client has opened beside stream 0.
type dataStream struct {
	stream
	flight  int  // messages of QoS 1 and 2 that the client has not acknowledged
	starved bool // one more was refused because of them
}

// dataConn is a stream as a net.Conn.
type dataConn struct {
	netio.Stream
	nc net.Conn
}

func (d dataConn) LocalAddr() net.Addr  { return d.nc.LocalAddr() }
func (d dataConn) RemoteAddr() net.Addr { return d.nc.RemoteAddr() }

// serve is the goroutine of a data stream: it reads and handles input until the stream ends.
func (d *dataStream) serve() {
	x := d.c.ext
	defer x.readers.Done()
	for {
		if err := d.turn(); err != nil {
			if err == io.EOF {
				d.settle()
			}
			d.end()
			return
		}
	}
}

// settle waits, after the end of the client's side, until everything that came is answered and the answers are written.
func (d *dataStream) settle() {
	c := d.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended && !d.dead && (c.machine.Owes(d.id) || d.writing || !d.out.Empty()) {
		drained := make(chan struct{})
		d.drained = drained
		c.mu.Unlock()
		<-drained
		c.mu.Lock()
	}
}

// end ends a data stream: what was in flight on it goes with it, or to other streams where that was agreed.
func (d *dataStream) end() {
	c, x := d.c, d.c.ext
	b := c.srv.takeBatch()
	c.calls.Lock()
	c.mu.Lock()
	told := !c.ended
	d.dead = true
	if told {
		c.machine.CloseStream(b.Now(), d.id, x.keep)
		c.drain(nil)
	}
	if !d.writing {
		size, marks := d.out.Size(), d.out.Marks()
		d.out.Drop()
		d.grown(-size, -marks)
	}
	if d.recovered != nil {
		close(d.recovered)
		d.recovered = nil
	}
	delete(x.open, d.id)
	c.ready = c.ready || told && (d.refused || d.starved) // what was refused there may go elsewhere
	if x.room != nil {
		close(x.room)
		x.room = nil
	}
	x.relax(nil)
	c.unlock(b)
	if s, ok := c.session.(StreamSession); ok && told {
		s.StreamClosed(b, d.id)
	}
	c.call(b)
	c.calls.Unlock()
	b.Flush()
	c.srv.giveBatch(b)
	d.close()
}

// close closes the stream: what was written is still delivered if the client has ended its side, and dropped otherwise.
func (d *dataStream) close() {
	d.nc.SetDeadline(time.Unix(1, 0)) // whoever writes is not to wait any more
	d.nc.Close()
}

// finishData follows when nobody writes a data stream, with c.mu held, and unlocks.
func (st *stream) finishData() {
	c := st.c
	dead, shut := st.dead, c.ended && !c.aborted
	c.mu.Unlock()
	switch {
	case dead:
		st.nc.Close() // whoever reads sees to the rest
	case shut:
		netserve.CloseWrite(st.nc)
	}
}
