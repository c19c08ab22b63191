package mqtt

import "time"

// Receive takes the next packet of the peer from a stream (0 on TCP). now must not go backwards. It may change a
// *Publish: the topic alias is resolved and removed.
//
// Between EventConnect and the answer to it a server takes AUTH and DISCONNECT only. Another packet gives ErrState and
// is not taken: hand it in again after Accept. (With an authentication method the standard forbids it, and the error is
// terminal.) Packets of data streams, which may overtake CONNECT and CONNACK, give ErrState in both roles until then.
func (s *Session) Receive(now time.Time, stream uint64, p Packet) error {
	if s.cfg.Role == Server {
		s.last = now
	} else if s.client != nil {
		s.client.heard(now)
	}
	if s.phase == phaseOpen {
		switch p := p.(type) {
		case *Publish:
			return s.receivePublish(now, stream, p)
		case *Puback:
			return s.receivePuback(now, p)
		case *Pubrec:
			return s.receivePubrec(now, stream, p)
		case *Pubrel:
			return s.receivePubrel(now, stream, p)
		case *Pubcomp:
			return s.receivePubcomp(now, p)
		}
	}
	return s.receiveOther(now, stream, p)
}

// receiveOther takes what is not part of a message flow, and everything before CONNACK.
func (s *Session) receiveOther(now time.Time, stream uint64, p Packet) error {
	if s.phase == phaseClosed {
		return ErrState
	}
	if err := s.admit(now, stream, p); err != nil {
		return err
	}
	switch p := p.(type) {
	case *Connect:
		return s.receiveConnect(now, p)
	case *Connack:
		return s.receiveConnack(now, p)
	case *Subscribe:
		s.remember(stream, p.ID)
		s.tell(EventSubscribe, stream, p).ID = p.ID
	case *Unsubscribe:
		s.remember(stream, p.ID)
		s.tell(EventUnsubscribe, stream, p).ID = p.ID
	case *Suback:
		return s.receiveSuback(now, p)
	case *Unsuback:
		return s.receiveUnsuback(now, p)
	case *Pingreq:
		s.trim()
		s.send(now, TypePingresp, stream, 0, ReasonSuccess) // [MQTT-3.12.4-1]
	case *Pingresp:
		s.client.pinged = time.Time{}
		s.trim()
		s.events.push().Kind = EventPong
	case *Disconnect:
		return s.receiveDisconnect(now, p)
	case *Auth:
		return s.receiveAuth(now, p)
	}
	return nil
}

// admit checks that the peer may send p at this time on that stream.
func (s *Session) admit(now time.Time, stream uint64, p Packet) error {
	t := p.Type()
	control := t <= TypeConnack || t >= TypePingreq
	switch {
	case stream != 0 && control:
		return s.fail(now, ReasonProtocolError, t.String()+" on a data stream")
	case stream != 0 && s.phase < phaseOpen:
		return ErrState
	case s.cfg.Role == Server && t.serverOnly(), s.cfg.Role == Client && t.clientOnly():
		return s.fail(now, ReasonProtocolError, t.String()+" in the wrong direction")
	case t == TypeAuth && s.version < Version5, t == TypeDisconnect && s.cfg.Role == Client && s.version < Version5:
		return s.fail(now, ReasonProtocolError, "the version has no such packet")
	case s.phase == phaseStart && t != TypeConnect:
		return s.fail(now, ReasonProtocolError, "the first packet is not CONNECT") // [MQTT-3.1.0-1]
	case s.phase != phaseConnecting, t == TypeConnack, t == TypeAuth, t == TypeDisconnect, t == TypeConnect:
		return nil
	case s.cfg.Role == Client:
		return s.fail(now, ReasonProtocolError, t.String()+" before CONNACK") // [MQTT-3.2.0-1]
	case s.hs.method != "":
		return s.fail(now, ReasonProtocolError, t.String()+" during authentication") // [MQTT-3.1.2-30]
	}
	return ErrState
}

