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
func (s *Session) forgetInbound(stream uint64, keep bool) {
	if in := s.in; in != nil {
		for range in.pubacks.removeStream(stream, in.props) {
			s.restore()
		}
		in.pubrecs.removeStream(stream, in.props)
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
