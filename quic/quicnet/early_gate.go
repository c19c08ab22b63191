package quicnet

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// earlyServer is a server's connection that was accepted before its handshake was complete. Until then its streams give
// their readers no more bytes than the budget, all together.
type earlyServer struct {
	qc       *quic.Conn
	complete <-chan struct{} // the handshake
	open     atomic.Bool     // complete is closed

	mu   sync.Mutex
	left int // of the budget
}

func newEarlyServer(qc *quic.Conn, budget int) *earlyServer {
	return &earlyServer{qc: qc, complete: qc.HandshakeComplete(), left: budget}
}

func (c *earlyServer) openStream(ctx context.Context) (byteStream, error) {
	return noNil(c.qc.OpenStreamSync(ctx))
}

func (c *earlyServer) acceptStream(ctx context.Context) (byteStream, error) {
	q, err := c.qc.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return c.wrap(q), nil
}

func (c *earlyServer) confirmed() <-chan struct{} { return c.complete }

func (c *earlyServer) protocol() string { return "" }

// isConfirmed reports whether the handshake is complete.
func (c *earlyServer) isConfirmed() bool {
	if c.open.Load() {
		return true
	}
	select {
	case <-c.complete:
		c.open.Store(true)
		return true
	default:
		return false
	}
}

// allowed returns what is left of the budget.
func (c *earlyServer) allowed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// spend takes up to n bytes of the budget.
func (c *earlyServer) spend(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

// gatedStream is a stream of an earlyServer. One Read runs at a time.
type gatedStream struct {
	*quic.Stream
	conn   *earlyServer
	readBy deadline
	held   []byte // read from the stream, but over the budget
}

func (c *earlyServer) wrap(q *quic.Stream) byteStream {
	if c.isConfirmed() {
		return q
	}
	return &gatedStream{Stream: q, conn: c}
}

// Read reads early data within the budget, and waits for the handshake once that is spent.
func (s *gatedStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return s.Stream.Read(p)
	}
	for {
		if len(s.held) > 0 || !s.conn.isConfirmed() && s.conn.allowed() == 0 {
			if err := s.wait(); err != nil {
				return 0, err
			}
		}
		if len(s.held) > 0 {
			n := copy(p, s.held)
			if s.held = s.held[n:]; len(s.held) == 0 {
				s.held = nil
			}
			return n, nil
		}
		if s.conn.isConfirmed() {
			return s.Stream.Read(p)
		}
		limit := min(len(p), s.conn.allowed())
		if limit == 0 {
			continue // another stream has spent it
		}
		n, err := s.Stream.Read(p[:limit])
		if n == 0 || s.conn.isConfirmed() {
			return n, err
		}
		m := s.conn.spend(n)
		if m == n {
			return n, err
		}
		s.held = append(s.held, p[m:n]...)
		clear(p[m:n])
		if m > 0 {
			return m, nil // an error comes again
		}
	}
}

// wait waits for the handshake.
func (s *gatedStream) wait() error {
	select {
	case <-s.conn.complete:
		s.conn.open.Store(true)
		return nil
	case <-s.conn.qc.Context().Done():
		return context.Cause(s.conn.qc.Context())
	case <-s.readBy.passed():
		return os.ErrDeadlineExceeded
	}
}

// SetReadDeadline bounds Read.
func (s *gatedStream) SetReadDeadline(t time.Time) error {
	s.readBy.set(t)
	return s.Stream.SetReadDeadline(t)
}

// SetDeadline bounds Read and Write.
func (s *gatedStream) SetDeadline(t time.Time) error {
	s.readBy.set(t)
	return s.Stream.SetDeadline(t)
}
