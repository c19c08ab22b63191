package mqttclient

import (
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// deliveries is the list of received messages without an acknowledgement, in order. Client.mu guards it.
type deliveries struct{ first, last *delivery }

func (l *deliveries) add(d *delivery) {
	d.prev = l.last
	if l.last != nil {
		l.last.next = d
	} else {
		l.first = d
	}
	l.last = d
}

func (l *deliveries) remove(d *delivery) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		l.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		l.last = d.prev
	}
	d.prev, d.next = nil, nil
}

// deliver hands a message to its subscriptions. c.mu is held.
func (k *conn) deliver(p *mqtt.Publish, stream uint64) {
	c := k.c
	if len(c.redelivered) > 0 && p.QoS > mqtt.QoS0 && k.repeated(p, stream) {
		return
	}
	name, subs := c.routes.find(p)
	if len(subs) == 0 {
		if c.unrouted == nil {
			c.stats.Unrouted++
			if p.QoS > mqtt.QoS0 {
				c.acknowledge(stream, p.ID, p.QoS, mqtt.ReasonSuccess)
			}
			return
		}
		c.routes.targets = append(c.routes.targets[:0], c.unrouted)
		subs = c.routes.targets
	}
	c.stats.MessagesReceived++
	m := newMessage(name, p)
	d := m.in
	if d != nil {
		d.c, d.id, d.qos, d.conn, d.epoch = c, p.ID, p.QoS, k, c.epoch
		d.open.Store(int32(len(subs)))
		if stream != 0 {
			d.on(k.streams[stream])
		}
		c.unacked.add(d)
	} else {
		k.crowd = subs[0]
	}
	for i, s := range subs {
		own := m
		if i < len(subs)-1 {
			copied := *m
			own = &copied
		}
		if s.push(own) && d != nil && d.open.Add(-1) == 0 {
			c.settle(d, mqtt.ReasonSuccess)
		}
	}
}

// repeated reports whether p is a QoS 1 message of an earlier connection that a consumer has, or has acknowledged
// meanwhile. (At QoS 2 the machine knows.) The identifier cannot be in use again, because the server has not got the
// acknowledgement; unless the server has given up the message, then it does not say that p is a duplicate.
func (k *conn) repeated(p *mqtt.Publish, stream uint64) bool {
	c := k.c
	d := c.redelivered[p.ID]
	if d == nil {
		return false
	}
	delete(c.redelivered, p.ID)
	if !p.Dup || p.QoS != d.qos {
		c.forget(d)
		return false
	}
	c.stats.Duplicates++
	d.conn = k
	if stream != 0 {
		d.on(k.streams[stream])
	}
	if d.acked {
		c.settle(d, d.reason)
	}
	return true
}

// ack acknowledges a message that all its subscriptions have acknowledged.
func (c *Client) ack(d *delivery, reason mqtt.ReasonCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || d.epoch != c.epoch {
		return // the server does not wait for it
	}
	if d.qos == mqtt.QoS1 && (c.conn == nil || c.conn != d.conn) {
		d.acked, d.reason = true, reason // settled when the server sends it again
		return
	}
	c.settle(d, reason)
	if c.conn != nil {
		c.conn.kick()
	}
}

// settle acknowledges d. At QoS 2 the session knows the message whatever the connection. c.mu is held.
func (c *Client) settle(d *delivery, reason mqtt.ReasonCode) {
	stream := c.out.of(d.lane).stream()
	c.forget(d)
	c.acknowledge(stream, d.id, d.qos, reason)
}

// acknowledge acknowledges a message that came on a stream. With Options.Dir that of QoS 2 waits until it is durable that the application has
// the message. c.mu is held.
func (c *Client) acknowledge(stream uint64, id uint16, qos mqtt.QoS, reason mqtt.ReasonCode) {
	if c.store != nil && qos == mqtt.QoS2 && (!reason.IsError() || c.last.version < mqtt.Version5) {
		c.store.received(id, reason)
		return
	}
	c.last.sess.AckStream(time.Now(), stream, id, reason, nil)
	c.last.events()
}

// forget takes d off the list of those that the server waits for.
func (c *Client) forget(d *delivery) {
	c.unacked.remove(d)
	d.epoch = 0
	if d.lane != 0 {
		c.acked(d)
	}
}

// on notes on which stream a message came.
func (d *delivery) on(s *stream) {
	if s != nil {
		d.lane = s.lane.n
		s.lane.unacked++
	}
}

// acked takes note that a message that came on a data stream is acknowledged or forgotten.
func (c *Client) acked(d *delivery) {
	l := c.out.of(d.lane)
	d.lane = 0
	l.unacked--
	l.used = true
}

// newSession forgets the messages of a session that the server has lost. c.mu is held.
func (c *Client) newSession() {
	c.epoch++
	c.unacked = deliveries{}
	c.redelivered = nil
}

// expectRedelivery prepares for the messages that the server sends again in a resumed session. c.mu is held.
func (c *Client) expectRedelivery() {
	clear(c.redelivered)
	for d := c.unacked.first; d != nil; d = d.next {
		if d.qos != mqtt.QoS1 {
			continue
		}
		if c.redelivered == nil {
			c.redelivered = make(map[uint16]*delivery)
		}
		c.redelivered[d.id] = d
	}
}
