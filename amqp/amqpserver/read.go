package amqpserver

import (
	"encoding/binary"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
)

// readSize is the size of the buffer that a read fills.
const readSize = 64 << 10

// keptSize is how much memory for a partial frame a connection keeps when it does not need it.
const keptSize = 1 << 10

// reader is what handling input takes. Connections that wait hold none.
type reader struct {
	buf     []byte
	batch   *Batch
	events  []amqp091.Event
	publish Publish // of the EventPublish
	stop    bool    // handle nothing more: the connection is blocked, or takes no output
	blocked bool    // it is because the connection is blocked
}

// input is what was read of a connection, or of the stream of a channel, and not handled. It is of the goroutine that reads.
type input struct {
	c     *Conn
	s     *stream // nil: stream 0, or all there is
	io    *netio.Conn
	rd    *reader
	left  []byte // the begin of a frame; whole frames if again is set
	need  int    // size of the frame in left when it is too large for a reader's buffer, else 0
	again bool   // left has frames that nobody has looked at
}

// Acquire implements netio.Space. Memory for a large frame grows with what has arrived of it.
func (in *input) Acquire() []byte {
	if in.need == 0 {
		in.rd = in.c.srv.takeReader()
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
func (in *input) Release() {
	if in.rd != nil {
		in.c.srv.giveReader(in.rd)
		in.rd = nil
	}
}

// read returns the next input, with a reader in in.rd.
func (in *input) read() ([]byte, error) {
	c := in.c
	if in.again {
		in.again = false
		in.rd = c.srv.takeReader()
		n := copy(in.rd.buf, in.left)
		in.left = in.left[:0]
		return in.rd.buf[:n], nil
	}
	for {
		if in.s == nil {
			c.busy.Store(false)
		}
		n, err := in.io.Read(in)
		if in.s == nil {
			c.busy.Store(true)
		}
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.counts.bytesReceived += int64(n)
		switch {
		case c.ended:
			c.arm(lingerTime)
		case in.need != 0:
			c.machine.Heard(time.Now())
		}
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

// keep keeps the rest of the input until more comes; again says that it may have whole frames. It gives the reader back.
func (in *input) keep(rest []byte, again bool) {
	in.again = again && len(rest) > 0
	if n := frameSize(rest); !again && n > len(in.rd.buf) {
		in.need = n
	}
	if cap(in.left) > keptSize {
		in.left = nil
	}
	in.left = append(in.left[:0], rest...)
	in.Release()
}

// frameSize returns the size of the frame that begins in b, 0 when it is not known yet. The machine has checked it. A
// protocol header is no frame.
func frameSize(b []byte) int {
	if len(b) < 7 || b[0] == amqp091.ProtocolHeader[0] {
		return 0
	}
	return int(binary.BigEndian.Uint32(b[3:])) + amqp091.FrameOverhead
}

// loop reads and handles input until there is no more, and returns why. It is the goroutine of a connection, or of a stream.
func (in *input) loop() error {
	c := in.c
	for {
		b, err := in.read()
		if err != nil {
			return err
		}
		rd := in.rd
		rest := b[c.handle(in, b):]
		for round := 1; round < maxRounds && len(b) >= readSize/2; round++ {
			if b = in.readOn(rest); len(b) == len(rest) {
				rest = b
				break
			}
			rest = b[c.handle(in, b):]
		}
		stopped, blocked := rd.stop, rd.blocked
		rd.batch.Flush()
		rd.batch.Wait()
		in.keep(rest, stopped)
		switch {
		case c.mux != nil:
			in.waitStream(blocked)
			continue
		case stopped:
			c.waitUnblocked()
		}
		c.catchUp()
	}
}

// maxRounds is how many reads are handled before a flush, as long as they fill half of the buffer or more.
const maxRounds = 8

// readOn reads once more without waiting, after the rest of the last read. What several reads cause leaves with one
// flush: fewer and larger writes. It returns rest with what came, or rest alone when there is nothing, or a reason to flush
// first. Rest may have moved then.
func (in *input) readOn(rest []byte) []byte {
	c, rd := in.c, in.rd
	if rd.stop || rd.batch.slow > 0 || rd.batch.bytes > flushBytes || len(rest) > readSize/2 {
		return rest
	}
	n := copy(rd.buf, rest)
	more := in.io.TryRead(rd.buf[n:])
	if more > 0 {
		c.mu.Lock()
		c.counts.bytesReceived += int64(more)
		c.mu.Unlock()
	}
	return rd.buf[:n+more]
}
