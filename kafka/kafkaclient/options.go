package kafkaclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Options configures a [Client]. New copies it; what it points to must not change afterwards.
type Options struct {
	// Addrs are the addresses of some brokers, as host:port with 9092 as the default port. The client learns of all other
	// brokers from the first that answers, and comes back to these when it knows none any more that does.
	Addrs []string

	// ClientID names the client in logs and quotas of brokers. Empty is "quartet".
	ClientID string

	// Dial makes connections, with network "tcp". Nil is a net.Dialer. With TLS the handshake is done on top of it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS, when it is not nil, makes connections with TLS. The server name defaults to the host of the address.
	TLS *tls.Config

	// SASL authenticates the client: [Plain], [SCRAM], [OAuthBearer] or a mechanism of the application. Nil is none.
	SASL Mechanism

	// ConnectTimeout bounds one attempt to connect, authentication included. Zero is 10 seconds, negative is off.
	ConnectTimeout time.Duration

	// RequestTimeout bounds the wait for one response, besides the time that the request itself asks the broker to wait.
	// A connection on which it passes is closed, since responses come in order. Zero is 30 seconds.
	RequestTimeout time.Duration

	// APITimeout bounds calls that try again, such as those of [Admin], when their ctx does not end earlier. Zero is one
	// minute, negative is off.
	APITimeout time.Duration

	// Backoff is the time between attempts, to connect and to request.
	Backoff Backoff

	// IdleTimeout is the time after which a connection that is not in use is closed. Zero is 9 minutes, a little less than
	// that of brokers; negative is off.
	IdleTimeout time.Duration

	// MetadataMaxAge is the time after which the client asks again for brokers and partitions even when nothing failed.
	// Zero is 5 minutes.
	MetadataMaxAge time.Duration

	// AutoCreateTopics asks brokers to create topics that do not exist when they are used. They do that as their
	// auto.create.topics.enable allows.
	AutoCreateTopics bool

	// Rack is where the client is, for consumers that fetch from the nearest replica.
	Rack string

	// MaxResponseBytes is the size of the largest response that the client takes; a broker that sends a larger one is
	// disconnected. Zero is 256 MiB.
	MaxResponseBytes int

	// Logger gets connection events at level debug and misbehaviour of brokers at level warn. Nil is silent.
	Logger *slog.Logger

	// Trace observes the client.
	Trace *Trace
}

// Backoff is a time that grows from attempt to attempt: a random time between half and all of a bound that starts with
// Min and doubles up to Max.
type Backoff struct {
	Min time.Duration // zero is 100 milliseconds
	Max time.Duration // zero is one second
}

// config is Options with defaults filled in and checked.
type config struct {
	Options
	addrs []string
}

func newConfig(o *Options) (*config, error) {
	if o == nil {
		o = new(Options)
	}
	c := &config{Options: *o}
	if len(c.Addrs) == 0 {
		return nil, errors.New("kafkaclient: no addresses")
	}
	for _, s := range c.Addrs {
		addr, err := address(s)
		if err != nil {
			return nil, err
		}
		c.addrs = append(c.addrs, addr)
	}
	c.ClientID = orDefault(c.ClientID, "quartet")
	if len(c.ClientID) > 32767 {
		return nil, errors.New("kafkaclient: the client id is too long")
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	c.ConnectTimeout = orDefault(c.ConnectTimeout, 10*time.Second)
	c.RequestTimeout = orDefault(c.RequestTimeout, 30*time.Second)
	c.APITimeout = orDefault(c.APITimeout, time.Minute)
	c.IdleTimeout = orDefault(c.IdleTimeout, 9*time.Minute)
	c.MetadataMaxAge = orDefault(c.MetadataMaxAge, 5*time.Minute)
	c.MaxResponseBytes = orDefault(c.MaxResponseBytes, 256<<20)
	c.Backoff.Min = max(orDefault(c.Backoff.Min, 100*time.Millisecond), time.Millisecond)
	c.Backoff.Max = max(orDefault(c.Backoff.Max, time.Second), c.Backoff.Min)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Trace == nil {
		c.Trace = new(Trace)
	}
	return c, nil
}

// address checks an address and adds the default port.
func address(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if addr, ok := errors.AsType[*net.AddrError](err); !ok || addr.Err != "missing port in address" {
			return "", fmt.Errorf("kafkaclient: address %q: %w", s, err)
		}
		host, port = strings.Trim(s, "[]"), "9092"
	}
	if host == "" || port == "" {
		return "", fmt.Errorf("kafkaclient: address %q: no host or port", s)
	}
	return net.JoinHostPort(host, port), nil
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
