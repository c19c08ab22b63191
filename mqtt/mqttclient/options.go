package mqttclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// Options configures a [Client]. New copies it; the slices and maps in it must not change afterwards.
type Options struct {
	// Servers are the URLs of the servers, tried in turn: mqtt:// (or tcp://), mqtts:// (ssl://, tls://), ws://, wss://,
	// unix:// with a path, and the schemes of Dialers. Ports default to 1883, 8883, 80 and 443. A user name and password
	// in a URL count for that server when neither Username nor Credentials is set.
	Servers []string

	// Version pins the protocol version. Zero begins with 5.0 and falls back to 3.1.1 when a server refuses.
	Version mqtt.Version

	// ClientID identifies the session. Empty chooses a random one of 22 letters and digits for the life of the client;
	// Close and Disconnect then end the session at a version 5 server, too, since nobody could resume it.
	ClientID string

	// Dir is a directory in which the client keeps what must outlive the process: messages of QoS 1 and 2 that are
	// published and not complete, and the state of the session. It is made if need be, and locked. Empty keeps everything
	// in memory. See the package comment.
	//
	// The directory belongs to one client identifier; another is refused with a *ClientIDError. When ClientID is empty,
	// it is the one in the directory, where a random one is stored at first. When the directory knows a session, Resume
	// is implied.
	Dir string
	// NoSync takes as stored what the operating system has taken, without waiting for the disk. It survives the end of
	// the process, but not of the machine.
	NoSync bool

	// Resume makes the first connection continue the session that an earlier process left at the server, with the clean
	// start flag off. Messages that come before the application has subscribed go to Unrouted. Without Resume the first
	// connection starts a new session. Reconnections always resume.
	Resume bool

	// SessionExpiry is how long the server keeps the session without a connection, in whole seconds. Zero is one hour,
	// negative is off: the session ends with each connection. MQTT 3.1.1 knows only on and off. When the session has
	// ended, messages in flight are published anew at QoS 1, and fail with ErrSessionLost at QoS 2.
	SessionExpiry time.Duration

	// KeepAlive is the time after which an idle connection is probed, in whole seconds. Zero is 30 seconds, negative off.
	// The server may choose another one.
	KeepAlive time.Duration

	// Username and Password log in. With Credentials they are ignored.
	Username string
	Password []byte

	// Credentials, when set, is called before each CONNECT, so that tokens can be renewed.
	Credentials func(ctx context.Context, server *url.URL) (username string, password []byte, err error)

	// Auth is the enhanced authentication of version 5, nil for none.
	Auth Authenticator

	// Will is the will message, nil for none.
	Will *mqtt.Will

	// ConnectProperties are further properties of CONNECT, such as user properties. The client adds those that it
	// manages itself: limits, session expiry and authentication.
	ConnectProperties mqtt.Properties

	// TLS configures mqtts:// and wss://. Nil is the default configuration. The server name defaults to the URL's host.
	TLS *tls.Config

	// Dialers adds URL schemes, or replaces the built-in dialing of one. The conn is used as it is: a dialer of "mqtts"
	// has done the TLS handshake.
	Dialers map[string]DialFunc

	// DialContext makes the connections below the built-in schemes, with network "tcp" or "unix". Nil is a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// ConnectTimeout bounds one attempt to connect, authentication included. Zero is 10 seconds, negative is off.
	ConnectTimeout time.Duration

	// Backoff is the time between attempts.
	Backoff Backoff

	// Retry decides whether the client goes on after an attempt to connect failed with err on every server, or after the
	// server ended the connection with err. Nil is DefaultRetry.
	Retry func(err error) bool

	// FollowRedirects makes the client go where a server's reference points when it answers ReasonUseAnotherServer (for
	// the next connection) or ReasonServerMoved (for good, in the place of that server).
	FollowRedirects bool

	// Limits bound the connection.
	Limits Limits

	// Queue bounds what is published and not sent yet.
	Queue Queue

	// Streams, when set, uses several streams of a connection that has them (QUIC). Nil is one stream.
	Streams *Streams

	// EarlyPublish lets PUBLISH of QoS 0 and 1 travel in early data (0-RTT) of a connection that has such: somebody who
	// recorded it could send the messages to the server a second time, at any time while the ticket is valid. It is for
	// messages of which a repetition does no harm, such as absolute values; an expiry interval bounds the harm. Without it,
	// and at QoS 2, they wait for the end of the handshake. See mqtt.EarlyData for the rule of all packets.
	//
	// What waits at QoS 0 when a connection with early data is made, up to 4 KiB and the first message with QoS 1, 2 or
	// Retain, follows CONNECT without waiting for CONNACK: it is there half a round trip after the client has begun. When
	// the server refuses the connection, it is sent again on the next one.
	EarlyPublish bool

	// Unrouted, when set, collects messages that match no subscription; see Client.Unrouted. When nil they are
	// acknowledged, counted and dropped.
	Unrouted *SubscribeOptions

	// ResponseTopic is what the response topic of Request begins with; a slash and the client identifier follow. Empty
	// takes the server's response information (ask for it with mqtt.PropRequestResponseInformation in ConnectProperties),
	// or "response".
	ResponseTopic string

	// Logger gets connection events at level debug and misbehaviour of servers at level warn. Nil is silent.
	Logger *slog.Logger

	// Trace observes the client.
	Trace *Trace

	fs      vfs.FS // for tests: of Dir, and the size of the files in it
	segment int64
}

