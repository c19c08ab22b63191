package amqpload

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load"
)

// A Target is where messages go.
type Target struct{ Exchange, Key string }

// A Pub publishes as fast as the broker and the consumers take it.
type Pub struct {
	// Sent counts the messages, Acked those that were confirmed, Nacked those that were refused.
	Sent, Acked, Nacked int64
	// From is its number among the publishers of a flow. Bodies of messages that are confirmed have it, see [load.Stamp].
	From uint32
	// Delivered says how many of the messages have arrived at everybody; forgiven is how many will not arrive.
	Delivered func() int64
	// Edit changes a message before it is sent, when set: its frames, its number among those of the publisher.
	Edit func(message []byte, n int64)

	forgiven int64
	conn     *load.Conn
	// window is how many messages may be unconfirmed, 0 without confirms.
	window int64
	// ring is messages of size bytes each, written round and round without confirms; one for each target with confirms.
	ring      []byte
	size, off int
	// done marks what is confirmed, by number modulo its size; all below low are.
	done []bool
	low  int64
}

// NewPub returns a publisher to the targets in turn, whose names must have the same length altogether. window is how many
// messages may be unconfirmed, 0 for a publisher without confirms. The channel of c must be in confirm mode with one.
func NewPub(c *load.Conn, window int64, p amqpraw.Props, targets ...Target) *Pub {
	pub := &Pub{conn: c, window: window, done: make([]bool, window)}
	body := make([]byte, PayloadSize)
	for i := range body {
		body[i] = "0123456789abcdef"[i%16]
	}
	for len(pub.ring) == 0 || window == 0 && len(pub.ring) < load.WriteSize {
		for _, t := range targets {
			pub.ring = amqpraw.AppendPublish(pub.ring, channel, t.Exchange, t.Key, false, p, body)
			if pub.size == 0 {
				pub.size = len(pub.ring)
			}
		}
	}
	return pub
}

// Size returns the size of a message with all its frames in bytes.
func (p *Pub) Size() int { return p.size }

// Unconfirmed returns how many messages are not confirmed.
func (p *Pub) Unconfirmed() int64 { return p.Sent - p.Acked - p.Nacked }

// Take takes confirms.
func (p *Pub) Take(c *load.Conn, b []byte) (n int, err error) {
	for {
		size := frame(b[n:])
		if size == 0 {
			return n, nil
		}
		f := b[n : n+size]
		n += size
		switch methodID(f) {
		case basicAck:
			p.Acked += p.settle(f)
		case basicNack:
			p.Nacked += p.settle(f)
		default:
			if err := unexpected(f); err != nil {
				return n, err
			}
		}
	}
}

// settle marks what an ack or nack is for and returns how many those are.
func (p *Pub) settle(f []byte) (n int64) {
	last := int64(binary.BigEndian.Uint64(f[11:])) - 1
	first := last
	if f[19]&1 == 1 {
		first = p.low
	}
	for i := first; i <= last && i < p.Sent; i++ {
		if d := &p.done[i%p.window]; !*d {
			*d = true
			n++
		}
	}
	for p.low < p.Sent && p.done[p.low%p.window] {
		p.done[p.low%p.window] = false
		p.low++
	}
	return n
}

// Publish publishes n messages with confirms, or fewer if too many are unconfirmed. It returns how many.
func (p *Pub) Publish(l *load.Loop, n int64) int64 {
	before := p.Sent
	p.step(l, n)
	return p.Sent - before
}

// step publishes up to room messages and reports whether it has published any.
func (p *Pub) step(l *load.Loop, room int64) bool {
	if p.conn.Busy() {
		return false
	}
	if p.window == 0 {
		if p.off+load.WriteSize > len(p.ring) {
			p.off = 0
		}
		n := min(int(room)*p.size, load.WriteSize/p.size*p.size)
		l.Send(p.conn, p.ring[p.off:p.off+n])
		p.off += n
		p.Sent += int64(n / p.size)
		return true
	}
	// The window is counted from the oldest that is not confirmed, so that done has room.
	n := min(room, p.low+p.window-p.Sent)
	if n <= 0 {
		return false
	}
	for range n {
		p.conn.Out = p.append(p.conn.Out)
	}
	l.Flush(p.conn)
	return true
}

// append appends the next message.
func (p *Pub) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, p.ring[p.off:p.off+p.size]...)
	if p.off += p.size; p.off == len(p.ring) {
		p.off = 0
	}
	m := dst[at:]
	load.PutStamp(m[p.size-1-PayloadSize:], p.From, uint64(p.Sent))
	if p.Edit != nil {
		p.Edit(m, p.Sent)
	}
	p.Sent++
	return dst
}

// RoundTrip publishes a message and waits for its confirm, on a connection that blocks.
func (p *Pub) RoundTrip() error {
	p.conn.Out = p.append(p.conn.Out[:0])
	if err := p.conn.Write(p.conn.Out); err != nil {
		return err
	}
	for want := p.Sent; p.Acked < want; {
		f, err := Next(p.conn)
		if err != nil {
			return err
		}
		if _, err := p.Take(p.conn, f); err != nil {
			return err
		}
	}
	return nil
}
