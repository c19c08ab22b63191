package amqpclient091

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// ConsumeOptions configures a [Consumer].
type ConsumeOptions struct {
	// Tag names the consumer, for operators to see. Empty chooses one. It is unique on its channel.
	Tag string
	// Ack says how deliveries are acknowledged. Zero is AckManual.
	Ack AckMode
	// Prefetch is how many deliveries may be unsettled, those in the buffer included, 65,535 at most. Zero is 256. It has
	// no meaning with AckNone.
	Prefetch int
	// Exclusive refuses other consumers of the queue.
	Exclusive bool
	// NoLocal asks for no messages that this connection has published. RabbitMQ ignores it.
	NoLocal bool
	// Arguments are those of the server, such as x-priority.
	Arguments amqp091.Table
	// Buffer and BufferBytes are how many deliveries, and bytes of them, wait for the consumer with AckNone. Zero is 16,384
	// and 16 MiB.
	Buffer, BufferBytes int
}

// AckMode says how deliveries are acknowledged.
type AckMode uint8

const (
	// AckManual: by the methods of Delivery.
	AckManual AckMode = iota
	// AckNext: by the methods of Delivery, or else when the loop asks for the next one. A loop that ends with break has
	// acknowledged the last one, too; a panic leaves it as it is.
	AckNext
	// AckNone: the server takes a message as delivered when it has sent it. Messages that are under way are lost with the
	// connection. The server sends as fast as it can: while the buffer is full, the client does not read from the
	// connection, or from the channel's stream where it has one, unless somebody waits for an answer or a confirm there. When four
	// times the room is not enough then, the consumer ends with ErrOverflow. Give such a consumer a client of its own if its loop
	// publishes.
	AckNone
)

// Consume starts a consumer on a channel of its own: see Channel.Consume. The channel ends when the consumer has ended and
// all its deliveries are settled.
func (c *Client) Consume(ctx context.Context, queue string, o *ConsumeOptions) (*Consumer, error) {
	h := newChannel(c, &ChannelOptions{Mode: NoConfirms}, kindOwned)
	s, err := newConsumer(h, queue, o)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	h.consumers[s.tag] = s
	h.order = append(h.order, s)
	err = c.add(h)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.start(ctx)
}

// Consume starts a consumer and returns when the server has. queue is the name or Alias of a queue. A nil o is the zero
// ConsumeOptions. When the server refuses it, the channel is closed, and the error is the server's *amqp091.Error. When ctx
// ends first, the consumer is taken back.
//
// The consumer outlives connections.
func (h *Channel) Consume(ctx context.Context, queue string, o *ConsumeOptions) (*Consumer, error) {
	s, err := newConsumer(h, queue, o)
	if err != nil {
		return nil, err
	}
	h.c.mu.Lock()
	if h.ended {
		defer h.c.mu.Unlock()
		return nil, h.err
	}
	if h.consumers[s.tag] != nil {
		h.c.mu.Unlock()
		return nil, fmt.Errorf("amqpclient091: the channel has a consumer %q", s.tag)
	}
	h.consumers[s.tag] = s
	h.order = append(h.order, s)
	if l := h.link; l != nil && l.m.Open() {
		l.consume(s, nil)
		l.k.kick()
	}
	h.c.mu.Unlock()
	return s.start(ctx)
}

