package mqtt

import (
	"slices"
	"time"
)

// handshake is what a connection knows of its CONNECT until CONNACK, and longer when it authenticates in steps.
type handshake struct {
	method    string // authentication method, "" for none
	keepAlive uint16
	recvMax   uint16 // client: what CONNECT announced
	aliasMax  uint16
	clean     bool
	nameless  bool // the client identifier is empty
	step      authStep
}

// Connect (client) sends CONNECT for the session state (a new State for a new session). Limits of Config that p's
// properties do not have are added to them on the wire. p and st stay the caller's; p is not changed.
func (s *Session) Connect(now time.Time, p *Connect, st *State) error {
	if s.cfg.Role != Client || s.phase != phaseStart || st == nil || p.Version < Version31 || p.Version > Version5 {
		return ErrState
	}
	c := *p
	hs := &handshake{keepAlive: p.KeepAlive, clean: p.CleanStart, nameless: p.ClientID == ""}
	if c.Version == Version5 {
		props := slices.Clip(c.Properties)
		props, hs.recvMax = offer(props, PropReceiveMaximum, s.cfg.ReceiveMaximum, 0)
		props, hs.aliasMax = offer(props, PropTopicAliasMaximum, s.cfg.TopicAliasMaximum, 0)
		if s.cfg.MaximumPacketSize != 0 && !props.Has(PropMaximumPacketSize) {
			props = props.AppendUint32(PropMaximumPacketSize, s.cfg.MaximumPacketSize)
		}
		c.Properties = props
		hs.method, _ = props.String(PropAuthenticationMethod)
		expiry, _ := props.Uint32(PropSessionExpiryInterval)
		s.noExpiry = expiry == 0
	}
	if err := c.check(c.Version); err != nil {
		return err
	}
	s.version, s.hs, s.st = c.Version, hs, st
	s.client = &clientState{}
	s.phase = phaseConnecting
	s.sendPacket(now, 0, &c)
	return nil
}

// offer adds a 16-bit property with value v, unless that is none, or the caller has chosen a value. It returns the value
// that holds.
func offer(p Properties, id PropertyID, v, none uint16) (Properties, uint16) {
	if chosen, ok := p.Uint16(id); ok {
		return p, chosen
	}
	if v != none {
		p = p.AppendUint16(id, v)
	}
	return p, v
}

// receiveConnect takes CONNECT.
func (s *Session) receiveConnect(now time.Time, p *Connect) error {
	if s.phase != phaseStart {
		return s.fail(now, ReasonProtocolError, "second CONNECT") // [MQTT-3.1.0-2]
	}
	s.phase = phaseConnecting
	s.answerIn(p.Version)
	if s.version != p.Version {
		return s.fail(now, ReasonUnsupportedProtocolVersion, "")
	}
	hs := &handshake{keepAlive: p.KeepAlive, clean: p.CleanStart, nameless: p.ClientID == ""}
	s.hs = hs
	s.sendMax = 65_535
	if p.Version == Version5 {
		if !s.readLimits(p.Properties) {
			return s.fail(now, ReasonProtocolError, "receive maximum or maximum packet size is zero")
		}
		problem, ok := p.Properties.Byte(PropRequestProblemInformation)
		s.noProblem = ok && problem == 0
		expiry, _ := p.Properties.Uint32(PropSessionExpiryInterval)
		s.noExpiry = expiry == 0
		hs.method, _ = p.Properties.String(PropAuthenticationMethod)
	} else if hs.nameless && (!hs.clean || p.Version == Version31) {
		return s.fail(now, ReasonClientIdentifierNotValid, "") // [MQTT311-3.1.3-8]
	}
	if w := p.Will; w != nil {
		if s.cfg.LimitQoS && w.QoS > s.cfg.MaximumQoS {
			return s.fail(now, ReasonQoSNotSupported, "QoS of the will message") // [MQTT-3.2.2-12]
		}
		if s.cfg.RetainUnavailable && w.Retain {
			return s.fail(now, ReasonRetainNotSupported, "will message") // [MQTT-3.2.2-13]
		}
	}
	s.tell(EventConnect, 0, p)
	return nil
}

// answerIn sets the version of the CONNACK for a CONNECT of version v: the nearest that there is. When v is not known
// there is none.
func (s *Session) answerIn(v Version) {
	if v != 0 {
		s.version = min(max(v, Version31), Version5)
	}
}

