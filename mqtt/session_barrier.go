package mqtt

import "time"

// held is something that waits for a delta to be durable.
type held struct {
	token   uint64
	stream  uint64
	id      uint16
	reason  ReasonCode
	barrier Barrier
}

// heldQueue holds what waits for durability, in the order of the tokens.
type heldQueue struct {
	buf  []held
	head int
}

func (q *heldQueue) empty() bool { return q.head == len(q.buf) }

func (q *heldQueue) push(h held) {
	if q.head > 0 && len(q.buf) == cap(q.buf) && q.head >= len(q.buf)/2 {
		q.buf, q.head = q.buf[:copy(q.buf, q.buf[q.head:])], 0
	}
	q.buf = append(q.buf, h)
}

func (q *heldQueue) pop() held {
	h := q.buf[q.head]
	q.head++
	if q.empty() {
		q.buf, q.head = q.buf[:0], 0
	}
	return h
}

// persist asks for the durability of a delta that holds a packet back.
func (s *Session) persist(b Barrier, d Delta, id uint16, stream uint64, ref any) {
	s.hold(held{barrier: b, id: id, stream: stream}, d, ref)
}

// hold asks for the durability of a delta and keeps h until Persisted comes.
func (s *Session) hold(h held, d Delta, ref any) {
	if s.held == nil {
		s.held = new(heldQueue)
	}
	s.tokens++
	h.token = s.tokens
	s.held.push(h)
	e := s.events.push()
	e.Kind = EventPersist
	e.Barrier = h.barrier
	e.Delta = d
	e.ID = h.id
	e.QoS = QoS2
	e.Ref = ref
	e.Token = h.token
	e.Stream = h.stream
}

// Persisted tells that the deltas up to and including token are durable. After the end of the connection it has no
// effect: the session that follows asks again.
func (s *Session) Persisted(now time.Time, token uint64) {
	for s.phase == phaseOpen && s.held != nil && !s.held.empty() && s.held.buf[s.held.head].token <= token {
		h := s.held.pop()
		switch h.barrier {
		case BarrierPubcomp:
			s.st.qos2().owned.Remove(h.id)
			s.complete(now, h.stream, h.id, h.reason)
		case BarrierPublish:
			if _, e := s.st.find(h.id); e != nil && e.step == stepPublish {
				e.durable = true
				s.askFor(h.id, e)
			}
		case BarrierPubrel:
			if _, e := s.st.find(h.id); e != nil && e.step == stepRelease {
				e.durable = true
				s.release(now, h.id, e)
			}
		}
	}
}
