package quicnet

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// byteStream is what a stream needs of quic-go's: a [quic.Stream], or one of the two that know about early data.
type byteStream interface {
	StreamID() quic.StreamID
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	CancelRead(quic.StreamErrorCode)
	CancelWrite(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

var (
	_ byteStream = (*quic.Stream)(nil)
	_ byteStream = (*resentStream)(nil)
	_ byteStream = (*gatedStream)(nil)
)

// earlyClient is a client's connection that was dialled with early data. What is written on it before the handshake is
// complete is kept, up to the budget, and is sent again on new streams with the same numbers if the server refuses it.
type earlyClient struct {
	qc   *quic.Conn
	alpn string // that of the ticket

	// settled is closed once the handshake is complete and the streams are open again if the server has refused; those
	// that its limit does not allow any more follow when it does. Open is closed when all of them are, and others may
	// be opened. Gone is closed when the connection has ended before.
	settled, open, gone chan struct{}

	mu      sync.Mutex
	left    int             // of the budget
	over    bool            // the handshake is complete: nothing is early any more
	pool    []*quic.Stream  // that were opened by the dial and nobody has yet
	streams []*resentStream // that somebody has

	// What settle leaves, before it closes settled.
	refused bool
	resent  int // bytes to send again
}

// earlyStreams is how many streams a client can have before the handshake is complete. They are opened by the dial:
// quic-go must not open any while the server's answer comes in.
const earlyStreams = 16

// newEarlyClient takes over a connection that was dialled just now. The caller runs settle.
func newEarlyClient(qc *quic.Conn, budget int, alpn string) *earlyClient {
	c := &earlyClient{qc: qc, alpn: alpn, left: budget,
		settled: make(chan struct{}), open: make(chan struct{}), gone: make(chan struct{})}
	for range earlyStreams {
		q, err := qc.OpenStream()
		if err != nil {
			break // the limit that the server has set the last time
		}
		c.pool = append(c.pool, q)
	}
	if n := len(c.pool); n > 0 {
		// quic-go's loop writes without a lock what OpenStream reads, when the answer comes. A new priority makes it run once
		// before that, so that it has seen these to be over.
		c.pool[n-1].SetPriority(2, false)
		c.pool[n-1].SetPriority(3, true)
	}
	return c
}

// settle waits for the handshake and makes the connection an ordinary one. It returns when settled is closed, or gone.
func (c *earlyClient) settle() {
	select {
	case <-c.qc.Context().Done():
		close(c.gone)
		return
	case <-c.qc.HandshakeComplete():
	}
	c.refused = !c.qc.ConnectionState().Used0RTT
	c.mu.Lock()
	c.over = true
	if c.refused {
		c.pool = nil
	}
	c.mu.Unlock()
	if !c.refused {
		for _, s := range c.streams {
			s.settle(nil)
		}
		c.streams = nil
		close(c.settled)
		close(c.open)
		return
	}
	for _, s := range c.streams {
		c.resent += len(s.log)
	}
	if _, err := c.qc.NextConnection(c.qc.Context()); err != nil {
		close(c.gone)
		return
	}
	for i, s := range c.streams {
		q, err := c.qc.OpenStream()
		if err != nil {
			go c.reopen(c.streams[i:])
			c.streams = nil
			close(c.settled)
			return
		}
		go s.settle(q)
	}
	c.streams = nil
	close(c.settled)
	close(c.open)
}

// reopen opens the streams that the server's limit did not allow at first.
func (c *earlyClient) reopen(streams []*resentStream) {
	for _, s := range streams {
		q, err := c.qc.OpenStreamSync(c.qc.Context())
		if err != nil {
			return // the connection has ended
		}
		go s.settle(q)
	}
	close(c.open)
}

func (c *earlyClient) confirmed() <-chan struct{} { return c.settled }

func (c *earlyClient) protocol() string {
	select {
	case <-c.qc.HandshakeComplete():
		return ""
	default:
		return c.alpn
	}
}

// openStream opens a stream. It may wait for the handshake and for the peer's limit.
func (c *earlyClient) openStream(ctx context.Context) (byteStream, error) {
	if s := c.pooled(); s != nil {
		return s, nil
	}
	if err := c.wait(ctx, c.open); err != nil {
		return nil, err
	}
	return noNil(c.qc.OpenStreamSync(ctx))
}

// pooled returns a stream that is open already, or nil.
func (c *earlyClient) pooled() byteStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pool) == 0 || c.qc.Context().Err() != nil {
		return nil
	}
	q := c.pool[0]
	c.pool = c.pool[1:]
	if c.over {
		return q
	}
	s := &resentStream{conn: c, q: q, id: q.StreamID(), done: make(chan struct{})}
	c.streams = append(c.streams, s)
	return s
}

// acceptStream waits for a stream of the peer's.
func (c *earlyClient) acceptStream(ctx context.Context) (byteStream, error) {
	for {
		q, err := c.qc.AcceptStream(ctx)
		if !errors.Is(err, quic.Err0RTTRejected) {
			return noNil(q, err)
		}
		if err := c.wait(ctx, c.settled); err != nil {
			return nil, err
		}
	}
}

