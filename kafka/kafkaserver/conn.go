package kafkaserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

// Conn is the server's end of a connection. Its methods are safe for concurrent use, and a backend may call them with
// locks of its own held.
type Conn struct {
	srv      *Server
	nc       net.Conn
	listener *ListenerOptions
	peer     netip.Addr      // for the limit per address
	main     stream          // the connection itself, stream 0
	streams  netio.Streams   // the others; nil: there are none
	early    <-chan struct{} // closed when the handshake is complete; nil: it is

	auth    auth        // of the goroutine that reads main
	letting sync.Mutex  // held while somebody is let in, and while the session is made; never taken with mu held
	session Session     // under letting
	serial  *sync.Mutex // of the calls of session, when streams share it; nil otherwise

	begun time.Time
	moved atomic.Int64 // when something was read or written last, in nanoseconds since the server's epoch

	mu        sync.Mutex
	others    map[*stream]struct{} // beside main
	bytes     int                  // of requests in process
	output    int                  // bytes that wait in all streams, also in answers behind requests that have none
	timer     *time.Timer
	cause     error
	ctx       context.Context
	cancel    context.CancelFunc
	counts    counts
	principal Principal
	mechanism string
	expires   time.Time     // when the client must have authenticated again; zero: never
	software  [2]string     // name and version of the client
	admitted  chan struct{} // closed when the client is let in, or is when it opens a stream; nil: there are no streams

	authentic bool // the client was let in
	sasl      bool // the client uses SASL
	lenient   bool // the handshake timeout holds no more
	ended     bool // requests are handled no more; what is in process is still answered
	draining  bool // ended, when what is in process is answered
	aborted   bool // nothing is sent any more
	lingering bool // ended, and read until the client closes
	shut      bool // the sending side is closed
}

// newConn returns the Conn of a connection.
func newConn(s *Server, nc net.Conn, o *ListenerOptions) *Conn {
	c := &Conn{srv: s, nc: nc, listener: o, principal: Anonymous, begun: time.Now()}
	c.main.init(c, nc, 0)
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.peer = a.Addr().Unmap()
	}
	if e, ok := nc.(netio.EarlyData); ok {
		if c.early = e.Confirmed(); c.isConfirmed() {
			c.early = nil
		}
	}
	if n, ok := nc.(netio.Negotiated); ok && n.Protocol() == StreamsProtocol {
		if c.streams, ok = nc.(netio.Streams); ok {
			c.others, c.admitted = make(map[*stream]struct{}), make(chan struct{})
		}
	}
	c.active()
	return c
}

// active notes that something was read or written.
func (c *Conn) active() { c.moved.Store(int64(time.Since(c.srv.epoch))) }

// Principal returns who the client is, [Anonymous] before it has authenticated and when it did not.
func (c *Conn) Principal() Principal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.principal
}

// Mechanism returns the SASL mechanism with which the client has authenticated, empty for none.
func (c *Conn) Mechanism() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mechanism
}

// ClientSoftware returns name and version of the client's software, such as "apache-kafka-java" and "4.0.0". They are
// empty if it did not tell them.
func (c *Conn) ClientSoftware() (name, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.software[0], c.software[1]
}

// RemoteAddr returns the address of the client, as the PROXY protocol tells it where that is used.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns the server's address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// Listener returns the name of the listener that accepted the connection, see [ListenerOptions].
func (c *Conn) Listener() string { return c.listener.Name }

// Advertised returns the address that clients of this listener are told to connect to: that of the options, or the address
// on which the client did connect. An address that has no port, as that of a Unix socket, is a host with port 0.
func (c *Conn) Advertised() (host string, port int32) {
	addr := c.listener.Advertise
	if addr == "" {
		addr = c.srv.advertise
	}
	if addr == "" {
		addr = c.nc.LocalAddr().String()
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return addr, 0
	}
	return host, int32(n)
}

// TLS returns the state of the TLS connection, with the verified chains of the client's certificate; nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	switch nc := c.nc.(type) {
	case *tls.Conn:
		st := nc.ConnectionState()
		return &st
	case interface{ TLS() *tls.ConnectionState }: // QUIC
		return nc.TLS()
	}
	return nil
}

// HasStreams reports whether the connection may have further streams, see [StreamsProtocol].
func (c *Conn) HasStreams() bool { return c.streams != nil }

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

// Close ends the connection at once: what is in process is not answered, and what waits as output is lost. It does not
// wait. Session.Closed is called from another goroutine.
func (c *Conn) Close() {
	c.mu.Lock()
	c.abort(net.ErrClosed)
	c.main.flush()
}
