package load

import (
	"encoding/binary"
)

// WriteSize is the most that a QoS 0 publisher writes at once, in bytes.
const WriteSize = 64 << 10

// Window is how many messages a publisher has unacknowledged at QoS 1 and 2.
const Window = 100

// A Pub publishes as fast as the broker and the subscribers take it.
type Pub struct {
	// Sent counts the messages, Acked those that the broker has answered for: PUBACK, PUBCOMP.
	Sent, Acked int64
	// From is its number among the publishers of a flow. Payloads of QoS 1 and 2 have it, see [Stamp].
	From uint32
	// Delivered says how many of the messages have arrived at everybody; forgiven is how many will not arrive.
	Delivered func() int64
	forgiven  int64

	conn *Conn
	qos  byte
	// ring is packets of size bytes each, written round and round at QoS 0; one packet for each topic at QoS 1 and 2.
	ring      []byte
	size, off int
	// idAt is the place of the packet id, free the ids that are not in flight.
	idAt int
	free []uint16
}

// NewPub returns a publisher to the topics in turn, which must have the same length.
func NewPub(c *Conn, qos byte, topics ...string) *Pub {
	p := &Pub{conn: c, qos: qos}
	for len(p.ring) == 0 || qos == 0 && len(p.ring) < WriteSize {
		for _, t := range topics {
			p.ring = AppendPublish(p.ring, t, qos, false, 1)
			if p.size == 0 {
				p.size = len(p.ring)
			}
		}
	}
	p.idAt = p.size - PayloadSize - 2
	for id := range uint16(Window) {
		p.free = append(p.free, id+1)
	}
	return p
}

// Packet takes acknowledgements.
func (p *Pub) Packet(c *Conn, b []byte) {
	switch b[0] {
	case PubackByte, PubcompByte:
		p.free = append(p.free, binary.BigEndian.Uint16(b[2:]))
		p.Acked++
	case PubrecByte:
		c.Out = append(c.Out, PubrelByte, 2, b[2], b[3])
	}
}

// Size returns the size of a PUBLISH in bytes.
func (p *Pub) Size() int { return p.size }

// Retain sets the flag of that name in all messages.
func (p *Pub) Retain() {
	for at := 0; at < len(p.ring); at += p.size {
		p.ring[at] |= 1
	}
}

// Publish publishes n messages at QoS 1 or 2, or fewer if too many are unacknowledged. It returns how many.
func (p *Pub) Publish(l *Loop, n int64) int64 {
	before := p.Sent
	p.step(l, n)
	return p.Sent - before
}

// step publishes up to room messages and reports whether it has published any.
func (p *Pub) step(l *Loop, room int64) bool {
	if len(p.conn.pend) > 0 {
		return false
	}
	if p.qos == 0 {
		if p.off+WriteSize > len(p.ring) {
			p.off = 0
		}
		n := min(int(room)*p.size, WriteSize/p.size*p.size)
		l.Send(p.conn, p.ring[p.off:p.off+n])
		p.off += n
		p.Sent += int64(n / p.size)
		return true
	}
	n := min(int(room), len(p.free))
	if n == 0 {
		return false
	}
	for _, id := range p.free[:n] {
		at := len(p.conn.Out)
		p.conn.Out = append(p.conn.Out, p.ring[p.off:p.off+p.size]...)
		if p.off += p.size; p.off == len(p.ring) {
			p.off = 0
		}
		packet := p.conn.Out[at:]
		binary.BigEndian.PutUint16(packet[p.idAt:], id)
		PutStamp(packet[p.size-PayloadSize:], p.From, uint64(p.Sent))
		p.Sent++
	}
	p.free = append(p.free[:0], p.free[n:]...)
	l.Flush(p.conn)
	return true
}

// PutStamp writes to the begin of a payload who published it and how many messages it had published before.
func PutStamp(payload []byte, from uint32, n uint64) {
	binary.BigEndian.PutUint32(payload, from)
	binary.BigEndian.PutUint64(payload[4:], n)
}

// Stamp returns what PutStamp wrote to the payload of a PUBLISH.
func Stamp(packet []byte) (from uint32, n uint64) {
	payload := packet[len(packet)-PayloadSize:]
	return binary.BigEndian.Uint32(payload), binary.BigEndian.Uint64(payload[4:])
}