// readLimits takes the limits that both CONNECT and CONNACK can have. It is false for one that is zero and must not be.
func (s *Session) readLimits(p Properties) bool {
	s.sendMax = 65_535
	if v, ok := p.Uint16(PropReceiveMaximum); ok {
		s.sendMax = v
	}
	v, ok := p.Uint32(PropMaximumPacketSize)
	s.maxPacket = v
	if s.sendMax == 0 || ok && v == 0 {
		return false
	}
	if v, _ := p.Uint16(PropTopicAliasMaximum); v > 0 && s.cfg.SendAliasMaximum > 0 {
		s.alias().sendMax = min(v, s.cfg.SendAliasMaximum)
	}
	return true
}

// Accept (server) answers CONNECT with a CONNACK of reason success: the machine adds the negotiated limits to the
// properties that go on the wire, and when ack.SessionPresent resumes st: PUBRELs are sent, an EventResend asks for each
// message in order. Limits that ack.Properties have already win over those of Config. Without SessionPresent, and always
// after a clean start, st is emptied.
//
// A version 5 client without a client identifier must be given one in ack's properties, otherwise the error is ErrState
// [MQTT-3.2.2-16]. When not even the CONNACK fits into the client's maximum packet size the error is ErrTooLarge, and
// the connection is at its end.
func (s *Session) Accept(now time.Time, ack *Connack, st *State) error {
	hs := s.hs
	if s.cfg.Role != Server || s.phase != phaseConnecting || st == nil || ack.Reason != ReasonSuccess {
		return ErrState
	}
	if s.version == Version5 && hs.nameless && !ack.Properties.Has(PropAssignedClientIdentifier) {
		return ErrState
	}
	c := *ack
	resume := ack.SessionPresent && !hs.clean // [MQTT-3.2.2-2]
	c.SessionPresent = resume && s.version > Version31
	if s.version == Version5 {
		c.Properties = s.announce(slices.Clip(c.Properties))
	} else {
		c.Properties = nil
		s.limitSend()
	}
	if err := c.check(s.version); err != nil {
		return err
	}
	if !s.fit(&c, &c.Properties) {
		s.close(&Error{Code: ReasonPacketTooLarge, Reason: "CONNACK"})
		return ErrTooLarge
	}
	s.keepAlive = time.Duration(hs.keepAlive) * time.Second * 3 / 2
	s.sendPacket(now, 0, &c)
	s.open(now, st, resume)
	return nil
}

// limitSend applies the bound of this side on the send quota.
func (s *Session) limitSend() {
	if s.cfg.SendMaximum != 0 {
		s.sendMax = min(s.sendMax, s.cfg.SendMaximum)
	}
}

// announce adds a server's limits to the properties of CONNACK, and makes those that hold its own.
func (s *Session) announce(p Properties) Properties {
	s.limitSend()
	p, s.cfg.ReceiveMaximum = offer(p, PropReceiveMaximum, s.cfg.ReceiveMaximum, 0)
	p, s.cfg.TopicAliasMaximum = offer(p, PropTopicAliasMaximum, s.cfg.TopicAliasMaximum, 0)
	if q, ok := p.Byte(PropMaximumQoS); ok {
		s.cfg.LimitQoS, s.cfg.MaximumQoS = true, QoS(q)
	} else if s.cfg.LimitQoS && s.cfg.MaximumQoS < QoS2 {
		p = p.AppendByte(PropMaximumQoS, byte(s.cfg.MaximumQoS))
	}
	if r, ok := p.Byte(PropRetainAvailable); ok {
		s.cfg.RetainUnavailable = r == 0
	} else if s.cfg.RetainUnavailable {
		p = p.AppendByte(PropRetainAvailable, 0)
	}
	if s.cfg.MaximumPacketSize != 0 && !p.Has(PropMaximumPacketSize) {
		p = p.AppendUint32(PropMaximumPacketSize, s.cfg.MaximumPacketSize)
	}
	own, hs := s.cfg.ServerKeepAlive, s.hs
	if own == 0 || hs.keepAlive != 0 && hs.keepAlive <= own {
		own = hs.keepAlive
	}
	p, hs.keepAlive = offer(p, PropServerKeepAlive, own, hs.keepAlive)
	if hs.method != "" && !p.Has(PropAuthenticationMethod) {
		p = p.AppendString(PropAuthenticationMethod, hs.method) // [MQTT-4.12.0-5]
	}
	return p
}

