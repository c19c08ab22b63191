package mqtt

import (
	"slices"
	"time"
)

// authStep is where an enhanced authentication is (section 4.12).
type authStep uint8

const (
	authIdle   authStep = iota
	authClient          // the client's AUTH is awaited
	authServer          // the server's AUTH (or CONNACK) is awaited
)

// Auth sends AUTH: a step of enhanced authentication or (client) the begin of a re-authentication. p.Reason is
// ReasonContinueAuthentication in a step, ReasonReauthenticate for the begin, ReasonSuccess for a server's end of a
// re-authentication. The authentication method is added. A server refuses a re-authentication with Disconnect.
func (s *Session) Auth(now time.Time, p *Auth) error {
	if s.hs == nil || s.hs.method == "" || !s.mayAuth(p.Reason) {
		return ErrState
	}
	a := &Auth{Reason: p.Reason, Properties: slices.Clip(p.Properties)}
	if m, ok := a.Properties.String(PropAuthenticationMethod); ok && m != s.hs.method {
		return ErrState // [MQTT-4.12.1-1]
	} else if !ok {
		a.Properties = a.Properties.AppendString(PropAuthenticationMethod, s.hs.method) // [MQTT-4.12.0-5]
	}
	if err := a.check(s.version); err != nil {
		return err
	}
	a.Properties = s.problem(a.Properties)
	if !s.fit(a, &a.Properties) {
		return ErrTooLarge
	}
	switch {
	case s.cfg.Role == Client:
		s.hs.step = authServer
	case p.Reason == ReasonSuccess:
		s.hs.step = authIdle
	default:
		s.hs.step = authClient
	}
	s.sendPacket(now, 0, a)
	return nil
}

// mayAuth reports whether this side may send AUTH with that reason now.
func (s *Session) mayAuth(reason ReasonCode) bool {
	step := s.hs.step
	switch reason {
	case ReasonContinueAuthentication: // [MQTT-4.12.0-2] [MQTT-4.12.0-3]
		if s.cfg.Role == Server {
			return s.phase == phaseConnecting && step != authClient || s.phase == phaseOpen && step == authServer
		}
		return (s.phase == phaseConnecting || s.phase == phaseOpen) && step == authClient
	case ReasonReauthenticate:
		return s.cfg.Role == Client && s.phase == phaseOpen && step == authIdle
	case ReasonSuccess:
		return s.cfg.Role == Server && s.phase == phaseOpen && step == authServer
	}
	return false
}

// receiveAuth takes AUTH.
func (s *Session) receiveAuth(now time.Time, p *Auth) error {
	hs := s.hs
	if hs == nil || hs.method == "" {
		return s.fail(now, ReasonProtocolError, "AUTH without authentication method") // [MQTT-4.12.0-7]
	}
	if m, ok := p.Properties.String(PropAuthenticationMethod); !ok || m != hs.method {
		return s.fail(now, ReasonProtocolError, "AUTH has another authentication method")
	}
	if !s.expectsAuth(p.Reason) {
		return s.fail(now, ReasonProtocolError, "AUTH with "+p.Reason.String()+" at this time")
	}
	switch {
	case s.cfg.Role == Server:
		hs.step = authServer
	case p.Reason == ReasonSuccess:
		hs.step = authIdle
	default:
		hs.step = authClient
	}
	s.tell(EventAuth, 0, p).Reason = p.Reason
	return nil
}

// expectsAuth reports whether the peer may send AUTH with that reason now.
func (s *Session) expectsAuth(reason ReasonCode) bool {
	step := s.hs.step
	switch reason {
	case ReasonContinueAuthentication:
		if s.cfg.Role == Server {
			return step == authClient
		}
		return s.phase == phaseConnecting && step != authClient || s.phase == phaseOpen && step == authServer
	case ReasonReauthenticate:
		return s.cfg.Role == Server && s.phase == phaseOpen && step == authIdle
	case ReasonSuccess:
		return s.cfg.Role == Client && s.phase == phaseOpen && step == authServer
	}
	return false
}
