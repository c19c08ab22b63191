package mqttclient

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Client is a connection to a server that is kept alive and made again when it is lost, and the session on it. It must
// be made with New or Dial, and closed with Disconnect or Close.
type Client struct {
	o      *config
	cancel context.CancelFunc // of the goroutine that connects and reads
	done   chan struct{}      // closed when the client is closed

	mu       sync.Mutex
	state    mqtt.State
	conn     *conn         // nil while there is no connection
	last     *conn         // the latest, also when it is over
	up       chan struct{} // closed while there is one
	first    chan struct{} // closed after the first round through the servers
	firstErr error
	info     Info
	closed   bool
	err      error // why the client gave up

	out         outbox
	routes      routes
	leaving     []*unsubscribing
	unrouted    *Subscription
	unacked     deliveries
	redelivered map[uint16]*delivery // QoS 1, of earlier connections, until the server sends them again
	epoch       uint64               // counts sessions from 1
	calls       calls
	auth        chan struct{} // holds a token while somebody authenticates again
	sent        *Publication  // of every QoS 0 message that was sent at once
	store       *store        // nil without Options.Dir
	stats       Stats
}

// New returns a client that begins to connect in the background and goes on until it is closed or gives up; see
// Options.Retry. The error is about the options, or about the directory in them.
func New(o *Options) (*Client, error) {
	cfg, err := newConfig(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		o:      cfg,
		cancel: cancel,
		done:   make(chan struct{}),
		up:     make(chan struct{}),
		first:  make(chan struct{}),
		auth:   make(chan struct{}, 1),
		calls:  calls{starting: make(chan struct{}, 1), next: rand.Uint64()}, // hard to guess for others
	}
	c.sent = &Publication{c: c, stage: stageDone}
	if cfg.Dir != "" {
		if err := c.openStore(); err != nil {
			cancel()
			return nil, err
		}
	}
	if cfg.Resume {
		c.state.Resume()
	}
	if cfg.Unrouted != nil {
		c.unrouted = newSubscription(c, cfg.Unrouted, nil)
	}
	c.info.ClientID = cfg.ClientID
	go c.run(ctx)
	return c, nil
}

// Dial returns a client of one server, besides those in Options, that is connected. It fails when the first round through
// the servers does, or when ctx ends.
func Dial(ctx context.Context, server string, o *Options) (*Client, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Servers = append([]string{server}, opts.Servers...)
	c, err := New(&opts)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.first:
		err = c.firstErr
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Connected waits until there is a connection, for as long as ctx allows.
func (c *Client) Connected(ctx context.Context) error {
	for {
		c.mu.Lock()
		up, connected, closed := c.up, c.conn != nil, c.closed
		c.mu.Unlock()
		switch {
		case closed:
			return c.Err()
		case connected:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		select {
		case <-up:
		case <-c.done:
		case <-ctx.Done():
		}
	}
}

// Done returns a channel that is closed when the client is closed or has given up.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil as long as the client is at work, ErrClosed after it was closed, and an error that wraps ErrClosed and
// the reason after it gave up.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		return nil
	}
	return c.endErr()
}

// endErr is the error of calls after the end. c.mu is held.
func (c *Client) endErr() error {
	if c.err == nil {
		return ErrClosed
	}
	return &endError{c.err}
}

// Info describes the connection, or the last one. ok tells whether there is one now.
func (c *Client) Info() (i Info, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info, c.conn != nil
}

// Stats returns the client's counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Queued, s.QueuedBytes, s.Inflight = c.out.count, c.out.total, c.out.inflight
	if c.conn != nil {
		s.Streams = c.conn.live
	}
	return s
}

// Disconnect sends DISCONNECT, closes the client and waits until the packet is written, for as long as ctx allows. A nil
// d is a normal disconnection, which deletes the will message; d chooses another reason, or a session expiry interval
// with mqtt.PropSessionExpiryInterval. What is not complete fails with ErrClosed: wait for publications first. With
// Options.Dir it waits in the directory for the next client, and SafeToRetry does not hold.
//
// Without a connection the client is closed and Disconnect returns ErrNotConnected: the server was not told. Over QUIC what is
// written is delivered by the process: a program that is about to exit calls Shutdown of the quicnet.Dialer, too.
func (c *Client) Disconnect(ctx context.Context, d *mqtt.Disconnect) error {
	err := c.leaveServer(ctx, d)
	if c.Err() != nil {
		if failed := c.store.close(); failed != nil {
			return failed
		}
	}
	return err
}

// leaveServer is Disconnect but for the directory.
func (c *Client) leaveServer(ctx context.Context, d *mqtt.Disconnect) error {
	c.mu.Lock()
	k := c.conn
	if c.closed {
		defer c.mu.Unlock()
		return c.endErr()
	}
	if k == nil || k.closing {
		c.shut(nil)
		c.mu.Unlock()
		return ErrNotConnected
	}
	if err := k.disconnect(d); err != nil {
		c.mu.Unlock()
		return err
	}
	c.shut(nil)
	c.mu.Unlock()
	select {
	case <-k.flushed:
		return nil
	case <-ctx.Done():
		k.nc.Close()
		return context.Cause(ctx)
	}
}

// Close closes the client without waiting for the server. If there is a connection it sends a normal DISCONNECT, for
// which the network has one second in the background, and what waits in data streams 5 more before. What is not complete fails with ErrClosed. With Options.Dir Close
// writes what is to be written, and gives the directory back; what is not complete waits there for the next client, so
// SafeToRetry does not hold for it.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed && c.conn != nil {
		c.conn.disconnect(nil)
	}
	c.shut(nil)
	c.mu.Unlock()
	return c.store.close()
}

// shut ends everything but the connection. c.mu is held.
func (c *Client) shut(err error) {
	if c.closed {
		return
	}
	c.closed, c.err = true, err
	end := c.endErr()
	c.store.finish()
	c.out.drain(
		func(p *Publication) { c.finish(p, 0, end) },
		func(p *Publication) {
			if p.seq != 0 { // it is sent by the next client of the directory
				c.finish(p, 0, end)
				return
			}
			c.finish(p, 0, &unsentError{end})
		},
	)
	for _, s := range slices.Concat(c.routes.subs, []*Subscription{c.unrouted}) {
		if s == nil {
			continue
		}
		s.finish(end)
		if s.pending {
			s.pending = false
			close(s.ready)
		}
	}
	for _, u := range slices.Clone(c.leaving) {
		u.done(c)
	}
	c.unacked = deliveries{}
	c.redelivered = nil
	c.reportFirst(end)
	close(c.done)
	c.cancel()
}

// reportFirst tells Dial how the first round through the servers ended. c.mu is held.
func (c *Client) reportFirst(err error) {
	select {
	case <-c.first:
	default:
		c.firstErr = err
		close(c.first)
	}
}

// giveUp closes the client because of err.
func (c *Client) giveUp(err error) {
	c.o.Logger.Warn("giving up", "err", err)
	c.mu.Lock()
	c.shut(err)
	c.mu.Unlock()
	c.store.close()
}

// sleep waits and reports whether ctx allows to go on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
