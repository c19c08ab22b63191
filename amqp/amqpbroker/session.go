package amqpbroker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// session serves one connection of a client.
type session struct {
	b         *Broker
	v         *vhost
	conn      *amqpserver.Conn
	user      string
	permit    *permit
	since     time.Time
	publishes atomic.Bool // it has published something
	routes    []*route    // that were used since Flush

	mu        sync.Mutex
	exclusive map[*queue]struct{} // that go with it
	channels  map[uint16]*channel
	closed    bool
}

// Start implements [amqpserver.Session].
func (s *session) Start(*amqpserver.Batch) {
	if f := s.b.opts.Events.Connected; f != nil {
		f(s.conn, s.v.name)
	}
}

// OpenChannel implements [amqpserver.Session].
func (s *session) OpenChannel(_ *amqpserver.Batch, ch *amqpserver.Channel) error {
	if _, limited := s.b.reg.userLimit(s.user, limitChannels); limited {
		if err := s.b.reg.checkChannels(s.user, s.b.channelsOf(s.user)); err != nil {
			return err
		}
	}
	c := &channel{s: s, ch: ch}
	ch.Value = c
	s.mu.Lock()
	if s.channels == nil {
		s.channels = make(map[uint16]*channel)
	}
	s.channels[ch.ID()] = c
	s.mu.Unlock()
	return nil
}

// channelsOf counts the channels of a user.
func (b *Broker) channelsOf(user string) (n int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.sessions {
		if s.user == user {
			s.mu.Lock()
			n += len(s.channels)
			s.mu.Unlock()
		}
	}
	return n
}

// Method implements [amqpserver.Session].
func (s *session) Method(bt *amqpserver.Batch, ch *amqpserver.Channel, m amqp091.Method) (err error) {
	c := ch.Value.(*channel)
	switch m := m.(type) {
	case *amqp091.ExchangeDeclare:
		err = c.exchangeDeclare(bt, m)
	case *amqp091.ExchangeDelete:
		err = c.exchangeDelete(bt, m)
	case *amqp091.ExchangeBind:
		err = c.exchangeBind(bt, m)
	case *amqp091.ExchangeUnbind:
		err = c.exchangeUnbind(bt, m)
	case *amqp091.QueueDeclare:
		err = c.queueDeclare(bt, m)
	case *amqp091.QueueBind:
		err = c.queueBind(bt, m)
	case *amqp091.QueueUnbind:
		err = c.queueUnbind(bt, m)
	case *amqp091.QueuePurge:
		err = c.queuePurge(bt, m)
	case *amqp091.QueueDelete:
		err = c.queueDelete(bt, m)
	case *amqp091.BasicConsume:
		err = c.consume(bt, m)
	case *amqp091.BasicCancel:
		err = c.cancel(bt, m)
	case *amqp091.BasicGet:
		err = c.get(bt, m)
	case *amqp091.TxCommit:
		err = c.commit(bt)
	case *amqp091.TxRollback:
		c.rollback(bt)
	default:
		err = amqp091.HardError(amqp091.NotImplemented, "%s", m.ID())
	}
	s.b.bury(bt)
	return err
}

// Flush implements [amqpserver.Flusher].
func (s *session) Flush(*amqpserver.Batch) {
	for i, r := range s.routes {
		r.x.in.Add(r.in)
		r.x.out.Add(r.out)
		r.in, r.out = 0, 0
		s.routes[i] = nil
	}
	s.routes = s.routes[:0]
}

// Ready implements [amqpserver.Session].
func (s *session) Ready(bt *amqpserver.Batch, ch *amqpserver.Channel) {
	c := ch.Value.(*channel)
	c.mu.Lock()
	list := append(c.resuming[:0], c.consumers...)
	c.mu.Unlock()
	for i, co := range list {
		co.q.resume(bt, co)
		list[i] = nil
	}
	c.mu.Lock()
	c.resuming = list[:0]
	c.mu.Unlock()
	s.b.bury(bt)
}

// Settled implements [amqpserver.Session].
func (s *session) Settled(bt *amqpserver.Batch, ch *amqpserver.Channel, refs []any, how amqpserver.Settlement) {
	c := ch.Value.(*channel)
	switch {
	case how == amqpserver.Recovered:
		how = amqpserver.Requeued
	case ch.Transactional():
		c.tx.settle(refs, how)
		return
	}
	settle(bt, refs, how)
	s.b.bury(bt)
}

