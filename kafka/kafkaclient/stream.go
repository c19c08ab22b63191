package kafkaclient

import (
	"context"
	"net"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// streamsProtocol is the name of the profile in which lanes are streams of one connection (docs/quic-profiles.md).
const streamsProtocol = "kafka-streams/1"

// streamConn is a further stream of a connection as a net.Conn.
type streamConn struct {
	netio.Stream
	nc net.Conn
}

// LocalAddr implements net.Conn.
func (s *streamConn) LocalAddr() net.Addr { return s.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *streamConn) RemoteAddr() net.Addr { return s.nc.RemoteAddr() }

// streamsOf returns what opens streams on a connection, nil when the peer takes none, and the channel that is closed when
// what is written is not early data any more, nil when it never is.
func streamsOf(nc net.Conn) (streams netio.Streams, confirmed <-chan struct{}) {
	if n, ok := nc.(netio.Negotiated); ok && n.Protocol() == streamsProtocol {
		streams, _ = nc.(netio.Streams)
	}
	if e, ok := nc.(netio.EarlyData); ok {
		confirmed = e.Confirmed()
	}
	return streams, confirmed
}

// mayStream reports whether connections may have streams: those of a dialer of the application.
func (c *Client) mayStream() bool { return c.o.Dialers[c.o.scheme] != nil }

// attempt makes the connection of a lane: a stream when the connection to the broker has them, and one of its own otherwise.
// counts tells whether a failure says something about the broker.
func (b *broker) attempt(ctx context.Context, l lane, info ConnInfo) (k *conn, counts bool, err error) {
	if l != laneGeneral && b.c.mayStream() {
		base, err := b.conn(ctx, laneGeneral)
		if err != nil {
			return nil, false, err
		}
		if base.streams != nil {
			k, err := base.open(ctx, l)
			return k, false, err
		}
	}
	k, err = b.c.connect(ctx, l, info)
	return k, true, err
}

// open opens a stream for a lane.
func (k *conn) open(ctx context.Context, l lane) (*conn, error) {
	s, err := k.streams.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	nc := &streamConn{s, k.nc}
	n := &conn{c: k.c, lane: l, info: k.info, nc: nc, io: netio.NewConn(nc), versions: k.versions, expires: k.expires, base: k,
		confirmed: k.confirmed, over: make(chan struct{})}
	n.progress.L = &n.mu
	n.info.Stream = s.ID()
	k.mu.Lock()
	err = k.err
	if err == nil {
		k.children++
	}
	k.mu.Unlock()
	if err != nil {
		s.Close()
		return nil, err
	}
	return n, nil
}

// closed notes that a stream of the connection has ended.
func (k *conn) closed() {
	if k.base != nil {
		k.base.mu.Lock()
		k.base.children--
		k.base.mu.Unlock()
	}
}

// isEarly reports whether what is written now is early data, which somebody who records it can send a second time.
func (k *conn) isEarly() bool {
	if k.confirmed == nil {
		return false
	}
	select {
	case <-k.confirmed:
		return false
	default:
		return true
	}
}

// awaitConfirmed waits until what is written is not early data any more.
func (k *conn) awaitConfirmed(ctx context.Context) error {
	if !k.isEarly() {
		return nil
	}
	var base <-chan struct{}
	if k.base != nil {
		base = k.base.over
	}
	select {
	case <-k.confirmed:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-k.over:
	case <-base:
	}
	return nil // when the connection has ended, sending says so
}

// mayBeEarly reports whether a request may be early data, as kafkawire.EarlyData says.
func mayBeEarly(req kafkawire.Request) bool {
	if kafkawire.EarlyData(req.Key()) != kafkawire.EarlySafe {
		return false
	}
	switch r := req.(type) {
	case *kafkawire.MetadataRequest:
		return !r.AllowAutoTopicCreation || r.Topics != nil && len(r.Topics) == 0
	case *kafkawire.FetchRequest:
		return r.SessionID == 0 // another connection's would go on, or end
	}
	return true
}

// mayProduceEarly reports whether batches may be early data: the application says so, and brokers recognise repetitions.
func (p *Producer) mayProduceEarly() bool {
	return p.c.o.EarlyProduce && p.o.idempotent && p.txn == nil
}

// group is the number of the stream for a partition, of several to one broker.
func (p *Producer) group(topic kafkawire.TopicName, partition int32) int32 {
	if !p.c.mayStream() {
		return 0
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(topic) {
		h = (h ^ uint32(topic[i])) * 16777619
	}
	for range 4 {
		h = (h ^ uint32(partition)&0xff) * 16777619
		partition >>= 8
	}
	return int32(h % uint32(p.c.o.ProduceStreams))
}

// conn returns the connection to the broker.
func (s *sink) conn() (*conn, error) {
	b := s.p.c.broker(s.id)
	if b == nil {
		return nil, ErrNoBroker
	}
	l := laneProduce
	if s.group > 0 {
		base, err := b.conn(s.p.alive, laneGeneral)
		if err != nil {
			return nil, err
		}
		if base.streams != nil {
			l = lane(-s.group)
		}
	}
	k, err := b.conn(s.p.alive, l)
	if err == nil && !s.p.mayProduceEarly() {
		err = k.awaitConfirmed(s.p.alive)
	}
	return k, err
}
