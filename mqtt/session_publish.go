package mqtt

import "time"

// Publish sends an application message. ref is the caller's own reference, it comes back in EventResend, EventSettled and
// EventLost; at QoS 0 it is ignored. Publish sets p.ID and p.Dup, and where a topic alias is assigned (version 5, stream
// 0) p.Topic and p.Properties; those are valid until the next call of Publish or Resend.
//
// send tells that p must be encoded and sent on stream now, by the caller (no event is made for it); otherwise, with a
// nil error, it is held by a barrier and an EventResend will ask for it.
//
// The events that are queued come first on the wire: take them before, above all the one that sends CONNACK.
//
// Errors: ErrQuota (receive maximum reached, or older messages not sent again yet: wait for EventQuota), ErrTooLarge
// (exceeds the peer's maximum packet size), ErrState, or an *Error for what the peer does not allow (QoS, retain). A
// topic alias among p's properties is ErrState: aliases are the machine's.
func (s *Session) Publish(now time.Time, stream uint64, p *Publish, ref any) (send bool, err error) {
	if s.phase != phaseOpen || len(p.Properties) > 0 && p.Properties.Has(PropTopicAlias) {
		return false, ErrState
	}
	if p.QoS > s.maxQoS || p.Retain && s.noRetain {
		return false, s.unsupported(p)
	}
	p.Dup = false
	if p.QoS != QoS0 {
		return s.publishCounted(now, stream, p, ref)
	}
	p.ID = 0
	if s.aliases != nil && stream == 0 {
		s.aliases.assign(p, s.maxPacket)
	}
	if !s.fits(p) {
		return false, ErrTooLarge
	}
	s.sentAt(now)
	return true, nil
}

// unsupported returns why p may not be sent.
func (s *Session) unsupported(p *Publish) error {
	if p.QoS > s.maxQoS {
		return &Error{Code: ReasonQoSNotSupported} // [MQTT-3.2.2-11]
	}
	return &Error{Code: ReasonRetainNotSupported} // [MQTT-3.2.2-14]
}

// fits reports whether p is within the peer's maximum packet size.
func (s *Session) fits(p *Publish) bool {
	return s.maxPacket == 0 || uint64(PublishSize(p, s.version)) <= uint64(s.maxPacket)
}

// publishCounted is Publish at QoS 1 and 2.
func (s *Session) publishCounted(now time.Time, stream uint64, p *Publish, ref any) (bool, error) {
	if s.quota() <= 0 {
		s.starved = true
		return false, ErrQuota
	}
	p.ID = idOf(s.st.out.Next())
	if s.cfg.Barriers && p.QoS == QoS2 {
		if !s.fits(p) {
			return false, ErrTooLarge
		}
		s.st.add(outbound{ref: ref, qos: QoS2, stream: stream, counted: true})
		s.credit.Take()
		s.persist(BarrierPublish, DeltaAssigned, p.ID, stream, ref)
		return false, nil
	}
	if s.aliases != nil && stream == 0 {
		s.aliases.assign(p, s.maxPacket)
	}
	if !s.fits(p) {
		return false, ErrTooLarge
	}
	s.st.add(outbound{ref: ref, qos: p.QoS, stream: stream, counted: true, sent: true})
	s.credit.Take()
	s.sentAt(now)
	return true, nil
}

// Quota returns how many QoS 1 and 2 messages may be published now. When it is 0, EventQuota will tell that it is not
// any more.
func (s *Session) Quota() int {
	if s.phase != phaseOpen {
		return 0
	}
	n := s.quota()
	if n <= 0 {
		s.starved = true
		return 0
	}
	return n
}

func (s *Session) quota() int {
	if s.redo != nil {
		return 0
	}
	return min(int(s.credit.Available()), s.maxSpan()-int(s.st.out.Span()))
}

// maxSpan returns how far the newest outbound message may be ahead of the oldest. Together with the number of packet
// identifiers it bounds what the window of a peer costs that never acknowledges one of its messages.
func (s *Session) maxSpan() int { return min(maxSpan, max(8192, 8*int(s.sendMax))) }

// Resend answers EventResend with the message. The caller encodes and sends p on stream now; as Publish it sets p's
// identifier, QoS and DUP, and perhaps an alias. ErrState means that the message is not asked for (any more),
// ErrTooLarge that it exceeds the peer's maximum packet size: it is settled then; neither is sent.
func (s *Session) Resend(now time.Time, stream uint64, id uint16, p *Publish) error {
	seq, e := s.st.find(id)
	if s.phase != phaseOpen || e == nil || !e.asked {
		return ErrState
	}
	p.ID, p.QoS, p.Dup = id, e.qos, e.sent
	if s.aliases != nil && stream == 0 {
		s.aliases.assign(p, s.maxPacket)
	}
	if !s.fits(p) {
		s.settle(seq, e, ReasonPacketTooLarge) // [MQTT-3.1.2-25]
		return ErrTooLarge
	}
	s.answered(e)
	e.sent, e.stream = true, stream
	s.sentAt(now)
	s.pump()
	return nil
}

// Drop answers EventResend when the message is gone: it is settled. A QoS 2 message that was sent once (Dup) loses its
// promise thereby.
func (s *Session) Drop(id uint16) {
	if seq, e := s.st.find(id); s.phase == phaseOpen && e != nil && e.asked {
		s.settle(seq, e, ReasonUnspecifiedError)
	}
}

// answered ends the wait for the body of e.
func (s *Session) answered(e *outbound) {
	if !e.asked {
		return
	}
	e.asked = false
	if s.redo != nil {
		s.redo.unanswered--
	}
}

