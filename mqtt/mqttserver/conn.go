package mqttserver

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// Conn is the server's end of a connection. A backend gets it in Connect. Its methods are safe for concurrent use, and a
// backend may call them with locks of its own held.
type Conn struct {
	stream   // stream 0
	srv      *Server
	ext      *extension // nil on TCP
	listener *ListenerOptions
	session  Session
	connect  *mqtt.Connect // while the backend decides
	auth     AuthExchange
	reauth   AuthExchange // of the goroutine that reads
	clientID string
	username string
	persist  Persister // nil: barriers complete at once
	version  mqtt.Version
	refuse   mqtt.ReasonCode // CONNECT is refused with it, by a limit
	present  bool

	clock int64 // publish rate: when the last message would have been due, in nanoseconds since the server's epoch; under calls

	calls sync.Mutex // held around each call of the session; taken before mu

	mu       sync.Mutex
	machine  *mqtt.Session
	timer    *time.Timer // keep alive, then the end of lingering
	todo     []mqtt.Event
	refusals []refusal
	cause    error
	bye      *mqtt.Disconnect // the client's
	ctx      context.Context
	cancel   context.CancelFunc
	counts   counts

	accepted bool // CONNACK with success is on its way
	ready    bool // the session is to be told that there is room
	serving  bool // a goroutine is under way to serve
	throttle bool // the reader waits on purpose: keep alive stands still
	ended    bool // the machine takes and gives nothing any more
	aborted  bool // ended, and what waits as output is not sent
	detached bool // Session.Closed was called
	shut     bool // nothing more is written
}

// newConn returns the Conn of a connection.
func newConn(s *Server, nc net.Conn, o *ListenerOptions) *Conn {
	c := &Conn{srv: s, listener: o, machine: mqtt.NewSession(s.config)}
	c.stream = stream{c: c, nc: nc, io: netio.NewConn(nc)}
	c.ext = extend(c, nc)
	return c
}

// Connect returns the CONNECT packet of the client, during Backend.Connect only. It may be kept.
func (c *Conn) Connect() *mqtt.Connect { return c.connect }

// ClientID returns the client identifier: the client's own, or the one that the backend assigned.
func (c *Conn) ClientID() string { return c.clientID }

// Username returns the user name of the CONNECT packet.
func (c *Conn) Username() string { return c.username }

// Version returns the protocol version of the client.
func (c *Conn) Version() mqtt.Version { return c.version }

// Present reports whether the client was told that the server has its session. It is known when Session.Start is called.
func (c *Conn) Present() bool { return c.present }

// Auth returns the exchange of the enhanced authentication at CONNECT, nil when there was none.
func (c *Conn) Auth() AuthExchange { return c.auth }

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

// Context returns a context that ends with the connection.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.ended {
			c.cancel()
		}
	}
	return c.ctx
}

// Stats returns the counts of this connection; Connections, Accepted and Refused are zero.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stats
	s.add(&c.counts)
	c.addOutput(&s)
	return s
}
