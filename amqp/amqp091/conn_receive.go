package amqp091

import (
	"strings"
	"time"
)

// Receive takes frames from the front of b and returns how many bytes they are. It stops after a frame that makes an event
// for the shell (other than EventSend), so the shell handles the events and calls it again with the rest. n is 0 with a nil
// error when more bytes are needed, or when the shell has to answer an event of the handshake first. now must not go
// backwards.
//
// What events show of b is valid until the next call. The error, an *[Error], is terminal; the rest of b is of no use.
func (c *Conn) Receive(now time.Time, b []byte) (n int, err error) {
	c.heard = now
	c.told, c.trimmed = false, false
	clear(c.refs)
	c.refs = c.refs[:0]
	for !c.told || c.merged != nil && c.joins(b[n:]) {
		used, err := c.receive(now, b[n:])
		if err != nil {
			c.settled()
			c.fail(now, asError(err))
			return len(b), c.err
		}
		n += used
		if used == 0 {
			break
		}
	}
	if c.hot != nil {
		c.hot.keep()
	}
	c.settled()
	return n, nil
}

// asError returns err, which the codec made, as *Error.
func asError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Code: InternalError, Hard: true, Err: err}
}

// receive takes one frame, or the protocol header.
func (c *Conn) receive(now time.Time, b []byte) (n int, err error) {
	switch c.phase {
	case phaseOpen:
	case phaseHeader:
		return c.receiveHeader(now, b)
	case phaseStart:
		if c.cfg.Role == Client && len(b) > 0 && b[0] == ProtocolHeader[0] {
			return c.receiveHeader(now, b)
		}
	case phaseGreet, phaseAuth:
		return 0, nil
	case phaseOpening:
		if c.cfg.Role == Server {
			return 0, nil
		}
	case phaseAnswer, phaseRefused, phaseClosed:
		return len(b), nil
	}
	f, n, err := NextFrame(b, c.recvMax)
	if err != nil || n == 0 {
		return 0, err
	}
	if c.streams && f.Channel != c.from {
		return 0, c.misplaced(f)
	}
	if c.phase == phaseClosing {
		c.receiveLast(now, f)
		return n, nil
	}
	if f.Channel != 0 {
		err = c.receiveOn(now, f)
	} else {
		err = c.receiveZero(now, f)
	}
	return n, err
}

// receiveHeader takes the protocol header. A client gets one only from a server that does not speak its version.
func (c *Conn) receiveHeader(now time.Time, b []byte) (n int, err error) {
	if c.cfg.Role == Client && c.phase == phaseHeader || len(b) == 0 {
		return 0, nil
	}
	if len(b) < len(ProtocolHeader) && strings.HasPrefix(ProtocolHeader, string(b)) {
		return 0, nil
	}
	if c.cfg.Role == Client {
		if len(b) < len(ProtocolHeader) {
			return 0, nil
		}
		c.err = &Error{Code: NotImplemented, Hard: true, Remote: true, Text: "the server wants another protocol: " +
			utoa(uint64(b[4])) + "-" + utoa(uint64(b[5])) + "-" + utoa(uint64(b[6])) + "-" + utoa(uint64(b[7]))}
		c.down()
		c.end()
		return len(b), nil
	}
	if string(b[:min(len(b), len(ProtocolHeader))]) != ProtocolHeader {
		c.err = &Error{Code: NotImplemented, Hard: true, Text: "protocol header is not that of AMQP 0-9-1"}
		c.sendFrame(now, sendHeader)
		c.down()
		c.end()
		return len(b), nil
	}
	c.phase = phaseGreet
	c.tell(EventHeader, nil)
	return len(ProtocolHeader), nil
}

