package kafkatest

import (
	"context"
	"net"
	"sync"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// faultyConn is a connection to a broker, or a further stream of one, as the server sees it.
type faultyConn struct {
	net.Conn
	f      *Faults
	node   int32
	stream int64
	whole  net.Conn // the connection, itself when it is no further stream

	mu      sync.Mutex
	replies map[int32]reply // by correlation id
}

type reply struct {
	key     kafkawire.APIKey
	version int16
	result  Result
}

// listener returns a listener with the faults. In memory it is the dialler that is refused.
func (f *Faults) listener(node int32, l net.Listener, memory bool) net.Listener {
	if f == nil {
		return l
	}
	refused := func() error { return f.refused(node) }
	if memory {
		refused = nil
	}
	return wiretest.Listener(l, refused, func(conn net.Conn) net.Conn {
		near := f.tap(node, 0, conn, conn)
		if many, ok := conn.(multiConn); ok {
			return &faultyStreams{Conn: near, multi: many, f: f, node: node, whole: conn}
		}
		return near
	})
}

// tap returns a connection or stream with the faults.
func (f *Faults) tap(node int32, stream int64, conn, whole net.Conn) net.Conn {
	c := &faultyConn{Conn: conn, f: f, node: node, stream: stream, whole: whole, replies: make(map[int32]reply)}
	f.mu.Lock()
	if f.conns == nil {
		f.conns = make(map[*faultyConn]struct{})
	}
	f.conns[c] = struct{}{}
	f.mu.Unlock()
	return wiretest.Tap(c, frameSize, c.leaving, pass)
}

// multiConn is a connection that may have streams.
type multiConn interface {
	netio.Streams
	netio.EarlyData
	netio.Negotiated
}

// faultyStreams is a connection whose further streams have the faults, too.
type faultyStreams struct {
	net.Conn // with the faults
	multi    multiConn
	f        *Faults
	node     int32
	whole    net.Conn
}

// AcceptStream implements netio.Streams.
func (c *faultyStreams) AcceptStream(ctx context.Context) (netio.Stream, error) {
	s, err := c.multi.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyStream{c.f.tap(c.node, s.ID(), &streamConn{s, c.whole}, c.whole), s}, nil
}

// OpenStream implements netio.Streams.
func (c *faultyStreams) OpenStream(ctx context.Context) (netio.Stream, error) {
	return c.multi.OpenStream(ctx)
}

// SendDatagram implements netio.Streams.
func (c *faultyStreams) SendDatagram(b []byte) error { return c.multi.SendDatagram(b) }

// ReceiveDatagram implements netio.Streams.
func (c *faultyStreams) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	return c.multi.ReceiveDatagram(ctx)
}

// Confirmed implements netio.EarlyData.
func (c *faultyStreams) Confirmed() <-chan struct{} { return c.multi.Confirmed() }

// Protocol implements netio.Negotiated.
func (c *faultyStreams) Protocol() string { return c.multi.Protocol() }

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	c net.Conn
}

// LocalAddr implements net.Conn.
func (s *streamConn) LocalAddr() net.Addr { return s.c.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *streamConn) RemoteAddr() net.Addr { return s.c.RemoteAddr() }

// faultyStream is a stream with the faults.
type faultyStream struct {
	net.Conn
	s netio.Stream
}

// ID implements netio.Stream.
func (s *faultyStream) ID() int64 { return s.s.ID() }

// CloseWrite implements netio.Stream.
func (s *faultyStream) CloseWrite() error { return s.s.CloseWrite() }

// Close implements net.Conn.
func (c *faultyConn) Close() error {
	c.f.mu.Lock()
	delete(c.f.conns, c)
	c.f.mu.Unlock()
	return c.Conn.Close()
}

// expect notes what happens to the response of a request.
func (f *Faults) expect(c *kafkaserver.Conn, r *kafkaserver.Request, result Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.conns {
		if x.stream == r.Stream() && x.RemoteAddr().String() == c.RemoteAddr().String() {
			x.mu.Lock()
			x.replies[r.CorrelationID] = reply{r.Key, r.Version, result}
			x.mu.Unlock()
		}
	}
}

func pass(b []byte) wiretest.Result { return wiretest.Result{Data: b} }

// cut closes the connection.
func (c *faultyConn) cut() wiretest.Result {
	if c.stream != 0 {
		_ = c.whole.Close()
	}
	return wiretest.Result{Cut: true}
}

// leaving decides about a response that leaves the server.
func (c *faultyConn) leaving(b []byte) wiretest.Result {
	if len(b) < 8 {
		return wiretest.Result{Data: b}
	}
	correlation := int32(b[4])<<24 | int32(b[5])<<16 | int32(b[6])<<8 | int32(b[7])
	c.mu.Lock()
	r, ok := c.replies[correlation]
	delete(c.replies, correlation)
	c.mu.Unlock()
	if !ok {
		return wiretest.Result{Data: b}
	}
	if r.result.CutReply {
		return c.cut()
	}
	_, body, err := kafkawire.DecodeResponseHeader(b[4:], r.key, r.version)
	if err != nil {
		return wiretest.Result{Data: b}
	}
	m := kafkawire.NewResponse(r.key)
	if err := m.Decode(body, r.version); err != nil {
		return wiretest.Result{Data: b}
	}
	r.result.ChangeReply(m)
	out, err := m.Append(append([]byte(nil), b[:len(b)-len(body)]...), r.version)
	if err != nil {
		return c.cut()
	}
	n := len(out) - 4
	out[0], out[1], out[2], out[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return wiretest.Result{Data: out}
}
