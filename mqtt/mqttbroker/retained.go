package mqttbroker

import (
	"hash/maphash"
	"iter"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
)

// retained is the store of retained messages.
type retained struct {
	names *topic.Names[*Message]
	seed  maphash.Seed
	locks [64]sync.Mutex
}

// stripe returns the lock that orders the retained messages of a topic: it is held while one is stored and fanned out,
// so that both happen in the same order.
func (r *retained) stripe(name []byte) *sync.Mutex {
	return &r.locks[maphash.Bytes(r.seed, name)%uint64(len(r.locks))]
}

// retain stores the publication as the retained message of its topic, or removes the one that there is if the payload is
// empty [MQTT-3.3.1-6]. The stripe of the topic is held.
func (b *Broker) retain(pub *publication) mqtt.ReasonCode {
	old, _ := b.retained.names.GetBytes(pub.in.Topic)
	if len(pub.in.Payload) == 0 {
		if old != nil {
			b.unretain(old)
		}
		return mqtt.ReasonSuccess
	}
	if old != nil {
		pub.topic = old.Topic()
	}
	if old == nil && b.opts.MaxRetained > 0 && b.gauges.retained.Load() >= int64(b.opts.MaxRetained) {
		return mqtt.ReasonQuotaExceeded
	}
	m := pub.message(b)
	grow := int64(m.bytes())
	if old != nil {
		grow -= int64(old.bytes())
	}
	if b.opts.MaxRetainedBytes > 0 && b.gauges.retainedBytes.Load()+grow > int64(b.opts.MaxRetainedBytes) {
		return mqtt.ReasonQuotaExceeded
	}
	b.gauges.retainedBytes.Add(grow)
	if old == nil {
		b.gauges.retained.Add(1)
	}
	b.recordRetained(m.Topic(), m, old)
	b.retained.names.Set(m.Topic(), m)
	if old != nil {
		b.deadlines.forget(old)
	}
	if m.flags&flagExpires != 0 {
		b.deadlines.add(m)
	}
	return mqtt.ReasonSuccess
}

// unretain removes a retained message. The stripe of its topic is held.
func (b *Broker) unretain(m *Message) {
	b.retained.names.Delete(m.Topic())
	b.deadlines.forget(m)
	b.gauges.retained.Add(-1)
	b.gauges.retainedBytes.Add(-int64(m.bytes()))
	b.recordRetained(m.Topic(), nil, m)
}

// recordRetained records that the retained message of a topic is now m, nil for none, after old, nil for none. What the
// broker tells about itself is not recorded.
func (b *Broker) recordRetained(name string, m, old *Message) {
	if b.rec == nil || reserved(name) {
		return
	}
	rec := Record{Kind: RecordRetained, Topic: name}
	if m != nil {
		b.rec.hold(m)
		rec.Seq = m.seq
	}
	b.rec.note(rec)
	if old != nil {
		b.rec.release(old)
	}
}

// expireRetained removes a retained message whose time has come, unless it was replaced.
func (b *Broker) expireRetained(m *Message) {
	mu := b.retained.stripe([]byte(m.Topic()))
	mu.Lock()
	defer mu.Unlock()
	if b.isRetained(m) {
		b.unretain(m)
	}
}

// isRetained reports whether m is still the retained message of its topic.
func (b *Broker) isRetained(m *Message) bool {
	now, ok := b.retained.names.Get(m.Topic())
	return ok && now == m
}

// replay is the rest of the retained messages for a new subscription.
type replay struct {
	list []*Message
	opts subscriptionOptions
	// pending are the messages of list that are still to be sent. It is made when a live message wants one of them out of
	// turn; nil means all of them.
	pending map[*Message]struct{}
}

// newReplay collects the retained messages for a subscription, after it was made: what is retained from then on comes
// live.
func (b *Broker) newReplay(filter string, o subscriptionOptions) replay {
	r := replay{opts: o}
	now := time.Now().UnixMilli()
	for _, m := range b.retained.names.Match(filter) {
		if !m.expired(now) {
			r.list = append(r.list, m)
		}
	}
	return r
}

// next returns the next message that is still retained and may be received, nil when there is none any more.
func (r *replay) next(b *Broker, s *session) *Message {
	for len(r.list) > 0 {
		m := r.list[0]
		if r.waits(m) && b.isRetained(m) && r.permitted(s, m) {
			return m
		}
		r.skip()
	}
	return nil
}

// permitted reports whether the client may receive m.
func (r *replay) permitted(s *session, m *Message) bool {
	return s == nil || !r.opts.has(optChecked) || s.allowed(ActionReceive, m.Topic()) == Allow
}