// receivePublish takes PUBLISH.
func (s *Session) receivePublish(now time.Time, stream uint64, p *Publish) error {
	if s.cfg.Role == Server {
		if s.cfg.LimitQoS && p.QoS > s.cfg.MaximumQoS {
			return s.fail(now, ReasonQoSNotSupported, "")
		}
		if s.cfg.RetainUnavailable && p.Retain {
			return s.fail(now, ReasonRetainNotSupported, "")
		}
	}
	if len(p.Properties) > 0 || len(p.Topic) == 0 {
		if err := s.resolve(now, p); err != nil {
			return err
		}
	}
	if p.QoS == QoS0 {
		s.tell(EventPublish, stream, p)
		return nil
	}
	if p.ID == 0 || p.QoS > QoS2 {
		return s.fail(now, ReasonProtocolError, "PUBLISH without packet identifier or with QoS 3")
	}
	in := s.owes()
	if s.isolated {
		s.displace(stream, p)
	}
	received, owned := s.st.has(p.ID)
	if p.QoS == QoS1 {
		return s.receiveQoS1(now, stream, p, received || owned)
	}
	switch {
	case received: // again [MQTT-4.3.3-10]
		s.st.in.own(p.ID, stream)
		if !in.pubrecs.has(p.ID) {
			in.pubrecs.push(owed{stream: stream, id: p.ID, acked: owned})
			s.flush(now, &in.pubrecs, TypePubrec, stream)
		}
		return nil
	case owned:
		return s.fail(now, ReasonProtocolError, "PUBLISH before the PUBCOMP of its packet identifier")
	case in.pubacks.has(p.ID):
		return s.fail(now, ReasonProtocolError, "packet identifier is in use")
	}
	if err := s.admitCounted(now); err != nil {
		return err
	}
	s.st.qos2().received.Add(p.ID)
	s.st.in.own(p.ID, stream)
	in.pubrecs.push(owed{stream: stream, id: p.ID})
	e := s.tell(EventPublish, stream, p)
	e.ID, e.QoS, e.Dup = p.ID, QoS2, p.Dup
	e.Barrier, e.Delta = BarrierPubrec, DeltaReceived
	return nil
}

// receiveQoS1 is receivePublish at QoS 1. One that comes again before its PUBACK is answered by that.
func (s *Session) receiveQoS1(now time.Time, stream uint64, p *Publish, taken bool) error {
	if taken {
		return s.fail(now, ReasonProtocolError, "packet identifier is in use")
	}
	if s.in.pubacks.has(p.ID) {
		return nil
	}
	if err := s.admitCounted(now); err != nil {
		return err
	}
	s.in.pubacks.push(owed{stream: stream, id: p.ID})
	e := s.tell(EventPublish, stream, p)
	e.ID, e.QoS, e.Dup = p.ID, QoS1, p.Dup
	return nil
}

// admitCounted counts a QoS 1 or 2 message against the peer's send quota [MQTT-3.3.4-7] [MQTT-3.3.4-9].
func (s *Session) admitCounted(now time.Time) error {
	if limit := s.cfg.ReceiveMaximum; limit != 0 && s.received >= limit && s.version == Version5 {
		return s.fail(now, ReasonReceiveMaximumExceeded, "")
	}
	if s.orphans > maxOrphans {
		return s.fail(now, ReasonQuotaExceeded, "too many messages of streams that have ended")
	}
	s.received++
	return nil
}

// receivePubrel takes PUBREL. The answer to one for an unknown identifier lets the peer forget it.
func (s *Session) receivePubrel(now time.Time, stream uint64, p *Pubrel) error {
	received, owned := s.st.has(p.ID)
	reason := ReasonSuccess
	switch {
	case p.ID == 0:
		return s.fail(now, ReasonProtocolError, "packet identifier is 0")
	case received && (!owned || s.in != nil && s.in.pubrecs.has(p.ID)):
		return s.fail(now, ReasonProtocolError, "PUBREL before PUBREC")
	case received:
		s.st.in.received.Remove(p.ID)
		s.st.in.own(p.ID, 0)
	case owned: // again: PUBCOMP follows when its release is durable
		return nil
	default:
		reason = ReasonPacketIdentifierNotFound
	}
	if s.cfg.Barriers {
		s.st.qos2().owned.Add(p.ID)
		s.hold(held{barrier: BarrierPubcomp, id: p.ID, stream: stream, reason: reason}, DeltaReleased, nil)
		return nil
	}
	if received {
		s.st.in.owned.Remove(p.ID)
	}
	s.complete(now, stream, p.ID, reason)
	return nil
}

// complete sends PUBCOMP. A sender that resumes its session may hold PUBRELs that it did not count, and still count
// their PUBCOMPs: that many unknown ones restore its quota too.
func (s *Session) complete(now time.Time, stream uint64, id uint16, reason ReasonCode) {
	if reason == ReasonSuccess {
		s.restore()
	} else if s.resumed && s.bonus < s.cfg.ReceiveMaximum {
		s.bonus++
		s.restore()
	}
	s.send(now, TypePubcomp, stream, id, reason)
}
