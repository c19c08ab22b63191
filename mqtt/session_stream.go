package mqtt

import (
	"maps"
	"slices"
	"time"
)

// CloseStream tells that a data stream has ended, alone or with its connection. Stream 0 is not a data stream, it ends
// with the connection.
//
// Without keep everything that was in flight on the stream goes with it, as the servers of MQTT over QUIC have it. An
// EventLost comes for each outbound message (its Reason is ReasonSuccess when PUBREC was there), and for each request
// without an answer (QoS 0). Inbound messages are forgotten: Ack returns ErrState for them, and their identifiers are
// free; with Config.Barriers an EventPersist without a barrier tells of each of QoS 2. When the connection has ended,
// call it for each of its data streams before another Session gets the State; these events come after EventClose then.
//
// With keep, which the peer must have agreed to, the state of the session stays. Outbound messages come again as
// EventResend, to be sent on another stream, and PUBREL goes again on stream 0. Inbound messages are acknowledged when
// the peer has sent them again. Requests are lost all the same. When the connection has ended it does nothing: the next
// one does that for all streams.
//
// The shell drops packets for a stream that it does not have any more.
func (s *Session) CloseStream(now time.Time, stream uint64, keep bool) {
	if stream == 0 || s.phase < phaseOpen || s.st == nil || keep && s.phase == phaseClosed {
		return
	}
	s.forgetInbound(stream, keep)
	again := false
	for seq := s.st.out.Low(); seq < s.st.out.Next(); seq++ {
		e := s.st.out.Get(seq)
		switch {
		case e == nil || e.stream != stream:
		case e.step == stepPublish && !e.sent && !s.isolated: // held by its barrier
			e.stream = 0
		case e.step > stepRelease:
			s.st.requests--
			s.loseOutbound(seq, e)
		case !keep:
			s.loseOutbound(seq, e)
		case e.step == stepRelease:
			e.stream = 0
			if e.durable || !s.cfg.Barriers {
				s.send(now, TypePubrel, 0, idOf(seq), ReasonSuccess)
			}
		default:
			e.stream, e.counted, again = 0, false, true
			s.credit.Grant(1)
		}
	}
	if s.phase == phaseClosed {
		return
	}
	if again {
		if s.redo == nil {
			s.redo = new(redelivery)
		}
		s.redo.next, s.redo.end = s.st.out.Low(), s.st.out.Next()
	}
	s.pump()
}

// IsolateStreams says that CloseStream will be called without keep, and that the peer does the same. The peer may then use
// a packet identifier again before this side has noticed the end of its stream: a message that comes on another stream with
// an identifier that is in use is a new one, and so is one of QoS 2 without DUP whose identifier was last used on an earlier
// connection. What waits for a barrier when its stream ends is lost, too. Call it before the first packet of a data stream
// comes.
func (s *Session) IsolateStreams() { s.isolated = true }

// maxOrphans bounds how many messages may wait for Ack whose streams are gone: they do not count for the receive maximum.
const maxOrphans = 1 << 14

// AckStream is Ack for a message that came on a data stream, or might have: when that stream took its state with it, the
// message is not acknowledged any more, whatever has its identifier now. The error is ErrState then.
func (s *Session) AckStream(now time.Time, stream uint64, id uint16, reason ReasonCode, props Properties) error {
	if s.isolated && !s.awaits(stream, id) {
		s.adopt()
		return ErrState
	}
	err := s.Ack(now, id, reason, props)
	if err != nil {
		s.adopt()
	}
	return err
}

// Owes reports whether something that came on a stream is not answered yet: a message of QoS 1 or 2, SUBSCRIBE or
// UNSUBSCRIBE.
func (s *Session) Owes(stream uint64) bool {
	if s.in == nil {
		return false
	}
	for _, r := range [...]*ackRing{&s.in.pubacks, &s.in.pubrecs} {
		for i := range r.n {
			if o := r.at(i); o.stream == stream && !o.sent {
				return true
			}
		}
	}
	for _, on := range s.in.streams {
		if on == stream {
			return true
		}
	}
	return false
}

// adopt counts the acknowledgement of a message whose stream is gone.
func (s *Session) adopt() {
	if s.orphans > 0 {
		s.orphans--
	}
}

// awaits reports whether the message id of a stream may be acknowledged.
func (s *Session) awaits(stream uint64, id uint16) bool {
	if s.in == nil {
		return stream == 0
	}
	for _, r := range [...]*ackRing{&s.in.pubacks, &s.in.pubrecs} {
		if i := r.find(id); i >= 0 {
			return r.at(i).stream == stream
		}
	}
	return stream == 0
}

