package quicnet

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// maxDrain is how many bytes of a stream that this side has closed are read and dropped before the peer is told to
// stop.
const maxDrain = 1 << 20

// past is a deadline that ends a Read or Write that waits.
var past = time.Unix(1, 0)

// stream is one stream of a Conn: a netio.Stream. Reads and writes may run concurrently with each other and with all
// other methods.
type stream struct {
	conn *Conn
	q    byteStream

	reading gate // held during a Read
	writing gate // held during a Write, and to end the sending side

	mu     sync.Mutex // never held while anything waits
	closed bool       // Close was called
	fin    time.Time  // when the sending side was closed
	eof    time.Time  // when the end of the peer's side, or its reset, was read
}

func newStream(c *Conn, q byteStream) *stream {
	return &stream{conn: c, q: q, reading: make(gate, 1), writing: make(gate, 1)}
}

// gate is a lock that may be held for long. Waiting for it is waiting for a channel, which synctest knows.
type gate chan struct{}

func (g gate) lock()   { g <- struct{}{} }
func (g gate) unlock() { <-g }

// ID is the number of the stream in its connection (RFC 9000, section 2.1).
func (s *stream) ID() int64 { return int64(s.q.StreamID()) }

// Read reads what has arrived and waits for the first byte.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.lock()
	defer s.reading.unlock()
	if s.isClosed() {
		return 0, s.conn.opError("read", net.ErrClosed)
	}
	n, err := s.q.Read(p)
	if n > 0 { // an error comes again
		s.conn.checkMoved()
		return n, nil
	}
	switch {
	case err == nil:
		return 0, nil
	case err == io.EOF:
		s.ended()
		return 0, io.EOF
	case s.isClosed():
		return 0, s.conn.opError("read", net.ErrClosed)
	}
	err = s.conn.errOf(err)
	if e, ok := err.(*Error); ok && e.Kind == KindStream {
		s.ended()
	}
	return 0, s.conn.opError("read", err)
}

// Write writes p and waits until all but the last packet of it is sent.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.lock()
	defer s.writing.unlock()
	if s.writeClosed() {
		return 0, s.conn.opError("write", net.ErrClosed)
	}
	n, err := s.q.Write(p)
	if err == nil {
		return n, nil
	}
	if s.writeClosed() {
		return n, s.conn.opError("write", net.ErrClosed)
	}
	return n, s.conn.opError("write", s.conn.errOf(err))
}

// CloseWrite ends the sending side: the peer reads what was written, then io.EOF. A Write that waits returns.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	if !s.fin.IsZero() {
		s.mu.Unlock()
		return nil
	}
	s.fin = time.Now()
	_ = s.q.SetWriteDeadline(past)
	s.mu.Unlock()
	s.writing.lock()
	defer s.writing.unlock()
	_ = s.q.Close() // it fails when the peer reads no more, which a Write tells
	return nil
}

// Close ends both directions. What was written is still delivered, what was not read is dropped.
func (s *stream) Close() error {
	if !s.shut() {
		return s.conn.opError("close", net.ErrClosed)
	}
	go func() {
		s.drain(time.Now().Add(s.conn.cfg.linger()))
		s.conn.remove(s)
	}()
	return nil
}

// shut makes reads and writes fail and ends the sending side. It returns false when that was done before.
func (s *stream) shut() bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	_ = s.q.SetReadDeadline(past)
	s.mu.Unlock()
	_ = s.CloseWrite()
	return true
}

// drain reads to the end of the peer's side and drops what it reads. It gives up at the deadline, or after too many
// bytes, and tells the peer to stop sending then. It reports whether the peer ended its side after this side did: then
// it has read everything.
func (s *stream) drain(deadline time.Time) (confirmed bool) {
	s.reading.lock()
	defer s.reading.unlock()
	if s.atEnd() {
		return s.confirmed()
	}
	_ = s.q.SetReadDeadline(deadline)
	buf := make([]byte, 2<<10)
	for total := 0; total < maxDrain; {
		n, err := s.q.Read(buf)
		total += n
		if err == nil {
			continue
		}
		if e, ok := errOf(err).(*Error); err == io.EOF || ok && (e.Remote || e.Kind != KindStream) {
			s.ended()
			return s.confirmed()
		}
		break
	}
	s.q.CancelRead(quic.StreamErrorCode(CodeOK))
	return false
}

// ended notes that the peer's side is at its end.
func (s *stream) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eof.IsZero() {
		s.eof = time.Now()
	}
}

func (s *stream) atEnd() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.eof.IsZero()
}

// confirmed reports whether the end of the peer's side came so late that the peer may have sent it in answer to the
// end of this side.
func (s *stream) confirmed() bool {
	rtt := s.conn.qc.ConnectionStats().MinRTT
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fin.IsZero() && !s.eof.IsZero() && s.eof.After(s.fin) && s.eof.Sub(s.fin) >= rtt
}

// crossed reports whether the peer ended its side at about the same time as this side did, so that it may not have seen
// the end of this side then.
func (s *stream) crossed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fin.IsZero() && !s.eof.Before(s.fin)
}

func (s *stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *stream) writeClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fin.IsZero()
}

// SetPriority says how urgent the bytes of this stream are, from 0, the most urgent, to 7, against those of other streams
// that wait to be sent on this connection; 3 is where a stream begins. Streams of the same urgency that are incremental take
// turns, the others are sent one after the other (RFC 9218, sections 4 and 10). The peer is not told. It has no effect on a
// stream that was opened before the handshake was complete.
func (s *stream) SetPriority(urgency int, incremental bool) {
	if q, ok := s.q.(interface{ SetPriority(int8, bool) }); ok {
		q.SetPriority(int8(min(max(urgency, 0), 7)), incremental)
	}
}

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on; the zero time means never.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.conn.opError("set", net.ErrClosed)
	}
	return s.q.SetReadDeadline(t)
}

// SetWriteDeadline makes writes fail from t on; the zero time means never. A Write that it cut short says how much was
// written and may be followed by another one.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.conn.opError("set", net.ErrClosed)
	}
	if !s.fin.IsZero() {
		return nil
	}
	return s.q.SetWriteDeadline(t)
}
