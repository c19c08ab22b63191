package mqtt

import (
	"maps"
	"slices"
	"time"
)

// CloseStream tells that a data stream has ended while its connection goes on, or ends too: then call it before Lost.
// Stream 0 is not a data stream, it ends with the connection.
//
// Without keep everything that was in flight on the stream goes with it, as the servers of MQTT over QUIC have it. An
// EventLost comes for each outbound message (its Reason is ReasonSuccess when PUBREC was there), and for each request
// without an answer (QoS 0). Inbound messages are forgotten: Ack returns ErrState for them, and their identifiers are
// free; with Config.Barriers an EventPersist without a barrier tells of each.
//
// With keep, which the peer must have agreed to, the state of the session stays. Outbound messages come again as
// EventResend, to be sent on another stream, and PUBREL goes again on stream 0. Inbound messages are acknowledged when
// the peer has sent them again. Requests are lost all the same.
//
// The shell drops packets for a stream that it does not have any more.
func (s *Session) CloseStream(now time.Time, stream uint64, keep bool) {
	if stream == 0 || s.phase != phaseOpen {
		return
	}
	s.forgetInbound(now, stream, keep)
	again := false
	for seq := s.st.out.Low(); seq < s.st.out.Next(); seq++ {
		e := s.st.out.Get(seq)
		switch {
		case e == nil || e.stream != stream:
		case e.step == stepPublish && !e.sent: // held by its barrier
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
	if again {
		if s.redo == nil {
			s.redo = new(redelivery)
		}
		s.redo.next, s.redo.end = s.st.out.Low(), s.st.out.Next()
	}
	s.pump()
}

// loseOutbound ends an outbound message or request whose stream is gone.
func (s *Session) loseOutbound(seq uint64, e *outbound) {
	ev := s.events.push()
	ev.Kind, ev.ID, ev.QoS, ev.Ref = EventLost, idOf(seq), e.qos, e.ref
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
func (s *Session) forgetInbound(now time.Time, stream uint64, keep bool) {
	in := s.in
	if in == nil {
		return
	}
	for range in.pubacks.removeStream(stream, in.props) {
		s.restore()
	}
	in.pubrecs.removeStream(stream, in.props)
	for _, id := range slices.Sorted(maps.Keys(in.owners)) {
		if in.owners[id] != stream {
			continue
		}
		delete(in.owners, id)
		if keep {
			continue
		}
		s.st.in.received.Remove(id)
		s.st.in.owned.Remove(id)
		s.restore()
		if s.cfg.Barriers {
			s.hold(held{id: id}, DeltaReleased, nil)
		}
	}
}

// own notes that the QoS 2 message id came on a stream.
func (in *inbound) own(id uint16, stream uint64) {
	if stream == 0 {
		if in.owners != nil {
			delete(in.owners, id)
		}
		return
	}
	if in.owners == nil {
		in.owners = make(map[uint16]uint64)
	}
	in.owners[id] = stream
}

// disown forgets on which stream the QoS 2 message id came.
func (s *Session) disown(id uint16) {
	if s.in != nil && s.in.owners != nil {
		delete(s.in.owners, id)
	}
}

// removeStream removes the entries of a stream that are not sent, with their properties, and returns how many they were.
func (r *ackRing) removeStream(stream uint64, props map[uint16]Properties) int {
	old := *r
	*r = ackRing{}
	removed := 0
	for i := range old.n {
		switch o := old.at(i); {
		case o.sent:
		case o.stream == stream:
			removed++
			delete(props, o.id)
		default:
			r.push(*o)
		}
	}
	return removed
}
