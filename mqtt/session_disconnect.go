package mqtt

import (
	"errors"
	"slices"
	"time"
)

// Disconnect sends DISCONNECT and closes (section 3.14). Servers of version 3 have no DISCONNECT: they only close.
// Neither has a client's other reason than ReasonNormalDisconnection there: it closes without DISCONNECT, so that the
// server publishes the will message. A reason that this side may not say becomes a general one. A server must have
// accepted the connection [MQTT-3.14.0-1].
func (s *Session) Disconnect(now time.Time, p *Disconnect) error {
	if s.phase != phaseOpen && (s.phase != phaseConnecting || s.cfg.Role == Server) {
		return ErrState
	}
	d := &Disconnect{Reason: s.disconnectCode(p.Reason), Properties: slices.Clip(p.Properties)}
	switch {
	case s.version < Version5:
		if s.cfg.Role == Client && p.Reason == ReasonNormalDisconnection {
			s.sendPacket(now, 0, &Disconnect{})
		}
		s.close(ended(d, false))
		return nil
	case s.cfg.Role == Server:
		d.Properties = d.Properties.without(PropSessionExpiryInterval) // [MQTT-3.14.2-2]
	case s.raisesExpiry(d):
		return ErrState
	}
	if err := d.check(s.version); err != nil {
		return err
	}
	s.sendDisconnect(now, d)
	s.close(ended(d, false))
	return nil
}

// raisesExpiry reports whether d makes the session expiry interval of a client that had none greater than zero.
func (s *Session) raisesExpiry(d *Disconnect) bool {
	expiry, ok := d.Properties.Uint32(PropSessionExpiryInterval)
	return ok && expiry > 0 && s.noExpiry
}

// sendDisconnect sends d if it fits.
func (s *Session) sendDisconnect(now time.Time, d *Disconnect) {
	if s.fit(d, &d.Properties) {
		s.sendPacket(now, 0, d)
	}
}

// ended returns the error that a connection ends with after d, nil for a normal end.
func ended(d *Disconnect, remote bool) *Error {
	if !d.Reason.IsError() {
		return nil
	}
	text, _ := d.Properties.String(PropReasonString)
	return &Error{Code: d.Reason, Reason: text, Remote: remote}
}

// receiveDisconnect takes DISCONNECT.
func (s *Session) receiveDisconnect(now time.Time, p *Disconnect) error {
	if s.cfg.Role == Server && s.raisesExpiry(p) {
		return s.fail(now, ReasonProtocolError, "session expiry interval was zero")
	}
	s.tell(EventDisconnect, 0, p).Reason = p.Reason
	s.close(ended(p, true))
	return nil
}

// Fail reports an error of the decoder: the machine answers with its reason code and closes. p is what the decoder
// returned beside err: a *Connect when a CONNECT was refused, from which the version of the answer is known, or nil.
func (s *Session) Fail(now time.Time, p Packet, err error) {
	if s.phase == phaseClosed {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Code: ReasonUnspecifiedError, Err: err}
	}
	if c, ok := p.(*Connect); ok && s.phase == phaseStart {
		s.phase = phaseConnecting
		s.answerIn(c.Version)
	}
	s.end(now, e)
}

// fail ends the connection with an error that is told to the peer.
func (s *Session) fail(now time.Time, code ReasonCode, text string) error {
	e := &Error{Code: code, Reason: text}
	s.end(now, e)
	return e
}

// end tells the peer why the connection ends, as far as the version and the time allow it (section 4.13), and closes.
func (s *Session) end(now time.Time, e *Error) {
	var props Properties
	if s.version == Version5 && e.Reason != "" && !s.noProblem {
		props = props.AppendString(PropReasonString, e.Reason)
	}
	switch {
	case s.cfg.Role == Server && s.phase == phaseConnecting:
		s.refuse(now, e.Code, props)
	case s.version == Version5 && (s.phase == phaseOpen || s.phase == phaseConnecting):
		s.sendDisconnect(now, &Disconnect{Reason: s.disconnectCode(e.Code), Properties: props})
	}
	s.close(e)
}

// disconnectCode returns the code that DISCONNECT can have for an error.
func (s *Session) disconnectCode(c ReasonCode) ReasonCode {
	if !c.ValidFor(TypeDisconnect) {
		return ReasonProtocolError
	}
	if s.cfg.Role == Server {
		if c == ReasonDisconnectWithWill { // what only a client says
			return ReasonUnspecifiedError
		}
		return c
	}
	switch c { // what only a server says
	case ReasonNotAuthorized, ReasonServerBusy, ReasonServerShuttingDown, ReasonKeepAliveTimeout,
		ReasonSessionTakenOver, ReasonTopicFilterInvalid, ReasonRetainNotSupported, ReasonQoSNotSupported,
		ReasonUseAnotherServer, ReasonServerMoved, ReasonSharedSubscriptionsNotSupported,
		ReasonConnectionRateExceeded, ReasonMaximumConnectTime, ReasonSubscriptionIdentifiersNotSupported,
		ReasonWildcardSubscriptionsNotSupported:
		return ReasonUnspecifiedError
	}
	return c
}

// close ends the life of the connection.
func (s *Session) close(err *Error) {
	s.events.push().Kind = EventClose
	s.err = err
	s.gone()
}

// Lost tells that the connection is gone, as by an error of the network. No event is made for it, and none comes after
// those that are queued; Ack may still be called.
func (s *Session) Lost() {
	if s.phase != phaseClosed {
		s.gone()
	}
}

// gone leaves only what outlives the connection.
func (s *Session) gone() {
	s.phase = phaseClosed
	s.hs, s.client, s.in, s.aliases, s.held, s.redo = nil, nil, nil, nil, nil, nil
}
