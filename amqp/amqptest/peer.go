package amqptest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// Peer is one end of a connection that the test plays by hand, as a client or as a server. What does not go as the test
// says fails it at once, with what was sent and received before in the message.
//
// Messages are methods, or a [Content]: a method with properties and a body, in as many frames as the frame-max asks for
// that has passed in connection.tune-ok. Heartbeats that come are passed over, except by ExpectHeartbeat; a Peer sends none
// by itself. It waits for 5 seconds at most. It is not safe for concurrent use, and its methods must be called from the
// test's goroutine.
type Peer struct {
	tb       testing.TB
	play     *wiretest.Player
	frameMax uint32 // 0: no limit
	in       assembler
}

// NewPeer returns the peer that plays with conn. The conn is closed with the test.
func NewPeer(tb testing.TB, conn net.Conn) *Peer {
	return &Peer{tb: tb, play: wiretest.NewPlayer(tb, conn, "frame", maxFrame)}
}

// Conn returns the connection.
func (p *Peer) Conn() net.Conn { return p.play.Conn }

// Send sends messages on a channel. They must be legal: methods of the class connection on channel 0 and no others, a
// [Content] where a method has one, no frame larger than the frame-max.
func (p *Peer) Send(channel uint16, messages ...amqp091.Method) {
	p.tb.Helper()
	p.send(channel, messages, p.check)
}

// SendIllegal sends messages on a channel whatever they are, as long as they can be encoded: contents with any method,
// methods without their content.
func (p *Peer) SendIllegal(channel uint16, messages ...amqp091.Method) {
	p.tb.Helper()
	p.send(channel, messages, func(uint16, amqp091.Method, []byte) error { return nil })
}

// SendBytes sends bytes as they are, such as those of [amqp091.AppendContentHeader].
func (p *Peer) SendBytes(b ...byte) {
	p.tb.Helper()
	p.play.SendBytes(b)
}

// SendHeader sends a protocol header.
func (p *Peer) SendHeader(h amqp.Header) {
	p.tb.Helper()
	p.play.Note("sent", headerText([]byte(h)))
	p.play.Write([]byte(h))
}

// SendHeartbeat sends a heartbeat.
func (p *Peer) SendHeartbeat() {
	p.tb.Helper()
	p.play.Note("sent", "0 heartbeat")
	p.play.Write(amqp091.AppendHeartbeat(nil))
}

func (p *Peer) send(channel uint16, messages []amqp091.Method, check func(uint16, amqp091.Method, []byte) error) {
	p.tb.Helper()
	var b []byte
	for _, m := range messages {
		start := len(b)
		var err error
		if b, err = appendMethod(b, channel, m, p.frameMax); err == nil {
			err = check(channel, m, b[start:])
		}
		if err != nil {
			p.play.Fatalf("cannot send %d %v: %v", channel, m, err)
		}
		p.play.Note("sent", fmt.Sprint(channel, " ", m))
		p.passed(m)
	}
	p.play.Write(b)
}

