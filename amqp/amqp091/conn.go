package amqp091

import (
	"errors"
	"time"
)

// Role is the side of a connection.
type Role uint8

// The two roles.
const (
	Client Role = iota + 1
	Server
)

// String returns "client" or "server".
func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return "unknown"
}

// Conn is the state machine of one connection and its channels, in one role. It does no I/O: the shell feeds it bytes
// with Receive, calls its verbs, and then takes events with Next until there are none.
//
// A shell's loop reads, calls Receive again and again until it takes nothing any more, and handles the events after each
// call: it encodes each EventSend with [Event.AppendTo], passes the others on, and writes to the connection when there
// is nothing left to do. It arms a timer for Timeout and calls Advance. Messages are encoded by the caller of the verb
// that sends them (Channel.Publish, Deliver, Get, Return), who has them at hand: no event is made for them. The same
// holds for confirms, which AppendConfirms gathers.
//
// A Conn is not safe for concurrent use; that holds for its channels and consumers, too. An error from Receive is
// terminal for the connection: the closing frame, if there is one, is queued as an EventSend, and EventDown follows,
// later EventClose. A verb called at a wrong moment returns ErrState and changes nothing.
//
// The rules and codes are RabbitMQ's where they differ from the standard's.
type Conn struct {
	cfg    *Config
	err    *Error
	events eventQueue

	heard    time.Time // when the last bytes came
	sent     time.Time // when the last bytes were sent, or were about to be; with ReceiveOn those of channel 0
	deadline time.Time // of the phases in which somebody waits; zero: none
	interval time.Duration

	channels map[uint16]*Channel
	last     *Channel   // the channel of the last frame, or nil
	hot      *Channel   // its content has parts that are views of the input
	free     uint16     // client: where to look for a free number
	pending  []*Channel // server: channels with confirms to send

	peer      Table // properties
	mechanism string
	secrets   []any // client: references of update-secret calls
	spare     []byte
	content   Content // of the event, or of hot
	refs      []any   // of the event
	merged    *Event  // the EventSettled that more settlements may join

	collected  uint64 // memory of the bodies that are not complete
	frameMax   uint32
	recvMax    uint32
	channelMax uint16
	from       uint16 // the channel whose stream the input comes from
	streams    bool   // channels have streams of their own
	phase      phase
	told       bool // an event for the shell was made
	trimmed    bool // by a heartbeat of this input
	paused     bool
	blocked    bool
	caps       capabilities
}

// Config is the configuration of a [Conn]. It must not change while Conns use it. Zero fields are the documented default.
type Config struct {
	Role Role

	// FrameMax is the size of the largest frame in both directions, in bytes. Default 131,072, at least FrameMinSize.
	FrameMax uint32
	// ChannelMax is how many channels may be open. Default 2047.
	ChannelMax uint16
	// Heartbeat is the interval of heartbeats, in full seconds. A server proposes it; zero proposes none. A client uses the
	// smaller one of this and the server's; zero takes the server's, a negative one uses none.
	Heartbeat time.Duration
	// MaxMessage is the size of the largest body that is taken, in bytes. Default 16 MiB.
	MaxMessage int
	// CloseTimeout is how long the answer to connection.close may take. Default 10 seconds.
	CloseTimeout time.Duration

	// RefuseDelay is how long a server is silent before it closes the connection of a client that it does not trust.
	// Default 3 seconds.
	RefuseDelay time.Duration
	// Properties are the server's properties in connection.start.
	Properties Table

	// VirtualHost is what a client opens. Default "/".
	VirtualHost string
}

// The defaults of [Config].
const (
	DefaultFrameMax   = 131_072
	DefaultChannelMax = 2047
	DefaultMaxMessage = 16 << 20
)

const (
	// handshakeFrame is the largest frame before the limits are negotiated.
	handshakeFrame = 8192
	// collectFactor bounds the bodies that a connection has under way, in MaxMessage.
	collectFactor = 4
	// keptBuffer is the most memory that a connection keeps for the next message.
	keptBuffer = 64 << 10
)

func (c *Config) maxFrame() uint32 {
	if c.FrameMax == 0 {
		return DefaultFrameMax
	}
	return max(c.FrameMax, FrameMinSize)
}

func (c *Config) maxChannels() uint16 {
	if c.ChannelMax == 0 {
		return DefaultChannelMax
	}
	return c.ChannelMax
}

func (c *Config) maxMessage() int {
	if c.MaxMessage <= 0 {
		return DefaultMaxMessage
	}
	return c.MaxMessage
}

func (c *Config) closeTimeout() time.Duration {
	if c.CloseTimeout <= 0 {
		return 10 * time.Second
	}
	return c.CloseTimeout
}

func (c *Config) refuseDelay() time.Duration {
	if c.RefuseDelay <= 0 {
		return 3 * time.Second
	}
	return c.RefuseDelay
}

