package mqttserver

import (
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// readSize is the size of the buffer that a read fills.
const readSize = 64 << 10

// keptSize is how much memory for a partial packet a connection keeps when it does not need it.
const keptSize = 1 << 10

// reader is what handling input takes. Connections that wait hold none.
type reader struct {
	buf   []byte
	dec   mqtt.Decoder
	batch *Batch
	more  []mqtt.Event // of a packet, after the first one

	ready    bool          // tell the session at the end of the batch
	early    bool          // stop here until the handshake is complete
	throttle time.Duration // stop here and pause
}

// input is what a connection has read and not handled.
type input struct {
	rd    *reader
	left  []byte // the begin of a packet; whole packets if again is set
	need  int    // size of the packet in left when it is too large for a reader's buffer, else 0
	again bool   // left has packets that nobody has looked at
}

// lender is a stream as netio.Space.
type lender stream

// Acquire implements netio.Space. Memory for a large packet grows with what has arrived of it.
func (l *lender) Acquire() []byte {
	in := &l.in
	if in.need == 0 {
		in.rd = l.c.srv.takeReader()
		return in.rd.buf[len(in.left):]
	}
	if n := len(in.left); n == cap(in.left) {
		grown := make([]byte, n, min(in.need, max(2*n, 4<<10)))
		copy(grown, in.left)
		in.left = grown
	}
	return in.left[len(in.left):cap(in.left)]
}

// Release implements netio.Space.
func (l *lender) Release() {
	if l.in.rd != nil {
		l.c.srv.giveReader(l.in.rd)
		l.in.rd = nil
	}
}

// read returns the next input, with a reader in st.in.rd.
func (st *stream) read() ([]byte, error) {
	c, in := st.c, &st.in
	if in.again {
		in.again = false
		in.rd = c.srv.takeReader()
		n := copy(in.rd.buf, in.left)
		in.left = in.left[:0]
		return in.rd.buf[:n], nil
	}
	for {
		n, err := st.io.Read((*lender)(st))
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.counts.bytesReceived += int64(n)
		c.mu.Unlock()
		if in.need == 0 {
			n += copy(in.rd.buf, in.left)
			in.left = in.left[:0]
			return in.rd.buf[:n], nil
		}
		in.left = in.left[:len(in.left)+n]
		if len(in.left) == in.need {
			b := in.left
			in.left, in.need = nil, 0
			in.rd = c.srv.takeReader()
			return b, nil
		}
	}
}

// keep keeps the rest of the input until more comes; again says that it may have whole packets. It gives the reader back.
func (st *stream) keep(rest []byte, again bool) {
	in := &st.in
	in.again = again && len(rest) > 0
	if len(rest) > 0 && !again {
		if n, err := mqtt.FrameSize(rest); err == nil && n > len(in.rd.buf) {
			in.need = n
		}
	}
	if cap(in.left) > keptSize {
		in.left = nil
	}
	in.left = append(in.left[:0], rest...)
	(*lender)(st).Release()
}

// loop reads and handles input until the connection is at its end. It is the goroutine of a connection.
func (c *Conn) loop() {
	for {
		if err := c.turn(); err != nil {
			c.finish(err)
			return
		}
	}
}

// turn reads and handles input once.
func (st *stream) turn() error {
	b, err := st.read()
	if err != nil {
		return err
	}
	rd := st.in.rd
	rest := b[st.handle(rd, b):]
	for round := 1; round < maxRounds && len(b) >= readSize/2; round++ {
		if b = st.readOn(rd, rest); len(b) == len(rest) {
			rest = b
			break
		}
		rest = b[st.handle(rd, b):]
	}
	pause, early := rd.throttle, rd.early
	rd.batch.Flush()
	rd.batch.Wait()
	st.keep(rest, pause > 0 || early)
	if pause > 0 {
		st.rest(pause)
	}
	if early {
		if err := st.c.ext.confirm(); err != nil {
			return err
		}
	}
	st.catchUp()
	return nil
}

// maxRounds is how many reads are handled before a flush, as long as they fill half of the buffer or more.
const maxRounds = 8

// readOn reads once more without waiting, after the rest of the last read. What several reads cause leaves with one
// flush: fewer and larger writes. It returns rest with what came, or rest alone when there is nothing, or a reason to flush
// first. Rest may have moved then.
func (st *stream) readOn(rd *reader, rest []byte) []byte {
	c := st.c
	if rd.throttle > 0 || rd.early || rd.batch.slow > 0 || len(rd.batch.late) > 0 || rd.batch.bytes > flushBytes || len(rest) > readSize/2 {
		return rest
	}
	n := copy(rd.buf, rest)
	more := st.io.TryRead(rd.buf[n:])
	if more > 0 {
		c.mu.Lock()
		c.counts.bytesReceived += int64(more)
		c.mu.Unlock()
	}
	return rd.buf[:n+more]
}

// catchUp pauses while the client does not take the answers to its packets: they may fill the output once more beyond
// the hard limit, of several streams half as much, so that each leaves room to the others.
func (st *stream) catchUp() {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		size, _ := st.load()
		if limit := c.srv.limits.HardLimit; size/2 < limit && (size-limit < limit/2 || len(c.others()) == 0) || c.ended || st.dead {
			return
		}
		if st.recovered == nil {
			st.recovered, st.pauses = make(chan struct{}), 0
		}
		recovered := st.recovered
		c.throttle = c.throttle || st.id == 0
		c.mu.Unlock()
		<-recovered
		c.mu.Lock()
		c.throttle = c.throttle && st.id != 0
	}
}

// rest pauses. While that keeps the client's PINGREQ from being read, the keep alive stands still.
func (st *stream) rest(d time.Duration) {
	c := st.c
	ctx := c.Context()
	if st.id == 0 {
		c.setThrottle(true)
		defer c.setThrottle(false)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *Conn) setThrottle(on bool) {
	c.mu.Lock()
	c.throttle = on
	c.mu.Unlock()
}