// DialFunc makes a connection to a server.
type DialFunc func(ctx context.Context, server *url.URL) (net.Conn, error)

// Backoff is how long the client waits before the next round through its servers: a random time between zero and Min
// before the first, the bound doubling up to Max. It starts over after a connection that lasted Max.
type Backoff struct {
	Min  time.Duration // zero is 500 milliseconds; negative is off: the client does not wait
	Max  time.Duration // zero is 30 seconds
	Seed uint64        // of the random times; zero chooses one
}

// Limits bound one connection. Zero fields are the defaults.
type Limits struct {
	// ReceiveMaximum is how many messages of QoS 1 and 2 the server may have sent without an acknowledgement, over all
	// subscriptions. Zero is 1024. MQTT 3.1.1 does not announce it.
	ReceiveMaximum uint16
	// MaxInflight is how many messages of QoS 1 and 2 are published and not complete, within what the server allows.
	// Zero is 1024.
	MaxInflight int
	// MaxPacketSize is the largest packet that the server may send, in bytes. Zero is the protocol's limit of 256 MiB.
	MaxPacketSize uint32
	// TopicAliases is how many topic aliases each side may use, within what the server allows. Zero is 64, negative none.
	TopicAliases int
	// OutputBuffer is how many bytes may wait for the network. A packet is taken as long as there are fewer; what is
	// being written counts apart. With Options.Streams it is for all streams together, and what is being written to data
	// streams counts, too. Zero is 256 KiB.
	OutputBuffer int
}

// Queue bounds the messages that are published and not sent yet, because there is no connection, too many are in
// flight, or the network is slow. A message whose expiry interval (mqtt.PropMessageExpiryInterval) ends there fails with
// ErrExpired; with others the server is told what is left of it. With Options.Dir the bounds are those of the messages
// on the disk, too, of which about 1 MiB is in memory.
type Queue struct {
	// Messages is how many. Zero is 16,384. Negative: Publish and PublishAsync fail with ErrNotConnected while there is
	// no connection.
	Messages int
	// Bytes is how many bytes of topics, properties and payloads. Zero is 64 MiB. A single larger message is taken by an
	// empty queue.
	Bytes int
	// Policy says what happens when the queue is full.
	Policy QueuePolicy
}

// QueuePolicy says what becomes of a message when the queue is full.
type QueuePolicy uint8

