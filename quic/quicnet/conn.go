package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quic-go/quic-go"
)

// Conn is a QUIC connection as a net.Conn: its bytes are those of the first bidirectional stream that the client
// opened, stream 0. It has further streams and datagrams too. All methods may be called concurrently.
//
// A server learns of a connection with the first byte that the client writes, so a protocol in which the server speaks
// first does not work over a Conn.
type Conn struct {
	qc     *quic.Conn
	src    streamSource
	path   *path // nil on a server
	cfg    *Config
	client bool
	group  *group
	start  time.Time

	control  *stream
	grams    datagrams
	counters connCounters

	closing context.Context // ends with Close, Abort and the connection
	cancel  context.CancelFunc
	done    chan struct{} // closed when the connection is gone

	seen atomic.Pointer[net.Addr] // on a server, peer

	mu      sync.Mutex
	closed  bool
	streams map[*stream]struct{} // all that are not at their end
	peer    net.Addr             // the last address of the peer that was seen; on a client it stays
	local   net.Addr
	agreed  *agreement // nil until the handshake is complete
}

var (
	_ net.Conn         = (*Conn)(nil)
	_ netio.Streams    = (*Conn)(nil)
	_ netio.EarlyData  = (*Conn)(nil)
	_ netio.Negotiated = (*Conn)(nil)
	_ netio.Stream     = (*stream)(nil)
)

// newConn returns the Conn of a connection, of the source of its streams, and of its stream 0. It is a
// client's if it has a path.
func newConn(qc *quic.Conn, src streamSource, control byteStream, cfg *Config, p *path, g *group, start time.Time) *Conn {
	c := &Conn{qc: qc, src: src, cfg: cfg, client: p != nil, path: p, group: g, start: start, done: make(chan struct{}),
		peer: qc.RemoteAddr(), local: qc.LocalAddr()}
	c.closing, c.cancel = context.WithCancel(context.Background())
	c.control = newStream(c, control)
	c.streams = map[*stream]struct{}{c.control: {}}
	g.add(c)
	select {
	case <-qc.HandshakeComplete():
		c.connected()
	default:
		go func() {
			select {
			case <-qc.HandshakeComplete():
				c.connected()
			case <-qc.Context().Done():
			}
		}()
	}
	context.AfterFunc(qc.Context(), c.gone)
	return c
}

// connected is called once the handshake is complete.
func (c *Conn) connected() {
	c.state()
	took := time.Since(c.start)
	c.counters.handshake.Store(int64(took))
	c.group.stats.mu.Lock()
	c.group.stats.handshake.add(took)
	c.group.stats.mu.Unlock()
	if t := c.cfg.Trace; t != nil && t.Connected != nil {
		t.Connected(c, took)
	}
}

// gone is called once, when the connection is gone.
func (c *Conn) gone() {
	c.cancel()
	reason := errOf(context.Cause(c.qc.Context()))
	if t := c.cfg.Trace; t != nil && t.Closed != nil {
		t.Closed(c, reason)
	}
	close(c.done)
	c.group.remove(c, reason)
}

// agreement is what the handshake settled.
type agreement struct {
	tls       tls.ConnectionState
	datagrams bool
}

// state returns what the handshake has settled so far. quic-go's call for that must not run while a client switches to
// another path, which cannot happen before the handshake is complete; after that the answer does not change.
func (c *Conn) state() agreement {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agreed != nil {
		return *c.agreed
	}
	complete := false
	select {
	case <-c.qc.HandshakeComplete():
		complete = true
	default:
	}
	st := c.qc.ConnectionState()
	a := agreement{tls: st.TLS, datagrams: st.SupportsDatagrams.Local && st.SupportsDatagrams.Remote}
	if complete {
		c.agreed = &a
	}
	return a
}

// Read reads from stream 0. It waits for the first byte, and returns io.EOF once the peer has ended its side and
// everything was read.
func (c *Conn) Read(p []byte) (int, error) { return c.control.Read(p) }

// Write writes to stream 0. It waits for flow and congestion control, until all but the last packet of p is sent.
func (c *Conn) Write(p []byte) (int, error) { return c.control.Write(p) }

// CloseWrite ends the sending side of stream 0. The peer reads what was written, then io.EOF.
func (c *Conn) CloseWrite() error { return c.control.CloseWrite() }

// SetDeadline sets both deadlines of stream 0.
func (c *Conn) SetDeadline(t time.Time) error { return c.control.SetDeadline(t) }

// SetReadDeadline makes reads of stream 0 fail from t on; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.control.SetReadDeadline(t) }

