package amqp091

import "time"

// Connect (client) begins: it sends the protocol header.
func (c *Conn) Connect(now time.Time) error {
	if c.cfg.Role != Client || c.phase != phaseHeader {
		return ErrState
	}
	c.phase = phaseStart
	c.sendFrame(now, sendHeader)
	return nil
}

// StartOK (client) answers EventStart with a SASL mechanism and its first response.
func (c *Conn) StartOK(now time.Time, m *ConnectionStartOK) error {
	if c.cfg.Role != Client || c.phase != phaseAuth {
		return ErrState
	}
	c.mechanism = m.Mechanism
	c.phase = phaseSecure
	c.send(now, 0, m)
	return nil
}

// SecureOK (client) answers EventSecure.
func (c *Conn) SecureOK(now time.Time, response []byte) error {
	if c.cfg.Role != Client || c.phase != phaseAuth {
		return ErrState
	}
	c.phase = phaseSecure
	c.send(now, 0, &ConnectionSecureOK{Response: response})
	return nil
}

// UpdateSecret (client) sends a new secret; EventReply with ref is the answer.
func (c *Conn) UpdateSecret(now time.Time, secret []byte, reason string, ref any) error {
	if c.cfg.Role != Client || c.phase != phaseOpen {
		return ErrState
	}
	c.secrets = append(c.secrets, ref)
	c.send(now, 0, &ConnectionUpdateSecret{NewSecret: secret, Reason: CutShort(reason)})
	return nil
}

// Secrets (client) returns the references of UpdateSecret that were not answered, and forgets them. It is for EventDown.
func (c *Conn) Secrets() []any {
	refs := c.secrets
	c.secrets = nil
	return refs
}

// Blocked (client) reports whether the server takes no messages.
func (c *Conn) Blocked() bool { return c.blocked }

// clientMethod takes a method of class connection.
func (c *Conn) clientMethod(now time.Time, m Method) error {
	switch m := m.(type) {
	case *ConnectionStart:
		if c.phase != phaseStart {
			break
		}
		if m.VersionMajor != 0 || m.VersionMinor != 9 {
			return &Error{Code: NotImplemented, Hard: true, Method: m.ID(), Text: "the server wants version " +
				utoa(uint64(m.VersionMajor)) + "-" + utoa(uint64(m.VersionMinor))}
		}
		c.setPeer(m.ServerProperties)
		c.phase = phaseAuth
		c.tell(EventStart, nil).Method = m
		return nil
	case *ConnectionSecure:
		if c.phase != phaseSecure {
			break
		}
		c.phase = phaseAuth
		c.tell(EventSecure, nil).Method = m
		return nil
	case *ConnectionTune:
		if c.phase != phaseSecure {
			break
		}
		return c.tune(now, m)
	case *ConnectionOpenOK:
		if c.phase != phaseOpening {
			break
		}
		c.phase = phaseOpen
		c.tell(EventOpened, nil)
		return nil
	}
	if c.phase != phaseOpen {
		return unexpected(m)
	}
	switch m := m.(type) {
	case *ConnectionBlocked:
		c.blocked = true
		c.tell(EventBlocked, nil).Method = m
		return nil
	case *ConnectionUnblocked:
		c.blocked = false
		c.tell(EventUnblocked, nil)
		return nil
	case *ConnectionUpdateSecretOK:
		if len(c.secrets) > 0 {
			e := c.tell(EventReply, nil)
			e.Method, e.Ref = m, c.secrets[0]
			c.secrets = c.secrets[1:]
			return nil
		}
	}
	return unexpected(m)
}

// tune chooses the limits and opens the virtual host.
func (c *Conn) tune(now time.Time, m *ConnectionTune) error {
	channels, frame, heartbeat := c.cfg.maxChannels(), c.cfg.maxFrame(), seconds(c.cfg.Heartbeat)
	if m.ChannelMax != 0 {
		channels = min(channels, m.ChannelMax)
	}
	if m.FrameMax != 0 {
		if m.FrameMax < FrameMinSize {
			return &Error{Code: NotAllowed, Hard: true, Method: m.ID(), Text: "frame_max = " + utoa(uint64(m.FrameMax)) +
				" is lower than the minimum of the standard"}
		}
		frame = min(frame, m.FrameMax)
	}
	switch {
	case c.cfg.Heartbeat == 0:
		heartbeat = m.Heartbeat
	case m.Heartbeat != 0:
		heartbeat = min(heartbeat, m.Heartbeat)
	}
	c.limits(now, channels, frame, heartbeat)
	c.send(now, 0, &ConnectionTuneOK{ChannelMax: channels, FrameMax: frame, Heartbeat: heartbeat})
	vhost := c.cfg.VirtualHost
	if vhost == "" {
		vhost = "/"
	}
	c.send(now, 0, &ConnectionOpen{VirtualHost: vhost})
	c.phase = phaseOpening
	return nil
}
