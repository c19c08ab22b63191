package amqpbroker

import (
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// Direct reply-to: a client that consumes from amq.rabbitmq.reply-to has a queue of its own, in memory, that nobody sees.
// Its name, with a random part, takes the place of that in the property reply-to of the requests that the channel publishes.

const replyTo = "amq.rabbitmq.reply-to"

// consumeReplies starts the consumer of replies.
func (c *channel) consumeReplies(bt *amqpserver.Batch, m *amqp091.BasicConsume) error {
	switch {
	case c.replies != nil:
		return amqp091.SoftError(amqp091.PreconditionFailed, "reply consumer already set")
	case !m.NoAck:
		return amqp091.SoftError(amqp091.PreconditionFailed, "reply consumer cannot acknowledge")
	}
	b := c.s.b
	q := &queue{b: b, v: c.s.v, name: randomName(replyTo + "."), kind: "classic", owner: c.s, set: noSettings, levels: make([]level, 1)}
	q.num = b.nums.Add(1)
	q.timer.owner = q
	q.set.maxLength = b.opts.MaxReplies
	if err := c.start(bt, q, &consumer{sink: c, noAck: true}, m); err != nil {
		return err
	}
	c.replies = q
	b.replies.Store(q.name, q)
	return nil
}

// endReplies ends the queue of replies.
func (c *channel) endReplies() {
	q := c.replies
	c.replies = nil
	c.s.b.replies.Delete(q.name)
	q.mu.Lock()
	q.end()
	q.mu.Unlock()
}

// declareReplies answers the declaration of what looks like a queue of replies: by it clients ask whether somebody still waits
// for a reply.
func (c *channel) declareReplies(bt *amqpserver.Batch, m *amqp091.QueueDeclare) error {
	consumers := uint32(0)
	if m.Queue != replyTo {
		if c.s.b.repliesOf(c.s.v, m.Queue) == nil {
			return errNoQueue(c.s.v, m.Queue)
		}
		consumers = 1
	}
	if !m.NoWait {
		c.reply(bt, &amqp091.QueueDeclareOK{Queue: m.Queue, ConsumerCount: consumers}, false)
	}
	return nil
}

// repliesOf returns the queue of replies of a name.
func (b *Broker) repliesOf(v *vhost, name string) *queue {
	if !strings.HasPrefix(name, replyTo+".") {
		return nil
	}
	q, ok := b.replies.Load(name)
	if !ok || q.(*queue).v != v {
		return nil
	}
	return q.(*queue)
}

// readdress puts the name of the channel's queue of replies into the property reply-to.
func (c *channel) readdress(m *message) error {
	if c.replies == nil {
		return amqp091.SoftError(amqp091.PreconditionFailed, "fast reply consumer does not exist")
	}
	var p amqp091.Properties
	if err := m.props.Decode(&p); err != nil {
		return err
	}
	p.ReplyTo = c.replies.name
	props, err := p.Append(nil)
	m.props = props
	return err
}
