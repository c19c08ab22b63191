package amqptest

import (
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Handshake is what a [Peer] says while a connection is opened. The zero value says what is usual.
type Handshake struct {
	// Properties are those of the client, or of the server. Nil has all the capabilities that RabbitMQ and its clients have.
	Properties amqp091.Table

	// User and Password are what a client logs in with, by PLAIN. Both empty are guest and guest. A server lets everybody in.
	User, Password string

	// VirtualHost is what a client opens. Empty is "/".
	VirtualHost string

	// ChannelMax is the number of channels, and FrameMax the size of the largest frame in bytes. Zero is what the server
	// proposes or, as a server, 2047 and 131,072.
	ChannelMax uint16
	FrameMax   uint32

	// Heartbeat is the interval of heartbeats, in whole seconds. Zero is none.
	Heartbeat time.Duration
}

// Opening is what both ends have said while a connection was opened.
type Opening struct {
	Start   *amqp091.ConnectionStart
	StartOK *amqp091.ConnectionStartOK
	Tune    *amqp091.ConnectionTune
	TuneOK  *amqp091.ConnectionTuneOK
	Open    *amqp091.ConnectionOpen
}

// Open opens the connection as a client: from the protocol header to connection.open-ok. Nil is the zero Handshake.
func (p *Peer) Open(h *Handshake) *Opening {
	p.tb.Helper()
	if h == nil {
		h = new(Handshake)
	}
	user, password := h.User, h.Password
	if user == "" && password == "" {
		user, password = "guest", "guest"
	}
	var o Opening
	p.SendHeader(amqp.Header091)
	o.Start = p.Receive(0, amqp091.IDConnectionStart).(*amqp091.ConnectionStart)
	o.StartOK = &amqp091.ConnectionStartOK{
		ClientProperties: h.properties("consumer_cancel_notify", "connection.blocked", "publisher_confirms", "basic.nack",
			"exchange_exchange_bindings", "authentication_failure_close"),
		Mechanism: "PLAIN", Response: []byte("\x00" + user + "\x00" + password), Locale: "en_US",
	}
	p.Send(0, o.StartOK)
	o.Tune = p.Receive(0, amqp091.IDConnectionTune).(*amqp091.ConnectionTune)
	o.TuneOK = &amqp091.ConnectionTuneOK{
		ChannelMax: orDefault(h.ChannelMax, o.Tune.ChannelMax),
		FrameMax:   orDefault(h.FrameMax, o.Tune.FrameMax),
		Heartbeat:  h.heartbeat(),
	}
	p.Send(0, o.TuneOK)
	o.Open = &amqp091.ConnectionOpen{VirtualHost: orDefault(h.VirtualHost, "/")}
	p.Send(0, o.Open)
	p.Receive(0, amqp091.IDConnectionOpenOK)
	return &o
}

// Accept opens the connection as a server: from the protocol header to connection.open-ok. Nil is the zero Handshake.
func (p *Peer) Accept(h *Handshake) *Opening {
	p.tb.Helper()
	if h == nil {
		h = new(Handshake)
	}
	var o Opening
	p.ExpectHeader(amqp.Header091)
	o.Start = &amqp091.ConnectionStart{
		VersionMinor: 9,
		ServerProperties: h.properties("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
			"connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to"),
		Mechanisms: "PLAIN AMQPLAIN", Locales: "en_US",
	}
	p.Send(0, o.Start)
	o.StartOK = p.Receive(0, amqp091.IDConnectionStartOK).(*amqp091.ConnectionStartOK)
	o.Tune = &amqp091.ConnectionTune{
		ChannelMax: orDefault(h.ChannelMax, amqp091.DefaultChannelMax),
		FrameMax:   orDefault(h.FrameMax, amqp091.DefaultFrameMax),
		Heartbeat:  h.heartbeat(),
	}
	p.Send(0, o.Tune)
	o.TuneOK = p.Receive(0, amqp091.IDConnectionTuneOK).(*amqp091.ConnectionTuneOK)
	o.Open = p.Receive(0, amqp091.IDConnectionOpen).(*amqp091.ConnectionOpen)
	p.Send(0, &amqp091.ConnectionOpenOK{})
	return &o
}

// OpenChannel opens a channel as a client.
func (p *Peer) OpenChannel(channel uint16) {
	p.tb.Helper()
	p.Send(channel, &amqp091.ChannelOpen{})
	p.Receive(channel, amqp091.IDChannelOpenOK)
}

// AcceptChannel opens, as a server, a channel that the client asks for, and returns its number.
func (p *Peer) AcceptChannel() (channel uint16) {
	p.tb.Helper()
	channel, m := p.Next()
	if m.ID() != amqp091.IDChannelOpen {
		p.play.Fatalf("got %d %v, want %v", channel, m, amqp091.IDChannelOpen)
	}
	p.Send(channel, &amqp091.ChannelOpenOK{})
	return channel
}

// properties returns the properties, with the given capabilities if there are none.
func (h *Handshake) properties(capabilities ...string) amqp091.Table {
	if h.Properties != nil {
		return h.Properties
	}
	var t amqp091.Table
	for _, c := range capabilities {
		t.Set(c, true)
	}
	return amqp091.Table{{Key: "product", Value: "amqptest"}, {Key: "capabilities", Value: t}}
}

// heartbeat returns the interval in seconds.
func (h *Handshake) heartbeat() uint16 { return uint16(h.Heartbeat / time.Second) }

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