// The queue policies.
const (
	QueueBlock      QueuePolicy = iota // Publish and PublishAsync wait for room, on the disk too, as long as their ctx allows
	QueueDropOldest                    // the oldest queued message, of its stream if there is one, fails with ErrQueueFull
	QueueError                         // the new message fails with ErrQueueFull
)

// config is Options with defaults filled in and checked.
type config struct {
	Options
	servers   []*url.URL
	online    bool   // nothing is queued without a connection
	keepAlive uint16 // seconds
	expiry    uint32 // seconds
	nameless  bool   // the client identifier is a random one
}

const maxExpiry = 0xFFFFFFFF * time.Second

func newConfig(o *Options) (*config, error) {
	if o == nil {
		o = &Options{}
	}
	c := &config{Options: *o}
	switch c.Version {
	case 0, mqtt.Version31, mqtt.Version311, mqtt.Version5:
	default:
		return nil, fmt.Errorf("mqttclient: unknown protocol version %d", c.Version)
	}
	if len(c.Servers) == 0 {
		return nil, fmt.Errorf("mqttclient: no servers")
	}
	for _, s := range c.Servers {
		u, err := c.parseServer(s)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, u)
	}
	if c.Auth != nil && c.Version != 0 && c.Version != mqtt.Version5 {
		return nil, fmt.Errorf("mqttclient: enhanced authentication needs version 5.0")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Trace == nil {
		c.Trace = new(Trace)
	}
	if c.Retry == nil {
		c.Retry = DefaultRetry
	}
	if c.ClientID == "" && c.Dir == "" {
		c.ClientID, c.nameless = rand.Text()[:22], true
	}
	if c.Streams != nil {
		streams, err := c.Streams.check(c.Dir)
		if err != nil {
			return nil, err
		}
		c.Streams = streams
	}
	c.setDefaults()
	v := orDefault(c.Version, mqtt.Version5)
	p := c.connectPacket(v, c.Username, c.Password)
	p.ClientID = orDefault(p.ClientID, "chosen later")
	if _, err := mqtt.Append(nil, p, v); err != nil {
		return nil, fmt.Errorf("mqttclient: %w", err)
	}
	return c, nil
}

func (c *config) setDefaults() {
	c.keepAlive = uint16(min(seconds(orDefault(c.KeepAlive, 30*time.Second)), 0xFFFF))
	c.expiry = uint32(seconds(min(orDefault(c.SessionExpiry, time.Hour), maxExpiry)))
	c.ConnectTimeout = orDefault(c.ConnectTimeout, 10*time.Second)
	if c.ConnectTimeout < 0 {
		c.ConnectTimeout = math.MaxInt64
	}
	b := &c.Backoff
	b.Min = orDefault(b.Min, 500*time.Millisecond)
	b.Max = max(orDefault(b.Max, 30*time.Second), b.Min)
	if b.Min < 0 {
		b.Min, b.Max = 0, 0
	}
	l := &c.Limits
	l.ReceiveMaximum = orDefault(l.ReceiveMaximum, 1024)
	l.MaxInflight = min(max(orDefault(l.MaxInflight, 1024), 1), 0xFFFF)
	l.MaxPacketSize = min(orDefault(l.MaxPacketSize, mqtt.MaxPacketSize), mqtt.MaxPacketSize)
	l.TopicAliases = min(max(orDefault(l.TopicAliases, 64), 0), 0xFFFF)
	l.OutputBuffer = max(orDefault(l.OutputBuffer, 256<<10), 1)
	c.online = c.Queue.Messages < 0
	if c.Queue.Messages <= 0 {
		c.Queue.Messages = 16 << 10
	}
	c.Queue.Bytes = orDefault(c.Queue.Bytes, 64<<20)
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// seconds rounds up to whole seconds; negative is none.
func seconds(d time.Duration) int64 {
	return int64(max(d+time.Second-1, 0) / time.Second)
}
