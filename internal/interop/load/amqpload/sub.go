package amqpload

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load"
)

// A Sub counts what it gets and acknowledges it. It looks at the order of messages with a stamp, for each publisher.
type Sub struct {
	// Received counts the messages, each once where that can be told.
	Received int64
	// Repeated counts those that came again, Late those that came after a later message of their publisher.
	Repeated, Late int64
	// Ack acknowledges each message, Stamped says that bodies have stamps.
	Ack, Stamped bool
	// Body looks at a body, when set.
	Body func(body []byte)

	next    []uint64 // by publisher: the number of its next message
	skipped []uint64 // by publisher: how many did not come in their turn
}

// ack is an ack with a place for the tag.
var ack = amqpraw.AppendMethod(nil, channel, "basic.ack")

// tagAt is the place of the tag in an ack.
const tagAt = 7 + 4

// Take takes deliveries.
func (s *Sub) Take(c *load.Conn, b []byte) (n int, err error) {
	for {
		size := frame(b[n:])
		if size == 0 {
			return n, nil
		}
		f := b[n : n+size]
		n += size
		switch f[0] {
		case amqpraw.FrameMethod:
			switch {
			case methodID(f) != basicDeliver:
				if err := unexpected(f); err != nil {
					return n, err
				}
			case s.Ack:
				at := len(c.Out)
				c.Out = append(c.Out, ack...)
				tag := f[tagAt+1+int(f[tagAt]):]
				copy(c.Out[at+tagAt:], tag[:8])
			}
		case amqpraw.FrameBody:
			body := f[7 : size-1]
			if s.Body != nil {
				s.Body(body)
			}
			if s.Stamped {
				s.count(binary.BigEndian.Uint32(body), binary.BigEndian.Uint64(body[4:]))
			} else {
				s.Received++
			}
		}
	}
}

// count takes a message. A message from before the next one fills a gap if there is one: it is late. Otherwise it has come
// again.
func (s *Sub) count(from uint32, n uint64) {
	for len(s.next) <= int(from) {
		s.next, s.skipped = append(s.next, 0), append(s.skipped, 0)
	}
	switch {
	case n >= s.next[from]:
		s.skipped[from] += n - s.next[from]
		s.next[from] = n + 1
		s.Received++
	case s.skipped[from] > 0:
		s.skipped[from]--
		s.Received++
		s.Late++
	default:
		s.Repeated++
	}
}
