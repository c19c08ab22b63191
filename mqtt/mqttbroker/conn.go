package mqttbroker

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// conn is one connection of a session: what mqttserver calls a Session.
type conn struct {
	b       *Broker
	s       *session
	c       *mqttserver.Conn
	client  *Client
	stripe  *counters
	v5      bool
	present bool
	topics  *topicCache // made by the first publish

	// For Resend.
	out   mqtt.Publish
	name  []byte
	props mqtt.Properties

	// replaying tells that retained messages may wait in the session's backlog.replays, or live ones of QoS 0 behind them
	// in its queue. It is set before the subscription is in the index, and changed with the session's lock held.
	replaying atomic.Bool

	lanes map[uint32]*lane // of data streams, by number; under the session's lock. nil on TCP
	laned atomic.Bool      // there were some

	waiting atomic.Int64  // records that the journal has not completed
	closed  atomic.Bool   // Closed was called
	left    atomic.Bool   // done is closed
	done    chan struct{} // closed when the session may have another connection
}

// Start implements [mqttserver.Session].
func (c *conn) Start(bt *mqttserver.Batch) {
	c.s.mu.Lock()
	c.replaying.Store(c.s.backlog != nil)
	c.s.conn.Store(c)
	c.s.mu.Unlock()
	c.b.opts.Logger.Debug("connected", "client", c.client.ID, "user", c.client.User, "remote", c.client.RemoteAddr, "present", c.present)
	if f := c.b.opts.Events.Connected; f != nil {
		f(c.client, c.present)
	}
	c.drain(bt)
}

// Ready implements [mqttserver.Session].
func (c *conn) Ready(bt *mqttserver.Batch) { c.drain(bt) }

// Publish implements [mqttserver.Session].
func (c *conn) Publish(bt *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	from := publisher{client: c.client, stripe: c.stripe, c: c, ack: ack, id: p.ID}
	if c.b.opts.Authorize != nil || p.QoS > 0 || p.Retain || p.Topic[0] == '$' {
		var ok bool
		if from.topic, ok = c.mayPublish(p.Topic); !ok {
			c.stripe.received(len(p.Payload))
			c.stripe.rejected.Add(1)
			c.b.answer(bt, new(publication), from, p.QoS, mqtt.ReasonNotAuthorized)
			return
		}
	}
	c.b.accept(context.Background(), bt, c.b.scratch(bt), p, from)
}

// Settled implements [mqttserver.Session]. Whatever the reason, the message is done: one that the client refused is not
// sent to others [MQTT-4.8.2-6].
func (c *conn) Settled(_ *mqttserver.Batch, ref any, _ mqtt.ReasonCode) {
	if o, ok := ref.(*outgoing); !ok || o.member == nil {
		return
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.unshare(ref)
}

// Resend implements [mqttserver.Session].
func (c *conn) Resend(ref any) (*mqtt.Publish, bool) {
	m, qos, retain, ids := unpack(ref)
	if m == nil {
		return nil, false
	}
	c.name = append(c.name[:0], m.Topic()...)
	c.props = m.appendProperties(c.props[:0], time.Now().UnixMilli(), ids)
	c.out = mqtt.Publish{Topic: c.name, Payload: m.Payload(), Properties: c.props, QoS: qos, Retain: retain}
	return &c.out, true
}

// Closed implements [mqttserver.Session].
func (c *conn) Closed(cause error, d *mqtt.Disconnect) {
	b, s := c.b, c.s
	switch {
	case c.c.KeepsStreams():
		c.keepLanes(0)
	case c.laned.Load():
		b.endLanes(c, func(subscriptionOptions) bool { return true })
	}
	s.mu.Lock()
	s.conn.Store(nil)
	s.mu.Unlock()
	b.opts.Logger.Debug("disconnected", "client", s.id, "err", cause)
	if f := b.opts.Events.Disconnected; f != nil {
		f(c.client, cause)
	}
	now := time.Now()
	b.mu.Lock()
	if d != nil {
		c.sayGoodbye(d)
	}
	var w *will
	switch {
	case s.will == nil:
	case s.will.delay == 0:
		w = s.will // it is taken when it is published
	default:
		s.will.due = seconds(now, s.will.delay)
		s.will.client = c.client
	}
	if s.expiry != forever {
		s.expires = seconds(now, s.expiry)
	}
	if w != nil {
		w.due = now.UnixMilli()
	}
	b.recordOwner(s, false)
	if w != nil {
		s.will = nil
	}
	b.mu.Unlock()
	b.publishWill(s, w)
	c.closed.Store(true)
	c.leave()
}

// sayGoodbye does what DISCONNECT asks for: no will unless it says so [MQTT-3.14.4-3], another session expiry interval
// (section 3.14.2.2.2). b.mu is held.
func (c *conn) sayGoodbye(d *mqtt.Disconnect) {
	s := c.s
	if d.Reason == mqtt.ReasonNormalDisconnection {
		s.will = nil
	}
	if expiry, ok := d.Properties.Uint32(mqtt.PropSessionExpiryInterval); ok && s.expiry != 0 {
		s.expiry = c.b.capExpiry(expiry)
	}
}

// completed counts a record that the journal has completed.
func (c *conn) completed() {
	c.waiting.Add(-1)
	c.leave()
}

// leave lets the session go once the connection is closed and nothing of it is under way in the journal: what is
// completed later would change the State that another connection has.
func (c *conn) leave() {
	if !c.closed.Load() || c.waiting.Load() > 0 || !c.left.CompareAndSwap(false, true) {
		return
	}
	b, s := c.b, c.s
	b.rest(s)
	b.mu.Lock()
	s.owner = nil
	ends, why := s.expiry == 0, EndExpired
	if s.doomed {
		ends, why = true, EndDeleted
	}
	if ends {
		b.endsSession(s)
	} else {
		b.schedule(s)
	}
	b.gauges.connected.Add(-1)
	b.checkIdle()
	b.mu.Unlock()
	if ends {
		b.endSession(s, why)
	}
	close(c.done)
}

// cut closes the connection of a publisher whose message may be lost.
func (c *conn) cut(bt *mqttserver.Batch) {
	c.c.Disconnect(bt, &mqtt.Disconnect{Reason: mqtt.ReasonImplementationSpecificError})
}

// Subscribed implements [mqttserver.Subscriptions].
func (c *conn) Subscribed(filter string) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.subs.find(filter) >= 0
}