// ErrState is what a verb returns that does not fit the state of the connection or channel.
var ErrState = errors.New("amqp091: not possible in this state")

// phase is where a connection is in its life.
type phase uint8

const (
	phaseHeader  phase = iota // server: waits for the header; client: Connect was not called
	phaseGreet                // server: the header came, the shell answers
	phaseStart                // server: start is sent; client: the header is sent
	phaseAuth                 // the shell answers
	phaseSecure               // server: secure is sent; client: start-ok or secure-ok is sent
	phaseTune                 // server: tune is sent
	phaseTuned                // server: waits for open
	phaseOpening              // server: the shell decides; client: open is sent
	phaseOpen
	phaseAnswer  // the peer sent close, the shell answers (server)
	phaseClosing // close is sent
	phaseRefused // silent until the deadline
	phaseClosed
)

// capabilities are what the peer can do beyond the standard.
type capabilities uint8

const (
	capBlocked capabilities = 1 << iota
	capCancelNotify
	capAuthClose
)

// NewConn returns a machine in its initial state. A client's begins with Connect.
func NewConn(cfg *Config) *Conn {
	return &Conn{cfg: cfg, recvMax: handshakeFrame, frameMax: FrameMinSize, free: 1}
}

// Next returns the next event. Call it until it returns false after each Receive, Advance or verb.
func (c *Conn) Next() (Event, bool) { return c.events.pop() }

// Err returns why the connection ended: an *[Error], or nil before that and after a close with code 200 (or 0, which some
// clients send).
func (c *Conn) Err() error {
	if c.err == nil || c.err.Code == ReplySuccess || c.err.Code == 0 {
		return nil
	}
	return c.err
}

// Open reports whether the connection is open: methods and messages may be sent.
func (c *Conn) Open() bool { return c.phase == phaseOpen }

// FrameMax returns the size of the largest frame, in bytes, as it is negotiated. Bodies are split by it.
func (c *Conn) FrameMax() uint32 { return c.frameMax }

// ReceiveMax returns the size of the largest frame that Receive takes now, in bytes.
func (c *Conn) ReceiveMax() uint32 { return c.recvMax }

// ChannelMax returns how many channels may be open, as it is negotiated.
func (c *Conn) ChannelMax() uint16 { return c.channelMax }

// Heartbeat returns the interval of heartbeats as it is negotiated; 0 is none.
func (c *Conn) Heartbeat() time.Duration { return c.interval }

// PeerProperties returns what the peer says about itself. The table must not be changed.
func (c *Conn) PeerProperties() Table { return c.peer }

// Mechanism returns the SASL mechanism that the client chose.
func (c *Conn) Mechanism() string { return c.mechanism }

// Channel returns the channel with a number, or nil. Channels that are closing are not returned.
func (c *Conn) Channel(id uint16) *Channel {
	if ch := c.channels[id]; ch != nil && ch.state == channelOpen {
		return ch
	}
	return nil
}

// Channels returns how many channels there are, those that are opening or closing too.
func (c *Conn) Channels() int { return len(c.channels) }

// tell makes an event for the shell.
func (c *Conn) tell(k EventKind, ch *Channel) *Event {
	c.told = true
	e := c.events.push(k)
	e.Channel = ch
	return e
}

// send makes an event that sends a method.
func (c *Conn) send(now time.Time, channel uint16, m Method) {
	e := c.events.push(EventSend)
	e.channel = channel
	e.Method = m
	if channel == 0 {
		c.sent = now
	} else {
		c.said(now)
	}
}

// said takes note that something was sent on a channel, so that no heartbeat is due. The stream of a channel may stand still while
// others go on, so it says nothing of stream 0.
func (c *Conn) said(now time.Time) {
	if !c.streams {
		c.sent = now
	}
}

// sendFrame makes an event that sends something that is no method.
func (c *Conn) sendFrame(now time.Time, k sendKind) {
	c.events.push(EventSend).frame = k
	c.sent = now
}

// setPeer takes the peer's properties.
func (c *Conn) setPeer(t Table) {
	c.peer = t
	v, _ := t.Get("capabilities")
	known, _ := v.(Table)
	for _, f := range []struct {
		key string
		cap capabilities
	}{
		{"connection.blocked", capBlocked},
		{"consumer_cancel_notify", capCancelNotify},
		{"authentication_failure_close", capAuthClose},
	} {
		if v, _ := known.Get(f.key); v == true {
			c.caps |= f.cap
		}
	}
}

// trim gives back what an idle connection does not need.
func (c *Conn) trim() {
	c.events.trim()
	c.spare = nil
	if !c.told && c.hot == nil { // else somebody looks at them, or will
		c.refs = nil
		c.content = Content{}
	}
	for _, ch := range c.channels {
		ch.trim()
	}
}
