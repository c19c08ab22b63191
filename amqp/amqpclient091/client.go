package amqpclient091

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Client is a connection to a server that is kept alive and made again when it is lost, with all that was declared and
// begun on it. It must be made with New or Dial, and closed with Shutdown or Close.
type Client struct {
	o      *config
	cancel context.CancelFunc // of the goroutine that connects
	done   chan struct{}      // closed when the client is closed

	mu       sync.Mutex
	conn     *conn         // nil while there is none whose topology is in its place
	last     *conn         // the latest, from the handshake on, also when it is over
	up       chan struct{} // closed while there is one
	first    chan struct{} // closed after the first round through the servers
	firstErr error
	info     Info
	closed   bool
	err      error // why the client gave up
	blocked  bool
	reason   string // why the server takes no messages

	records    records
	channels   []*Channel // that are to be open
	control    *Channel   // for declarations
	output     *Channel   // of Client.Publish
	replies    *replies   // of Client.Call
	senders    []*Channel // with messages that are not sent
	scratch    []byte     // for properties
	keepers    buffers    // for messages that are kept
	tag        string     // what the tags of consumers begin with
	tags       uint64     // how many there were
	waits      sync.Pool  // of *Publication, for those who wait
	recovering int        // channels that are not in their place yet
	stats      Stats
}

// New returns a client that begins to connect in the background and goes on until it is closed or gives up; see
// Options.Retry. The error is about the options.
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
		tag:    newTag(),
	}
	c.control = newChannel(c, &ChannelOptions{Mode: NoConfirms}, kindControl)
	go c.run(ctx)
	return c, nil
}

// newTag returns a text that no other client has.
func newTag() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 12)
	for i := range b {
		b[i] = digits[rand.IntN(len(digits))]
	}
	return string(b)
}

// Dial returns a client of one server, before those in Options, that is connected. It fails when the first round through
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
	_, err := c.await(ctx)
	return err
}

// await waits for a connection.
func (c *Client) await(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		up, k, closed := c.up, c.conn, c.closed
		c.mu.Unlock()
		switch {
		case closed:
			return nil, c.Err()
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case k != nil:
			return k, nil
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
func (c *Client) endErr() error { return ended(ErrClosed, c.err) }

// Info describes the connection, or the last one. ok tells whether there is one now.
func (c *Client) Info() (i Info, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info, c.conn != nil
}

// Blocked reports whether the server takes no messages now (connection.blocked), and why. Messages wait meanwhile.
func (c *Client) Blocked() (reason string, blocked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason, c.blocked
}

func (c *Client) block(reason string) {
	c.blocked, c.reason = true, reason
	c.o.Logger.Warn("server takes no messages", "reason", reason)
	if f := c.o.Trace.Blocked; f != nil {
		f(reason)
	}
}

func (c *Client) unblock() {
	c.blocked, c.reason = false, ""
	if f := c.o.Trace.Unblocked; f != nil {
		f()
	}
}

// Stats returns the client's counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	for _, h := range c.channels {
		s.Inflight += h.inflight
		s.Queued += h.queue.Len()
		s.Consumers += len(h.order)
		if h.link != nil {
			s.Channels++
		}
	}
	return s
}

// Shutdown ends the client in order, for as long as ctx allows: it cancels the consumers, waits until what was published is
// confirmed, and closes the connection with the server's consent. Deliveries that are not acknowledged when it ends go back
// to their queues. When ctx ends first the client is closed as Close does, and the error is the cause of ctx.
func (c *Client) Shutdown(ctx context.Context) error {
	err := c.drain(ctx)
	c.mu.Lock()
	k := c.last
	if c.closed {
		c.mu.Unlock()
		if err == nil {
			return nil
		}
		return err
	}
	c.shut(nil)
	c.mu.Unlock()
	if k == nil {
		return err
	}
	select {
	case <-k.gone:
	case <-ctx.Done():
		k.nc.Close()
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	return err
}

// drain cancels the consumers and waits for confirms.
func (c *Client) drain(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		defer c.mu.Unlock()
		return c.endErr()
	}
	channels := slices.Clone(c.channels)
	var consumers []*Consumer
	for _, h := range channels {
		consumers = append(consumers, h.order...)
	}
	for _, s := range consumers {
		s.leave()
	}
	c.mu.Unlock()
	for _, s := range consumers {
		if err := s.Cancel(ctx); err != nil {
			return err
		}
	}
	for _, h := range channels {
		if err := h.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the client without waiting for the server, which is told if there is a connection; it has one second for
// that, in the background, and one for the channels if they have streams of their own. What is not confirmed fails with an *UnknownError, and what is not sent with ErrClosed.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut(nil)
	return nil
}

// shut ends everything. c.mu is held.
func (c *Client) shut(err error) {
	if c.closed {
		return
	}
	c.closed, c.err = true, err
	end := c.endErr()
	k := c.last
	if k != nil && k.closing {
		k = nil
	}
	later := k != nil && k.mux != nil && k.m.Open() // the channels are closed first
	if k != nil && !later {
		k.main.flushAcks()
		k.closeNow()
	}
	for _, h := range slices.Clone(c.channels) {
		h.end(end)
	}
	c.control.end(end)
	if later {
		k.leave()
	}
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
	defer c.mu.Unlock()
	c.shut(err)
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
