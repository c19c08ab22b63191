package quicnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// maxPaths is how many sockets a connection may use in its life. quic-go ends a connection when a transport that it was
// ever probed over closes, so all of them stay open until it is gone.
const maxPaths = 16

// ErrPaths is the error of [Conn.Migrate] when the connection has moved so often that a new one is in order.
var ErrPaths = errors.New("quicnet: the connection has moved too often")

// path is where a client's connection is.
type path struct {
	d      *Dialer
	moving gate // held while it moves

	mu      sync.Mutex
	sockets []*socket // all that it has used; it holds them
	ended   bool
	watch   watched
}

// newPath returns the path of a connection that was dialled over a socket, which it takes over from the holder.
func newPath(d *Dialer, s *socket, local netip.Addr) *path {
	return &path{d: d, moving: make(gate, 1), sockets: []*socket{s}, watch: watched{local: local}}
}

// end releases the sockets when the connection is gone.
func (p *path) end() {
	p.mu.Lock()
	sockets := p.sockets
	p.sockets, p.ended = nil, true
	p.mu.Unlock()
	for _, s := range sockets {
		s.release()
	}
}

// hold makes a socket one of those that stay open as long as the connection.
func (p *path) hold(s *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case slices.Contains(p.sockets, s):
		return nil
	case p.ended:
		return net.ErrClosed
	case len(p.sockets) >= maxPaths:
		return ErrPaths
	case !s.acquire():
		return net.ErrClosed
	}
	p.sockets = append(p.sockets, s)
	return nil
}

// Migrate moves a client's connection to another socket, and so to another path: it probes the server over it, and when
// that has answered, everything goes that way (RFC 9000, section 9). What is under way is sent again where it got lost,
// and nothing arrives twice. With nil it opens a socket as the Dialer does; another pc is the connection's from now on,
// which closes it when the connection is gone, also if this fails.
//
// quic-go sends no probe while the congestion window is full. So a connection that was cut off in the middle of much
// traffic moves only once something gets through again, which is so when its socket has no address of its own and the
// system sends by another way, as with the sockets that a Dialer opens.
//
// It waits for the handshake, and for the answer until ctx ends. After an error the connection is where it was. A
// connection can try 15 other sockets, then the error wraps ErrPaths. On a server's connection the error wraps
// errors.ErrUnsupported, and so it does with nil where Dialer.PacketConn is set.
func (c *Conn) Migrate(ctx context.Context, pc net.PacketConn) error {
	if err := c.migrate(ctx, pc); err != nil {
		return c.opError("migrate", err)
	}
	return nil
}

func (c *Conn) migrate(ctx context.Context, pc net.PacketConn) (err error) {
	var s *socket
	switch {
	case c.path == nil:
		err = fmt.Errorf("quicnet: a server does not move: %w", errors.ErrUnsupported)
	case pc != nil:
		s = newSocket(pc, true)
	case c.path.d.PacketConn != nil:
		err = fmt.Errorf("quicnet: the dialer has one socket only: %w", errors.ErrUnsupported)
	default:
		s, err = c.path.d.openSocket(ctx, c.peer)
	}
	if err != nil {
		if pc != nil {
			_ = pc.Close()
		}
		return err
	}
	s.acquire()
	defer s.release()
	if err = c.moveTo(ctx, s); err == nil && pc == nil {
		c.path.d.setSocket(s)
	}
	return err
}

// moveTo moves the connection to a socket.
func (c *Conn) moveTo(ctx context.Context, s *socket) error {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	err := c.awaitConfirmed(both)
	if err == nil {
		c.state() // while quic-go can be asked
		c.path.moving.lock()
		defer c.path.moving.unlock()
		if err = c.path.hold(s); err == nil {
			start := time.Now()
			err = c.switchTo(both, s)
			if c.isClosed() {
				err = net.ErrClosed
			}
			c.probed(s, time.Since(start), err)
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return c.errOf(err)
}

// probed counts an attempt to move.
func (c *Conn) probed(s *socket, took time.Duration, err error) {
	if err != nil {
		c.group.stats.probesFailed.Add(1)
	}
	local := s.pc.LocalAddr()
	if t := c.cfg.Trace; t != nil && t.Probed != nil {
		t.Probed(c, local, took, errOf(err))
	}
	if err == nil {
		c.movedTo(local)
	}
}

// switchTo probes the server over a socket and goes there.
func (c *Conn) switchTo(ctx context.Context, s *socket) error {
	q, err := c.qc.AddPath(s.tr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.qc.Context(), cancel)() // Probe does not notice the end of the connection
	if err = q.Probe(ctx); err == nil {
		err = q.Switch()
	}
	if err != nil {
		_ = q.Close()
		if cause := context.Cause(c.qc.Context()); cause != nil {
			err = cause
		}
		return err
	}
	// quic-go switches when its loop runs next, which closing a path that was never probed brings about.
	if wake, err := c.qc.AddPath(s.tr); err == nil {
		_ = wake.Close()
	}
	return nil
}

// setSocket makes a socket the one that connections are dialled over.
func (d *Dialer) setSocket(s *socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.socket = s
	}
}