// waits reports whether m, which is in the list, is still to be sent.
func (r *replay) waits(m *Message) bool {
	if r.pending == nil {
		return true
	}
	_, ok := r.pending[m]
	return ok
}

// take takes m out of turn. It reports whether m was still to be sent.
func (r *replay) take(m *Message) bool {
	if r.pending == nil {
		r.pending = make(map[*Message]struct{}, len(r.list))
		for _, m := range r.list {
			r.pending[m] = struct{}{}
		}
	}
	_, ok := r.pending[m]
	delete(r.pending, m)
	return ok
}

// skip takes the first message off.
func (r *replay) skip() {
	delete(r.pending, r.list[0])
	r.list[0] = nil
	r.list = r.list[1:]
}

// ref returns how the message m of the replay travels.
func (r *replay) ref(m *Message) any {
	var ids []uint32
	if r.opts.id() != 0 {
		ids = []uint32{r.opts.id()}
	}
	return refOf(m, min(m.QoS(), r.opts.qos()), true, ids, nil)
}

// replaySome sends some retained messages and reports whether it makes sense to go on. One that was replaced meanwhile
// is left out: the one that replaced it has come or comes live, and this one must not come after it. The check and the
// sending happen under s.mu, which a live message of that topic needs too.
func (c *conn) replaySome(bt *mqttserver.Batch, sc *scratch) bool {
	s, l := c.s, c.s.backlog
	for range chunk {
		if len(l.replays) == 0 {
			l.replays = nil
			c.replaying.Store(false)
			return false
		}
		r := &l.replays[0]
		m := r.next(c.b, s)
		if m == nil {
			l.replays[0] = replay{}
			l.replays = l.replays[1:]
			continue
		}
		if !c.sendRetained(bt, sc, r.ref(m)) {
			return false
		}
		r.skip()
	}
	return true
}

// ahead sends the retained message of a live message's topic before its turn in a replay, so that it does not come after
// the live one.
func (b *Broker) ahead(bt *mqttserver.Batch, sc *scratch, pub *publication, s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, l := s.conn.Load(), s.backlog
	if c == nil || l == nil {
		return
	}
	m, ok := b.retained.names.GetBytes(pub.in.Topic)
	if !ok {
		return
	}
	for i := range l.replays {
		r := &l.replays[i]
		if !r.take(m) || !r.permitted(s, m) {
			continue
		}
		ref := r.ref(m)
		if s.waits() {
			if c.withheld(sc, ref) {
				continue
			}
		} else if c.sendRetained(bt, sc, ref) {
			continue
		}
		if b.queuedRetained(s, ref) {
			b.enqueue(s, ref)
		}
	}
}

// withheld reports whether the hook keeps a retained message from the client.
func (c *conn) withheld(sc *scratch, ref any) bool {
	f := c.b.opts.Hooks.OnDeliver
	if f == nil {
		return false
	}
	sc.render(ref, time.Now().UnixMilli())
	return !f(c.s.id, &sc.out)
}

// queuedRetained is queued for a retained message of QoS 1 or 2. It reports false when the message was replaced just now
// and the journal has it no more: the one that replaced it comes live.
func (b *Broker) queuedRetained(s *session, ref any) bool {
	m, qos, _, _ := unpack(ref)
	if qos == 0 {
		return true
	}
	if !b.rec.tryHold(m) {
		return false
	}
	b.queued(s, ref)
	b.rec.release(m)
	return true
}

// sendRetained is send for a message that was not queued.
func (c *conn) sendRetained(bt *mqttserver.Batch, sc *scratch, ref any) (taken bool) {
	m, qos, _, _ := unpack(ref)
	if c.withheld(sc, ref) {
		return true
	}
	if !c.b.queuedRetained(c.s, ref) {
		return true
	}
	taken = c.send(bt, sc, ref)
	switch {
	case taken:
		c.stripe.sent(1, len(m.Payload()))
	case qos > 0:
		c.b.unqueued(c.s, m)
	}
	return taken
}

// Retained returns the retained messages whose topics match a filter, in no particular order; none when the filter is not
// valid. Messages that are retained meanwhile may be among them.
func (b *Broker) Retained(filter string) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		if topic.MQTT.ValidateFilter(filter) != nil {
			return
		}
		now := time.Now().UnixMilli()
		for _, m := range b.retained.names.Match(filter) {
			if !m.expired(now) && !yield(m) {
				return
			}
		}
	}
}

// DeleteRetained removes the retained message of a topic and reports whether there was one. Subscribers are not told.
func (b *Broker) DeleteRetained(name string) bool {
	mu := b.retained.stripe([]byte(name))
	mu.Lock()
	defer mu.Unlock()
	m, ok := b.retained.names.Get(name)
	if ok {
		b.unretain(m)
	}
	return ok
}