// Reject (server) answers CONNECT with a failure, and closes. A reason that the version has no code for is not sent,
// nor are properties that CONNACK cannot have.
func (s *Session) Reject(now time.Time, ack *Connack) error {
	if s.cfg.Role != Server || s.phase != phaseConnecting || !ack.Reason.IsError() {
		return ErrState
	}
	s.refuse(now, ack.Reason, ack.Properties)
	s.close(&Error{Code: ack.Reason})
	return nil
}

// refuse sends a CONNACK with a failure, as far as the version has one for it.
func (s *Session) refuse(now time.Time, reason ReasonCode, props Properties) {
	if s.version == Version5 && !reason.ValidFor(TypeConnack) {
		reason = ReasonUnspecifiedError
	}
	if _, ok := reason.ReturnCode(s.version); !ok || s.version == 0 {
		return // [MQTT311-3.2.2-6]
	}
	c := &Connack{Reason: reason, Properties: slices.Clip(props)}
	if s.version < Version5 {
		c.Properties = nil
	}
	if c.check(s.version) != nil {
		c.Properties = nil
	}
	if s.fit(c, &c.Properties) {
		s.sendPacket(now, 0, c)
	}
}

// receiveConnack takes CONNACK.
func (s *Session) receiveConnack(now time.Time, p *Connack) error {
	hs := s.hs
	if s.phase != phaseConnecting {
		return s.fail(now, ReasonProtocolError, "second CONNACK")
	}
	if p.Reason != ReasonSuccess {
		s.tell(EventConnack, 0, p).Reason = p.Reason
		text, _ := p.Properties.String(PropReasonString)
		err := &Error{Code: p.Reason, Reason: text, Remote: true}
		s.close(err)
		return err
	}
	s.sendMax = 65_535
	s.cfg.ReceiveMaximum, s.cfg.TopicAliasMaximum = hs.recvMax, hs.aliasMax
	if s.version == Version5 {
		if !s.readLimits(p.Properties) {
			return s.fail(now, ReasonProtocolError, "receive maximum or maximum packet size is zero")
		}
		if q, ok := p.Properties.Byte(PropMaximumQoS); ok {
			s.maxQoS = QoS(q)
		}
		if r, ok := p.Properties.Byte(PropRetainAvailable); ok {
			s.noRetain = r == 0
		}
		if k, ok := p.Properties.Uint16(PropServerKeepAlive); ok {
			hs.keepAlive = k // [MQTT-3.2.2-21]
		}
		if m, ok := p.Properties.String(PropAuthenticationMethod); ok && m != hs.method {
			return s.fail(now, ReasonProtocolError, "CONNACK has another authentication method")
		}
	}
	s.limitSend()
	resume := p.SessionPresent
	if s.version == Version31 {
		resume = !hs.clean // its CONNACK does not tell
	} else if resume && (hs.clean || !s.st.session) {
		return s.fail(now, ReasonProtocolError, "server resumes a session that this side does not have") // [MQTT-3.2.2-4]
	}
	s.keepAlive = time.Duration(hs.keepAlive) * time.Second
	s.tell(EventConnack, 0, p)
	if !resume {
		s.lose()
	}
	s.open(now, s.st, resume)
	return nil
}

// lose tells which outbound messages go with the state of the session [MQTT-3.2.2-5].
func (s *Session) lose() {
	for seq := s.st.out.Low(); seq < s.st.out.Next(); seq++ {
		e := s.st.out.Get(seq)
		if e == nil || e.step > stepRelease {
			continue
		}
		ev := s.events.push()
		ev.Kind, ev.ID, ev.QoS, ev.Ref = EventLost, idOf(seq), e.qos, e.ref
		if e.step == stepPublish {
			ev.Reason = ReasonUnspecifiedError
		}
	}
}

// open begins the life of a connection after CONNACK.
func (s *Session) open(now time.Time, st *State, resume bool) {
	if !resume {
		st.reset()
	}
	s.hs.step = authIdle
	if s.hs.method == "" {
		s.hs = nil
	}
	st.forgetReleases()
	s.st, s.resumed = st, resume
	st.session = true
	s.phase = phaseOpen
	s.credit.Set(int64(s.sendMax))
	if resume {
		s.resume(now)
	}
}
