package load

// A Sub counts what it gets and acknowledges it. At QoS 1 and 2 it looks at the order, for each publisher.
type Sub struct {
	// Received counts the messages, each once where that can be told.
	Received int64
	// Repeated counts those that came again, Late those that came after a later message of their publisher.
	Repeated, Late int64

	next    []uint64 // by publisher: the number of its next message
	skipped []uint64 // by publisher: how many did not come in their turn
}

// Packet takes messages and what follows them.
func (s *Sub) Packet(c *Conn, b []byte) {
	switch b[0] & 0xF6 {
	case PublishByte:
		s.Received++
	case PublishByte | 1<<1:
		s.count(b)
		id := PublishID(b)
		c.Out = append(c.Out, PubackByte, 2, byte(id>>8), byte(id))
	case PublishByte | 2<<1:
		s.count(b)
		id := PublishID(b)
		c.Out = append(c.Out, PubrecByte, 2, byte(id>>8), byte(id))
	case PubrelByte & 0xF6:
		c.Out = append(c.Out, PubcompByte, 2, b[2], b[3])
	}
}

// count takes a message of QoS 1 or 2. A message from before the next one fills a gap if there is one: it is late.
// Otherwise it has come again.
func (s *Sub) count(b []byte) {
	from, n := Stamp(b)
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
