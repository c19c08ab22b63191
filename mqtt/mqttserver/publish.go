package mqttserver

import (
	"errors"

	"github.com/quartet-mq/quartet/mqtt"
)

// Publish sends a message to the client. ref is the backend's own reference to a message of QoS 1 or 2: it comes back
// in Session.Settled and Session.Resend; at QoS 0 it does nothing.
//
// p is used during the call only and is afterwards as it was, but for ID and Dup. A payload longer than [LargePayload]
// is not copied: it must never change any more.
func (c *Conn) Publish(b *Batch, p *mqtt.Publish, ref any) Result {
	return c.publish(b, p, ref, c.srv.limits.HardLimit)
}

// Offer is Publish for a message of QoS 0 that can wait, such as a retained one: beyond the soft limit it is Refused,
// not dropped, and Session.Ready tells when to offer it again.
func (c *Conn) Offer(b *Batch, p *mqtt.Publish) Result {
	return c.publish(b, p, nil, -1)
}

// publish is Publish when limit is the hard limit, and Offer when limit is negative.
func (c *Conn) publish(b *Batch, p *mqtt.Publish, ref any, limit int) Result {
	now := b.Now()
	c.mu.Lock()
	if c.ended || !c.accepted {
		c.mu.Unlock()
		return Closed
	}
	if limit < 0 && c.out.Size() > c.srv.limits.SoftLimit || limit >= 0 && c.out.Size() >= limit || c.out.Marks() >= c.srv.limits.MaxQueued {
		return c.full(b, p, limit)
	}
	topic, props := p.Topic, p.Properties
	send, err := c.machine.Publish(now, 0, p, ref)
	if err == nil && send {
		err = c.encode(p)
	} else if err == nil {
		c.drain(nil)
	}
	p.Topic, p.Properties = topic, props
	if err != nil {
		return c.unsent(b, p, err)
	}
	if b != nil {
		b.bytes += len(p.Payload) + 64
		if c.out.Size() > c.srv.limits.SoftLimit && !c.slow && c.lateIn != b && c.srv.limits.PublisherPause > 0 {
			c.lateIn = b
			b.late = append(b.late, late{c: c})
		}
	}
	c.unlock(b)
	return Sent
}

// full is what publish does beyond a limit.
func (c *Conn) full(b *Batch, p *mqtt.Publish, limit int) Result {
	if p.QoS == mqtt.QoS0 && limit >= 0 {
		c.dropped(p, DropOutput)
		c.mu.Unlock()
		return Dropped
	}
	c.refused = true
	c.unlock(b)
	return Refused
}

// unsent is what publish does with a message that the machine did not take.
func (c *Conn) unsent(b *Batch, p *mqtt.Publish, err error) Result {
	defer c.unlock(b)
	switch {
	case errors.Is(err, mqtt.ErrQuota):
		return Refused
	case errors.Is(err, mqtt.ErrState):
		return Closed
	}
	if !errors.Is(err, mqtt.ErrTooLarge) {
		c.log("backend publishes an invalid message", err)
	}
	c.dropped(p, DropSize)
	return TooLarge
}

// dropped counts a message that is not sent, or not taken.
func (c *Conn) dropped(p *mqtt.Publish, why Drop) {
	c.counts.dropped++
	if f := c.srv.trace.Dropped; f != nil {
		f(c, p, why)
	}
}

// encode puts a PUBLISH in the output.
func (c *Conn) encode(p *mqtt.Publish) error {
	pool := c.srv.chunks
	n := mqtt.PublishSize(p, c.version)
	var err error
	if len(p.Payload) <= LargePayload {
		t := c.out.Room(pool, n)
		t.Buf, err = mqtt.AppendPublish(t.Buf, p, c.version)
	} else {
		n -= len(p.Payload)
		t := c.out.Room(pool, n)
		t.Buf, err = mqtt.AppendPublishHeader(t.Buf, p, c.version)
		if err == nil {
			c.out.Share(pool, p.Payload)
		}
	}
	if err != nil {
		return err
	}
	c.out.Mark()
	c.out.Added(n)
	c.counts.packetsSent++
	c.counts.messagesSent++
	if f := c.srv.trace.Sent; f != nil {
		f(c, p)
	}
	return nil
}

// resend sends the message that the machine asked for again. p is nil when it is gone.
func (c *Conn) resend(b *Batch, id uint16, p *mqtt.Publish) {
	c.mu.Lock()
	if p == nil {
		c.machine.Drop(id)
	} else if err := c.machine.Resend(b.Now(), 0, id, p); err == nil {
		if err := c.encode(p); err != nil {
			c.log("backend sends an invalid message again", err)
			c.machine.Fail(b.Now(), nil, err)
		}
	}
	c.drain(nil)
	c.unlock(b)
}