// displace forgets a message whose stream is gone, although this side does not know that yet, when p has its identifier.
func (s *Session) displace(stream uint64, p *Publish) {
	in := s.in
	if i := in.pubacks.find(p.ID); i >= 0 && in.pubacks.at(i).stream != stream {
		s.disinherit(&in.pubacks, i)
		s.restore()
	}
	received, owned := s.st.has(p.ID)
	if !received && !owned {
		return
	}
	i := in.pubrecs.find(p.ID)
	owner, known := s.st.in.streams[p.ID]
	if known && owner == stream || !known && (p.Dup || i >= 0 && in.pubrecs.at(i).stream == stream) {
		return
	}
	if i >= 0 {
		s.disinherit(&in.pubrecs, i)
	}
	s.forgetID(p.ID)
	if p.QoS == QoS1 && s.cfg.Barriers { // otherwise it is received again
		s.hold(held{id: p.ID}, DeltaReleased, nil)
	}
}

// disinherit removes an acknowledgement that is owed to a stream that is gone.
func (s *Session) disinherit(r *ackRing, i int) {
	o := r.at(i)
	if !o.acked {
		s.orphans++
	}
	delete(s.in.props, o.id)
	r.drop(i)
}

// drop removes an entry.
func (r *ackRing) drop(i int) {
	o := r.at(i)
	r.done(o.id)
	if i == 0 {
		r.pop()
		return
	}
	o.sent, r.streams = true, true
	r.gaps++
}

// forgetID frees the identifier of an inbound QoS 2 message, and the quota that it uses. If its release is not durable yet,
// PUBCOMP does not follow.
func (s *Session) forgetID(id uint16) {
	delete(s.st.in.streams, id)
	s.st.in.received.Remove(id)
	s.st.in.owned.Remove(id)
	s.restore()
	if s.held == nil {
		return
	}
	for i := s.held.head; i < len(s.held.buf); i++ {
		if h := &s.held.buf[i]; h.barrier == BarrierPubcomp && h.id == id {
			h.barrier = BarrierNone
		}
	}
}

// loseOutbound ends an outbound message or request whose stream is gone.
func (s *Session) loseOutbound(seq uint64, e *outbound) {
	ev := s.events.push()
	ev.Kind, ev.ID, ev.QoS, ev.Ref, ev.Stream = EventLost, idOf(seq), e.qos, e.ref, e.stream
	if e.step != stepRelease {
		ev.Reason = ReasonUnspecifiedError
	}
	if e.step <= stepRelease {
		ev.Delta = DeltaSettled
	}
	if e.counted {
		s.credit.Grant(1)
	}
	s.st.out.Settle(seq)
}

// forgetInbound drops what is owed on a stream.
func (s *Session) forgetInbound(stream uint64, keep bool) {
	if in := s.in; in != nil {
		removed, waiting := in.pubacks.removeStream(stream, in.props)
		for range removed {
			s.restore()
		}
		s.orphans += uint32(waiting)
		_, waiting = in.pubrecs.removeStream(stream, in.props)
		s.orphans += uint32(waiting)
	}
	in := s.st.in
	if in == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(in.streams)) {
		if in.streams[id] != stream {
			continue
		}
		delete(in.streams, id)
		if keep {
			continue
		}
		in.received.Remove(id)
		in.owned.Remove(id)
		s.restore()
		if s.cfg.Barriers {
			s.hold(held{id: id}, DeltaReleased, nil)
		}
	}
}

// own notes that the QoS 2 message id came on a stream. Stream 0 needs no note.
func (in *inbound2) own(id uint16, stream uint64) {
	if stream == 0 {
		if in.streams != nil {
			delete(in.streams, id)
		}
		return
	}
	if in.streams == nil {
		in.streams = make(map[uint16]uint64)
	}
	in.streams[id] = stream
}

// removeStream removes the entries of a stream that are not sent, with their properties. It returns how many they were, and
// how many of them wait for Ack.
func (r *ackRing) removeStream(stream uint64, props map[uint16]Properties) (removed, waiting int) {
	old := *r
	*r = ackRing{}
	for i := range old.n {
		switch o := old.at(i); {
		case o.sent:
		case o.stream == stream:
			removed++
			if !o.acked {
				waiting++
			}
			delete(props, o.id)
		default:
			r.push(*o)
		}
	}
	return removed, waiting
}