// settle ends an outbound message.
func (s *Session) settle(seq uint64, e *outbound, reason ReasonCode) {
	ev := s.events.push()
	ev.Kind = EventSettled
	ev.ID = idOf(seq)
	ev.QoS = e.qos
	ev.Ref = e.ref
	ev.Reason = reason
	ev.Delta = DeltaSettled
	ev.Stream = e.stream
	s.answered(e)
	if e.counted {
		s.credit.Grant(1)
	}
	s.st.out.Settle(seq)
	if s.starved || s.redo != nil {
		s.pump()
	}
}

// receivePuback takes PUBACK. An identifier that is not in use is ignored: the message may have been settled otherwise.
func (s *Session) receivePuback(now time.Time, p *Puback) error {
	seq, e := s.st.find(p.ID)
	if e == nil {
		return nil
	}
	if e.step != stepPublish || e.qos != QoS1 {
		return s.fail(now, ReasonProtocolError, "PUBACK for something that is no QoS 1 message")
	}
	s.settle(seq, e, p.Reason)
	return nil
}

// receivePubrec takes PUBREC. One for an identifier that is not in use is answered all the same, so that the peer can
// forget it.
func (s *Session) receivePubrec(now time.Time, stream uint64, p *Pubrec) error {
	seq, e := s.st.find(p.ID)
	switch {
	case p.ID == 0:
		return s.fail(now, ReasonProtocolError, "packet identifier is 0")
	case e == nil:
		if !p.Reason.IsError() {
			s.send(now, TypePubrel, stream, p.ID, ReasonPacketIdentifierNotFound)
		}
	case e.qos != QoS2 || e.step > stepRelease:
		return s.fail(now, ReasonProtocolError, "PUBREC for something that is no QoS 2 message")
	case e.step == stepRelease: // again
		if e.durable || !s.cfg.Barriers {
			s.send(now, TypePubrel, stream, p.ID, ReasonSuccess)
		}
	case !e.sent: // held by its barrier
		return s.fail(now, ReasonProtocolError, "PUBREC for a message that was not sent")
	case p.Reason.IsError():
		s.settle(seq, e, p.Reason) // [MQTT-4.4.0-2]
	default:
		s.answered(e)
		e.step, e.durable, e.detail = stepRelease, false, uint16(p.Reason)
		if !s.isolated {
			e.stream = stream
		}
		s.release(now, p.ID, e)
		if s.redo != nil {
			s.pump()
		}
	}
	return nil
}

// release sends PUBREL for e, once its delta is durable.
func (s *Session) release(now time.Time, id uint16, e *outbound) {
	if s.cfg.Barriers && !e.durable {
		s.persist(BarrierPubrel, DeltaPubrec, id, e.stream, e.ref)
		return
	}
	s.send(now, TypePubrel, e.stream, id, ReasonSuccess)
}

// receivePubcomp takes PUBCOMP. An identifier that is not in use is ignored. That the peer does not know the identifier
// any more is no failure: it had the message.
func (s *Session) receivePubcomp(now time.Time, p *Pubcomp) error {
	seq, e := s.st.find(p.ID)
	switch {
	case e == nil:
	case e.step != stepRelease:
		return s.fail(now, ReasonProtocolError, "PUBCOMP for a message without PUBREC")
	case e.durable || !s.cfg.Barriers:
		s.settle(seq, e, ReasonCode(e.detail))
	}
	return nil
}

// redelivery is the work that is left after a session was resumed: messages are sent again in their order, as the
// quota allows.
type redelivery struct {
	next, end  uint64 // what is left, in the window
	unanswered int    // EventResends and barriers that are out
}

// maxUnanswered bounds how many bodies a redelivery asks for at a time.
const maxUnanswered = 256

// resume sends what a resumed session owes its peer [MQTT-4.4.0-1]: PUBRELs at once, messages in their order
// [MQTT-4.6.0-1]. Their streams are gone.
func (s *Session) resume(now time.Time) {
	out := &s.st.out
	messages := false
	for seq := out.Low(); seq < out.Next(); seq++ {
		e := out.Get(seq)
		if e == nil {
			continue
		}
		e.stream, e.counted, e.asked = 0, false, false
		switch e.step {
		case stepPublish:
			messages = true
		case stepRelease:
			s.release(now, idOf(seq), e)
		default:
			out.Settle(seq)
		}
	}
	s.st.requests = 0
	if messages {
		s.redo = &redelivery{next: out.Low(), end: out.Next()}
		s.pump()
	}
}

// pump goes on with a redelivery, and tells when there is quota again.
func (s *Session) pump() {
	if r := s.redo; r != nil {
		for s.credit.Available() > 0 && r.next < r.end && r.unanswered < maxUnanswered {
			seq := r.next
			r.next++
			if e := s.st.out.Get(seq); e != nil && e.step == stepPublish && !e.counted {
				e.counted = true
				s.credit.Take()
				r.unanswered++
				s.redeliver(idOf(seq), e)
			}
		}
		if r.next == r.end && r.unanswered == 0 {
			s.redo = nil
		}
	}
	if s.starved && s.quota() > 0 {
		s.starved = false
		s.events.push().Kind = EventQuota
	}
}

// redeliver asks for the body of e, once the assignment of its identifier is durable.
func (s *Session) redeliver(id uint16, e *outbound) {
	if s.cfg.Barriers && e.qos == QoS2 && !e.durable {
		e.asked = true
		s.persist(BarrierPublish, DeltaAssigned, id, 0, e.ref)
		return
	}
	s.askFor(id, e)
}

// askFor asks for the body of e.
func (s *Session) askFor(id uint16, e *outbound) {
	e.asked = true
	ev := s.events.push()
	ev.Kind = EventResend
	ev.ID = id
	ev.QoS = e.qos
	ev.Dup = e.sent
	ev.Ref = e.ref
	ev.Stream = e.stream
}
