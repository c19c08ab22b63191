package amqpclient091

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// connector is what the goroutine that connects knows.
type connector struct {
	c        *Client
	next     int // index of the next server to try
	failures int // rounds without success in a row
	rand     *rand.Rand
}

// run connects, waits for the end of the connection and connects again until ctx ends or it gives up.
func (c *Client) run(ctx context.Context) {
	seed := orDefault(c.o.Backoff.Seed, rand.Uint64())
	n := &connector{c: c, rand: rand.New(rand.NewPCG(seed, 0))}
	for {
		k, err := n.round(ctx)
		if k != nil {
			go k.serve()
			c.recover(ctx, k)
			<-k.gone
			err = c.over(k)
			n.ended(k)
		}
		if ctx.Err() != nil {
			return
		}
		if k == nil {
			n.failures++
			c.mu.Lock()
			c.reportFirst(err)
			c.mu.Unlock()
		}
		if err != nil && !c.o.Retry(err) {
			c.giveUp(err)
			return
		}
		d := n.backoff()
		if f := c.o.Trace.Backoff; f != nil {
			f(d)
		}
		if !sleep(ctx, d) {
			return
		}
	}
}

// ended takes note of a connection that is over.
func (n *connector) ended(k *conn) {
	n.failures++
	if time.Since(k.since) >= n.c.o.Backoff.Max {
		n.failures = 1
	}
}

// backoff returns a random time below the bound, which doubles with each failure.
func (n *connector) backoff() time.Duration {
	b := &n.c.o.Backoff
	bound := b.Max
	if shift := n.failures - 1; shift < 32 && b.Min<<shift > 0 {
		bound = min(b.Min<<shift, b.Max)
	}
	return time.Duration(n.rand.Int64N(int64(bound) + 1))
}

// round tries each server once and returns the first connection, or the last error.
func (n *connector) round(ctx context.Context) (k *conn, err error) {
	for range len(n.c.o.servers) {
		s := n.c.o.servers[n.next]
		k, err = n.attempt(ctx, s)
		if k != nil || ctx.Err() != nil {
			return k, err
		}
		n.c.o.Logger.Debug("connect failed", "server", s.url.Redacted(), "err", err)
		n.next = (n.next + 1) % len(n.c.o.servers)
	}
	return nil, err
}

// attempt makes one connection.
func (n *connector) attempt(ctx context.Context, s *server) (*conn, error) {
	c := n.c
	if f := c.o.Trace.Dial; f != nil {
		f(c.publicURL(s))
	}
	limited, cancel := context.WithTimeout(ctx, c.o.connectTimeout(s))
	defer cancel()
	k, err := n.open(limited, s)
	if err == nil {
		return k, nil
	}
	if limited.Err() != nil && !isRemote(err) {
		err = fmt.Errorf("amqpclient091: connecting to %s: %w", s.url.Redacted(), limited.Err())
	}
	if f := c.o.Trace.Failed; f != nil {
		f(c.publicURL(s), err)
	}
	return nil, err
}

// open dials and goes through the handshake.
func (n *connector) open(ctx context.Context, s *server) (*conn, error) {
	c := n.c
	nc, err := c.o.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	k := newConn(c, nc, s)
	err = k.handshake(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		k.abandon(err)
		return nil, err
	}
	c.mu.Lock()
	k.since = time.Now()
	c.stats.Connects++
	c.info = Info{
		Server: c.publicURL(s), VirtualHost: c.o.vhost(s), Mechanism: k.m.Mechanism(), Properties: k.m.PeerProperties(),
		FrameMax: k.m.FrameMax(), ChannelMax: k.m.ChannelMax(), Heartbeat: k.m.Heartbeat(), Streams: k.mux != nil,
	}
	info := c.info
	c.mu.Unlock()
	c.o.Logger.Debug("connected", "server", s.url.Redacted(), "vhost", info.VirtualHost)
	if f := c.o.Trace.Connected; f != nil {
		f(info)
	}
	return k, nil
}

// publicURL returns the URL of a server without the password.
func (c *Client) publicURL(s *server) *url.URL {
	u := cloneURL(s.url)
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	return u
}

// over takes note of a connection that is over and returns why.
func (c *Client) over(k *conn) error {
	c.mu.Lock()
	k.fail(net.ErrClosed)
	k.m.Lost()
	err := k.cause()
	if c.closed {
		err = nil
	}
	c.mu.Unlock()
	c.o.Logger.Log(context.Background(), level(err), "disconnected", "server", k.server.url.Redacted(), "err", err)
	if f := c.o.Trace.Disconnected; f != nil {
		f(err)
	}
	return err
}

// level returns the level at which to log the end of a connection: it is worth a warning when the server misbehaved.
func level(err error) slog.Level {
	if e, ok := errors.AsType[*amqp091.Error](err); ok && !e.Remote {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func isRemote(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Remote
}
