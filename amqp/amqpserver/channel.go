package amqpserver

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Channel is the server's end of a channel. Its methods are safe for concurrent use unless they say otherwise, and a
// backend may call them with locks of its own held. After the channel has closed they do nothing.
type Channel struct {
	// Value is the backend's own; the server does not look at it.
	Value any

	c *Conn
}

// Conn returns the connection of the channel.
func (ch *Channel) Conn() *Conn { return ch.c }

// ID returns the number of the channel.
func (ch *Channel) ID() uint16 { panic("not yet") }

// Transactional reports whether the client has sent tx.select. It is for calls of the Session only.
func (ch *Channel) Transactional() bool { panic("not yet") }

// Confirming reports whether the client has sent confirm.select. It is for calls of the Session only.
func (ch *Channel) Confirming() bool { panic("not yet") }

// Reply sends a method: the answer to one that Session.Method got. m is not used after the return. A nil batch sends at
// once.
func (ch *Channel) Reply(b *Batch, m amqp091.Method) { panic("not yet") }

// Consume starts a consumer with the prefetch that basic.qos has set. An empty tag makes the server choose one. The error
// is an *amqp091.Error, for Session.Method to return, when the channel has a consumer with this tag. Answer with
// *amqp091.BasicConsumeOK and the tag of the consumer, before the first delivery.
func (ch *Channel) Consume(tag string, noAck bool) (*Consumer, error) { panic("not yet") }

// Consumer returns the consumer with this tag, or nil.
func (ch *Channel) Consumer(tag string) *Consumer { panic("not yet") }

// Deliver sends a message to a consumer. It is false, and nothing is sent, when the consumer or the channel has no credit,
// the output of the connection waits beyond its soft limit, or they have ended; Session.Ready tells when to try again,
// except after the end. ref comes back in Session.Settled or CloseChannel, unless the consumer needs no acknowledgement.
func (ch *Channel) Deliver(b *Batch, consumer *Consumer, d *Delivery, ref any) bool { panic("not yet") }

// GetOK answers basic.get with a message; count is how many are still ready. ref comes back as that of Deliver, unless
// noAck is true. It is false, and nothing is sent, when the channel has closed. Credit does not count.
func (ch *Channel) GetOK(b *Batch, d *Delivery, count uint32, ref any, noAck bool) bool {
	panic("not yet")
}

// Return returns a message to its publisher: code is NoRoute for one that was Mandatory. Call it before Confirm.
func (ch *Channel) Return(b *Batch, code amqp091.Code, text string, d *Delivery) { panic("not yet") }

// Confirm confirms the message with the number of [Publish].Seq, or refuses it when ack is false. Call it once for each, in
// any order. What is confirmed in one batch goes out together when the batch is flushed.
func (ch *Channel) Confirm(b *Batch, seq uint64, ack bool) { panic("not yet") }

// Cancel ends a consumer from this side and tells clients that know consumer_cancel_notify. Its deliveries stay unsettled.
func (ch *Channel) Cancel(b *Batch, consumer *Consumer) { panic("not yet") }

// End ends a consumer that the client has cancelled: nothing is delivered to it any more. Its deliveries stay unsettled.
// Answer basic.cancel with *amqp091.BasicCancelOK.
func (ch *Channel) End(consumer *Consumer) { panic("not yet") }

// Close closes the channel with an error, or the connection if e is Hard. Session.CloseChannel follows from another
// goroutine.
func (ch *Channel) Close(b *Batch, e *amqp091.Error) { panic("not yet") }

// Consumer is a consumer of a channel.
type Consumer struct {
	// Value is the backend's own; the server does not look at it.
	Value any

	ch *Channel
}

// Tag returns the consumer tag.
func (s *Consumer) Tag() string { panic("not yet") }

// Channel returns the channel.
func (s *Consumer) Channel() *Channel { return s.ch }

// NoAck reports whether deliveries count as acknowledged at once.
func (s *Consumer) NoAck() bool { panic("not yet") }