// SetWriteDeadline makes writes to stream 0 fail from t on; the zero time means never. A Write that it cut short says
// how much was written and may be followed by another one.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.control.SetWriteDeadline(t) }

// LocalAddr returns the address of the socket.
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local
}

// RemoteAddr returns the address that the peer has now. It changes when a client moves to another network.
func (c *Conn) RemoteAddr() net.Addr {
	if c.client {
		return c.peer // a server does not move
	}
	return c.checkMoved()
}

// checkMoved returns the peer's address and notes if it is another one than before.
func (c *Conn) checkMoved() net.Addr {
	if c.client {
		return c.peer
	}
	now := c.qc.RemoteAddr()
	if seen := c.seen.Load(); seen != nil && *seen == now { // quic-go makes another value only for another address
		return now
	}
	c.mu.Lock()
	now = c.qc.RemoteAddr()
	before := c.peer
	c.peer = now
	c.seen.Store(&now)
	c.mu.Unlock()
	if before != now && before.String() != now.String() {
		c.moved(before, now)
	}
	return now
}

// movedTo is called on a client that has switched to another path, with the address of its socket.
func (c *Conn) movedTo(local net.Addr) {
	c.mu.Lock()
	before := c.local
	c.local = local
	c.mu.Unlock()
	c.moved(before, local)
}

func (c *Conn) moved(from, to net.Addr) {
	c.counters.migrations.Add(1)
	if t := c.cfg.Trace; t != nil && t.Moved != nil {
		t.Moved(c, from, to)
	}
}

// TLS returns the state of TLS, with the certificates of the peer. On a server those of the client are there from
// Confirmed on, unless it resumed a session.
func (c *Conn) TLS() *tls.ConnectionState {
	st := c.state().tls
	return &st
}

// Protocol returns the name of the protocol that both sides agreed on (ALPN, RFC 7301).
func (c *Conn) Protocol() string {
	if name := c.src.protocol(); name != "" {
		return name
	}
	return c.state().tls.NegotiatedProtocol
}

// Confirmed is closed once the handshake is complete (netio.EarlyData), on a client also only once everything was sent
// again that the server has refused as early data. It is never closed when the connection ends before: who waits for it
// waits for Done too.
func (c *Conn) Confirmed() <-chan struct{} { return c.src.confirmed() }

// Done is closed once the connection is gone and nothing more is delivered, which may be a while after Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// OpenStream opens a bidirectional stream. It waits while the peer's limit of open streams is reached. The peer learns
// of the stream with its first byte. The stream has a method SetPriority(urgency int, incremental bool) too, which says how
// urgent its bytes are, from 0, the most urgent, to 7; 3 is where it begins (RFC 9218).
func (c *Conn) OpenStream(ctx context.Context) (netio.Stream, error) {
	return c.stream(ctx, "open", c.src.openStream, &c.counters.opened)
}

// AcceptStream waits for the next stream that the peer opens. Streams that are not accepted count for MaxStreams.
func (c *Conn) AcceptStream(ctx context.Context) (netio.Stream, error) {
	return c.stream(ctx, "accept", c.src.acceptStream, &c.counters.accepted)
}

func (c *Conn) stream(ctx context.Context, op string, get func(context.Context) (byteStream, error),
	count *atomic.Uint64) (netio.Stream, error) {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	q, err := get(both)
	if err == nil {
		s := newStream(c, q)
		if c.add(s) {
			count.Add(1)
			if t := c.cfg.Trace; t != nil && t.StreamOpened != nil {
				t.StreamOpened(c, s.ID())
			}
			return s, nil
		}
		_ = s.Close()
		err = net.ErrClosed
	}
	if ctx.Err() != nil {
		return nil, c.opError(op, context.Cause(ctx))
	}
	return nil, c.opError(op, c.errOf(err))
}

// add makes s a stream of the connection, unless that is closed.
func (c *Conn) add(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.streams[s] = struct{}{}
	return true
}

// remove forgets a stream that is at its end.
func (c *Conn) remove(s *stream) {
	c.mu.Lock()
	_, ok := c.streams[s]
	delete(c.streams, s)
	c.mu.Unlock()
	if t := c.cfg.Trace; ok && t != nil && t.StreamClosed != nil {
		t.StreamClosed(c, s.ID())
	}
}

// errOf returns what an error of quic-go means for this connection.
func (c *Conn) errOf(err error) error {
	if c.isClosed() && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)) {
		return net.ErrClosed
	}
	if errors.Is(err, context.Canceled) { // the connection is gone, and the caller's context is not
		if cause := context.Cause(c.qc.Context()); cause != nil {
			return errOf(cause)
		}
	}
	return errOf(err)
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// opError wraps err as package net does.
func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "quic", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
