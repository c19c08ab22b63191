package amqpbroker

import (
	"context"
	"errors"
	"iter"
	"net"
	"slices"
	"sync"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// The application that the broker lives in does without a connection what clients do. It may do everything in every
// virtual host. Errors are *amqp091.Error with the code that a client would get.

// Exchange is an exchange as it is declared.
type Exchange struct {
	Name       string
	Type       string // direct, fanout, topic, headers, x-consistent-hash, x-random, x-delayed-message
	Durable    bool
	AutoDelete bool // it goes when its last binding goes
	Internal   bool // clients cannot publish to it
	Arguments  amqp091.Table
}

// Queue is a queue as it is declared.
type Queue struct {
	Name       string // empty: the broker chooses one
	Durable    bool
	AutoDelete bool // it goes when its last consumer goes
	Arguments  amqp091.Table
}

// Binding is a binding of a queue, or with ToExchange of an exchange, to an exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool
	RoutingKey  string
	Arguments   amqp091.Table
}

// Message is a message that the application publishes.
type Message struct {
	Exchange   string
	RoutingKey string
	Mandatory  bool // it is an error when no queue takes it
	Properties amqp091.Properties
	Body       []byte // copied
}

// ErrNacked is the error of [Broker.Publish] when a queue had no room.
var ErrNacked = errors.New("amqpbroker: a queue has refused the message")

// DeclareExchange makes an exchange, unless there is one that is the same. It returns when that is durable.
func (b *Broker) DeclareExchange(ctx context.Context, vhost string, x Exchange) error {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return err
	}
	if x.Name == "" {
		return errDefaultExchange()
	}
	_, _, err = v.declareExchange(&exchangeSpec{
		name: x.Name, kind: x.Type, durable: x.Durable, autoDelete: x.AutoDelete, internal: x.Internal, args: x.Arguments.Clone(),
	})
	if err != nil {
		return err
	}
	return b.durable(ctx)
}

// DeleteExchange deletes an exchange. It is no error when there is none.
func (b *Broker) DeleteExchange(ctx context.Context, vhost, name string) error {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return err
	}
	bt := amqpserver.NewBatch()
	if err := v.deleteExchange(bt, name, false); err != nil {
		return err
	}
	b.done(bt)
	return b.durable(ctx)
}

// done ends a call of the application.
func (b *Broker) done(bt *amqpserver.Batch) {
	b.bury(bt)
	bt.Flush()
}

// DeclareQueue makes a queue, unless there is one that is the same. It returns the name when that is durable.
func (b *Broker) DeclareQueue(ctx context.Context, vhost string, q Queue) (name string, err error) {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return "", err
	}
	if q.Name == "" {
		q.Name = randomName("amq.gen-")
	}
	bt := amqpserver.NewBatch()
	_, _, err = v.declareQueue(bt, &queueSpec{
		name: q.Name, durable: q.Durable, autoDelete: q.AutoDelete, args: q.Arguments.Clone(),
	})
	if err != nil {
		return "", err
	}
	return q.Name, b.durable(ctx)
}

// DeleteQueue deletes a queue and returns how many messages were ready. It is no error when there is none.
func (b *Broker) DeleteQueue(ctx context.Context, vhost, name string) (n int, err error) {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return 0, err
	}
	bt := amqpserver.NewBatch()
	if q := v.queue(name); q != nil {
		if n, err = v.deleteQueue(bt, q, false, false); err != nil {
			return 0, err
		}
	}
	b.done(bt)
	return n, b.durable(ctx)
}

// PurgeQueue drops the messages of a queue that are ready and returns how many that were.
func (b *Broker) PurgeQueue(ctx context.Context, vhost, name string) (n int, err error) {
	q, err := b.queueOf(vhost, name)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	list := q.purge()
	q.unlock()
	list.discard()
	return list.n, b.durable(ctx)
}

// queueOf returns a queue.
func (b *Broker) queueOf(vhost, name string) (*queue, error) {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return nil, err
	}
	return v.queueFor(name, nil)
}

// Bind makes a binding, unless there is one that is the same.
func (b *Broker) Bind(ctx context.Context, vhost string, bd Binding) error {
	v, dest, err := b.destination(vhost, bd)
	if err != nil {
		return err
	}
	if _, err := v.bind(bd.Source, dest, bd.RoutingKey, bd.Arguments.Clone()); err != nil {
		return err
	}
	return b.durable(ctx)
}

// Unbind removes a binding. It is no error when there is none.
func (b *Broker) Unbind(ctx context.Context, vhost string, bd Binding) error {
	v, dest, err := b.destination(vhost, bd)
	if err != nil {
		return err
	}
	bt := amqpserver.NewBatch()
	if err := v.unbind(bt, bd.Source, dest, bd.RoutingKey, bd.Arguments); err != nil {
		return err
	}
	b.done(bt)
	return b.durable(ctx)
}

