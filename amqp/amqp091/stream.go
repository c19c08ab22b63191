package amqp091

import (
	"slices"
	"time"
)

// Streams is the name (ALPN, RFC 7301) of the profile in which each channel has a stream of its own: frames are as on one
// byte stream, with the number of their channel. Stream 0 of the connection has channel 0: everything up to
// connection.open-ok, connection.close, heartbeats. docs/quic-profiles.md describes it.
const Streams = "amqp-streams/1"

// ReceiveOn is Receive for a connection in which each channel has a stream of its own: b comes from the stream of that
// channel, or from stream 0. A shell calls either Receive or ReceiveOn for all that it reads on a connection.
//
// Of a channel's stream nothing is taken until the connection is open, and everything after its end. A frame of channel 0
// on a channel's stream is an error with code COMMAND_INVALID, one of another channel than the stream's CHANNEL_ERROR.
// What a first frame opens is for the shell to see: it must not give the bytes of two streams as those of one channel.
//
// Heartbeats are then due when nothing was sent on channel 0, whatever was sent on others.
func (c *Conn) ReceiveOn(now time.Time, channel uint16, b []byte) (n int, err error) {
	if channel != 0 && c.phase != phaseOpen {
		if c.isDown() {
			return len(b), nil
		}
		return 0, nil
	}
	c.streams, c.from = true, channel
	return c.Receive(now, b)
}

// misplaced is the error of a frame on a stream that is not its channel's.
func (c *Conn) misplaced(f Frame) error {
	e := &Error{Code: ChannelError, Hard: true, Text: "frame of channel " + utoa(uint64(f.Channel)) + " on "}
	if c.from == 0 {
		e.Text += "stream 0"
	} else {
		e.Text += "the stream of channel " + utoa(uint64(c.from))
	}
	if f.Channel == 0 {
		e.Code = CommandInvalid
	}
	if f.Type == FrameMethod {
		e.Method, _ = PeekMethod(f.Payload)
	}
	return e
}

// Heard tells the machine that the peer is alive: bytes came that are no whole frame yet.
func (c *Conn) Heard(now time.Time) { c.heard = now }

// Lost ends the channel because the stream that carries it has ended; nothing can be sent on it any more. It is for a
// connection with ReceiveOn. If the channel was open or opening, EventChannelClosed follows, and Err returns e; a server
// gives nil, for it is as if the client had closed the channel. If channel.close was on its way, EventChannelGone follows.
func (ch *Channel) Lost(e *Error) {
	c := ch.c
	if ch.confirms.queued {
		ch.confirms.queued = false
		c.pending = slices.DeleteFunc(c.pending, func(p *Channel) bool { return p == ch })
	}
	switch ch.state {
	case channelOpening, channelOpen:
		ch.err = e
		ch.remove()
		c.tell(EventChannelClosed, ch)
	case channelClosing:
		ch.remove()
		c.tell(EventChannelGone, ch)
	case channelAnswer:
		ch.remove()
	}
}

// Confirmable (server) returns a channel that has confirms to send, and how many bytes they are at most; nil when there is
// none, or none any more. With Channel.AppendConfirms it does what Confirms and AppendConfirms do, for one channel after
// the other.
func (c *Conn) Confirmable() (ch *Channel, size int) {
	n := len(c.pending)
	if n == 0 {
		return nil, 0
	}
	ch = c.pending[n-1]
	return ch, ch.confirms.frames() * confirmSize
}

// AppendConfirms (server) appends the frames that confirm what Confirm was called for on the channel, and returns the
// extended slice. The caller sends them at once.
func (ch *Channel) AppendConfirms(now time.Time, dst []byte) []byte {
	c := ch.c
	if !ch.confirms.queued {
		return dst
	}
	if n := len(c.pending) - 1; c.pending[n] == ch {
		c.pending[n] = nil
		c.pending = c.pending[:n]
	} else {
		c.pending = slices.DeleteFunc(c.pending, func(p *Channel) bool { return p == ch })
	}
	c.said(now)
	return ch.appendConfirms(dst)
}
