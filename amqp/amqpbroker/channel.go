package amqpbroker

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// channel serves one channel. But for what mu guards it belongs to the goroutine that reads the connection.
type channel struct {
	s       *session
	ch      *amqpserver.Channel
	queue   string // that was declared last
	last    *route
	routes  []*route // a cache, by hash
	tx      transaction
	replies *queue // of direct reply-to
	waiting atomic.Int32
	counts  channelCounts

	mu        sync.Mutex
	consumers []*consumer
	resuming  []*consumer // spare memory
}

// channelCounts are counts of a channel.
type channelCounts struct {
	published, confirmed, returned atomic.Uint64
}

// reply answers a method, when everything recorded so far is durable if it is to be, but never before answers that were
// given earlier.
func (c *channel) reply(bt *amqpserver.Batch, m amqp091.Method, durable bool) {
	c.afterwards(bt, durable, func(bt *amqpserver.Batch) { c.ch.Reply(bt, m) })
}

// afterwards calls f when everything recorded so far is durable if it is to be, but never before earlier calls.
func (c *channel) afterwards(bt *amqpserver.Batch, durable bool, f func(*amqpserver.Batch)) {
	if c.s.b.rec == nil || !durable && c.waiting.Load() == 0 {
		f(bt)
		return
	}
	c.waiting.Add(1)
	c.s.b.rec.wait(Token{then: func(bt *amqpserver.Batch, o Outcome, _ bool) {
		if o == Done {
			f(bt)
		} else {
			c.ch.Close(bt, errJournal())
		}
		c.waiting.Add(-1)
	}})
}

// queueNamed returns the name of a queue that a method means: an empty one is that which was declared last.
func (c *channel) queueNamed(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if c.queue == "" {
		return "", amqp091.SoftError(amqp091.NotFound, "no previously declared queue")
	}
	return c.queue, nil
}

// queueFor returns the queue that a method means, for which the user must have a permission.
func (c *channel) queueFor(name string, op accessOp) (*queue, error) {
	name, err := c.queueNamed(name)
	if err != nil {
		return nil, err
	}
	if err := c.s.may(op, resourceQueue, name); err != nil {
		return nil, err
	}
	return c.s.v.queueFor(name, c.s)
}

func (c *channel) exchangeDeclare(bt *amqpserver.Batch, m *amqp091.ExchangeDeclare) error {
	v := c.s.v
	name := strings.ReplaceAll(strings.ReplaceAll(m.Exchange, "\r", ""), "\n", "")
	if name == "" {
		return errDefaultExchange()
	}
	if m.Passive {
		if err := c.s.mayAny(resourceExchange, name); err != nil {
			return err
		}
		if v.exchange(name) == nil {
			return errNoExchange(v, name)
		}
	} else {
		if err := c.s.may(opConfigure, resourceExchange, name); err != nil {
			return err
		}
		if v.exchange(name) == nil {
			if err := reserved("exchange", name); err != nil {
				return err
			}
			if ae, ok := m.Arguments.Get("alternate-exchange"); ok {
				if err := c.mayDeadLetter(name, resourceExchange, ae); err != nil {
					return err
				}
			}
		}
		_, _, err := v.declareExchange(&exchangeSpec{
			name: name, kind: m.Type, durable: m.Durable, autoDelete: m.AutoDelete, internal: m.Internal, args: m.Arguments,
		})
		if err != nil {
			return err
		}
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.ExchangeDeclareOK{}, m.Durable && !m.Passive)
	}
	return nil
}

// mayDeadLetter checks that the user may let messages of something go to an exchange: an alternate or dead letter exchange.
func (c *channel) mayDeadLetter(from string, kind resourceKind, exchange any) error {
	name, ok := exchange.(string)
	if !ok {
		return nil // that is another error
	}
	if err := c.s.may(opRead, kind, from); err != nil {
		return err
	}
	return c.s.may(opWrite, resourceExchange, name)
}