// destination returns where a binding leads.
func (b *Broker) destination(name string, bd Binding) (v *vhost, dest target, err error) {
	if v, err = b.vhostOf(name); err != nil {
		return nil, dest, err
	}
	if bd.Source == "" {
		return nil, dest, errDefaultExchange()
	}
	if bd.ToExchange {
		if dest.x = v.exchange(bd.Destination); dest.x == nil {
			return nil, dest, errNoExchange(v, bd.Destination)
		}
	} else if dest.q = v.queue(bd.Destination); dest.q == nil {
		return nil, dest, errNoQueue(v, bd.Destination)
	}
	return v, dest, nil
}

// Publish publishes a message and returns when it is confirmed: it is in its queues, and durable where it is persistent and
// they are. The errors are [ErrNacked], NO_ROUTE for a mandatory message that no queue takes, and that of ctx: what became
// of the message is unknown then.
func (b *Broker) Publish(ctx context.Context, vhost string, m *Message) error {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return err
	}
	x := v.exchange(m.Exchange)
	if x == nil {
		return errNoExchange(v, m.Exchange)
	}
	if err := checkLength(m.RoutingKey); err != nil {
		return err
	}
	props, err := m.Properties.Append(nil)
	if err != nil {
		return err
	}
	b.alarms.watch()
	bt := amqpserver.NewBatch()
	out := &message{
		exchange: x.name, key: m.RoutingKey, props: props, body: slices.Clone(m.Body), at: bt.Now().UnixMilli(),
	}
	if text, ok := out.props.Expiration(); ok {
		if _, ok := parseExpiration(text); !ok {
			return amqp091.SoftError(amqp091.PreconditionFailed, "invalid expiration '%s'", text)
		}
	}
	out.readProperties()
	if m.Properties.DeliveryMode == amqp091.Persistent {
		out.flags |= messagePersistent
	}
	done := make(chan error, 1)
	conf := confirmation{then: func(_ *amqpserver.Batch, o Outcome, refused bool) {
		switch {
		case o != Done:
			done <- errJournal()
		case refused:
			done <- ErrNacked
		default:
			done <- nil
		}
	}}
	if x.delayed == nil || !x.delay(bt, out, nil, conf) {
		targets := v.route(scratchOf(bt), x, []byte(out.key), out.props)
		if len(targets) == 0 {
			if m.Mandatory {
				return amqp091.SoftError(amqp091.NoRoute, "NO_ROUTE")
			}
			b.counts.unroutable.Add(1)
			return nil
		}
		stripCopies(out)
		b.distribute(bt, &publication{m: out}, targets, nil, conf)
	}
	b.done(bt)
	bt.Wait()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delivery is a message that the application got. Settle it once with Ack, Reject or Requeue, unless the subscription or
// Get was told that it needs no acknowledgement.
type Delivery struct {
	Exchange    string
	RoutingKey  string
	Redelivered bool // it may have been delivered before
	Properties  amqp091.RawProperties
	Body        []byte // shared: it must not be changed

	q *queue
	h *held
	s *Subscription // nil for Get
}

// Ack takes the message out of the queue.
func (d *Delivery) Ack() { d.settle(amqpserver.Acked) }

// Reject drops the message, or dead-letters it.
func (d *Delivery) Reject() { d.settle(amqpserver.Rejected) }

// Requeue puts the message back in its place.
func (d *Delivery) Requeue() { d.settle(amqpserver.Requeued) }

func (d *Delivery) settle(how amqpserver.Settlement) {
	if d.h == nil {
		return
	}
	h := d.h
	d.h = nil
	bt := amqpserver.NewBatch()
	settle(bt, []any{h}, how)
	if s := d.s; s != nil {
		s.mu.Lock()
		resume := s.blocked
		s.blocked = false
		s.mu.Unlock()
		if resume {
			s.q.resume(bt, s.co)
		}
	}
	d.q.b.done(bt)
}

// delivery returns a message as the application gets it.
func delivery(q *queue, m *message, e *entry, h *held) Delivery {
	return Delivery{
		Exchange: m.exchange, RoutingKey: m.key, Redelivered: e.redelivered(), Properties: m.props, Body: m.body, q: q, h: h,
	}
}

// Get takes the first message of a queue; ok is false when there is none. With noAck it is acknowledged already.
func (b *Broker) Get(vhost, queue string, noAck bool) (d Delivery, ok bool, err error) {
	q, err := b.queueOf(vhost, queue)
	if err != nil {
		return d, false, err
	}
	bt := amqpserver.NewBatch()
	g, ok, err := q.get(bt, noAck)
	if ok {
		d = delivery(q, g.m, &g.entry, g.h)
	}
	q.unlock()
	b.done(bt)
	return d, ok, err
}

