package mqttclient

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/topic"
)

// Publish publishes m and returns when its QoS is complete: at QoS 0 when it is in the connection's output buffer, at
// QoS 1 when the server has acknowledged it, at QoS 2 when the exchange has ended. It waits for a connection, for space
// in the output buffer and for its turn.
//
// When ctx ends before the message was sent, it is withdrawn and SafeToRetry holds for the error. When ctx ends later,
// the client goes on and the message may still be delivered. When the server refused the message, the error is an
// *mqtt.Error with Remote set and the server's reason code; one without Remote says that m cannot be sent at all.
func (c *Client) Publish(ctx context.Context, m *Message) error {
	p, err := c.publish(ctx, m)
	if p == nil || err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.err
	case <-ctx.Done():
		return c.withdraw(ctx, p)
	}
}

// PublishAsync publishes m without waiting for its QoS. It waits only while the queue is full and its policy is
// QueueBlock; ctx bounds that. Errors that come later are those of the Publication.
func (c *Client) PublishAsync(ctx context.Context, m *Message) (*Publication, error) {
	p, err := c.publish(ctx, m)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return c.sent, nil
	case c.store != nil && m.QoS > mqtt.QoS0:
		err = c.stored(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// stored waits until p is durable or complete, or ctx ends. The error is that of a message that is not.
func (c *Client) stored(ctx context.Context, p *Publication) error {
	c.store.await(ctx, p)
	if ctx.Err() != nil {
		return c.withdraw(ctx, p)
	}
	if err := p.Err(); errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// publish sends or queues m. The publication is nil when the message is complete already.
func (c *Client) publish(ctx context.Context, m *Message) (*Publication, error) {
	if ctx.Err() != nil {
		return nil, &unsentError{context.Cause(ctx)}
	}
	if err := checkMessage(m); err != nil {
		return nil, &unsentError{err}
	}
	if m.QoS == mqtt.QoS0 {
		if o := c.o.Streams; o != nil && o.Datagrams && c.publishDatagram(m) {
			return nil, nil
		}
		if sent, err := c.publishNow(m); sent || err != nil {
			return nil, err
		}
	}
	if err := c.checkStored(m); err != nil {
		return nil, &unsentError{err}
	}
	p := newPublication(c, m)
	if err := c.submit(ctx, p, m); err != nil {
		return nil, err
	}
	return p, nil
}

// publishNow encodes a QoS 0 message straight into the output buffer, if nothing is in its way.
func (c *Client) publishNow(m *Message) (sent bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.conn
	if k == nil {
		return false, nil
	}
	l := &c.out.lane
	if c.o.Streams != nil {
		l = c.laneOf(m)
	}
	if l.queue.Len() > 0 || l.held > 0 || !k.room(l) {
		return false, nil
	}
	k.topic = append(k.topic[:0], m.Topic...)
	k.pub = mqtt.Publish{Topic: k.topic, Payload: m.Payload, Properties: m.Properties, Retain: m.Retain}
	if _, err := k.send(l, nil); err != nil {
		return false, &unsentError{err}
	}
	k.kick()
	return true, nil
}

// submit sends p, which is m, or puts it in the queue.
func (c *Client) submit(ctx context.Context, p *Publication, m *Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.mayPublish(); err != nil {
			return &unsentError{err}
		}
		l := c.laneOf(m)
		p.lane = l.n
		keep := c.store != nil && p.pub.QoS > mqtt.QoS0
		if !keep && l.queue.Len() == 0 && c.trySend(p) {
			c.conn.kick()
			return nil
		}
		full := keep && c.store.full()
		if full {
			c.store.j.Await(token{}) // makes the journal look at the disk again
		}
		if !full && c.out.fits(&c.o.Queue, l, p.size(), c.sharesQueue()) {
			if keep {
				c.enqueue(p)
			} else {
				c.out.push(p)
			}
			return nil
		}
		switch {
		case c.o.Queue.Policy == QueueError, c.o.Queue.Policy == QueueDropOldest && full:
			return &unsentError{ErrQueueFull}
		case c.o.Queue.Policy == QueueDropOldest:
			c.drop(c.out.pop(c.out.oldest(l)), ErrQueueFull)
			continue
		}
		room := l.waitRoom()
		var again <-chan time.Time
		if full {
			again = time.After(pressureInterval)
		}
		c.out.waiters++
		c.mu.Unlock()
		select {
		case <-room:
		case <-again:
		case <-ctx.Done():
		}
		c.mu.Lock()
		c.out.waiters--
		if ctx.Err() != nil {
			return &unsentError{context.Cause(ctx)}
		}
	}
}

// sharesQueue reports whether a lane must leave room in the queue for others. c.mu is held.
func (c *Client) sharesQueue() bool { return c.conn != nil && c.conn.multi }

// mayPublish returns an error when the client takes no message. c.mu is held.
func (c *Client) mayPublish() error {
	if c.closed {
		return c.endErr()
	}
	if c.conn == nil && c.o.online {
		return ErrNotConnected
	}
	return nil
}

// withdraw takes p back if it was not sent yet. It returns the error of a Publish whose ctx has ended.
func (c *Client) withdraw(ctx context.Context, p *Publication) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch p.stage {
	case stageDone:
		return p.err
	case stageQueued:
		c.out.removeQueued(p)
		c.drop(p, context.Cause(ctx))
		return p.err
	}
	return context.Cause(ctx)
}

// trySend sends p on the connection, if there is one with space and quota; true also when p has failed for good.
// c.mu is held.
func (c *Client) trySend(p *Publication) bool {
	k, l := c.conn, c.out.of(p.lane)
	if k == nil || !k.room(l) || l.held > 0 && p.pub.QoS < mqtt.QoS2 || p.pub.QoS > mqtt.QoS0 && !k.turn(l) {
		return false
	}
	k.pub = p.pub
	if !p.age(&k.pub) {
		c.drop(p, ErrExpired)
		return true
	}
	sent, err := k.send(l, p)
	switch {
	case errors.Is(err, mqtt.ErrQuota):
		return false
	case err != nil:
		c.drop(p, err)
	case p.pub.QoS == 0:
		c.finish(p, 0, nil)
	default:
		c.out.addInflight(p)
		if c.store != nil {
			k.record(p, sent)
		}
	}
	return true
}

// record records that k.pub, which is p, is in flight. At QoS 2 it is sent when that is durable.
func (k *conn) record(p *Publication, sent bool) {
	if sent {
		k.c.store.assigned(p, k.pub.ID, token{})
		k.c.store.wasSent(p)
		return
	}
	p.held = true
	k.held++
	k.c.out.of(p.lane).held++
	k.events()
}

// drop ends a message that was not sent. c.mu is held.
func (c *Client) drop(p *Publication, err error) {
	if c.store != nil {
		c.store.dropped(p)
	}
	c.finish(p, 0, &unsentError{err})
}

// ended takes back the body of a message that was in flight. c.mu is held.
func (c *Client) ended(p *Publication) {
	if c.store != nil {
		p.held = false
		c.store.release(p)
	}
}

// sendQueued sends what the queue holds, as far as it goes now. c.mu is held.
func (c *Client) sendQueued() {
	if c.out.count == 0 && c.out.waiters == 0 {
		return
	}
	for _, l := range c.out.others.order {
		if l.priority > 0 {
			c.sendLane(l)
		}
	}
	c.sendLane(&c.out.lane)
	for _, l := range c.out.others.order {
		if l.priority == 0 {
			c.sendLane(l)
		}
	}
	c.out.wakeWaiters(&c.o.Queue, c.sharesQueue())
}

// sendLane sends what waits in a lane, as far as it goes now.
func (c *Client) sendLane(l *lane) {
	for l.queue.Len() > 0 {
		p := l.queue.Front()
		if p.cold() {
			c.warm()
			return
		}
		if !c.trySend(p) {
			return
		}
		c.out.pop(l)
	}
}

// finish ends p. A PUBCOMP that does not know the packet identifier is a success: an earlier one was lost. No server says
// that a message is too large: that comes from the own session machine. c.mu is held.
func (c *Client) finish(p *Publication, reason mqtt.ReasonCode, err error) {
	p.stage, p.reason = stageDone, reason
	p.err = err
	if err == nil && reason.IsError() && reason != mqtt.ReasonPacketIdentifierNotFound {
		p.err = &mqtt.Error{Code: reason, Remote: reason != mqtt.ReasonPacketTooLarge}
	}
	if p.ch != nil {
		close(p.ch)
	}
}

// checkStored returns why m cannot be stored.
func (c *Client) checkStored(m *Message) error {
	if c.store != nil && m.QoS > mqtt.QoS0 && m.size() > maxMessage-32 {
		return &mqtt.Error{Code: mqtt.ReasonPacketTooLarge}
	}
	return nil
}

// checkMessage returns why m cannot be published.
func checkMessage(m *Message) error {
	if err := topic.MQTT.ValidateName(m.Topic); err != nil {
		return &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Err: err}
	}
	if m.QoS > mqtt.QoS2 {
		return &mqtt.Error{Code: mqtt.ReasonQoSNotSupported, Reason: "no such QoS"}
	}
	if len(m.Properties) == 0 {
		return nil
	}
	if m.Properties.Has(mqtt.PropTopicAlias) || m.Properties.Has(mqtt.PropSubscriptionIdentifier) {
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Reason: "property is not for a client to set on a message"}
	}
	var buf [256]byte
	_, err := mqtt.AppendPublish(buf[:0], &mqtt.Publish{Topic: []byte("t"), Properties: m.Properties}, mqtt.Version5)
	return err
}

// send publishes k.pub, whose reference is p at QoS 1 and 2, on the stream of a lane. c.mu is held.
func (k *conn) send(l *lane, p *Publication) (sent bool, err error) {
	if k.version < mqtt.Version5 {
		k.pub.Properties = nil
	}
	sent, err = k.sess.Publish(time.Now(), l.stream(), &k.pub, p)
	if err != nil || !sent {
		return sent, err
	}
	return true, k.appendPublish(l)
}

// appendPublish encodes k.pub into the output buffer of the stream of a lane.
func (k *conn) appendPublish(l *lane) error {
	if k.early && l.s == nil {
		k.hold(&k.pub)
	}
	out := k.out
	if l.s != nil {
		out = l.s.out
	}
	b, err := mqtt.AppendPublish(out, &k.pub, k.version)
	if err != nil {
		return err
	}
	if l.s == nil {
		k.out = b
	} else {
		l.s.out = b
		l.s.grew(len(b) - len(out))
	}
	k.c.stats.PublishesSent++
	if f := k.c.o.Trace.PacketSent; f != nil {
		f(&k.pub)
	}
	return nil
}
