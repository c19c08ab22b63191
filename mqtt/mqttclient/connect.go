package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// maxHops is how many redirects in a row are followed without waiting.
const maxHops = 8

// connector is what the goroutine that connects and reads knows.
type connector struct {
	c        *Client
	servers  []*url.URL
	next     int          // index in servers of the next one to try
	detour   *url.URL     // where a redirect points: the next one to try
	redirect bool         // the last attempt or connection ended with a redirect
	hops     int          // redirects in a row
	version  mqtt.Version // that a server has accepted, or that is pinned; 0 before
	purge    bool         // begin with deleting a session that the server has, MQTT 3.1.1
	failures int          // rounds without success in a row
	rand     *rand.Rand
}

// run connects, reads and connects again until ctx ends or it gives up.
func (c *Client) run(ctx context.Context) {
	seed := orDefault(c.o.Backoff.Seed, rand.Uint64())
	n := &connector{c: c, servers: c.o.servers, version: c.o.Version, rand: rand.New(rand.NewPCG(seed, 0))}
	for {
		n.redirect = false
		k, err := n.round(ctx)
		if k != nil {
			k.serve()
			err = c.down(k)
			n.ended(k)
		}
		if ctx.Err() != nil {
			return
		}
		if n.redirect && n.hops <= maxHops {
			continue
		}
		n.hops = 0
		if k == nil {
			n.failures++
			c.failedRound(err)
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

// failedRound tells Dial that no server could be reached.
func (c *Client) failedRound(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reportFirst(err)
}

// ended takes note of a connection that is over.
func (n *connector) ended(k *conn) {
	n.failures++
	if time.Since(k.since) >= n.c.o.Backoff.Max {
		n.failures = 1
	}
	if k.bye != nil {
		n.follow(k.server, k.bye.Reason, k.bye.Properties)
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
	for range len(n.servers) {
		server := n.servers[n.next]
		if n.detour != nil {
			server, n.detour = n.detour, nil
		}
		k, err = n.try(ctx, server)
		if k != nil || ctx.Err() != nil || n.redirect {
			return k, err
		}
		n.next = (n.next + 1) % len(n.servers)
	}
	return nil, err
}

// try connects to one server, in version 3.1.1 when it refuses 5.0.
func (n *connector) try(ctx context.Context, server *url.URL) (*conn, error) {
	v := orDefault(n.version, mqtt.Version5)
	k, err := n.attempt(ctx, server, v)
	if err != nil && n.version == 0 && n.c.o.Auth == nil && ctx.Err() == nil && refusesVersion(err) {
		var older error
		k, older = n.attempt(ctx, server, mqtt.Version311)
		if !errors.Is(older, errSilent) {
			err = older
		}
	}
	if err != nil {
		n.c.o.Logger.Debug("connect failed", "server", server.Redacted(), "err", err)
		return nil, err
	}
	n.version, n.hops = k.version, 0
	return k, nil
}

// errSilent: the server closed the connection instead of answering CONNECT, as old servers do that do not know its
// version.
var errSilent = errors.New("mqttclient: server closed the connection without an answer")

// refusesVersion reports whether err is what a server says, or does, that does not know the version.
func refusesVersion(err error) bool {
	return errors.Is(err, errSilent) ||
		errors.Is(err, &mqtt.Error{Code: mqtt.ReasonUnsupportedProtocolVersion}) && isRemote(err)
}

func isRemote(err error) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && e.Remote
}

// attempt makes one connection. It deletes a session first that MQTT 3.1.1 has no other way to get rid of.
func (n *connector) attempt(ctx context.Context, server *url.URL, v mqtt.Version) (*conn, error) {
	k, err := n.attemptOnce(ctx, server, v)
	if k == nil || !k.stale {
		return k, err
	}
	n.purge = true
	k, err = n.attemptOnce(ctx, server, v)
	n.purge = false
	if err != nil {
		return nil, err
	}
	<-k.flushed
	k.nc.Close()
	return n.attemptOnce(ctx, server, v)
}

// attemptOnce makes one connection. When the server has a session that this client does not have, the connection is
// closed and stale is set in it.
func (n *connector) attemptOnce(ctx context.Context, server *url.URL, v mqtt.Version) (*conn, error) {
	c := n.c
	if f := c.o.Trace.Dial; f != nil {
		f(server, v)
	}
	limited, cancel := context.WithTimeout(ctx, c.o.ConnectTimeout)
	defer cancel()
	k, err := n.open(limited, server, v)
	if err == nil {
		return k, nil
	}
	if limited.Err() != nil {
		err = fmt.Errorf("mqttclient: connecting to %s: %w", server.Redacted(), limited.Err())
	}
	if f := c.o.Trace.Failed; f != nil {
		f(server, err)
	}
	if k != nil && k.connack != nil {
		n.follow(server, k.connack.Reason, k.connack.Properties)
	}
	if k != nil && k.stale {
		return k, err
	}
	return nil, err
}

// open dials and goes through CONNECT and CONNACK.
func (n *connector) open(ctx context.Context, server *url.URL, v mqtt.Version) (*conn, error) {
	c := n.c
	nc, err := c.o.dial(ctx, server)
	if err != nil {
		return nil, err
	}
	k := newConn(c, nc, server, v)
	stop := context.AfterFunc(ctx, k.giveUp)
	defer stop()
	if err = k.handshake(ctx, n.purge); err != nil {
		k.abandon(err)
	}
	return k, err
}

// giveUp closes a connection whose handshake takes too long, or whose client is closed meanwhile. One that is up ends by
// itself: its DISCONNECT may be on the way.
func (k *conn) giveUp() {
	k.c.mu.Lock()
	up := k.up
	k.c.mu.Unlock()
	if !up {
		k.nc.Close()
	}
}

// follow takes note of a redirect (section 4.11).
func (n *connector) follow(from *url.URL, reason mqtt.ReasonCode, props mqtt.Properties) {
	if !n.c.o.FollowRedirects || reason != mqtt.ReasonUseAnotherServer && reason != mqtt.ReasonServerMoved {
		return
	}
	reference, _ := props.String(mqtt.PropServerReference)
	to := redirect(from, reference)
	if to == nil {
		return
	}
	n.redirect = true
	n.hops++
	n.detour = to
	if reason == mqtt.ReasonServerMoved {
		n.moved(from, to)
	}
}

// moved replaces a server for good.
func (n *connector) moved(from, to *url.URL) {
	servers := make([]*url.URL, len(n.servers))
	for i, u := range n.servers {
		servers[i] = u
		if u.String() == from.String() {
			servers[i] = to
		}
	}
	n.servers = servers
}
