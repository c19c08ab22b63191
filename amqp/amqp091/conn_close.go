package amqp091

import "time"

// Close closes the connection with connection.close. A nil error, or one with ReplySuccess, is a normal end. EventDown
// follows at once, EventClose when the peer has answered, after Config.CloseTimeout at the latest. After EventDown it does
// nothing.
func (c *Conn) Close(now time.Time, e *Error) {
	if e == nil {
		e = &Error{Code: ReplySuccess, Hard: true}
	}
	if c.isDown() {
		return
	}
	c.err = &Error{Code: e.Code, Text: e.Text, Method: e.Method, Hard: true, Err: e.Err}
	if c.phase < phaseStart || c.cfg.Role == Client && c.phase < phaseOpening {
		c.down()
		c.end()
		return
	}
	c.sendConfirms(now)
	c.send(now, 0, &ConnectionClose{ReplyCode: e.Code, ReplyText: c.err.ReplyText(), Method: e.Method})
	c.down()
	c.phase = phaseClosing
	c.deadline = now.Add(c.cfg.closeTimeout())
}

// CloseOK (server) answers the peer's connection.close, after EventDown.
func (c *Conn) CloseOK(now time.Time) error {
	if c.phase != phaseAnswer {
		return ErrState
	}
	c.send(now, 0, &ConnectionCloseOK{})
	c.end()
	return nil
}

// Lost tells the machine that the connection below is gone. It makes no event; references are taken as after EventDown.
func (c *Conn) Lost() {
	c.closeChannels()
	c.phase, c.deadline = phaseClosed, time.Time{}
	c.events = eventQueue{}
	c.merged, c.hot = nil, nil
}

// isDown reports whether EventDown was made.
func (c *Conn) isDown() bool { return c.phase >= phaseAnswer }

// fail ends the connection because the peer broke a rule.
func (c *Conn) fail(now time.Time, e *Error) {
	if c.isDown() {
		if c.phase != phaseClosed {
			c.end()
		}
		return
	}
	c.Close(now, e)
	if e.Code == FrameError && c.phase == phaseClosing {
		c.end() // no answer can be told from the rest
	}
}

// receiveClose takes the peer's connection.close.
func (c *Conn) receiveClose(now time.Time, m *ConnectionClose) {
	c.err = RemoteError(m.ReplyCode, m.ReplyText, m.Method, true)
	c.sendConfirms(now)
	c.down()
	if c.cfg.Role == Server {
		c.phase = phaseAnswer
		return
	}
	c.send(now, 0, &ConnectionCloseOK{})
	c.end()
}

// receiveLast takes a frame while the answer to connection.close is to come. Others are dropped.
func (c *Conn) receiveLast(now time.Time, f Frame) {
	if f.Type != FrameMethod || f.Channel != 0 {
		return
	}
	switch id, _ := PeekMethod(f.Payload); id {
	case IDConnectionClose:
		c.send(now, 0, &ConnectionCloseOK{})
	case IDConnectionCloseOK:
		c.end()
	}
}

// down ends everything but the last words.
func (c *Conn) down() {
	c.phase = phaseClosed
	c.closeChannels()
	c.tell(EventDown, nil)
}

func (c *Conn) closeChannels() {
	for _, ch := range c.channels {
		ch.state = channelClosed
	}
	c.pending, c.hot, c.last, c.spare = nil, nil, nil, nil
}

// end is the end of the machine.
func (c *Conn) end() {
	c.phase, c.deadline = phaseClosed, time.Time{}
	c.tell(EventClose, nil)
}
