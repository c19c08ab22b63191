package kafkaclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// Options configures a [Client]. New copies it; what it points to must not change afterwards.
type Options struct {
	// Addrs are the addresses of some brokers, as host:port or scheme://host:port, with 9092 as the default port. The
	// client learns of all other brokers from the first that answers, and comes back to these when it knows none any more
	// that does.
	//
	// The scheme, which must be the same for all, says how to reach brokers, those too that the client learns of: kafka is
	// TCP, kafkas is TLS on top of it, others are those of Dialers. Without one it is kafkas when TLS is set, and kafka
	// otherwise.
	Addrs []string

	// ClientID names the client in logs and quotas of brokers. Empty is "quartet".
	ClientID string

	// Dialers adds schemes, or replaces the built-in dialing of one. The conn is used as it is: a dialer of "kafkas" has
	// done the TLS handshake.
	Dialers map[string]DialFunc

	// Dial makes the connections below the built-in schemes, with network "tcp". Nil is a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS is for connections with TLS. The server name defaults to the host of the address. With nil there is no TLS unless
	// Addrs say so.
	TLS *tls.Config

	// ProduceStreams is over how many streams to a broker partitions are spread that are produced to, where a connection has
	// streams: one of Dialers that has agreed on the profile kafka-streams/1 with the broker (docs/quic-profiles.md). What is
	// lost on the way of one stream does not keep the others waiting. Zero is 8, at most 64 are used. Each consumer has a
	// stream of its own for each broker, and so has what may wait long at a broker.
	ProduceStreams int

	// EarlyProduce lets batches of idempotent producers without transactions be early data (0-RTT), where a connection has
	// it: then somebody who recorded them can send them a second time, and a partition that has forgotten the producer takes
	// them again. Otherwise, and for everything else that changes something, the end of the handshake is waited for.
	EarlyProduce bool

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

// DialFunc makes a connection to a broker. The URL has a scheme and a host, with a port unless it is one of Options.Addrs
// without.
type DialFunc func(ctx context.Context, broker *url.URL) (net.Conn, error)

// Backoff is a time that grows from attempt to attempt: a random time between half and all of a bound that starts with
// Min and doubles up to Max.
type Backoff struct {
	Min time.Duration // zero is 100 milliseconds
	Max time.Duration // zero is one second
}

// config is Options with defaults filled in and checked.
type config struct {
	Options
	scheme string
	addrs  []string
}

func newConfig(o *Options) (*config, error) {
	if o == nil {
		o = new(Options)
	}
	c := &config{Options: *o}
	if len(c.Addrs) == 0 {
		return nil, errors.New("kafkaclient: no addresses")
	}
	for i, s := range c.Addrs {
		scheme, addr, err := c.address(s)
		if err != nil {
			return nil, err
		}
		if i > 0 && scheme != c.scheme {
			return nil, fmt.Errorf("kafkaclient: addresses of different schemes, %s and %s", c.scheme, scheme)
		}
		c.scheme, c.addrs = scheme, append(c.addrs, addr)
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
	c.ProduceStreams = min(max(orDefault(c.ProduceStreams, 8), 1), 64)
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

// address checks an address, and adds the scheme and the default port.
func (c *config) address(s string) (scheme, addr string, err error) {
	scheme, addr, found := strings.Cut(s, "://")
	if !found {
		scheme, addr = "kafka", s
		if c.TLS != nil {
			scheme = "kafkas"
		}
	} else if u, err := url.Parse(s); err != nil || u.Host != addr || addr == "" {
		return "", "", fmt.Errorf("kafkaclient: address %q is not scheme://host:port", s)
	}
	if c.Dialers[scheme] != nil && found {
		return scheme, addr, nil // the port may be one that the dialer knows
	}
	if scheme != "kafka" && scheme != "kafkas" {
		return "", "", fmt.Errorf("kafkaclient: address %q: no dialer for the scheme", s)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		if bad, ok := errors.AsType[*net.AddrError](err); !ok || bad.Err != "missing port in address" {
			return "", "", fmt.Errorf("kafkaclient: address %q: %w", s, err)
		}
		host, port = strings.Trim(addr, "[]"), "9092"
	}
	if host == "" || port == "" {
		return "", "", fmt.Errorf("kafkaclient: address %q: no host or port", s)
	}
	return scheme, net.JoinHostPort(host, port), nil
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
