package quicnet

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
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
	qc      *quic.Conn
	alpn    string        // that of the ticket
	settled chan struct{} // closed once the handshake is complete and what was refused is sent again
	gone    chan struct{} // closed when the connection ended before
	plain   atomic.Bool   // settled is closed
	opening sync.WaitGroup

	mu      sync.Mutex
	left    int  // of the budget
	resend  bool // the server has refused, and the streams are being replaced
	streams []*resentStream

	// What settle leaves.
	refused bool
	resent  int // bytes sent again
}

// newEarlyClient takes over a connection of which the handshake may be under way. The caller runs settle.
func newEarlyClient(qc *quic.Conn, budget int, alpn string) *earlyClient {
	return &earlyClient{qc: qc, alpn: alpn, left: budget, settled: make(chan struct{}), gone: make(chan struct{})}
}

// settle waits for the handshake and makes the connection an ordinary one. It closes settled, or gone when the
// connection ends before that.
func (c *earlyClient) settle() {
	select {
	case <-c.qc.Context().Done():
		close(c.gone)
		return
	case <-c.qc.HandshakeComplete():
	}
	if !c.qc.ConnectionState().Used0RTT {
		c.refused = true
		if err := c.sendAgain(); err != nil {
			close(c.gone)
			return
		}
	}
	c.mu.Lock()
	for _, s := range c.streams {
		s.log = nil
	}
	c.streams = nil
	c.plain.Store(true)
	c.mu.Unlock()
	close(c.settled)
}

func (c *earlyClient) confirmed() <-chan struct{} { return c.settled }

func (c *earlyClient) protocol() string {
	if c.plain.Load() {
		return ""
	}
	return c.alpn
}

// sendAgain opens the streams anew, in their order, and writes what was written on them.
func (c *earlyClient) sendAgain() error {
	c.mu.Lock()
	c.resend = true
	c.mu.Unlock()
	c.opening.Wait() // they fail: their streams belong to what was refused
	ctx := c.qc.Context()
	if _, err := c.qc.NextConnection(ctx); err != nil {
		return err
	}
	slices.SortFunc(c.streams, func(a, b *resentStream) int { return int(a.id - b.id) })
	for _, s := range c.streams {
		q, err := c.qc.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		n, err := s.replace(q)
		if err != nil {
			return err
		}
		c.resent += n
	}
	return nil
}