// wait waits until the connection has come so far.
func (c *earlyClient) wait(ctx context.Context, until <-chan struct{}) error {
	select {
	case <-until:
		return nil
	case <-c.qc.Context().Done():
		return context.Cause(c.qc.Context())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resentStream is a stream of an earlyClient. One Write or Close runs at a time, beside one Read.
type resentStream struct {
	conn *earlyClient
	id   quic.StreamID
	done chan struct{} // closed when it is an ordinary stream, with what was refused sent again

	readBy, writeBy deadline

	// Under conn.mu.
	q                     *quic.Stream
	log                   []byte // what was written and may have to be sent again
	resending             bool
	fin                   bool
	noRead, noWrite       *quic.StreamErrorCode
	readLimit, writeLimit time.Time
}

// settle makes it an ordinary stream: the one that there is, or q in the place of one that was refused.
func (s *resentStream) settle(q *quic.Stream) {
	defer close(s.done)
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	log := s.log
	s.log = nil
	if q == nil {
		return
	}
	s.q = q
	_ = q.SetReadDeadline(s.readLimit)
	if s.noRead != nil {
		q.CancelRead(*s.noRead)
	}
	if s.noWrite != nil {
		q.CancelWrite(*s.noWrite)
		return
	}
	if len(log) > 0 {
		s.resending = true
		c.mu.Unlock()
		_, _ = q.Write(log) // an error comes again
		c.mu.Lock()
		s.resending = false
	}
	_ = q.SetWriteDeadline(s.writeLimit)
	if s.fin {
		_ = q.Close()
	}
}

// StreamID returns the number of the stream, which stays.
func (s *resentStream) StreamID() quic.StreamID { return s.id }

func (s *resentStream) now() *quic.Stream {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.q
}

// isDone reports whether it is an ordinary stream.
func (s *resentStream) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Read reads from the stream, or from the one that took its place.
func (s *resentStream) Read(p []byte) (int, error) {
	for {
		done := s.isDone()
		n, err := s.now().Read(p)
		if done || !errors.Is(err, quic.Err0RTTRejected) {
			return n, err
		}
		if err := s.wait(&s.readBy); err != nil {
			return 0, err
		}
	}
}

// wait waits until it is an ordinary stream or the deadline passes.
func (s *resentStream) wait(d *deadline) error {
	select {
	case <-s.done:
		return nil
	case <-s.conn.qc.Context().Done():
		return context.Cause(s.conn.qc.Context())
	case <-d.passed():
		return os.ErrDeadlineExceeded
	}
}

// Write writes p. While it is early data it keeps what it writes, and waits once the budget is spent.
func (s *resentStream) Write(p []byte) (n int, err error) {
	for {
		if s.isDone() {
			m, err := s.now().Write(p[n:])
			return n + m, err
		}
		m, err := s.writeEarly(p[n:])
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
		if m == 0 {
			if err := s.wait(&s.writeBy); err != nil {
				return n, err
			}
		}
	}
}

// writeEarly writes what the budget allows, which is nothing once the handshake is complete.
func (s *resentStream) writeEarly(p []byte) (int, error) {
	c := s.conn
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return 0, nil
	}
	p = p[:min(len(p), c.left)]
	c.left -= len(p)
	s.log = append(s.log, p...)
	q := s.q
	c.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	n, err := q.Write(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, quic.Err0RTTRejected):
		return len(p), nil // it is in the log, which is sent again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over && c.refused {
		return len(p), err // all of it is sent again
	}
	if cut := len(p) - n; len(s.log) >= cut {
		s.log = s.log[:len(s.log)-cut]
		c.left += cut
	}
	return n, err
}

// Close ends the sending side.
func (s *resentStream) Close() error {
	s.conn.mu.Lock()
	s.fin = true
	q, later := s.q, s.resending
	s.conn.mu.Unlock()
	if later {
		return nil
	}
	return q.Close()
}

// CancelRead asks the peer to stop sending.
func (s *resentStream) CancelRead(code quic.StreamErrorCode) {
	s.conn.mu.Lock()
	if s.noRead == nil {
		s.noRead = &code
	}
	q := s.q
	s.conn.mu.Unlock()
	q.CancelRead(code)
}

// CancelWrite resets the sending side.
func (s *resentStream) CancelWrite(code quic.StreamErrorCode) {
	s.conn.mu.Lock()
	if s.noWrite == nil {
		s.noWrite = &code
	}
	q := s.q
	s.conn.mu.Unlock()
	q.CancelWrite(code)
}

// SetReadDeadline bounds Read.
func (s *resentStream) SetReadDeadline(t time.Time) error {
	s.conn.mu.Lock()
	s.readLimit = t
	q := s.q
	s.conn.mu.Unlock()
	s.readBy.set(t)
	return q.SetReadDeadline(t)
}

// SetWriteDeadline bounds Write.
func (s *resentStream) SetWriteDeadline(t time.Time) error {
	s.conn.mu.Lock()
	s.writeLimit = t
	q, later := s.q, s.resending // what is sent again does not end with a deadline
	s.conn.mu.Unlock()
	s.writeBy.set(t)
	if later {
		return nil
	}
	return q.SetWriteDeadline(t)
}