// receiveZero takes a frame of channel 0.
func (c *Conn) receiveZero(now time.Time, f Frame) error {
	switch f.Type {
	case FrameHeartbeat:
		if !c.trimmed {
			c.trimmed = true
			c.trim()
		}
		return nil
	case FrameMethod:
	default:
		return &Error{Code: UnexpectedFrame, Hard: true, Text: f.Type.String() + " frame on channel 0"}
	}
	id, _ := PeekMethod(f.Payload)
	if id.Class() != IDConnectionStart.Class() {
		return &Error{Code: CommandInvalid, Hard: true, Method: id, Text: "method " + id.String() + " on channel 0"}
	}
	m, err := DecodeMethod(f.Payload)
	if err != nil {
		return err
	}
	if m, ok := m.(*ConnectionClose); ok {
		c.receiveClose(now, m)
		return nil
	}
	if c.cfg.Role == Server {
		return c.serverMethod(now, m)
	}
	return c.clientMethod(now, m)
}

// unexpected is the error of a method that does not fit the state of the connection.
func unexpected(m Method) error {
	return &Error{Code: CommandInvalid, Hard: true, Method: m.ID(), Text: "unexpected method " + m.ID().String()}
}

// receiveOn takes a frame of a channel.
func (c *Conn) receiveOn(now time.Time, f Frame) error {
	if c.phase != phaseOpen {
		return &Error{Code: ChannelError, Hard: true, Text: "frame on channel " + utoa(uint64(f.Channel)) + " before the connection is open"}
	}
	ch := c.last
	if ch == nil || ch.id != f.Channel {
		if ch = c.channels[f.Channel]; ch != nil {
			c.last = ch
		}
	}
	switch {
	case f.Type == FrameHeartbeat:
		return &Error{Code: UnexpectedFrame, Hard: true, Text: "heartbeat on channel " + utoa(uint64(f.Channel))}
	case ch == nil:
		return c.receiveNew(f)
	case ch.state != channelOpen:
		return c.receiveClosing(now, ch, f)
	}
	if c.hot != nil && c.hot != ch {
		c.hot.keep()
	}
	return ch.receive(now, f)
}

// receiveNew takes a frame of a channel that does not exist.
func (c *Conn) receiveNew(f Frame) error {
	if f.Type != FrameMethod {
		return &Error{Code: UnexpectedFrame, Hard: true, Text: "expected method frame, got non method frame instead"}
	}
	id, _ := PeekMethod(f.Payload)
	if id != IDChannelOpen || c.cfg.Role != Server {
		return &Error{Code: ChannelError, Hard: true, Method: id, Text: "expected 'channel.open'"}
	}
	if _, err := DecodeMethod(f.Payload); err != nil {
		return err
	}
	if n := len(c.channels); n >= int(c.channelMax) {
		return &Error{Code: NotAllowed, Hard: true, Method: id, Text: "number of channels opened (" + utoa(uint64(n)) +
			") has reached the negotiated channel_max (" + utoa(uint64(c.channelMax)) + ")"}
	}
	ch := c.newChannel(f.Channel)
	ch.state = channelOpening
	c.tell(EventChannelOpen, ch)
	return nil
}

// receiveClosing takes a frame of a channel that is not open. All that counts is how it ends.
func (c *Conn) receiveClosing(now time.Time, ch *Channel, f Frame) error {
	id := MethodID(0)
	if f.Type == FrameMethod {
		id, _ = PeekMethod(f.Payload)
	}
	switch {
	case id == IDChannelClose && ch.state == channelClosing:
		if _, err := DecodeMethod(f.Payload); err != nil {
			return err
		}
		c.send(now, ch.id, &ChannelCloseOK{}) // both have closed it; the answer to ours is still to come
	case id == IDChannelCloseOK && ch.state == channelClosing:
		ch.remove()
		if c.cfg.Role == Client || c.streams {
			c.tell(EventChannelGone, ch)
		}
	case ch.state == channelOpening && (id == IDChannelClose || id == IDChannelOpenOK && c.cfg.Role == Client):
		return ch.receive(now, f)
	case ch.state == channelOpening && c.cfg.Role == Client:
		return &Error{Code: ChannelError, Hard: true, Method: id, Text: "expected 'channel.open-ok'"}
	}
	return nil
}