// openStream opens a stream. It may wait for the peer's limit.
func (c *earlyClient) openStream(ctx context.Context) (byteStream, error) {
	for {
		c.mu.Lock()
		if c.plain.Load() {
			c.mu.Unlock()
			return noNil(c.qc.OpenStreamSync(ctx))
		}
		if c.resend {
			c.mu.Unlock()
			if err := c.wait(ctx); err != nil {
				return nil, err
			}
			continue
		}
		c.opening.Add(1)
		c.mu.Unlock()
		q, err := c.qc.OpenStreamSync(ctx)
		s, ok := c.opened(q, err)
		if ok {
			return s, err
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// opened registers a stream. It returns false if the server has refused the early data meanwhile.
func (c *earlyClient) opened(q *quic.Stream, err error) (_ byteStream, ok bool) {
	defer c.opening.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.resend || errors.Is(err, quic.Err0RTTRejected):
		return nil, false
	case err != nil:
		return nil, true
	case c.plain.Load():
		return q, true
	}
	s := &resentStream{conn: c, q: q, id: q.StreamID()}
	c.streams = append(c.streams, s)
	return s, true
}

// acceptStream waits for a stream of the peer's.
func (c *earlyClient) acceptStream(ctx context.Context) (byteStream, error) {
	for {
		q, err := c.qc.AcceptStream(ctx)
		if !errors.Is(err, quic.Err0RTTRejected) {
			return noNil(q, err)
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait waits until the connection is settled.
func (c *earlyClient) wait(ctx context.Context) error {
	select {
	case <-c.settled:
		return nil
	case <-c.gone:
		return c.cause()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cause returns why the connection ended.
func (c *earlyClient) cause() error {
	if err := context.Cause(c.qc.Context()); err != nil {
		return err
	}
	return quic.Err0RTTRejected
}

// take takes up to n bytes of the budget. Called with mu held.
func (c *earlyClient) take(n int) int {
	n = min(n, c.left)
	c.left -= n
	return n
}

// resentStream is a stream of an earlyClient. As of its user, one Write or Close runs at a time.
type resentStream struct {
	conn *earlyClient
	id   quic.StreamID

	readBy, writeBy deadline

	// Under conn.mu.
	q          *quic.Stream
	log        []byte // what was written and may have to be sent again
	taken      bool   // the log is being sent again
	fin        bool
	noRead     *quic.StreamErrorCode
	noWrite    *quic.StreamErrorCode
	readLimit  time.Time
	writeLimit time.Time
}

// StreamID returns the number of the stream, which stays.
func (s *resentStream) StreamID() quic.StreamID { return s.id }

func (s *resentStream) now() *quic.Stream {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.q
}

// replace puts another stream in the place of a refused one and writes the log to it.
func (s *resentStream) replace(q *quic.Stream) (n int, err error) {
	s.conn.mu.Lock()
	s.taken = true
	log := s.log
	s.conn.mu.Unlock()
	if len(log) > 0 {
		if n, err = q.Write(log); err != nil && s.conn.qc.Context().Err() != nil {
			return n, err
		} // another error is of this stream alone, and its user learns it
	}
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.q = q
	_ = q.SetReadDeadline(s.readLimit)
	_ = q.SetWriteDeadline(s.writeLimit)
	if s.noWrite != nil {
		q.CancelWrite(*s.noWrite)
	} else if s.fin {
		_ = q.Close()
	}
	if s.noRead != nil {
		q.CancelRead(*s.noRead)
	}
	return n, nil
}

// Read reads from the stream, or from the one that took its place.
func (s *resentStream) Read(p []byte) (int, error) {
	for {
		q := s.now()
		n, err := q.Read(p)
		if err == nil || !errors.Is(err, quic.Err0RTTRejected) {
			return n, err
		}
		if err := s.wait(&s.readBy); err != nil {
			return 0, err
		}
		if s.now() == q {
			return 0, s.conn.cause()
		}
	}
}

// wait waits until the connection is settled or the deadline passes.
func (s *resentStream) wait(d *deadline) error {
	select {
	case <-s.conn.settled:
		return nil
	case <-s.conn.gone:
		return s.conn.cause()
	case <-d.passed():
		return os.ErrDeadlineExceeded
	}
}

// Write writes p. Before the connection is settled it keeps what it writes, and waits once the budget is spent.
func (s *resentStream) Write(p []byte) (n int, err error) {
	for {
		if s.conn.plain.Load() {
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

// writeEarly writes what the budget allows, which may be nothing.
func (s *resentStream) writeEarly(p []byte) (int, error) {
	s.conn.mu.Lock()
	if s.conn.resend || s.conn.plain.Load() {
		s.conn.mu.Unlock()
		return 0, nil
	}
	p = p[:s.conn.take(len(p))]
	s.log = append(s.log, p...)
	q := s.q
	s.conn.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	n, err := q.Write(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, quic.Err0RTTRejected) {
		return len(p), nil // it is in the log, which is sent again
	}
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	switch {
	case s.taken:
		return len(p), err // all of it is being sent again
	case len(s.log) >= len(p)-n:
		s.log = s.log[:len(s.log)-(len(p)-n)]
		s.conn.left += len(p) - n
	}
	return n, err
}

// Close ends the sending side.
func (s *resentStream) Close() error {
	s.conn.mu.Lock()
	s.fin = true
	q := s.q
	s.conn.mu.Unlock()
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
	q := s.q
	s.conn.mu.Unlock()
	s.writeBy.set(t)
	return q.SetWriteDeadline(t)
}
