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
	return c.publish(b, &c.stream, p, ref, c.srv.limits.HardLimit)
}

// Offer is Publish for a message of QoS 0 that can wait, such as a retained one: beyond the soft limit it is Refused,
// not dropped, and Session.Ready tells when to offer it again.
func (c *Conn) Offer(b *Batch, p *mqtt.Publish) Result {
	return c.publish(b, &c.stream, p, nil, -1)
}

// publish is Publish when limit is the hard limit, and Offer when limit is negative.
func (c *Conn) publish(b *Batch, st *stream, p *mqtt.Publish, ref any, limit int) Result {
	now := b.Now()
	c.mu.Lock()
	if c.ended || !c.accepted {
		c.mu.Unlock()
		return Closed
	}
	if st.dead {
		c.mu.Unlock()
		return Gone
	}
	if c.ext != nil && p.QoS == mqtt.QoS0 && limit >= 0 && c.ext.datagrams {
		if r, ok := c.ext.publish(now, p); ok { // unlocks
			return r
		}
	}
	size, marks := st.out.Size(), st.out.Marks()
	behind := size > c.srv.limits.SoftLimit
	if c.ext != nil {
		size, marks = st.load()
		behind = limit < 0 && st.behind(c.srv.limits.SoftLimit)
	}
	if limit < 0 && behind || limit >= 0 && size >= limit || marks >= c.srv.limits.MaxQueued || st.id != 0 && c.ext.starves(st, p) {
		return c.full(b, st, p, limit)
	}
	topic, props := p.Topic, p.Properties
	send, err := c.machine.Publish(now, st.id, p, ref)
	if err == nil && st.id != 0 && p.QoS > mqtt.QoS0 {
		c.ext.open[st.id].flight++
	}
	if err == nil && send {
		err = st.encode(p)
	} else if err == nil {
		c.drain(nil)
	}
	p.Topic, p.Properties = topic, props
	if err != nil {
		return c.unsent(b, p, err)
	}
	if b != nil {
		b.bytes += len(p.Payload) + 64
		if st.out.Size() > c.srv.limits.SoftLimit/16 && !st.slow && st.lateIn != b && st.behind(c.srv.limits.SoftLimit) && c.srv.limits.PublisherPause > 0 {
			st.lateIn = b
			b.late = append(b.late, late{st: st})
		}
	}
	c.unlock(b)
	return Sent
}

// full is what publish does beyond a limit.
func (c *Conn) full(b *Batch, st *stream, p *mqtt.Publish, limit int) Result {
	if p.QoS == mqtt.QoS0 && limit >= 0 {
		c.dropped(p, DropOutput)
		c.mu.Unlock()
		return Dropped
	}
	st.refused = true
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
func (st *stream) encode(p *mqtt.Publish) error {
	c := st.c
	pool := c.srv.chunks
	n := mqtt.PublishSize(p, c.version)
	whole := n
	var err error
	if len(p.Payload) <= LargePayload {
		t := st.out.Room(pool, n)
		t.Buf, err = mqtt.AppendPublish(t.Buf, p, c.version)
	} else {
		n -= len(p.Payload)
		t := st.out.Room(pool, n)
		t.Buf, err = mqtt.AppendPublishHeader(t.Buf, p, c.version)
		if err == nil {
			st.out.Share(pool, p.Payload)
		}
	}
	if err != nil {
		return err
	}
	st.out.Mark()
	st.out.Added(n)
	st.grown(whole, 1)
	c.counts.packetsSent++
	c.counts.messagesSent++
	if f := c.srv.trace.Sent; f != nil {
		f(c, p)
	}
	return nil
}

// resend sends the message that the machine asked for again. p is nil when it is gone.
func (c *Conn) resend(b *Batch, stream uint64, id uint16, p *mqtt.Publish) {
	c.mu.Lock()
	st := c.streamOf(stream)
	if st == nil {
		st = &c.stream
	}
	if p == nil {
		c.machine.Drop(id)
	} else if err := c.machine.Resend(b.Now(), st.id, id, p); err == nil {
		if err := st.encode(p); err != nil {
			c.log("backend sends an invalid message again", err)
			c.machine.Fail(b.Now(), nil, err)
		}
	}
	c.drain(nil)
	c.unlock(b)
}

// PublishStream is Publish on a data stream, one that [StreamSession] has told of; with 0 it is Publish. Messages for all
// streams of a connection are bounded together by the limits, in bytes and in number, and so is what may be in flight: one
// stream gets half of what there is at most, so that others can go on. When the stream has ended the result is Gone.
func (c *Conn) PublishStream(b *Batch, stream uint64, p *mqtt.Publish, ref any) Result {
	return c.publishStream(b, stream, p, ref, c.srv.limits.HardLimit)
}

// OfferStream is Offer on a data stream.
func (c *Conn) OfferStream(b *Batch, stream uint64, p *mqtt.Publish) Result {
	return c.publishStream(b, stream, p, nil, -1)
}

func (c *Conn) publishStream(b *Batch, stream uint64, p *mqtt.Publish, ref any, limit int) Result {
	c.mu.Lock()
	st, ended := c.streamOf(stream), c.ended
	c.mu.Unlock()
	switch {
	case ended:
		return Closed
	case st == nil:
		return Gone
	}
	return c.publish(b, st, p, ref, limit)
}

// KeepsStreams reports whether it was agreed with the client that the state of a data stream, its subscriptions and what is
// in flight at QoS 1 and 2, outlives it. It is known when Session.Start is called.
func (c *Conn) KeepsStreams() bool {
	if c.ext == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ext.keep
}
