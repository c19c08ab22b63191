package amqp091

import (
	"time"
)

// Start (server) answers EventHeader: it offers SASL mechanisms, separated by spaces.
func (c *Conn) Start(now time.Time, mechanisms string) error {
	if c.cfg.Role != Server || c.phase != phaseGreet {
		return ErrState
	}
	c.phase = phaseStart
	c.send(now, 0, &ConnectionStart{VersionMajor: 0, VersionMinor: 9, ServerProperties: c.cfg.Properties,
		Mechanisms: mechanisms, Locales: "en_US"})
	return nil
}

// Secure (server) asks the client for another step of its SASL mechanism.
func (c *Conn) Secure(now time.Time, challenge []byte) error {
	if c.cfg.Role != Server || c.phase != phaseAuth {
		return ErrState
	}
	c.phase = phaseSecure
	c.send(now, 0, &ConnectionSecure{Challenge: challenge})
	return nil
}

// Tune (server) lets the client in, and proposes the limits.
func (c *Conn) Tune(now time.Time) error {
	if c.cfg.Role != Server || c.phase != phaseAuth {
		return ErrState
	}
	c.phase = phaseTune
	c.send(now, 0, &ConnectionTune{ChannelMax: c.cfg.maxChannels(), FrameMax: c.cfg.maxFrame(), Heartbeat: seconds(c.cfg.Heartbeat)})
	return nil
}

// seconds returns d in full seconds for a tune method.
func seconds(d time.Duration) uint16 {
	if d <= 0 {
		return 0
	}
	return uint16(min((d+time.Second-1)/time.Second, 0xffff))
}

// Refuse (server) refuses the client's credentials. A client that has the capability authentication_failure_close is told
// so with ACCESS_REFUSED; with others the connection is silent for Config.RefuseDelay and ends. cause is what Err wraps; it
// is not sent.
func (c *Conn) Refuse(now time.Time, cause error) error {
	if c.cfg.Role != Server || c.phase != phaseAuth {
		return ErrState
	}
	e := &Error{Code: AccessRefused, Hard: true, Err: cause, Text: "Login was refused using authentication mechanism " +
		c.mechanism + ". For details see the broker logfile."}
	if c.caps&capAuthClose != 0 {
		c.Close(now, e)
		return nil
	}
	c.silence(now, e)
	return nil
}

// silence ends a connection after a while without a word.
func (c *Conn) silence(now time.Time, e *Error) {
	c.err = e
	c.down()
	c.phase = phaseRefused
	c.deadline = now.Add(c.cfg.refuseDelay())
}

// OpenOK (server) answers EventOpen.
func (c *Conn) OpenOK(now time.Time) error {
	if c.cfg.Role != Server || c.phase != phaseOpening {
		return ErrState
	}
	c.phase = phaseOpen
	c.send(now, 0, &ConnectionOpenOK{})
	return nil
}

// UpdateSecretOK (server) answers EventUpdateSecret.
func (c *Conn) UpdateSecretOK(now time.Time) error {
	if c.cfg.Role != Server || c.phase != phaseOpen {
		return ErrState
	}
	c.send(now, 0, &ConnectionUpdateSecretOK{})
	return nil
}

// Block (server) tells the client that no messages are taken, if it knows connection.blocked and was not told yet.
func (c *Conn) Block(now time.Time, reason string) error {
	if c.cfg.Role != Server || c.phase != phaseOpen {
		return ErrState
	}
	if !c.blocked && c.caps&capBlocked != 0 {
		c.send(now, 0, &ConnectionBlocked{Reason: CutShort(reason)})
	}
	c.blocked = true
	return nil
}

// Unblock (server) tells the client that messages are taken again.
func (c *Conn) Unblock(now time.Time) error {
	if c.cfg.Role != Server || c.phase != phaseOpen {
		return ErrState
	}
	if c.blocked && c.caps&capBlocked != 0 {
		c.send(now, 0, &ConnectionUnblocked{})
	}
	c.blocked = false
	return nil
}

// BlockedNotify (server) reports whether the client knows connection.blocked.
func (c *Conn) BlockedNotify() bool { return c.caps&capBlocked != 0 }

// CancelNotify (server) reports whether the client knows basic.cancel from the server.
func (c *Conn) CancelNotify() bool { return c.caps&capCancelNotify != 0 }

// serverMethod takes a method of class connection.
func (c *Conn) serverMethod(now time.Time, m Method) error {
	switch m := m.(type) {
	case *ConnectionStartOK:
		if c.phase != phaseStart {
			break
		}
		c.setPeer(m.ClientProperties)
		c.mechanism = m.Mechanism
		c.phase = phaseAuth
		c.tell(EventStartOK, nil).Method = m
		return nil
	case *ConnectionSecureOK:
		if c.phase != phaseSecure {
			break
		}
		c.phase = phaseAuth
		c.tell(EventSecureOK, nil).Method = m
		return nil
	case *ConnectionTuneOK:
		if c.phase != phaseTune {
			break
		}
		c.tuned(now, m)
		return nil
	case *ConnectionOpen:
		if c.phase != phaseTuned {
			break
		}
		c.phase = phaseOpening
		c.tell(EventOpen, nil).Method = m
		return nil
	case *ConnectionUpdateSecret:
		if c.phase != phaseOpen {
			break
		}
		c.tell(EventUpdateSecret, nil).Method = m
		return nil
	}
	return unexpected(m)
}

// tuned takes the limits that the client chose. One that asks for too much is not trusted: it gets no answer.
func (c *Conn) tuned(now time.Time, m *ConnectionTuneOK) {
	for _, v := range []struct {
		name             string
		least, got, most uint32
	}{
		{"frame_max", FrameMinSize, m.FrameMax, c.cfg.maxFrame()},
		{"channel_max", 1, uint32(m.ChannelMax), uint32(c.cfg.maxChannels())},
	} {
		text := ""
		switch {
		case v.got == 0, v.got > v.most:
			text = "higher than the maximum allowed value (" + utoa(uint64(v.most)) + ")"
		case v.got < v.least:
			text = "lower than the minimum allowed value (" + utoa(uint64(v.least)) + ")"
		default:
			continue
		}
		c.silence(now, &Error{Code: NotAllowed, Hard: true, Method: m.ID(),
			Text: "negotiated " + v.name + " = " + utoa(uint64(v.got)) + " is " + text})
		return
	}
	c.limits(now, m.ChannelMax, m.FrameMax, m.Heartbeat)
	c.phase = phaseTuned
}

// limits sets what was negotiated.
func (c *Conn) limits(now time.Time, channels uint16, frame uint32, heartbeat uint16) {
	c.channelMax, c.frameMax, c.recvMax = channels, frame, frame
	c.interval = time.Duration(heartbeat) * time.Second
	c.sent = now
}
