package kafkaclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// broker is one broker, or one of Options.Addrs, with the connections to it.
type broker struct {
	c  *Client
	id kafkawire.BrokerID // -1 for one of Options.Addrs

	mu       sync.Mutex
	addr     string
	links    map[lane]*link
	failures int       // to connect, since it last succeeded
	retryAt  time.Time // no attempt before
}

// link is a connection of a lane, or the attempt to make it.
type link struct {
	ready chan struct{} // closed when the attempt has ended
	conn  *conn         // after that
	err   error
}

// conn returns a connection that is ready, and makes it if need be. The attempt goes on when ctx ends, for others.
func (b *broker) conn(ctx context.Context, l lane) (*conn, error) {
	if k := b.ready(l); k != nil {
		return k, nil
	}
	b.mu.Lock()
	at := b.links[l]
	if at != nil && at.over() {
		at = nil
	}
	if at == nil {
		if b.c.isClosed() {
			b.mu.Unlock()
			return nil, ErrClosed
		}
		at = &link{ready: make(chan struct{})}
		b.links[l] = at
		info := ConnInfo{Broker: b.id, Addr: b.addr}
		wait := time.Until(b.retryAt)
		go b.connect(l, at, info, wait)
	}
	b.mu.Unlock()
	select {
	case <-at.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return at.conn, at.err
}

// ready returns the connection of a lane if there is one that can be used now.
func (b *broker) ready(l lane) *conn {
	b.mu.Lock()
	at := b.links[l]
	b.mu.Unlock()
	if at == nil || at.over() {
		return nil
	}
	select {
	case <-at.ready:
		return at.conn
	default:
		return nil
	}
}

// over reports whether the attempt has failed, or the connection can't be used any more.
func (l *link) over() bool {
	select {
	case <-l.ready:
		return l.err != nil || !l.conn.usable(time.Now())
	default:
		return false
	}
}

// connected reports whether there is a connection of any lane, or no reason to believe that none can be made.
func (b *broker) state() (connected, failing bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.links {
		select {
		case <-l.ready:
			connected = connected || !l.over()
		default:
		}
	}
	return connected, b.failures > 0
}

// connect makes the connection of a link.
func (b *broker) connect(l lane, at *link, info ConnInfo, wait time.Duration) {
	c := b.c
	if wait > 0 {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-c.alive.Done():
			t.Stop()
		}
	}
	ctx, cancel := c.alive, context.CancelFunc(func() {})
	if c.o.ConnectTimeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, c.o.ConnectTimeout, ErrTimeout)
	}
	k, counts, err := b.attempt(ctx, l, info)
	cancel()
	if err == nil && !c.addConn(k) {
		k.nc.Close()
		k.closed()
		err, counts = ErrClosed, false
	}
	if err == nil {
		k.begin()
	}
	b.mu.Lock()
	if err != nil {
		if c.isClosed() {
			err = ErrClosed
		}
		if _, is := err.(*ConnError); !is {
			err = &ConnError{Broker: info.Broker, Addr: info.Addr, Unsent: true, Err: err}
		}
		at.err = err
		if counts {
			b.failures++
			b.retryAt = time.Now().Add(c.backoff(b.failures))
		}
		if b.links[l] == at {
			delete(b.links, l)
		}
	} else {
		at.conn = k
		info = k.info
		b.failures, b.retryAt = 0, time.Time{}
	}
	b.mu.Unlock()
	close(at.ready)
	if err != nil {
		c.o.Logger.Debug("cannot connect", "broker", info.Broker, "addr", info.Addr, "err", err)
		if f := c.o.Trace.Failed; f != nil {
			f(info, err)
		}
		return
	}
	c.o.Logger.Debug("connected", "broker", info.Broker, "addr", info.Addr)
	if f := c.o.Trace.Connected; f != nil {
		f(info)
	}
	k.read()
	b.ended(l, at, k)
}

// ended takes a connection away that has ended.
func (b *broker) ended(l lane, at *link, k *conn) {
	b.mu.Lock()
	if b.links[l] == at {
		delete(b.links, l)
	}
	b.mu.Unlock()
	b.c.removeConn(k)
	k.closed()
	k.mu.Lock()
	err := k.err
	k.mu.Unlock()
	if errors.Is(err, ErrClosed) || errors.Is(err, errIdle) {
		err = nil
	} else {
		// The broker may have moved, or what it leads.
		b.c.meta.refresh()
	}
	if errors.Is(err, ErrProtocol) {
		b.c.o.Logger.Warn("disconnected", "broker", k.info.Broker, "addr", k.info.Addr, "err", err)
	} else {
		b.c.o.Logger.Debug("disconnected", "broker", k.info.Broker, "addr", k.info.Addr, "err", err)
	}
	if f := b.c.o.Trace.Disconnected; f != nil {
		f(k.info, err)
	}
}

// moved sets the address.
func (b *broker) moved(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.addr != addr {
		b.addr, b.failures, b.retryAt = addr, 0, time.Time{}
	}
}

// errIdle ends a connection that nobody used.
var errIdle = errors.New("idle")

// backoff is the time to wait after a number of failures.
func (c *Client) backoff(failures int) time.Duration {
	d := c.o.Backoff.Max
	if failures < 20 {
		d = min(c.o.Backoff.Min<<max(failures-1, 0), d)
	}
	return d/2 + rand.N(d/2+1)
}
