package memnet

import (
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

// Addr is the address of a listener or of one end of a connection.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address.
func (a Addr) String() string { return string(a) }

// Conn is one end of a connection: a net.Conn that also has half-close, abort, extra streams and datagrams. It is safe
// for concurrent use.
type Conn struct{ stream }

var (
	_ net.Conn         = (*Conn)(nil)
	_ netio.Streams    = (*Conn)(nil)
	_ netio.EarlyData  = (*Conn)(nil)
	_ netio.Negotiated = (*Conn)(nil)
	_ netio.Stream     = (*stream)(nil)
)

// Pipe returns the two ends of a connection over a perfect network.
func Pipe() (client, server net.Conn) {
	c, s := PipeOptions(nil)
	return c, s
}

// PipeOptions returns the two ends of a connection shaped by o, which may be nil.
func PipeOptions(o *Options) (client, server *Conn) {
	return newConns(o, "192.0.2.1:1024", "192.0.2.2:1883")
}

func newConns(o *Options, clientAddr, serverAddr Addr) (client, server *Conn) {
	if o == nil {
		o = new(Options)
	}
	up, down := &link{Link: o.ToServer}, &link{Link: o.ToClient}
	c := newMux(o.capacity(), up, clientAddr, serverAddr)
	s := newMux(o.capacity(), down, serverAddr, clientAddr)
	c.peer, s.peer = s, c
	h := &handshake{protocol: o.Protocol, confirmed: make(chan struct{})}
	c.handshake, s.handshake = h, h
	if !o.Early {
		h.confirm()
	}
	a, b := newStreams(c, 0)
	c.nextID, s.nextID = 4, 1 // the conn itself is stream 0
	client, server = &Conn{*a}, &Conn{*b}
	c.add(&client.stream)
	s.add(&server.stream)
	return client, server
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.mux.local }

// RemoteAddr returns the address of the peer's end.
func (c *Conn) RemoteAddr() net.Addr { return c.mux.remote }

// Close ends the connection with all its streams. What was written before is still delivered.
func (c *Conn) Close() error {
	if !c.mux.close() {
		return c.mux.opError("close", net.ErrClosed)
	}
	return nil
}

// Confirm ends the handshake of a connection with Options.Early, for both ends.
func (c *Conn) Confirm() { c.mux.handshake.confirm() }

// Confirmed implements netio.EarlyData. Without Options.Early the handshake is complete from the start.
func (c *Conn) Confirmed() <-chan struct{} { return c.mux.handshake.confirmed }

// Protocol implements netio.Negotiated: it returns Options.Protocol.
func (c *Conn) Protocol() string { return c.mux.handshake.protocol }

// handshake is what the ends of a connection have agreed on.
type handshake struct {
	protocol  string
	once      sync.Once
	confirmed chan struct{}
}

func (h *handshake) confirm() { h.once.Do(func() { close(h.confirmed) }) }

// Abort ends the connection as a reset does: what is under way in either direction is lost and the peer gets
// ECONNRESET.
func (c *Conn) Abort() {
	c.mux.abort()
	c.mux.close()
}

// stream is one end of one stream of a connection.
type stream struct {
	mux     *mux
	id      int64
	in, out *half
}

// newStreams returns the two ends of a stream, the first of them at m.
func newStreams(m *mux, id int64) (near, far *stream) {
	out, in := newHalf(m.out, m.capacity), newHalf(m.peer.out, m.capacity)
	return &stream{m, id, in, out}, &stream{m.peer, id, out, in}
}

// ID is the number of the stream in its connection.
func (s *stream) ID() int64 { return s.id }

// Read reads what has arrived and waits for the first byte.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.in.read(p)
	return n, s.mux.opError("read", err)
}

// Write writes p and waits for room in the buffer.
func (s *stream) Write(p []byte) (int, error) {
	n, cut, err := s.out.write(p)
	if cut {
		s.mux.cut()
	}
	return n, s.mux.opError("write", err)
}

// CloseWrite ends this end's sending side: the peer reads what was written, then io.EOF.
func (s *stream) CloseWrite() error {
	s.out.closeWrite()
	return nil
}

// Close ends both directions of the stream.
func (s *stream) Close() error {
	s.out.closeWrite()
	s.in.closeRead()
	s.mux.remove(s)
	return nil
}

// Reset ends both directions of the stream as resets do: what is under way is lost, and the peer gets ECONNRESET. Of a
// Conn it is stream 0 alone.
func (s *stream) Reset() {
	s.in.abort()
	s.out.abort()
	_ = s.Close()
}

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on; the zero time means never.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.setDeadline(&s.in.reader, t)
	return nil
}

// SetWriteDeadline makes writes fail from t on; the zero time means never.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.setDeadline(&s.out.writer, t)
	return nil
}