func (c *channel) exchangeDelete(bt *amqpserver.Batch, m *amqp091.ExchangeDelete) error {
	if m.Exchange != "" {
		if err := c.s.may(opConfigure, resourceExchange, m.Exchange); err != nil {
			return err
		}
	}
	if err := c.s.v.deleteExchange(bt, m.Exchange, m.IfUnused); err != nil {
		return err
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.ExchangeDeleteOK{}, true)
	}
	return nil
}

// bindable checks that a binding may be made or removed: from the exchange source to something.
func (c *channel) bindable(source string, kind resourceKind, dest, key string) error {
	if source == "" || kind == resourceExchange && dest == "" {
		return errDefaultExchange()
	}
	if err := c.s.may(opWrite, kind, dest); err != nil {
		return err
	}
	if err := c.s.may(opRead, resourceExchange, source); err != nil {
		return err
	}
	if x := c.s.v.exchange(source); x != nil {
		return c.s.mayTopic(opRead, x, key)
	}
	return nil
}

func (c *channel) exchangeBind(bt *amqpserver.Batch, m *amqp091.ExchangeBind) error {
	v := c.s.v
	if err := c.bindable(m.Source, resourceExchange, m.Destination, m.RoutingKey); err != nil {
		return err
	}
	dest := v.exchange(m.Destination)
	if dest == nil {
		return errNoExchange(v, m.Destination)
	}
	added, err := v.bind(m.Source, target{x: dest}, m.RoutingKey, m.Arguments)
	if err != nil {
		return err
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.ExchangeBindOK{}, added)
	}
	return nil
}

func (c *channel) exchangeUnbind(bt *amqpserver.Batch, m *amqp091.ExchangeUnbind) error {
	v := c.s.v
	if err := c.bindable(m.Source, resourceExchange, m.Destination, m.RoutingKey); err != nil {
		return err
	}
	if dest := v.exchange(m.Destination); dest != nil {
		if err := v.unbind(bt, m.Source, target{x: dest}, m.RoutingKey, m.Arguments); err != nil {
			return err
		}
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.ExchangeUnbindOK{}, true)
	}
	return nil
}

func (c *channel) queueDeclare(bt *amqpserver.Batch, m *amqp091.QueueDeclare) error {
	s, v := c.s, c.s.v
	name := strings.ReplaceAll(strings.ReplaceAll(m.Queue, "\r", ""), "\n", "")
	if strings.HasPrefix(name, replyTo) {
		return c.declareReplies(bt, m)
	}
	var q *queue
	created := false
	if m.Passive {
		if name == "" {
			var err error
			if name, err = c.queueNamed(""); err != nil {
				return err
			}
		}
		err := s.mayAny(resourceQueue, name)
		if err != nil {
			return err
		}
		if q, err = v.queueFor(name, s); err != nil {
			return err
		}
		q.mu.Lock()
		q.touch(bt.Now().UnixMilli())
		q.mu.Unlock()
	} else {
		if name == "" {
			name = randomName("amq.gen-")
		} else if v.queue(name) == nil {
			if err := reserved("queue", name); err != nil {
				return err
			}
		}
		if err := s.may(opConfigure, resourceQueue, name); err != nil {
			return err
		}
		if dlx, ok := m.Arguments.Get("x-dead-letter-exchange"); ok {
			if err := c.mayDeadLetter(name, resourceQueue, dlx); err != nil {
				return err
			}
		}
		var err error
		q, created, err = v.declareQueue(bt, &queueSpec{
			name: name, durable: m.Durable, exclusive: m.Exclusive, autoDelete: m.AutoDelete, args: m.Arguments, owner: s,
		})
		if err != nil {
			return err
		}
		if created && m.Exclusive {
			s.owns(q)
		}
	}
	c.queue = name
	if !m.NoWait {
		q.mu.Lock()
		q.touch(bt.Now().UnixMilli())
		ok := &amqp091.QueueDeclareOK{Queue: name, MessageCount: uint32(q.ready), ConsumerCount: uint32(len(q.cs.list))}
		q.mu.Unlock()
		c.reply(bt, ok, q.durable && !m.Passive)
	}
	return nil
}