func newConsumer(h *Channel, queue string, o *ConsumeOptions) (*Consumer, error) {
	s := &Consumer{
		h: h, queue: queue, ready: make(chan struct{}), gone: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if o != nil {
		s.o = *o
	}
	if s.o.Ack > AckNone {
		return nil, fmt.Errorf("amqpclient091: unknown way to acknowledge %d", s.o.Ack)
	}
	s.o.Prefetch = min(max(orDefault(s.o.Prefetch, 256), 1), 0xFFFF)
	s.o.Buffer = max(orDefault(s.o.Buffer, 16<<10), 1)
	s.o.BufferBytes = max(orDefault(s.o.BufferBytes, 16<<20), 1)
	s.tag = s.o.Tag
	if s.tag == "" {
		h.c.mu.Lock()
		h.c.tags++
		s.tag = h.c.tag + "-" + strconv.FormatUint(h.c.tags, 10)
		h.c.mu.Unlock()
	}
	return s, checkMethod(s.method(queue), h.c.o.Limits.FrameMax)
}

// method returns the method that starts the consumer on the queue with a name.
func (s *Consumer) method(queue string) *amqp091.BasicConsume {
	return &amqp091.BasicConsume{
		Queue: queue, ConsumerTag: s.tag, NoLocal: s.o.NoLocal, NoAck: s.o.Ack == AckNone, Exclusive: s.o.Exclusive,
		Arguments: s.o.Arguments,
	}
}

// start waits until the consumer has started.
func (s *Consumer) start(ctx context.Context) (*Consumer, error) {
	select {
	case <-s.ready:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refused != nil {
			return nil, s.refused
		}
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, context.Cause(ctx)
	}
}

// consume starts a consumer on the link, and calls then when the server has. c.mu is held.
func (l *link) consume(s *Consumer, then func()) {
	c := l.k.c
	if s.o.Ack != AckNone {
		l.allowed += 2*s.o.Prefetch + 16 // a server may count a little differently
		l.call(newCall(&amqp091.BasicQos{PrefetchCount: uint16(s.o.Prefetch)}))
	}
	x := newCall(s.method(c.records.resolve(s.queue)))
	x.consumer = s
	x.then = func(*amqp091.Event) {
		s.started()
		if then != nil {
			then()
		}
	}
	l.call(x)
	s.on = l
	if x.err != nil && x.err != errAgain { // it does not fit
		l.h.remove(s)
		s.finish(x.err)
	}
}

// remove takes a consumer off the channel. c.mu is held.
func (h *Channel) remove(s *Consumer) {
	delete(h.consumers, s.tag)
	if i := slices.Index(h.order, s); i >= 0 {
		h.order = slices.Delete(h.order, i, i+1)
	}
}

// deliver takes a message for a consumer. c.mu is held.
func (l *link) deliver(t *amqp091.Content) {
	if l == nil || l.dead.Load() {
		return
	}
	s := l.h.consumers[string(t.ConsumerTag)]
	if s == nil {
		l.violation("delivery for consumer %q, which does not exist", t.ConsumerTag)
		return
	}
	d := l.receive(t, s.o.Ack == AckNone)
	if d == nil {
		return
	}
	if d.in != nil && l.unsettled() > l.allowed {
		l.violation("more deliveries than the prefetch allows")
		return
	}
	s.push(l, d)
}

// receive copies a message, and checks its number unless it is settled already. c.mu is held.
func (l *link) receive(t *amqp091.Content, settled bool) *Delivery {
	if settled {
		l.skipped++ // RabbitMQ does not number direct replies
	} else if !l.number(t.DeliveryTag) {
		l.violation("delivery tag %d after %d", t.DeliveryTag, l.tag)
		return nil
	}
	l.k.c.stats.MessagesReceived++
	d := newDelivery(t)
	if string(t.Exchange) != l.exchange {
		l.exchange = string(t.Exchange)
	}
	if string(t.RoutingKey) != l.key {
		l.key = string(t.RoutingKey)
	}
	d.Exchange, d.RoutingKey, d.Tag, d.Redelivered = l.exchange, l.key, t.DeliveryTag, t.Redelivered
	if !settled {
		d.in = l
	}
	return d
}

// number takes the number of a delivery, and reports whether it may follow the others.
func (l *link) number(tag uint64) bool {
	if tag <= l.tag || tag-l.tag-1 > l.skipped {
		return false
	}
	for l.skipped = 0; l.tag+1 < tag; {
		l.tag++
		l.settled.Done(l.tag)
	}
	l.tag = tag
	return true
}

// violation ends the connection because the server broke a rule. c.mu is held.
func (l *link) violation(format string, args ...any) {
	e := amqp091.HardError(amqp091.NotAllowed, format, args...)
	l.k.m.Close(time.Now(), e)
}

// unsettled returns how many deliveries are not settled. c.mu is held.
func (l *link) unsettled() int {
	return int(l.tag+1-l.settled.Low()) - l.settled.Ahead()
}
