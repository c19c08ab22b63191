package mqtt

import "time"

// clientState is what only a client's connection has.
type clientState struct {
	received time.Time // when the last packet came
	pinged   time.Time // when a PINGREQ was sent, or a packet came after it, until PINGRESP comes; else zero
}

// heard notes that a packet came.
func (c *clientState) heard(now time.Time) {
	c.received = now
	if !c.pinged.IsZero() {
		c.pinged = now
	}
}

// sentAt notes that a packet is sent.
func (s *Session) sentAt(now time.Time) {
	if s.cfg.Role == Client {
		s.last = now
	}
}

// Timeout returns when Advance must be called, the zero time for never. It changes with each packet; a shell may as well
// ask again when the time has come.
func (s *Session) Timeout() time.Time {
	if s.phase != phaseOpen || s.keepAlive == 0 {
		return time.Time{}
	}
	if s.cfg.Role == Server {
		return s.last.Add(s.keepAlive)
	}
	if !s.client.pinged.IsZero() {
		return s.client.pinged.Add(s.pingTimeout())
	}
	quiet := s.last
	if s.client.received.Before(quiet) {
		quiet = s.client.received
	}
	return quiet.Add(s.keepAlive)
}

func (s *Session) pingTimeout() time.Duration {
	if s.cfg.PingTimeout != 0 {
		return s.cfg.PingTimeout
	}
	return s.keepAlive / 2
}

// Advance lets time pass: keep alive (section 3.1.2.10). A server closes the connection when no packet came for one and a
// half times the interval [MQTT-3.1.2-22]. A client sends PINGREQ when nothing was sent [MQTT-3.1.2-20] or nothing came
// for the interval, and closes the connection when PINGRESP does not come.
func (s *Session) Advance(now time.Time) {
	at := s.Timeout()
	if at.IsZero() || now.Before(at) {
		return
	}
	if s.cfg.Role == Server || !s.client.pinged.IsZero() {
		s.fail(now, ReasonKeepAliveTimeout, "")
		return
	}
	s.client.pinged = now
	s.trim()
	s.send(now, TypePingreq, 0, 0, ReasonSuccess)
}