// settle settles entries of any queues.
func settle(bt *amqpserver.Batch, refs []any, how amqpserver.Settlement) {
	for len(refs) > 0 {
		q := refs[0].(*held).q
		q.mu.Lock()
		n := 0
		for n < len(refs) && refs[n].(*held).q == q {
			q.settle(bt, refs[n].(*held), how)
			n++
		}
		q.settled(bt)
		q.unlock()
		refs = refs[n:]
	}
}

// CloseChannel implements [amqpserver.Session].
func (s *session) CloseChannel(bt *amqpserver.Batch, ch *amqpserver.Channel, refs []any) {
	c := ch.Value.(*channel)
	s.mu.Lock()
	delete(s.channels, ch.ID())
	s.mu.Unlock()
	c.tx = transaction{}
	c.mu.Lock()
	list := c.consumers
	c.consumers = nil
	c.mu.Unlock()
	unused := leave(bt, list, refs)
	if c.replies != nil {
		c.endReplies()
	}
	for _, q := range unused {
		_, _ = s.v.deleteQueue(bt, q, true, false) // somebody who just came keeps it
	}
	s.b.bury(bt)
}

// ended takes a consumer out of its queue, which is deleted if that was its last one and it is to be.
func (c *channel) ended(bt *amqpserver.Batch, co *consumer) {
	if q := co.q; q.drop(bt, co) {
		_, _ = c.s.v.deleteQueue(bt, q, true, false) // somebody who just came keeps it
	}
}

// Closed implements [amqpserver.Session].
func (s *session) Closed(cause error) {
	s.b.mu.Lock()
	delete(s.b.sessions, s)
	s.b.connected(s, -1)
	s.b.checkIdle()
	s.b.mu.Unlock()
	s.b.alarms.forget(s)
	s.mu.Lock()
	list := s.exclusive
	s.exclusive, s.closed = nil, true
	s.mu.Unlock()
	bt := amqpserver.NewBatch()
	for q := range list {
		_, _ = s.v.deleteQueue(bt, q, false, false)
	}
	s.b.bury(bt)
	bt.Flush()
	if f := s.b.opts.Events.Disconnected; f != nil {
		f(s.conn, cause)
	}
}

// owns notes that an exclusive queue goes with the connection.
func (s *session) owns(q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.exclusive[q] = struct{}{}
	}
}

// disowns notes that an exclusive queue is gone.
func (s *session) disowns(q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.exclusive, q)
}

// UpdateSecret implements [amqpserver.SecretUpdater]. Users of the broker have passwords, which do not expire: any secret will
// do. An [Authenticator] is asked again, and must say that it is the same user.
func (s *session) UpdateSecret(ctx context.Context, _ *amqpserver.Batch, secret []byte, _ string) error {
	if s.b.opts.Authenticate == nil {
		return nil
	}
	user, err := s.b.Authenticate(ctx, s.conn, &amqpserver.Auth{Mechanism: s.conn.Mechanism(), User: s.user, Password: string(secret)})
	if err != nil || user != s.user {
		return amqp091.HardError(amqp091.NotAllowed, "New secret was refused by one of the backends")
	}
	return nil
}

// may checks that the user may do something.
func (s *session) may(op accessOp, kind resourceKind, name string) error {
	return s.permit.check(op, kind, name)
}

// mayAny checks that the user may do anything with something.
func (s *session) mayAny(kind resourceKind, name string) (err error) {
	for _, op := range [...]accessOp{opRead, opWrite, opConfigure} {
		if err = s.may(op, kind, name); err == nil {
			return nil
		}
	}
	return err
}

// mayTopic checks that the user may use a routing key at an exchange.
func (s *session) mayTopic(op accessOp, x *exchange, key string) error {
	if x.router.kind != kindTopic {
		return nil
	}
	return s.permit.checkTopic(op, x.name, []byte(key))
}

// reserved is the error of declaring what only the broker has.
func reserved(kind, name string) error {
	if !strings.HasPrefix(name, "amq.") {
		return nil
	}
	return amqp091.SoftError(amqp091.AccessRefused, "%s name '%s' contains reserved prefix 'amq.*'", kind, name)
}
