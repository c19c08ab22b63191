package kafkaclient

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Client is the connections to the brokers of a cluster and what is known about it. Producers, consumers and Admin work
// on top of it, any number of them. It must be made with New and closed with Close.
type Client struct {
	o     *config
	alive context.Context // until Close: of the goroutines that connect and refresh
	end   context.CancelFunc

	meta         metadata
	coordinators coordinators

	connects, requests, refreshes atomic.Uint64
	sentBytes, receivedBytes      atomic.Uint64
	throttled                     atomic.Int64

	mu       sync.Mutex // taken after that of a broker
	closed   bool
	brokers  map[kafkawire.BrokerID]*broker
	seeds    []*broker // for Options.Addrs
	conns    map[*conn]struct{}
	lanes    map[lane]struct{} // of newLane, until closeLane
	lastLane lane
	onClose  map[*func()]struct{}
}

// New returns a client. It connects when there is something to do. The error is about the options.
func New(o *Options) (*Client, error) {
	cfg, err := newConfig(o)
	if err != nil {
		return nil, err
	}
	c := &Client{
		o:       cfg,
		brokers: make(map[kafkawire.BrokerID]*broker),
		conns:   make(map[*conn]struct{}),
		lanes:   make(map[lane]struct{}),
		onClose: make(map[*func()]struct{}),
	}
	c.alive, c.end = context.WithCancel(context.Background())
	for _, addr := range cfg.addrs {
		c.seeds = append(c.seeds, c.newBroker(-1, addr))
	}
	c.meta.init(c)
	go c.meta.run()
	return c, nil
}

func (c *Client) newBroker(id kafkawire.BrokerID, addr string) *broker {
	return &broker{c: c, id: id, addr: addr, links: make(map[lane]*link)}
}

// newLane returns a lane of its own: connections that nobody else uses.
func (c *Client) newLane() lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastLane = max(c.lastLane, laneOwn) + 1
	c.lanes[c.lastLane] = struct{}{}
	return c.lastLane
}

// closeLane closes the connections of a lane of newLane, those that are being made, too.
func (c *Client) closeLane(l lane) {
	c.mu.Lock()
	delete(c.lanes, l)
	var conns []*conn
	for k := range c.conns {
		if k.lane == l {
			conns = append(conns, k)
		}
	}
	c.mu.Unlock()
	for _, k := range conns {
		k.fail(ErrClosed)
	}
}

// Close closes all connections, and the producers and consumers of the client with them: what they have not done fails
// with an error that wraps [ErrClosed]. It does not wait for brokers; close producers and consumers first, or Flush them,
// when what they have is to be sent. The goroutines of the client end soon after.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	hooks := c.onClose
	c.onClose = nil
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for f := range hooks {
		(*f)()
	}
	c.end()
	for k := range conns {
		k.fail(ErrClosed)
	}
	return nil
}

// atClose calls f when the client is closed, unless cancel was called before. When it is closed already f is called now.
func (c *Client) atClose(f func()) (cancel func()) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		f()
		return func() {}
	}
	c.onClose[&f] = struct{}{}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.onClose, &f)
		c.mu.Unlock()
	}
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// addConn notes a connection that is ready, unless the client or the lane is closed.
func (c *Client) addConn(k *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.lanes[k.lane]; c.closed || k.lane > laneOwn && !open {
		return false
	}
	c.conns[k] = struct{}{}
	if k.base == nil {
		c.connects.Add(1)
	}
	return true
}

func (c *Client) removeConn(k *conn) {
	c.mu.Lock()
	delete(c.conns, k)
	c.mu.Unlock()
}

// Stats returns counters.
func (c *Client) Stats() Stats {
	s := Stats{
		Connects:      c.connects.Load(),
		Requests:      c.requests.Load(),
		BytesSent:     c.sentBytes.Load(),
		BytesReceived: c.receivedBytes.Load(),
		Refreshes:     c.refreshes.Load(),
		Throttled:     time.Duration(c.throttled.Load()),
	}
	c.mu.Lock()
	for k := range c.conns {
		if k.base != nil {
			s.Streams++
		} else {
			s.Connections++
		}
	}
	c.mu.Unlock()
	return s
}