func (c *channel) queueBind(bt *amqpserver.Batch, m *amqp091.QueueBind) error {
	name, err := c.queueNamed(m.Queue)
	if err != nil {
		return err
	}
	key := m.RoutingKey
	if m.Queue == "" && key == "" {
		key = name
	}
	if err := c.bindable(m.Exchange, resourceQueue, name, key); err != nil {
		return err
	}
	q, err := c.s.v.queueFor(name, c.s)
	if err != nil {
		return err
	}
	added, err := c.s.v.bind(m.Exchange, target{q: q}, key, m.Arguments)
	if err != nil {
		return err
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.QueueBindOK{}, added && q.durable)
	}
	return nil
}

func (c *channel) queueUnbind(bt *amqpserver.Batch, m *amqp091.QueueUnbind) error {
	name, err := c.queueNamed(m.Queue)
	if err != nil {
		return err
	}
	if err := c.bindable(m.Exchange, resourceQueue, name, m.RoutingKey); err != nil {
		return err
	}
	if q := c.s.v.queue(name); q != nil {
		if err := q.lockedFor(c.s); err != nil {
			return err
		}
		if err := c.s.v.unbind(bt, m.Exchange, target{q: q}, m.RoutingKey, m.Arguments); err != nil {
			return err
		}
	}
	c.reply(bt, &amqp091.QueueUnbindOK{}, true)
	return nil
}

func (c *channel) queuePurge(bt *amqpserver.Batch, m *amqp091.QueuePurge) error {
	q, err := c.queueFor(m.Queue, opRead)
	if err != nil {
		return err
	}
	q.mu.Lock()
	list := q.purge()
	q.unlock()
	list.discard()
	if !m.NoWait {
		c.reply(bt, &amqp091.QueuePurgeOK{MessageCount: uint32(list.n)}, q.durable)
	}
	return nil
}

func (c *channel) queueDelete(bt *amqpserver.Batch, m *amqp091.QueueDelete) error {
	name, err := c.queueNamed(m.Queue)
	if err != nil {
		return err
	}
	if err := c.s.may(opConfigure, resourceQueue, name); err != nil {
		return err
	}
	n, durable := 0, false
	if q := c.s.v.queue(name); q != nil {
		if err := q.lockedFor(c.s); err != nil {
			return err
		}
		durable = q.durable
		if n, err = c.s.v.deleteQueue(bt, q, m.IfUnused, m.IfEmpty); err != nil {
			return err
		}
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.QueueDeleteOK{MessageCount: uint32(n)}, durable)
	}
	return nil
}

func (c *channel) consume(bt *amqpserver.Batch, m *amqp091.BasicConsume) error {
	if m.Queue == replyTo {
		return c.consumeReplies(bt, m)
	}
	q, err := c.queueFor(m.Queue, opRead)
	if err != nil {
		return err
	}
	co := &consumer{sink: c, noAck: m.NoAck, exclusive: m.Exclusive, args: m.Arguments}
	if p, ok := m.Arguments.Get("x-priority"); ok {
		n, ok := integer(p)
		if !ok {
			return amqp091.SoftError(amqp091.PreconditionFailed, "invalid arg 'x-priority' for %s: %s", q.title(), badType(p))
		}
		co.priority = int32(max(math.MinInt32, min(n, math.MaxInt32)))
	}
	return c.start(bt, q, co, m)
}

