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
	throttle time.Duration // stop here and pause
}

// input is what a connection has read and not handled.
type input struct {
	rd    *reader
	left  []byte // the begin of a packet; whole packets if again is set
	need  int    // size of the packet in left when it is too large for a reader's buffer, else 0
	again bool   // left has packets that nobody has looked at
	clock int64  // publish rate: when the last message would have been due, in nanoseconds since the server's epoch
}

// lender is a Conn as netio.Space.
type lender Conn

// Acquire implements netio.Space. Memory for a large packet grows with what has arrived of it.
func (l *lender) Acquire() []byte {
	in := &l.in
	if in.need == 0 {
		in.rd = l.srv.takeReader()
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
		l.srv.giveReader(l.in.rd)
		l.in.rd = nil
	}
}

// read returns the next input, with a reader in c.in.rd.
func (c *Conn) read() ([]byte, error) {
	in := &c.in
	if in.again {
		in.again = false
		in.rd = c.srv.takeReader()
		n := copy(in.rd.buf, in.left)
		in.left = in.left[:0]
		return in.rd.buf[:n], nil
	}
	for {
		n, err := c.io.Read((*lender)(c))
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
func (c *Conn) keep(rest []byte, again bool) {
	in := &c.in
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
	(*lender)(c).Release()
}

// loop reads and handles input until the connection is at its end. It is the goroutine of a connection.
func (c *Conn) loop() {
	for {
		b, err := c.read()
		if err != nil {
			c.finish(err)
			return
		}
		rd := c.in.rd
		rest := b[c.handle(rd, b):]
		for round := 1; round < maxRounds && len(b) >= readSize/2; round++ {
			if b = c.readOn(rd, rest); len(b) == len(rest) {
				rest = b
				break
			}
			rest = b[c.handle(rd, b):]
		}
		pause := rd.throttle
		rd.batch.Flush()
		rd.batch.Wait()
		c.keep(rest, pause > 0)
		if pause > 0 {
			c.rest(pause)
		}
		c.catchUp()
	}
}

// maxRounds is how many reads are handled before a flush, as long as they fill half of the buffer or more.
const maxRounds = 8

// readOn reads once more without waiting, after the rest of the last read. What several reads cause leaves with one
// flush: fewer and larger writes. It returns rest with what came, or rest alone when there is nothing, or a reason to flush
// first. Rest may have moved then.
func (c *Conn) readOn(rd *reader, rest []byte) []byte {
	if rd.throttle > 0 || rd.batch.slow > 0 || len(rd.batch.late) > 0 || rd.batch.bytes > flushBytes || len(rest) > readSize/2 {
		return rest
	}
	n := copy(rd.buf, rest)
	more := c.io.TryRead(rd.buf[n:])
	if more > 0 {
		c.mu.Lock()
		c.counts.bytesReceived += int64(more)
		c.mu.Unlock()
	}
	return rd.buf[:n+more]
}

// catchUp pauses while the client does not take the answers to its packets: they may fill the output once more beyond
// the hard limit.
func (c *Conn) catchUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out.Size()/2 >= c.srv.limits.HardLimit && !c.ended {
		if c.recovered == nil {
			c.recovered, c.pauses = make(chan struct{}), 0
		}
		recovered := c.recovered
		c.throttle = true
		c.mu.Unlock()
		<-recovered
		c.mu.Lock()
		c.throttle = false
	}
}

// rest pauses, while the keep alive stands still.
func (c *Conn) rest(d time.Duration) {
	ctx := c.Context()
	c.setThrottle(true)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	c.setThrottle(false)
}

func (c *Conn) setThrottle(on bool) {
	c.mu.Lock()
	c.throttle = on
	c.mu.Unlock()
}
