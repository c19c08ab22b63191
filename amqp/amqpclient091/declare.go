package amqpclient091

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Declare declares everything in t: exchanges, then queues, then bindings. What exists with the same properties stays as it
// is. It waits for a connection and the answers, as long as ctx allows, and begins again what a lost connection has left
// unanswered. It fails with the first refusal, an *amqp091.Error; what was declared before stays.
func (c *Client) Declare(ctx context.Context, t *Topology) error {
	for _, x := range t.Exchanges {
		if err := c.DeclareExchange(ctx, x); err != nil {
			return err
		}
	}
	for _, q := range t.Queues {
		if _, err := c.DeclareQueue(ctx, q); err != nil {
			return err
		}
	}
	for _, b := range t.Bindings {
		if err := c.Bind(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// DeclareExchange declares an exchange: see Declare.
func (c *Client) DeclareExchange(ctx context.Context, x Exchange) error {
	x.Arguments = x.Arguments.Clone()
	_, err := c.ask(ctx, func() amqp091.Method { return x.method() }, func(amqp091.Method) { c.records.addExchange(x) })
	return err
}

// DeclareQueue declares a queue: see Declare.
func (c *Client) DeclareQueue(ctx context.Context, q Queue) (QueueInfo, error) {
	q.Arguments = q.Arguments.Clone()
	m, err := c.ask(ctx, func() amqp091.Method { return q.method() }, func(m amqp091.Method) {
		c.records.addQueue(q, queueInfo(m).Name)
	})
	if err != nil {
		return QueueInfo{}, err
	}
	return queueInfo(m), nil
}

// Bind makes a binding: see Declare.
func (c *Client) Bind(ctx context.Context, b Binding) error {
	if (b.Queue == "") == (b.Exchange == "") {
		return errors.New("amqpclient091: a binding has a queue or an exchange as its destination")
	}
	b.Arguments = b.Arguments.Clone()
	_, err := c.ask(ctx, func() amqp091.Method { return b.bind(c.records.resolve(b.Queue)) }, func(amqp091.Method) {
		c.records.addBinding(b)
	})
	return err
}

// Unbind takes a binding back. It is no error when there is none.
func (c *Client) Unbind(ctx context.Context, b Binding) error {
	b.Arguments = b.Arguments.Clone()
	_, err := c.ask(ctx, func() amqp091.Method { return b.unbind(c.records.resolve(b.Queue)) }, func(amqp091.Method) {
		c.records.removeBinding(b)
	})
	return err
}

// LookupQueue returns what the server says about a queue, whose name or Alias is given, and declares nothing. The error is
// an *amqp091.Error with code amqp091.NotFound when there is none.
func (c *Client) LookupQueue(ctx context.Context, name string) (QueueInfo, error) {
	m, err := c.ask(ctx, func() amqp091.Method {
		return &amqp091.QueueDeclare{Queue: c.records.resolve(name), Passive: true}
	}, nil)
	if err != nil {
		return QueueInfo{}, err
	}
	return queueInfo(m), nil
}

// LookupExchange asks whether there is an exchange, and declares nothing. The error is as that of LookupQueue.
func (c *Client) LookupExchange(ctx context.Context, name string) error {
	_, err := c.ask(ctx, func() amqp091.Method {
		return &amqp091.ExchangeDeclare{Exchange: name, Type: defaultKind, Passive: true}
	}, nil)
	return err
}

// QueueName returns the real name of a queue that was declared under an Alias, or had another name before a reconnection.
// Other names are returned as they are.
func (c *Client) QueueName(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records.resolve(name)
}

// DeleteExchange deletes an exchange. It is no error when there is none. A nil o is the zero DeleteOptions.
func (c *Client) DeleteExchange(ctx context.Context, name string, o *DeleteOptions) error {
	_, err := c.ask(ctx, func() amqp091.Method {
		return &amqp091.ExchangeDelete{Exchange: name, IfUnused: o != nil && o.IfUnused}
	}, func(amqp091.Method) { c.records.removeExchange(name) })
	return err
}

// DeleteQueue deletes a queue and returns how many messages were in it. It is no error when there is none. A nil o is the
// zero DeleteOptions.
func (c *Client) DeleteQueue(ctx context.Context, name string, o *DeleteOptions) (messages uint32, err error) {
	m, err := c.ask(ctx, func() amqp091.Method {
		d := &amqp091.QueueDelete{Queue: c.records.resolve(name)}
		if o != nil {
			d.IfUnused, d.IfEmpty = o.IfUnused, o.IfEmpty
		}
		return d
	}, func(amqp091.Method) { c.records.removeQueue(name) })
	if err != nil {
		return 0, err
	}
	return m.(*amqp091.QueueDeleteOK).MessageCount, nil
}

// PurgeQueue drops the messages of a queue that are ready for delivery, and returns how many they were.
func (c *Client) PurgeQueue(ctx context.Context, name string) (messages uint32, err error) {
	m, err := c.ask(ctx, func() amqp091.Method { return &amqp091.QueuePurge{Queue: c.records.resolve(name)} }, nil)
	if err != nil {
		return 0, err
	}
	return m.(*amqp091.QueuePurgeOK).MessageCount, nil
}

// UpdateSecret gives the server a new password or token for the connection that there is, and returns when the server has
// taken it. New logins use Options.Credentials.
func (c *Client) UpdateSecret(ctx context.Context, secret, reason string) error {
	k, err := c.await(ctx)
	if err != nil {
		return err
	}
	x := newCall(nil)
	c.mu.Lock()
	err = k.m.UpdateSecret(time.Now(), []byte(secret), reason, x)
	if err != nil {
		c.mu.Unlock()
		return &UnknownError{ErrNotConnected}
	}
	x.o = &k.main
	k.main.wait(1)
	k.events()
	k.kick()
	c.mu.Unlock()
	return x.wait(ctx)
}

// ask sends a method on the channel for declarations and returns the answer. build is called with c.mu held, each time that
// the method is sent, and done when it was answered: perhaps after the return, when ctx has ended.
func (c *Client) ask(ctx context.Context, build func() amqp091.Method, done func(amqp091.Method)) (amqp091.Method, error) {
	c.mu.Lock()
	err := checkMethod(build(), c.o.Limits.FrameMax)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for {
		k, err := c.await(ctx)
		if err != nil {
			return nil, err
		}
		x := newCall(nil)
		if done != nil {
			x.then = func(e *amqp091.Event) { done(e.Method) }
		}
		l, err := c.controlLink(ctx, k)
		if err == nil {
			c.mu.Lock()
			x.m = build()
			l.call(x)
			k.kick()
			c.mu.Unlock()
			err = x.wait(ctx)
		}
		if _, unknown := err.(*UnknownError); unknown || err == errAgain {
			continue // every such method may be repeated
		}
		if err != nil {
			return nil, err
		}
		return x.reply, nil
	}
}

// controlLink returns a link of the channel for declarations on a connection. The error is errAgain when the connection has
// gone.
func (c *Client) controlLink(ctx context.Context, k *conn) (*link, error) {
	h := c.control
	for {
		c.mu.Lock()
		if k.down || h.ended {
			defer c.mu.Unlock()
			if h.ended {
				return nil, h.err
			}
			return nil, errAgain
		}
		if h.link == nil {
			if err := h.attach(k, false); err != nil {
				c.mu.Unlock()
				return nil, err
			}
			k.kick()
		}
		l, up := h.link, h.up
		ready := l.k == k && l.ready
		c.mu.Unlock()
		if ready {
			return l, nil
		}
		select {
		case <-up:
		case <-k.gone:
		case <-h.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

const defaultKind = "direct"

func (x *Exchange) method() *amqp091.ExchangeDeclare {
	return &amqp091.ExchangeDeclare{
		Exchange: x.Name, Type: orDefault(x.Kind, defaultKind), Durable: x.Durable, AutoDelete: x.AutoDelete,
		Internal: x.Internal, Arguments: x.Arguments,
	}
}

func (q *Queue) method() *amqp091.QueueDeclare {
	return &amqp091.QueueDeclare{
		Queue: q.Name, Durable: q.Durable, Exclusive: q.Exclusive, AutoDelete: q.AutoDelete, Arguments: q.Arguments,
	}
}

// bind returns the method that makes the binding; queue is the real name of the destination, if that is a queue.
func (b *Binding) bind(queue string) amqp091.Method {
	if b.Exchange != "" {
		return &amqp091.ExchangeBind{Destination: b.Exchange, Source: b.Source, RoutingKey: b.Key, Arguments: b.Arguments}
	}
	return &amqp091.QueueBind{Queue: queue, Exchange: b.Source, RoutingKey: b.Key, Arguments: b.Arguments}
}

func (b *Binding) unbind(queue string) amqp091.Method {
	if b.Exchange != "" {
		return &amqp091.ExchangeUnbind{Destination: b.Exchange, Source: b.Source, RoutingKey: b.Key, Arguments: b.Arguments}
	}
	return &amqp091.QueueUnbind{Queue: queue, Exchange: b.Source, RoutingKey: b.Key, Arguments: b.Arguments}
}

func queueInfo(m amqp091.Method) QueueInfo {
	r := m.(*amqp091.QueueDeclareOK)
	return QueueInfo{Name: r.Queue, Messages: r.MessageCount, Consumers: r.ConsumerCount}
}
