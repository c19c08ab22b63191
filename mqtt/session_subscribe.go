package mqtt

import (
	"slices"
	"time"
)

// Subscribe (client) sends SUBSCRIBE with an identifier of the machine's choice, which it sets in p; ref comes back in
// EventSuback. p must not change until the event is encoded. Errors: ErrState, ErrQuota when no packet identifier is
// free, ErrTooLarge.
func (s *Session) Subscribe(now time.Time, stream uint64, p *Subscribe, ref any) error {
	err := s.request(stepSubscribe, stream, p, &p.ID, &p.Properties, len(p.Filters), ref)
	if err == nil {
		s.sendPacket(now, stream, p)
	}
	return err
}

// Unsubscribe (client) sends UNSUBSCRIBE. It is like Subscribe; ref comes back in EventUnsuback.
func (s *Session) Unsubscribe(now time.Time, stream uint64, p *Unsubscribe, ref any) error {
	err := s.request(stepUnsubscribe, stream, p, &p.ID, &p.Properties, len(p.Filters), ref)
	if err == nil {
		s.sendPacket(now, stream, p)
	}
	return err
}

// request gives a SUBSCRIBE or UNSUBSCRIBE its packet identifier.
func (s *Session) request(t step, stream uint64, p Packet, id *uint16, props *Properties, filters int, ref any) error {
	if s.cfg.Role != Client || s.phase != phaseOpen {
		return ErrState
	}
	if s.st.free() == 0 {
		s.starved = true
		return ErrQuota
	}
	*id = idOf(s.st.out.Next())
	if err := p.check(s.version); err != nil {
		return err
	}
	if !s.fit(p, props) {
		return ErrTooLarge
	}
	s.st.add(outbound{ref: ref, stream: stream, step: t, detail: uint16(filters)})
	s.st.requests++
	return nil
}

// receiveSuback takes SUBACK.
func (s *Session) receiveSuback(now time.Time, p *Suback) error {
	return s.receiveAnswer(now, stepSubscribe, EventSuback, p, p.ID, len(p.Reasons))
}

// receiveUnsuback takes UNSUBACK.
func (s *Session) receiveUnsuback(now time.Time, p *Unsuback) error {
	n := len(p.Reasons)
	if s.version < Version5 {
		n = -1 // has none
	}
	return s.receiveAnswer(now, stepUnsubscribe, EventUnsuback, p, p.ID, n)
}

// receiveAnswer takes SUBACK or UNSUBACK. One for an identifier that is not in use is ignored.
func (s *Session) receiveAnswer(now time.Time, t step, k EventKind, p Packet, id uint16, reasons int) error {
	seq, e := s.st.find(id)
	if e == nil {
		return nil
	}
	if e.step != t || reasons >= 0 && uint16(reasons) != e.detail {
		return s.fail(now, ReasonProtocolError, p.Type().String()+" does not fit its request")
	}
	ev := s.tell(k, e.stream, p)
	ev.ID, ev.Ref = id, e.ref
	s.st.out.Settle(seq)
	s.st.requests--
	if s.starved {
		s.pump()
	}
	return nil
}

// remember keeps the stream on which an answer to a request must return.
func (s *Session) remember(stream uint64, id uint16) {
	in := s.in
	if stream == 0 {
		if in != nil && in.streams != nil {
			delete(in.streams, id)
		}
		return
	}
	in = s.owes()
	if in.streams == nil {
		in.streams = make(map[uint16]uint64)
	}
	in.streams[id] = stream
}

// streamOf returns the stream on which the request id came.
func (s *Session) streamOf(id uint16) uint64 {
	if s.in == nil || s.in.streams == nil {
		return 0
	}
	stream := s.in.streams[id]
	delete(s.in.streams, id)
	return stream
}

// Suback (server) answers SUBSCRIBE. User properties and a reason string that the client does not want, or that would
// make the packet too large for it, are left out. p must not change until the event is encoded. Errors: ErrState,
// ErrTooLarge when even so the packet exceeds the client's maximum packet size, an *Error when p is not valid.
func (s *Session) Suback(now time.Time, p *Suback) error {
	return s.reply(now, p, p.ID, &p.Properties)
}

// Unsuback (server) answers UNSUBSCRIBE. It is like Suback.
func (s *Session) Unsuback(now time.Time, p *Unsuback) error {
	return s.reply(now, p, p.ID, &p.Properties)
}

// reply sends SUBACK or UNSUBACK.
func (s *Session) reply(now time.Time, p Packet, id uint16, props *Properties) error {
	if s.cfg.Role != Server || s.phase != phaseOpen {
		return ErrState
	}
	if s.version < Version5 {
		*props = nil
	}
	if err := p.check(s.version); err != nil {
		return err
	}
	*props = s.problem(slices.Clip(*props))
	if !s.fit(p, props) {
		return ErrTooLarge
	}
	s.sendPacket(now, s.streamOf(id), p)
	return nil
}
