package mqtttest

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/mqtt"
)

// What [Rule].Stream may be besides the number of a data stream.
const (
	AnyStream     = 0  // every stream, and datagrams
	ControlStream = -1 // stream 0, which is all of a connection without streams
	DataStreams   = -2 // every data stream
	Datagrams     = -3 // what travels in datagrams
)

// onStream reports whether a rule for a stream is about something on another.
func onStream(rule, stream int64) bool {
	switch rule {
	case AnyStream:
		return true
	case DataStreams:
		return stream > 0
	}
	return rule == stream
}

// OpenStream opens a data stream and returns the peer that plays on it. The connection must have streams, as those in
// memory have, and has passed its CONNECT. The client opens data streams (MQTT over QUIC).
func (p *Peer) OpenStream() *Peer {
	p.tb.Helper()
	return p.onStream(netio.Streams.OpenStream)
}

// AcceptStream waits for a data stream that the other end opens, as OpenStream.
func (p *Peer) AcceptStream() *Peer {
	p.tb.Helper()
	return p.onStream(netio.Streams.AcceptStream)
}

func (p *Peer) onStream(get func(netio.Streams, context.Context) (netio.Stream, error)) *Peer {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	st, err := get(p.streams(), ctx)
	if err != nil {
		p.play.Fatalf("no stream: %v", err)
	}
	q := NewPeer(p.tb, streamConn{st, p.play.Conn})
	q.version = p.version
	return q
}

func (p *Peer) streams() netio.Streams {
	p.tb.Helper()
	s, ok := p.play.Conn.(netio.Streams)
	if !ok {
		p.play.Fatalf("the connection has no streams")
	}
	return s
}

// Stream returns the number of the data stream that the peer plays on, 0 for one that plays on a connection.
func (p *Peer) Stream() int64 {
	if s, ok := p.play.Conn.(streamConn); ok {
		return s.ID()
	}
	return 0
}

// SendDatagram sends a packet in a datagram.
func (p *Peer) SendDatagram(packet mqtt.Packet) {
	p.tb.Helper()
	b, err := mqtt.AppendIllegal(nil, packet, p.version)
	if err == nil {
		err = p.streams().SendDatagram(b)
	}
	if err != nil {
		p.play.Fatalf("cannot send %v in a datagram: %v", packet, err)
	}
	p.play.Note("sent in a datagram", packet.String())
}

// ReceiveDatagram waits for a datagram and returns the PUBLISH in it.
func (p *Peer) ReceiveDatagram() *mqtt.Publish {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	b, err := p.streams().ReceiveDatagram(ctx)
	if err != nil {
		p.play.Fatalf("no datagram: %v", err)
	}
	var d mqtt.Decoder
	got, n, err := d.Decode(b, p.version)
	publish, ok := got.(*mqtt.Publish)
	if err != nil || n != len(b) || !ok {
		p.play.Fatalf("got a datagram that is no PUBLISH: %v\n%s", err, wiretest.HexText(b))
	}
	p.play.Note("got in a datagram", publish.String())
	return publish
}

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	conn net.Conn
}

// LocalAddr implements net.Conn.
func (s streamConn) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s streamConn) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// see is told what passes on a stream (Datagrams is one, too) and says what becomes of it.
type see func(stream int64, from mqtt.Role, packet []byte) wiretest.Result

// tap shows the packets that pass a conn, of which the near end has the given role, to a function: those on its other
// streams and in datagrams, too, if it has such.
func tap(conn net.Conn, near mqtt.Role, see see) net.Conn {
	far := mqtt.Client
	if near == mqtt.Client {
		far = mqtt.Server
	}
	control := tapStream(conn, ControlStream, near, far, see)
	if multi, ok := conn.(netio.Streams); ok {
		return &tapped{Conn: control, inner: conn, multi: multi, near: near, far: far, see: see}
	}
	return control
}

func tapStream(conn net.Conn, stream int64, near, far mqtt.Role, see see) net.Conn {
	return wiretest.Tap(conn, mqtt.FrameSize,
		func(packet []byte) wiretest.Result { return see(stream, near, packet) },
		func(packet []byte) wiretest.Result { return see(stream, far, packet) })
}

// tapped is a conn with several streams that are tapped.
type tapped struct {
	net.Conn  // stream 0, tapped
	inner     net.Conn
	multi     netio.Streams
	near, far mqtt.Role
	see       see

	mu      sync.Mutex
	closed  bool
	streams map[*tappedStream]struct{} // that are open
}

// OpenStream implements netio.Streams.
func (t *tapped) OpenStream(ctx context.Context) (netio.Stream, error) {
	return t.stream(t.multi.OpenStream(ctx))
}

// AcceptStream implements netio.Streams.
func (t *tapped) AcceptStream(ctx context.Context) (netio.Stream, error) {
	return t.stream(t.multi.AcceptStream(ctx))
}

func (t *tapped) stream(s netio.Stream, err error) (netio.Stream, error) {
	if err != nil {
		return nil, err
	}
	st := &tappedStream{tapStream(streamConn{s, t.inner}, s.ID(), t.near, t.far, t.see), s, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = s.Close()
		return nil, net.ErrClosed
	}
	if t.streams == nil {
		t.streams = make(map[*tappedStream]struct{})
	}
	t.streams[st] = struct{}{}
	return st, nil
}

// Close closes the connection, and ends delays on its streams.
func (t *tapped) Close() error {
	t.mu.Lock()
	streams := t.streams
	t.closed, t.streams = true, nil
	t.mu.Unlock()
	err := t.Conn.Close()
	for s := range streams {
		_ = s.Conn.Close()
	}
	return err
}

// SendDatagram implements netio.Streams.
func (t *tapped) SendDatagram(b []byte) error {
	r := t.see(Datagrams, t.near, b)
	if r.Cut {
		defer t.Close()
	}
	if len(r.Data) == 0 {
		return nil
	}
	if r.Delay > 0 {
		data := append([]byte(nil), r.Data...)
		time.AfterFunc(r.Delay, func() { _ = t.multi.SendDatagram(data) })
		return nil
	}
	return t.multi.SendDatagram(r.Data)
}

// ReceiveDatagram implements netio.Streams.
func (t *tapped) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	for {
		b, err := t.multi.ReceiveDatagram(ctx)
		if err != nil {
			return nil, err
		}
		r := t.see(Datagrams, t.far, b)
		if r.Cut {
			_ = t.Close()
		}
		if len(r.Data) == 0 {
			continue
		}
		if r.Delay > 0 {
			timer := time.NewTimer(r.Delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			}
		}
		return r.Data, nil
	}
}

// Confirmed implements netio.EarlyData.
func (t *tapped) Confirmed() <-chan struct{} {
	if e, ok := t.inner.(netio.EarlyData); ok {
		return e.Confirmed()
	}
	confirmed := make(chan struct{})
	close(confirmed)
	return confirmed
}

// Protocol implements netio.Negotiated.
func (t *tapped) Protocol() string {
	if n, ok := t.inner.(netio.Negotiated); ok {
		return n.Protocol()
	}
	return ""
}

// tappedStream is a data stream that is tapped.
type tappedStream struct {
	net.Conn
	s netio.Stream
	t *tapped
}

// Close implements netio.Stream.
func (s *tappedStream) Close() error {
	s.t.mu.Lock()
	delete(s.t.streams, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}

// ID implements netio.Stream.
func (s *tappedStream) ID() int64 { return s.s.ID() }

// CloseWrite implements netio.Stream.
func (s *tappedStream) CloseWrite() error { return s.s.CloseWrite() }
