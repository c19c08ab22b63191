package amqpserver

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netio"
)

// Conn is the server's end of a connection. A backend gets it in Authenticate. Its methods are safe for concurrent use,
// and a backend may call them with locks of its own held.
type Conn struct {
	srv       *Server
	nc        net.Conn
	listener  *ListenerOptions
	session   Session
	flusher   Flusher // the session, or nil
	user      string
	vhost     string
	mechanism string
	peer      amqp091.Table

	// Of the goroutine that reads; that of stream 0 where channels have streams of their own.
	in input

	busy  atomic.Bool // the goroutine that reads is not reading, so that the client's silence means nothing
	calls sync.Mutex  // held around each call of the session; taken before mu

	mu        sync.Mutex
	machine   *amqp091.Conn
	channels  map[uint16]*Channel // that the session has accepted, and not been told the end of
	main      outlet
	mux       *mux          // nil: all channels are on one stream
	timer     *time.Timer   // heartbeats, the end of closing, then the end of lingering
	gone      []*Channel    // CloseChannel is due
	starved   []*Channel    // were refused room in the output
	ready     []*Channel    // Ready is due
	recovered chan struct{} // closed when the output has drained
	unblocked chan struct{} // closed by Unblock
	drained   chan struct{} // closed when nobody writes any more
	reason    string        // of blocked
	cause     error
	ctx       context.Context
	cancel    context.CancelFunc
	counts    counts
	pauses    int // readers that wait

	opened     bool        // connection.open-ok is on its way
	confirming bool        // the machine has confirms to send
	paused     bool        // the machine knows that the client is not read
	blocked    bool        // stop reading with the next message
	told       bool        // the client knows that it is blocked
	toTell     atomic.Bool // and otherwise is to be told with a message
	queued     bool        // in the list of a batch, which will flush
	serving    bool        // a goroutine is under way to serve
	down       bool        // the session is at its end; only the last words are exchanged
	ended      bool        // the machine takes and gives nothing any more
	aborted    bool        // ended, and what waits as output is not sent
	detached   bool        // Session.Closed was called
	shut       bool        // nothing more is written
}

// newConn returns the Conn of a connection.
func newConn(s *Server, nc net.Conn, o *ListenerOptions) *Conn {
	c := &Conn{srv: s, nc: nc, listener: o, machine: amqp091.NewConn(&s.config)}
	c.main = outlet{c: c, nc: nc, io: netio.NewConn(nc)}
	c.in = input{c: c, io: c.main.io}
	c.mux = newMux(nc)
	return c
}

// User returns the name of the user that Backend.Authenticate returned.
func (c *Conn) User() string { return c.user }

// VirtualHost returns the name of the virtual host that the client opened.
func (c *Conn) VirtualHost() string { return c.vhost }

// Mechanism returns the SASL mechanism that the client chose.
func (c *Conn) Mechanism() string { return c.mechanism }

// ClientProperties returns what the client says about itself. The table must not be changed.
func (c *Conn) ClientProperties() amqp091.Table { return c.peer }

// Streams reports whether each channel has a stream of its own, see [amqp091.Streams].
func (c *Conn) Streams() bool { return c.mux != nil }

// RemoteAddr returns the address of the client, as the PROXY protocol tells it where that is used.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns the server's address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// Listener returns the name of the listener that accepted the connection, see [ListenerOptions].
func (c *Conn) Listener() string { return c.listener.Name }

// TLS returns the state of the TLS connection, with the verified chains of the client's certificate; nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	switch nc := c.nc.(type) {
	case *tls.Conn:
		st := nc.ConnectionState()
		return &st
	case interface{ TLS() *tls.ConnectionState }:
		return nc.TLS()
	}
	return nil
}

// Tuning returns the limits that were negotiated with the client: the size of the largest frame in bytes, the number of
// channels, and the interval of heartbeats, 0 for none.
func (c *Conn) Tuning() (frameMax uint32, channelMax uint16, heartbeat time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.FrameMax(), c.machine.ChannelMax(), c.machine.Heartbeat()
}

// Context returns a context that ends with the connection.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.down {
			c.cancel()
		}
	}
	return c.ctx
}

// Channels returns the channels that are open, in the order of their numbers.
func (c *Conn) Channels() []*Channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*Channel, 0, len(c.channels))
	for _, ch := range c.channels {
		list = append(list, ch)
	}
	slices.SortFunc(list, func(a, b *Channel) int { return int(a.ID()) - int(b.ID()) })
	return list
}

// Close closes the connection with an error, such as CONNECTION_FORCED; it does not wait. Session.Closed is called soon,
// from another goroutine, whether the client answers or not. A nil batch sends at once.
func (c *Conn) Close(b *Batch, e *amqp091.Error) {
	c.mu.Lock()
	if !c.down {
		c.machine.Close(b.Now(), e)
		c.drain(nil)
	}
	c.unlock(b)
}

// Abort ends the connection at once: what waits as output is lost. Session.Closed is called from another goroutine.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.abort(net.ErrClosed)
	c.unlock(nil)
}
