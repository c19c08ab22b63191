package amqptest

import (
	"context"
	"net"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/wiretest"
)

// OpenStream opens a stream beside the connection, and returns the peer that plays on it. It is for connections that have
// streams (over QUIC, or [BrokerOptions].Streams): there each channel is on a stream of its own, which the client opens for
// it, and p itself plays channel 0.
func (p *Peer) OpenStream() *Peer {
	p.tb.Helper()
	return p.onStream(netio.Streams.OpenStream)
}

// AcceptStream waits for a stream that the other end opens, as OpenStream.
func (p *Peer) AcceptStream() *Peer {
	p.tb.Helper()
	return p.onStream(netio.Streams.AcceptStream)
}

func (p *Peer) onStream(get func(netio.Streams, context.Context) (netio.Stream, error)) *Peer {
	p.tb.Helper()
	s, ok := p.play.Conn.(netio.Streams)
	if !ok {
		p.play.Fatalf("the connection has no streams")
	}
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	st, err := get(s, ctx)
	if err != nil {
		p.play.Fatalf("no stream: %v", err)
	}
	q := NewPeer(p.tb, stream{st, p.play.Conn})
	q.frameMax = p.frameMax
	return q
}

// stream is a stream as a net.Conn.
type stream struct {
	netio.Stream
	conn net.Conn
}

// LocalAddr implements net.Conn.
func (s stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
