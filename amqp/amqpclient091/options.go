package amqpclient091

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Options configures a [Client]. New copies it; the slices and maps in it must not change afterwards. What is set here
// holds before what a server's URL says.
type Options struct {
	// Servers are the URLs of the servers, tried in turn: see [URI] for their form. The schemes are amqp, amqps and those
	// of Dialers. Empty is amqp://localhost.
	Servers []string

	// VirtualHost is where the client works. Empty takes that of the URL, or "/".
	VirtualHost string

	// Username and Password log in. When both are empty, those of the URL count, and "guest" where it has none. With
	// Credentials they are ignored.
	Username, Password string

	// Credentials, when set, is called before each login, so that tokens can be renewed. See also [Client.UpdateSecret].
	Credentials func(ctx context.Context, server *url.URL) (username, password string, err error)

	// Mechanisms are the SASL mechanisms that the client may use, the best first: PLAIN, AMQPLAIN, EXTERNAL (the server
	// knows the user by the certificate of TLS) and ANONYMOUS. Empty takes those of the URL, or PLAIN and AMQPLAIN.
	Mechanisms []string

	// Name is the name of the connection that operators see. Empty is none.
	Name string
	// Properties are further properties of the client, for operators to see.
	Properties amqp091.Table

	// Heartbeat is the interval in which both sides show that they are alive, in whole seconds; the connection is given up
	// after two without a sign. Zero takes that of the URL, or 10 seconds; negative is off. A server may ask for less.
	Heartbeat time.Duration

	// TLS configures amqps://. Nil is the default configuration. The server name defaults to the URL's host.
	TLS *tls.Config

	// Dialers adds URL schemes, or replaces the built-in dialing of one. The conn is used as it is: a dialer of "amqps"
	// has done the TLS handshake.
	Dialers map[string]DialFunc

	// DialContext makes the connections below the built-in schemes, with network "tcp". Nil is a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// ConnectTimeout bounds one attempt to connect, login included. Zero takes that of the URL, or 10 seconds; negative is
	// off.
	ConnectTimeout time.Duration

	// Backoff is the time between attempts.
	Backoff Backoff

	// Retry decides whether the client goes on after an attempt to connect failed with err on every server, or after the
	// server ended the connection with err. Nil is DefaultRetry.
	Retry func(err error) bool

	// Limits bound the connection.
	Limits Limits

	// Publish configures the channel of Client.Publish and Client.PublishAsync. Nil is the zero ChannelOptions.
	Publish *ChannelOptions

	// Logger gets connection events at level debug and what goes wrong by itself at level warn. Nil is silent.
	Logger *slog.Logger

	// Trace observes the client.
	Trace *Trace
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
	// FrameMax is the largest frame that both sides may send, in bytes, within what the server allows. Zero is 131,072.
	FrameMax uint32
	// ChannelMax is how many channels may be open, within what the server allows. Zero is 2047.
	ChannelMax uint16
	// MaxMessage is the largest body that the server may send, in bytes. Zero is 128 MiB.
	MaxMessage int
	// OutputBuffer is how many bytes may wait for the network. A message is taken as long as there are fewer; what is
	// being written counts apart. Zero is 256 KiB. Channels with streams of their own share it: see amqp091.Streams.
	OutputBuffer int
}

// config is Options with defaults filled in and checked.
type config struct {
	Options
	servers []*server
	publish ChannelOptions
}

func newConfig(o *Options) (*config, error) {
	if o == nil {
		o = &Options{}
	}
	c := &config{Options: *o}
	if len(c.Servers) == 0 {
		c.Servers = []string{"amqp://localhost"}
	}
	for _, m := range c.Mechanisms {
		if !knownMechanism(m) {
			return nil, fmt.Errorf("amqpclient091: unknown SASL mechanism %q", m)
		}
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
	if c.Publish != nil {
		c.publish = *c.Publish
	}
	if c.publish.Mode == Transactions {
		return nil, fmt.Errorf("amqpclient091: the channel of Client.Publish has no transactions")
	}
	for _, s := range c.Servers {
		srv, err := c.newServer(s)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, srv)
	}
	c.setDefaults()
	if _, err := (amqp091.Table{{Key: "p", Value: c.Properties}}).Append(nil); err != nil {
		return nil, fmt.Errorf("amqpclient091: properties: %w", err)
	}
	return c, nil
}

func (c *config) setDefaults() {
	b := &c.Backoff
	b.Min = orDefault(b.Min, 500*time.Millisecond)
	b.Max = max(orDefault(b.Max, 30*time.Second), b.Min)
	if b.Min < 0 {
		b.Min, b.Max = 0, 0
	}
	l := &c.Limits
	l.FrameMax = max(orDefault(l.FrameMax, amqp091.DefaultFrameMax), amqp091.FrameMinSize)
	l.ChannelMax = orDefault(l.ChannelMax, amqp091.DefaultChannelMax)
	l.MaxMessage = max(orDefault(l.MaxMessage, 128<<20), 1)
	l.OutputBuffer = max(orDefault(l.OutputBuffer, 256<<10), 1)
}

// connectTimeout is how long an attempt to connect to s may take.
func (c *config) connectTimeout(s *server) time.Duration {
	d := orDefault(c.ConnectTimeout, orDefault(s.uri.ConnectTimeout, 10*time.Second))
	if d < 0 {
		return math.MaxInt64
	}
	return d
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
