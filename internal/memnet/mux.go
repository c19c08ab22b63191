package memnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

const (
	maxDatagram = 1200 // bytes, as a cautious QUIC path allows
	maxQueued   = 256  // datagrams, and streams that the peer opened and nobody has accepted
)

// mux is one end of a connection as a whole: its streams and datagrams.
type mux struct {
	local, remote Addr
	capacity      int
	out           *link
	peer          *mux
	handshake     *handshake
	accept        chan *stream
	datagrams     chan []byte
	done          chan struct{} // closed with the connection, by this end

	mu      sync.Mutex
	closed  bool
	nextID  int64 // of a stream that this end opens
	streams map[int64]*stream
}

func newMux(capacity int, out *link, local, remote Addr) *mux {
	return &mux{
		local: local, remote: remote, capacity: capacity, out: out,
		accept:    make(chan *stream, maxQueued),
		datagrams: make(chan []byte, maxQueued),
		done:      make(chan struct{}),
		streams:   make(map[int64]*stream),
	}
}

// add registers a stream, so that it ends with the connection.
func (m *mux) add(s *stream) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.streams[s.id] = s
	return true
}

func (m *mux) remove(s *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.streams, s.id)
}

// all returns the streams that are open at this end.
func (m *mux) all() []*stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*stream, 0, len(m.streams))
	for _, s := range m.streams {
		all = append(all, s)
	}
	return all
}

// close closes this end and reports whether it was open.
func (m *mux) close() bool {
	m.mu.Lock()
	was := m.closed
	m.closed = true
	m.mu.Unlock()
	if was {
		return false
	}
	close(m.done)
	for _, s := range m.all() {
		_ = s.Close()
	}
	return true
}

// abort resets every stream in both directions.
func (m *mux) abort() {
	for _, s := range append(m.all(), m.peer.all()...) {
		s.in.abort()
		s.out.abort()
	}
}

// cut resets every stream, but lets the peer read what was sent.
func (m *mux) cut() {
	for _, s := range m.all() {
		s.out.cutAfterBuffered()
		s.in.abort()
	}
}

// OpenStream opens a stream; it waits while the peer has too many that it did not accept.
func (c *Conn) OpenStream(ctx context.Context) (netio.Stream, error) {
	m := c.mux
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	near, far := newStreams(m, m.takeID())
	if !m.add(near) || !m.peer.add(far) {
		_ = near.Close()
		return nil, m.opError("open", net.ErrClosed)
	}
	select {
	case m.peer.accept <- far:
		return near, nil
	case <-ctx.Done():
		_ = near.Close()
		_ = far.Close()
		return nil, ctx.Err()
	case <-m.done:
		return nil, m.opError("open", net.ErrClosed)
	case <-m.peer.done:
		return nil, m.opError("open", net.ErrClosed)
	}
}

// takeID returns the number of the next stream that this end opens.
func (m *mux) takeID() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.nextID
	m.nextID += 4
	return id
}

// AcceptStream waits for a stream that the peer opened.
func (c *Conn) AcceptStream(ctx context.Context) (netio.Stream, error) {
	s, err := receive(ctx, c.mux, c.mux.accept)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// SendDatagram sends a datagram of at most 1200 bytes. A full queue, a Fault or a closed peer drops it.
func (c *Conn) SendDatagram(b []byte) error {
	m := c.mux
	if m.isClosed() {
		return m.opError("write", net.ErrClosed)
	}
	if len(b) > maxDatagram {
		return m.opError("write", syscall.EMSGSIZE)
	}
	out := m.out.pass(b)
	if out.Cut {
		defer m.cut()
	}
	if out.Data == nil {
		return nil
	}
	data := bytes.Clone(out.Data)
	if at := m.out.arrival(len(data), out.Delay); !at.IsZero() {
		time.AfterFunc(time.Until(at), func() { m.peer.queue(data) })
	} else {
		m.peer.queue(data)
	}
	return nil
}

// queue gives this end a datagram and drops it when there are too many.
func (m *mux) queue(data []byte) {
	select {
	case m.datagrams <- data:
	default:
	}
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// ReceiveDatagram waits for a datagram.
func (c *Conn) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	return receive(ctx, c.mux, c.mux.datagrams)
}

// receive waits for a value of a channel while both ends are open. What is there already comes first.
func receive[T any](ctx context.Context, m *mux, ch <-chan T) (v T, err error) {
	if m.isClosed() {
		return v, m.opError("read", net.ErrClosed)
	}
	select {
	case v = <-ch:
		return v, nil
	default:
	}
	select {
	case v = <-ch:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	case <-m.done:
	case <-m.peer.done:
	}
	return v, m.opError("read", net.ErrClosed)
}

// opError wraps err as package net does, but for nil and io.EOF.
func (m *mux) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: m.local.Network(), Source: m.local, Addr: m.remote, Err: err}
}
