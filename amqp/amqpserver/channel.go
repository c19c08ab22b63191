package amqpserver

import (
	"crypto/rand"
	"errors"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Channel is the server's end of a channel. Its methods are safe for concurrent use unless they say otherwise, and a
// backend may call them with locks of its own held. After the channel has closed they do nothing.
type Channel struct {
	// Value is the backend's own; the server does not look at it.
	Value any

	c       *Conn
	m       *amqp091.Channel
	o       *outlet
	wanted  int  // the size of what was refused, when starved is set
	starved bool // among those of c
	closed  bool // the peer's channel.close is to be answered
}

// Conn returns the connection of the channel.
func (ch *Channel) Conn() *Conn { return ch.c }

// ID returns the number of the channel.
func (ch *Channel) ID() uint16 { return ch.m.ID() }

// Transactional reports whether the client has sent tx.select. It is for calls of the Session only.
func (ch *Channel) Transactional() bool { return ch.m.Transactional() }

// Confirming reports whether the client has sent confirm.select. It is for calls of the Session only.
func (ch *Channel) Confirming() bool { return ch.m.Confirming() }

// ChannelStats is a snapshot of a channel.
type ChannelStats struct {
	Consumers     int
	Unsettled     int // deliveries
	Unconfirmed   int // messages of the client
	Prefetch      int // limit of unsettled deliveries of each new consumer; 0: none
	Global        int // limit of unsettled deliveries of all consumers; 0: none
	Confirming    bool
	Transactional bool
}

// Stats returns a snapshot of the channel.
func (ch *Channel) Stats() ChannelStats {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	s := ChannelStats{Consumers: ch.m.Consumers(), Unsettled: ch.m.UnsettledCount(), Unconfirmed: ch.m.UnconfirmedCount(),
		Confirming: ch.m.Confirming(), Transactional: ch.m.Transactional()}
	s.Global, s.Prefetch = ch.m.Limits()
	return s
}

// Reply sends a method: the answer to one that Session.Method got. m is not used after the return. A nil batch sends at
// once.
func (ch *Channel) Reply(b *Batch, m amqp091.Method) {
	c := ch.c
	c.mu.Lock()
	if ch.m.Send(b.Now(), m) == nil {
		c.drain(nil)
	}
	c.unlock(b)
}

// Confirm confirms the message with the number of [Publish].Seq, or refuses it when ack is false. Call it once for each, in
// any order. What is confirmed in one batch goes out together when the batch is flushed.
func (ch *Channel) Confirm(b *Batch, seq uint64, ack bool) {
	c := ch.c
	c.mu.Lock()
	if ch.m.Open() {
		ch.m.Confirm(seq, ack)
		c.confirming = true
		c.counts.confirmed++
	}
	c.unlock(b)
}

// Close closes the channel with an error, or the connection if e is Hard. Session.CloseChannel follows, from another
// goroutine or after the call of the Session that is under way.
func (ch *Channel) Close(b *Batch, e *amqp091.Error) {
	c := ch.c
	c.mu.Lock()
	if !c.down {
		ch.m.Close(b.Now(), e)
		c.drain(nil)
	}
	c.unlock(b)
}

// Consumer is a consumer of a channel.
type Consumer struct {
	// Value is the backend's own; the server does not look at it.
	Value any

	ch *Channel
	m  *amqp091.Consumer
}

// Tag returns the consumer tag.
func (s *Consumer) Tag() string { return s.m.Tag() }

// Channel returns the channel.
func (s *Consumer) Channel() *Channel { return s.ch }

// NoAck reports whether deliveries count as acknowledged at once.
func (s *Consumer) NoAck() bool { return s.m.NoAck() }

// Prefetch returns the limit of unsettled deliveries to the consumer, 0 for none, and how many there are.
func (s *Consumer) Prefetch() (limit, unsettled int) {
	s.ch.c.mu.Lock()
	defer s.ch.c.mu.Unlock()
	return s.m.Prefetch()
}

// Consume starts a consumer with the prefetch that basic.qos has set. An empty tag makes the server choose one. The error
// is for Session.Method to return, when the channel has a consumer with this tag (an *amqp091.Error) or has closed. Answer
// with *amqp091.BasicConsumeOK and the tag of the consumer, before the first delivery.
func (ch *Channel) Consume(tag string, noAck bool) (*Consumer, error) {
	c := ch.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if tag == "" {
		tag = "amq.ctag-" + rand.Text()
	}
	m, err := ch.m.Consume(tag, noAck)
	if errors.Is(err, amqp091.ErrState) {
		return nil, &amqp091.Error{Code: amqp091.ChannelError, Text: "channel is closed", Err: err}
	}
	if err != nil {
		return nil, err
	}
	s := &Consumer{ch: ch, m: m}
	m.Ref = s
	return s, nil
}

// Consumer returns the consumer with this tag, or nil.
func (ch *Channel) Consumer(tag string) *Consumer {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	if m := ch.m.Consumer(tag); m != nil {
		return m.Ref.(*Consumer)
	}
	return nil
}

// End ends a consumer that the client has cancelled: nothing is delivered to it any more. Its deliveries stay unsettled.
// Answer basic.cancel with *amqp091.BasicCancelOK.
func (ch *Channel) End(consumer *Consumer) {
	ch.c.mu.Lock()
	defer ch.c.mu.Unlock()
	ch.m.Cancel(consumer.m)
}

// Cancel ends a consumer from this side and tells clients that know consumer_cancel_notify. Its deliveries stay unsettled.
func (ch *Channel) Cancel(b *Batch, consumer *Consumer) {
	c := ch.c
	c.mu.Lock()
	if ch.m.Cancel(consumer.m) && c.machine.CancelNotify() {
		if ch.m.Send(b.Now(), &amqp091.BasicCancel{ConsumerTag: consumer.m.Tag(), NoWait: true}) == nil {
			c.drain(nil)
		}
	}
	c.unlock(b)
}
