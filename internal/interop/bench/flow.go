package main

import (
	"encoding/binary"
	"time"
)

// writeSize is the most that a QoS 0 publisher writes at once, in bytes.
const writeSize = 64 << 10

// window is how many messages a publisher has unacknowledged at QoS 1 and 2.
const window = 100

// A pub publishes as fast as the broker and the subscribers take it.
type pub struct {
	conn *conn
	qos  byte
	// ring is packets of size bytes each, written round and round at QoS 0; one packet at QoS 1 and 2.
	ring      []byte
	size, off int
	// idAt is the place of the packet id, free the ids that are not in flight.
	idAt int
	free []uint16
	sent int64
	// delivered says how many of the messages have arrived at everybody, forgiven how many will not arrive.
	delivered func() int64
	forgiven  int64
}

// newPub returns a publisher to the topics in turn, which must have the same length. At QoS 1 and 2 it takes one topic.
func newPub(c *conn, qos byte, topics ...string) *pub {
	p := &pub{conn: c, qos: qos}
	for len(p.ring) == 0 || qos == 0 && len(p.ring) < writeSize {
		for _, t := range topics {
			p.ring = appendPublish(p.ring, t, qos, false, 1)
			if p.size == 0 {
				p.size = len(p.ring)
			}
		}
	}
	p.idAt = p.size - payloadSize - 2
	for id := range uint16(window) {
		p.free = append(p.free, id+1)
	}
	return p
}

func (p *pub) packet(c *conn, b []byte) {
	switch b[0] {
	case pubackByte, pubcompByte:
		p.free = append(p.free, binary.BigEndian.Uint16(b[2:]))
	case pubrecByte:
		c.out = append(c.out, pubrelByte, 2, b[2], b[3])
	}
}

func (p *pub) batch(*conn) {}

// step publishes up to room messages and reports whether it has published any.
func (p *pub) step(l *loop, room int64) bool {
	if len(p.conn.pend) > 0 {
		return false
	}
	if p.qos == 0 {
		if p.off+writeSize > len(p.ring) {
			p.off = 0
		}
		n := min(int(room)*p.size, writeSize/p.size*p.size)
		l.send(p.conn, p.ring[p.off:p.off+n])
		p.off += n
		p.sent += int64(n / p.size)
		return true
	}
	n := min(int(room), len(p.free))
	if n == 0 {
		return false
	}
	for _, id := range p.free[:n] {
		p.conn.out = append(p.conn.out, p.ring...)
		at := len(p.conn.out) - p.size + p.idAt
		binary.BigEndian.PutUint16(p.conn.out[at:], id)
	}
	p.free = append(p.free[:0], p.free[n:]...)
	p.sent += int64(n)
	l.flush(p.conn)
	return true
}

// A sub counts what it gets and acknowledges it.
type sub struct {
	received int64
}

func (s *sub) packet(c *conn, b []byte) {
	switch b[0] & 0xF6 {
	case publishByte:
		s.received++
	case publishByte | 1<<1:
		s.received++
		id := publishID(b)
		c.out = append(c.out, pubackByte, 2, byte(id>>8), byte(id))
	case publishByte | 2<<1:
		s.received++
		id := publishID(b)
		c.out = append(c.out, pubrecByte, 2, byte(id>>8), byte(id))
	case pubrelByte & 0xF6:
		c.out = append(c.out, pubcompByte, 2, b[2], b[3])
	}
}

func (s *sub) batch(*conn) {}

// A flow is publishers and subscribers on one loop.
type flow struct {
	*loop
	pubs []*pub
	subs []*sub
	// copies is how many subscribers get each message.
	copies int64
	// limit bounds the messages of one publisher that have not arrived, chunk is the fewest that it sends at once at QoS 0.
	// The limit is far above what a broker needs to work without pause and keeps it from dropping messages.
	limit, chunk int64
}

// received returns the number of deliveries.
func (f *flow) received() int64 {
	var n int64
	for _, s := range f.subs {
		n += s.received
	}
	return n
}

// lost returns how many deliveries are missing.
func (f *flow) lost() int64 {
	var n int64
	for _, p := range f.pubs {
		n += p.sent * f.copies
	}
	return n - f.received()
}

// publish runs the flow until the given time.
func (f *flow) publish(until time.Time) error {
	last, lastAt := f.received(), time.Now()
	for {
		sent := false
		for _, p := range f.pubs {
			room := f.limit - (p.sent - p.forgiven - p.delivered())
			if room > 0 && (p.qos > 0 || room >= f.chunk) && p.step(f.loop, room) {
				sent = true
			}
		}
		now := time.Now()
		if !now.Before(until) {
			return f.err
		}
		wait := 5 * time.Millisecond
		if sent {
			wait = 0
		}
		if err := f.poll(wait); err != nil {
			return err
		}
		// A broker that has dropped messages would stop the flow for good, so take them for lost after a while.
		if n := f.received(); n != last {
			last, lastAt = n, now
		} else if now.Sub(lastAt) > time.Second {
			for _, p := range f.pubs {
				p.forgiven = p.sent - p.delivered()
			}
			lastAt = now
		}
	}
}

// drain waits for the messages that are under way: until all are there or none comes for the given time.
func (f *flow) drain(quiet time.Duration) error {
	last, lastAt := f.received(), time.Now()
	for f.lost() > 0 && time.Since(lastAt) < quiet {
		if err := f.poll(5 * time.Millisecond); err != nil {
			return err
		}
		if n := f.received(); n != last {
			last, lastAt = n, time.Now()
		}
	}
	return nil
}

// measure publishes for a while to warm up, then for the time of a scenario.
func (f *flow) measure(e *env, name string) (row, error) {
	if err := f.publish(time.Now().Add(e.warm)); err != nil {
		return row{}, err
	}
	m, err := e.start()
	if err != nil {
		return row{}, err
	}
	before, load := f.received(), ownCPU()
	if err := f.publish(time.Now().Add(e.d)); err != nil {
		return row{}, err
	}
	n := f.received() - before
	r, err := m.stop(name, n)
	if err != nil {
		return row{}, err
	}
	r.load = (ownCPU() - load) / time.Duration(n)
	if err := f.drain(e.quiet); err != nil {
		return row{}, err
	}
	r.lost = f.lost()
	return r, nil
}