// ConsumeOptions are the options of [Broker.Consume]. Nil is all defaults.
type ConsumeOptions struct {
	// NoAck acknowledges messages when they are given to the subscription.
	NoAck bool
	// Prefetch is how many messages may be with the application and unsettled, those that wait in the subscription included.
	// Default 256.
	Prefetch int
	// Exclusive: no other consumer.
	Exclusive bool
	// Priority decides among consumers that could take a message: the highest first.
	Priority int32
	// Browse gets copies of all messages that are ready, and leaves them in the queue.
	Browse bool
	// Match says which messages are wanted, nil for all. It is called with locks held: it must be quick and must not call
	// the broker. Others stay in the queue, all in memory.
	Match func(d *Delivery) bool
}

// Subscription is a consumer of the application. Close it when it is not used any more.
type Subscription struct {
	b        *Broker
	q        *queue
	co       *consumer
	prefetch int

	mu      sync.Mutex
	ring    ring[Delivery]
	blocked bool
	err     error
	wake    chan struct{} // has one when there is something to see
}

// Consume starts a consumer.
func (b *Broker) Consume(vhost, queue string, o *ConsumeOptions) (*Subscription, error) {
	if o == nil {
		o = &ConsumeOptions{}
	}
	q, err := b.queueOf(vhost, queue)
	if err != nil {
		return nil, err
	}
	s := &Subscription{b: b, q: q, prefetch: o.Prefetch, wake: make(chan struct{}, 1)}
	if s.prefetch <= 0 {
		s.prefetch = 256
	}
	s.co = &consumer{
		sink: s, noAck: o.NoAck || o.Browse, exclusive: o.Exclusive, priority: o.Priority, keeps: true, browses: o.Browse,
		tag: randomName("local-"),
	}
	if match := o.Match; match != nil {
		s.co.match = func(m *message) bool {
			d := delivery(q, m, &entry{}, nil)
			return match(&d)
		}
	}
	bt := amqpserver.NewBatch()
	if err := q.add(bt, s.co); err != nil {
		return nil, err
	}
	q.begin(bt, s.co)
	b.done(bt)
	b.mu.RLock()
	closed := b.closed
	b.mu.RUnlock()
	if closed { // Close may have missed it
		s.end(net.ErrClosed)
	}
	return s, nil
}

// deliver implements sink.
func (s *Subscription) deliver(_ *amqpserver.Batch, _ *consumer, m *message, e *entry, h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.ring.n >= s.prefetch {
		s.blocked = true
		return false
	}
	if h != nil && s.co.held > s.prefetch {
		s.blocked = true
		return false
	}
	d := delivery(s.q, m, e, h)
	d.s = s
	s.ring.push(d)
	s.signal()
	return true
}

// signal tells who waits that there is something to see. s.mu is held.
func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// canceled implements sink.
func (s *Subscription) canceled(*amqpserver.Batch, *consumer) { s.end(net.ErrClosed) }

// Messages iterates over the messages, until ctx ends or the subscription does: then the last pair has the error,
// net.ErrClosed after Close and when the queue was deleted. It is for one goroutine at a time.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		for {
			d, err := s.Next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// Next returns the next message. The errors are those of [Subscription.Messages].
func (s *Subscription) Next(ctx context.Context) (*Delivery, error) {
	for {
		s.mu.Lock()
		if s.ring.n > 0 && s.err == nil {
			d := s.ring.shift()
			resume := s.blocked
			s.blocked = false
			if s.ring.n > 0 {
				s.signal()
			}
			s.mu.Unlock()
			if resume {
				s.resume()
			}
			return &d, nil
		}
		err, resume := s.err, s.blocked
		s.blocked = false
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if resume {
			s.resume()
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// resume lets the queue go on.
func (s *Subscription) resume() {
	bt := amqpserver.NewBatch()
	s.q.resume(bt, s.co)
	s.b.done(bt)
}

// Close ends the subscription. Messages that wait in it return to the queue; those that the application has it still may
// settle. It always returns nil.
func (s *Subscription) Close() error {
	s.end(net.ErrClosed)
	return nil
}

// end ends the subscription for a reason.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	var refs []any
	for s.ring.n > 0 {
		if d := s.ring.shift(); d.h != nil {
			refs = append(refs, d.h)
		}
	}
	s.signal()
	s.mu.Unlock()
	bt := amqpserver.NewBatch()
	for _, q := range leave(bt, []*consumer{s.co}, refs) {
		_, _ = q.v.deleteQueue(bt, q, true, false) // somebody who just came keeps it
	}
	s.b.done(bt)
}

// endLocals ends the subscriptions of the application in a virtual host.
func (v *vhost) endLocals(err error) {
	v.mu.RLock()
	queues := make([]*queue, 0, len(v.queues))
	for _, q := range v.queues {
		queues = append(queues, q)
	}
	v.mu.RUnlock()
	for _, q := range queues {
		q.mu.Lock()
		list := slices.Clone(q.cs.list)
		q.mu.Unlock()
		for _, c := range list {
			if s, ok := c.sink.(*Subscription); ok {
				s.end(err)
			}
		}
	}
}