// check tells what is illegal about a message that is encoded in frames.
func (p *Peer) check(channel uint16, m amqp091.Method, frames []byte) error {
	const classConnection = 10
	_, content := m.(*Content)
	switch id := m.ID(); {
	case id.Class() == classConnection && channel != 0:
		return errors.New("methods of the class connection are for channel 0")
	case id.Class() != classConnection && channel == 0:
		return errors.New("channel 0 is for methods of the class connection")
	case content && !carries(id):
		return errors.New("the method has no content")
	case !content && carries(id):
		return errors.New("the method needs a Content")
	}
	for len(frames) > 0 {
		_, n, err := amqp091.NextFrame(frames, p.frameMax)
		if err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}

// passed notes what a message means for those that follow.
func (p *Peer) passed(m amqp091.Method) {
	if m, ok := m.(*amqp091.ConnectionTuneOK); ok {
		p.frameMax = m.FrameMax
	}
}

// Expect receives as many messages as are given and compares each with the one expected, byte for byte as it is encoded.
// The fields of tables may come in another order, and a body in any frames.
func (p *Peer) Expect(channel uint16, want ...amqp091.Method) {
	p.tb.Helper()
	for _, w := range want {
		text := fmt.Sprint(channel, " ", w)
		got := p.message(text)
		frames, err := appendMethod(nil, channel, w, 0)
		if err != nil {
			p.play.Fatalf("cannot encode the expected %s: %v", text, err)
		}
		raw := withoutFrames(frames)
		if got.channel == channel && (bytes.Equal(raw, got.raw) || sameButOrder(raw, got.raw, w, got.method)) {
			continue
		}
		p.play.Differs(raw, got.raw, text, got.String())
	}
}

// Receive receives a message that must have the given method, and returns it for the test to look at. A message with
// content is a *[Content].
func (p *Peer) Receive(channel uint16, want amqp091.MethodID) amqp091.Method {
	p.tb.Helper()
	text := fmt.Sprint(channel, " ", want)
	got := p.message(text)
	if got.channel != channel || got.method.ID() != want {
		p.play.Fatalf("got %v, want %s", got, text)
	}
	return got.method
}

// ReceiveContent is Receive for a message with content.
func (p *Peer) ReceiveContent(channel uint16, want amqp091.MethodID) *Content {
	p.tb.Helper()
	m := p.Receive(channel, want)
	c, ok := m.(*Content)
	if !ok {
		p.play.Fatalf("%v has no content", m)
	}
	return c
}

// Next receives a message, whatever it is.
func (p *Peer) Next() (channel uint16, m amqp091.Method) {
	p.tb.Helper()
	got := p.message("a method")
	return got.channel, got.method
}

// message receives a message. want is what the test waits for.
func (p *Peer) message(want string) *message {
	p.tb.Helper()
	got, err := p.next(time.Now().Add(wiretest.Patience), false)
	switch {
	case err != nil:
		p.play.Fatalf("%v, want %s", err, want)
	case got.message == nil:
		p.play.Fatalf("got %s, want %s", got.text, want)
	}
	return got.message
}

// ExpectHeader expects a protocol header.
func (p *Peer) ExpectHeader(want amqp.Header) {
	p.tb.Helper()
	text := headerText([]byte(want))
	got, err := p.next(time.Now().Add(wiretest.Patience), false)
	switch {
	case err != nil:
		p.play.Fatalf("%v, want %s", err, text)
	case got.text != text:
		p.play.Fatalf("got %s, want %s", got.text, text)
	}
}

// ExpectHeartbeat expects a heartbeat within a time.
func (p *Peer) ExpectHeartbeat(within time.Duration) {
	p.tb.Helper()
	got, err := p.next(time.Now().Add(within), true)
	switch {
	case err != nil:
		p.play.Fatalf("%v, want a heartbeat", err)
	case !got.heartbeat:
		p.play.Fatalf("got %s, want a heartbeat", got.text)
	}
}

// ExpectSilence waits for a time in which nothing may come but heartbeats.
func (p *Peer) ExpectSilence(d time.Duration) {
	p.tb.Helper()
	before := len(p.in.partial)
	p.play.ExpectSilence(d, p.nextText)
	if m := p.in.open(); len(p.in.partial) > before {
		p.play.Fatalf("got a part of %v, want nothing for %v", m, d)
	}
}

// ExpectClose expects the other end to close the connection without sending anything more but heartbeats.
func (p *Peer) ExpectClose() {
	p.tb.Helper()
	p.play.ExpectClose(p.nextText)
}

// Close closes the connection without a word.
func (p *Peer) Close() { _ = p.play.Conn.Close() }

// arrival is what has come: a message, a heartbeat or a protocol header.
type arrival struct {
	text      string
	message   *message
	heartbeat bool
}

// nextText receives something and returns its text.
func (p *Peer) nextText(until time.Time) (string, error) {
	got, err := p.next(until, false)
	return got.text, err
}

// next receives something, which may be a heartbeat if those count.
func (p *Peer) next(until time.Time, heartbeats bool) (got arrival, err error) {
	_ = p.play.Conn.SetReadDeadline(until)
	for {
		got, n, err := p.take()
		if n > 0 {
			p.play.In.Discard(n)
		}
		switch {
		case err != nil:
			return arrival{}, err
		case got.text != "":
			p.play.Note("got ", got.text)
			if !got.heartbeat || heartbeats {
				return got, nil
			}
		case n == 0:
			if err := p.play.Fill(); err != nil {
				return arrival{}, p.within(err)
			}
		}
	}
}

// take takes a frame or protocol header, of n bytes, from the input. The arrival is empty when it is not the last of a
// message; n is 0 when more bytes are needed.
func (p *Peer) take() (got arrival, n int, err error) {
	b := p.play.In.Bytes()
	if isHeader(b) {
		if len(b) < amqp.HeaderSize {
			return arrival{}, 0, nil
		}
		return arrival{text: headerText(b[:amqp.HeaderSize])}, amqp.HeaderSize, nil
	}
	f, n, err := amqp091.NextFrame(b, p.frameMax)
	if err != nil {
		return arrival{}, 0, p.play.Undecodable(err)
	}
	switch {
	case n == 0:
	case f.Type == amqp091.FrameHeartbeat:
		got = arrival{text: f.String(), heartbeat: true}
	default:
		m, err := p.in.add(f)
		if err != nil {
			return arrival{}, 0, p.play.Undecodable(err)
		}
		if m != nil {
			p.passed(m.method)
			got = arrival{text: m.String(), message: m}
		}
	}
	return got, n, nil
}

// within adds to an error what was not complete.
func (p *Peer) within(err error) error {
	if m := p.in.open(); m != nil {
		return fmt.Errorf("the content of %v is not complete: %w", m, err)
	}
	return err
}