// start starts a consumer of the channel.
func (c *channel) start(bt *amqpserver.Batch, q *queue, co *consumer, m *amqp091.BasicConsume) error {
	ac, err := c.ch.Consume(m.ConsumerTag, m.NoAck)
	if err != nil {
		return err
	}
	ac.Value = co
	co.arg, co.tag = ac, ac.Tag()
	if err := q.add(bt, co); err != nil {
		c.ch.End(ac)
		return err
	}
	c.mu.Lock()
	c.consumers = append(c.consumers, co)
	c.mu.Unlock()
	c.afterwards(bt, false, func(bt *amqpserver.Batch) {
		if !m.NoWait {
			c.ch.Reply(bt, &amqp091.BasicConsumeOK{ConsumerTag: co.tag})
		}
		q.begin(bt, co)
		c.s.b.bury(bt)
	})
	return nil
}

func (c *channel) cancel(bt *amqpserver.Batch, m *amqp091.BasicCancel) error {
	if ac := c.ch.Consumer(m.ConsumerTag); ac != nil {
		c.ch.End(ac)
		if co, ok := ac.Value.(*consumer); ok {
			c.forget(co)
			c.ended(bt, co)
			if co.q == c.replies {
				c.endReplies()
			}
		}
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.BasicCancelOK{ConsumerTag: m.ConsumerTag}, false)
	}
	return nil
}

// forget takes a consumer out of the list.
func (c *channel) forget(co *consumer) {
	c.mu.Lock()
	if i := slices.Index(c.consumers, co); i >= 0 {
		c.consumers = slices.Delete(c.consumers, i, i+1)
	}
	c.mu.Unlock()
}

// deliver implements sink.
func (c *channel) deliver(bt *amqpserver.Batch, co *consumer, m *message, e *entry, h *held) bool {
	d := &scratchOf(bt).delivery
	d.Exchange, d.RoutingKey, d.Redelivered, d.Properties, d.Body = m.exchange, m.key, e.redelivered(), m.props, m.body
	if e.count > 0 && co.q.kind == "quorum" {
		d.Properties = withCount(m.props, e.count)
	}
	if h == nil {
		return c.ch.Deliver(bt, co.arg.(*amqpserver.Consumer), d, nil)
	}
	return c.ch.Deliver(bt, co.arg.(*amqpserver.Consumer), d, h)
}

// withCount returns properties with the header of quorum queues that says how often a message was given back.
func withCount(props amqp091.RawProperties, n uint32) amqp091.RawProperties {
	headers := props.Headers().AppendWithout(nil, "x-delivery-count")
	headers, err := amqp091.AppendField(headers, "x-delivery-count", int64(n))
	if err != nil {
		return props
	}
	return props.WithHeaders(nil, headers)
}

// canceled implements sink.
func (c *channel) canceled(bt *amqpserver.Batch, co *consumer) {
	c.forget(co)
	c.ch.Cancel(bt, co.arg.(*amqpserver.Consumer))
}

func (c *channel) get(bt *amqpserver.Batch, m *amqp091.BasicGet) error {
	q, err := c.queueFor(m.Queue, opRead)
	if err != nil {
		return err
	}
	g, ok, err := q.get(bt, false)
	if !ok {
		q.unlock()
		if err == nil {
			c.reply(bt, &amqp091.BasicGetEmpty{}, false)
		}
		return err
	}
	h := g.h
	if m.NoAck {
		q.counts.got--
		q.counts.gotNo++
	} else if h.got = c; q.late == 0 {
		q.hurry(h.at)
	}
	d := amqpserver.Delivery{
		Exchange: g.m.exchange, RoutingKey: g.m.key, Redelivered: g.redelivered(), Properties: g.m.props, Body: g.m.body,
	}
	if g.entry.count > 0 && q.kind == "quorum" {
		d.Properties = withCount(d.Properties, g.entry.count)
	}
	count := uint32(g.left)
	q.unlock()
	c.afterwards(bt, false, func(bt *amqpserver.Batch) {
		switch sent := c.ch.GetOK(bt, &d, count, h, m.NoAck); {
		case !sent: // the channel has closed
			settle(bt, []any{h}, amqpserver.Requeued)
		case m.NoAck:
			q.taken(h)
		}
		c.s.b.bury(bt)
	})
	return nil
}