// Subscriptions implements [mqttserver.Subscriptions].
func (c *conn) Subscriptions() int {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return len(c.s.subs.list)
}

// durableConn is a conn of a session that the journal has.
type durableConn struct{ *conn }

// Persist implements [mqttserver.Persister]. Assignments of identifiers are recorded when the message is sent, under the
// lock of the session, so that what comes later is recorded later.
func (c *durableConn) Persist(_ *mqttserver.Batch, d mqttserver.Delta) {
	var t Token
	if d.Token != 0 {
		t = Token{kind: tokenPersisted, c: c.conn, token: d.Token}
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if o, ok := d.Ref.(*outgoing); ok && o.ephemeral {
		if !t.IsZero() {
			c.b.rec.wait(t)
		}
		return
	}
	rec, ok := stateRecord(d.Delta, d.ID)
	switch {
	case d.Delta == mqtt.DeltaSettled:
		m, _, _, _ := unpack(d.Ref)
		c.s.unshare(d.Ref)
		c.b.rec.noteReleasing(c.s, rec, m)
	case ok && c.b.rec.note(c.s, rec, t):
	case !t.IsZero():
		c.b.rec.wait(t)
	}
}

// Settled implements [mqttserver.Session]. Persist has done it.
func (c *durableConn) Settled(*mqttserver.Batch, any, mqtt.ReasonCode) {}

// topicCache remembers topics to which a connection may publish.
type topicCache struct {
	gen    uint32
	topics [16]string
}

// mayPublish reports whether the client may publish to a topic, and returns it as a string.
func (c *conn) mayPublish(name []byte) (string, bool) {
	if c.topics == nil {
		c.topics = new(topicCache)
	}
	t := c.topics
	if gen := c.b.permitGen.Load(); gen != t.gen {
		*t = topicCache{gen: gen}
	}
	place := &t.topics[cacheHash(name)%uint32(len(t.topics))]
	if *place == string(name) {
		return *place, true
	}
	text := string(name)
	if reserved(text) || c.s.allowed(ActionPublish, text) != Allow {
		return "", false
	}
	*place = text
	return text, true
}

// cacheHash is a hash of the length and the last bytes, where topics differ most.
func cacheHash(name []byte) uint32 {
	h := uint32(len(name))
	for _, b := range name[max(0, len(name)-12):] {
		h = h*31 + uint32(b)
	}
	return h ^ h>>8
}

// reserved reports whether clients may not publish to a topic: those of the broker itself.
func reserved(name string) bool { return name == sysRoot || strings.HasPrefix(name, sysRoot+"/") }
