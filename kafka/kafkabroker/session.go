package kafkabroker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// node is one of the brokers that clients see, and the backend of its server.
type node struct {
	b    *Broker
	at   Node
	apis atomic.Pointer[kafkaserver.APIs]
}

// APIs implements [kafkaserver.Backend].
func (n *node) APIs() *kafkaserver.APIs { return n.apis.Load() }

// setAPIs says anew what clients are told.
func (n *node) setAPIs() {
	n.apis.Store(&kafkaserver.APIs{
		Versions: n.b.handlers.versions(), Features: n.b.handlers.features(), Epoch: 1,
		ClusterID: n.b.cluster, NodeID: kafkawire.BrokerID(n.at.ID),
	})
}

// Authenticate implements [kafkaserver.Backend].
func (n *node) Authenticate(ctx context.Context, c *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	if n.b.opt.Authenticate == nil {
		return n.b.authenticate(ctx, c, a)
	}
	return n.b.opt.Authenticate(ctx, c, a)
}

// Connect implements [kafkaserver.Backend].
func (n *node) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	s := &session{b: n.b, node: n, conn: c, bound: c.HasStreams()}
	s.access.identify(n.b, c)
	if err := n.b.join(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Stream implements [kafkaserver.Streamer].
func (s *session) Stream(int64) (kafkaserver.Session, error) {
	x := &session{b: s.b, node: s.node, conn: s.conn, bound: true, further: true}
	x.access.identify(s.b, s.conn)
	if err := s.b.join(x); err != nil {
		return nil, err
	}
	return x, nil
}

// session is a connection, or a stream of one that has several. Its methods for requests are called from the goroutine that
// reads it, one at a time.
type session struct {
	b       *Broker
	node    *node
	conn    *kafkaserver.Conn
	access  access
	bound   bool  // fetch sessions are of one stream only
	further bool  // a stream that is not the connection itself
	fetchID int32 // of the fetch session that is bound to the stream, 0 for none

	mu    sync.Mutex
	waits []fetchWaiter // fetch requests that wait
	joins []groupToken  // requests of members of groups that wait
	ended bool          // nobody waits any more
}

// Drain implements [kafkaserver.Drainer]: fetch requests, and members of groups, wait no longer.
func (s *session) Drain() {
	s.cancelWaits()
	s.endJoins()
}

// Closed implements [kafkaserver.Session].
func (s *session) Closed(cause error) {
	s.cancelWaits()
	if s.fetchID != 0 {
		s.b.fetches.remove(s.fetchID, s)
	}
	s.b.leave(s, cause)
}

// join takes a session in.
func (b *Broker) join(s *session) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errBrokerClosed
	}
	b.sessions[s] = struct{}{}
	if s.further {
		b.further++
		return nil
	}
	if f := b.opt.Events.Connected; f != nil {
		f(s.conn)
	}
	return nil
}

// leave lets a session go.
func (b *Broker) leave(s *session, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.sessions[s]; !ok {
		return
	}
	delete(b.sessions, s)
	if s.further {
		b.further--
		return
	}
	if f := b.opt.Events.Disconnected; f != nil {
		f(s.conn, cause)
	}
}
