package mqttbroker

import (
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Subscribe implements [mqttserver.Session].
func (c *conn) Subscribe(bt *mqttserver.Batch, p *mqtt.Subscribe) {
	id, _ := p.Properties.Uvarint(mqtt.PropSubscriptionIdentifier)
	gen := c.b.permitGen.Load()
	reasons := make([]mqtt.ReasonCode, len(p.Filters))
	for i, f := range p.Filters {
		filter, _ := sharedFilter(f.Filter)
		d := c.s.allowed(ActionSubscribe, filter)
		if d == Deny {
			reasons[i] = mqtt.ReasonNotAuthorized
			continue
		}
		reasons[i] = mqtt.ReasonGrantedQoS0 + mqtt.ReasonCode(f.QoS)
		o := makeOptions(f, id, d)
		c.b.subscribe(c.s, f, filter, o, gen)
		if c.b.rec != nil {
			c.b.rec.note(Record{Kind: RecordSubscribed, Client: c.s.id, Subscription: f, IDs: []uint32{id}})
		}
		if f := c.b.opts.Events.Subscribed; f != nil {
			f(c.client, p.Filters[i])
		}
	}
	suback := &mqtt.Suback{ID: p.ID, Reasons: reasons}
	c.b.rec.await(bt, Record{Kind: RecordAccepted, Client: c.s.id}, c, func(bt *mqttserver.Batch, o Outcome) {
		if o != Done {
			c.cut(bt)
			return
		}
		c.c.Suback(bt, suback)
		c.drain(bt)
	})
}

// Unsubscribe implements [mqttserver.Session].
func (c *conn) Unsubscribe(bt *mqttserver.Batch, p *mqtt.Unsubscribe) {
	unsuback := &mqtt.Unsuback{ID: p.ID, Reasons: make([]mqtt.ReasonCode, len(p.Filters))}
	for i, filter := range p.Filters {
		if !c.b.unsubscribe(c.s, filter) {
			unsuback.Reasons[i] = mqtt.ReasonNoSubscriptionExisted
			continue
		}
		c.b.rec.note(Record{Kind: RecordUnsubscribed, Client: c.s.id, Topic: filter})
		if f := c.b.opts.Events.Unsubscribed; f != nil {
			f(c.client, filter)
		}
	}
	c.b.rec.await(bt, Record{Kind: RecordAccepted, Client: c.s.id}, c, func(bt *mqttserver.Batch, o Outcome) {
		if o != Done {
			c.cut(bt)
			return
		}
		c.c.Unsuback(bt, unsuback)
	})
}

// subscribe makes a subscription of a session, or replaces the options of one with the same filter [MQTT-3.8.4-3].
// filter is the one without the share name. gen is that of the permissions by which it was allowed.
//
// The retained messages are collected after the filter is in the index, and under the lock that a live message needs
// while they wait: so each topic's retained message is on its way before a live message of that topic.
func (b *Broker) subscribe(s *session, f mqtt.Subscription, filter string, o subscriptionOptions, gen uint32) {
	s.mu.Lock()
	sub := s.subs.get(f.Filter)
	existed := sub != nil
	if existed {
		sub.opts.Store(uint64(o))
	} else {
		sub = &subscription{s: s, filter: f.Filter}
		sub.opts.Store(uint64(o))
		s.subs.add(sub)
		s.overlaps.Store(s.subs.overlap())
	}
	if gen != b.permitGen.Load() { // they have changed meanwhile
		s.reauthorize(sub)
	}
	if !existed {
		b.gauges.subscriptions.Add(1)
	}
	if sub.shared() {
		s.mu.Unlock()
		if !existed {
			b.gauges.shared.Add(1)
			b.join(sub, filter)
		}
		return
	}
	defer s.mu.Unlock()
	c := s.conn.Load()
	wanted := c != nil && (f.RetainHandling == mqtt.RetainSend || f.RetainHandling == mqtt.RetainSendIfNew && !existed)
	if wanted {
		c.replaying.Store(true) // until drain finds nothing left
	}
	if !existed {
		b.subs.Insert(filter, sub)
	}
	if !wanted {
		return
	}
	if r := b.newReplay(filter, o); len(r.list) > 0 {
		l := s.pending()
		l.replays = append(l.replays, r)
	}
}

// unsubscribe removes a subscription of a session. What it has brought and what waits comes nevertheless; messages of a
// shared subscription that wait go to other members.
func (b *Broker) unsubscribe(s *session, name string) bool {
	s.mu.Lock()
	sub := s.subs.remove(name)
	s.overlaps.Store(s.subs.overlap())
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	b.withdraw(sub)
	if sub.shared() {
		s.mu.Lock()
		refs := s.takeShared(sub)
		s.mu.Unlock()
		b.redispatch(refs)
	}
	return true
}

// withdraw takes a subscription of a session out of the index or its group.
func (b *Broker) withdraw(sub *subscription) {
	b.gauges.subscriptions.Add(-1)
	if sub.shared() {
		b.gauges.shared.Add(-1)
		b.leave(sub)
		return
	}
	b.subs.Delete(sub.filter, sub)
}

// endSession ends a session that is not among the broker's any more: its subscriptions, what waits for it, its will.
func (b *Broker) endSession(s *session, why End) {
	s.mu.Lock()
	s.ended = true
	subs := s.subs.list
	s.subs = subscriptions{}
	s.mu.Unlock()
	b.deadlines.set(s, 0)
	for _, sub := range subs {
		b.withdraw(sub)
	}
	s.mu.Lock()
	refs := s.takeShared(nil)
	if l := s.backlog; l != nil {
		refs = append(b.abandon(l), refs...)
		b.discard(s, l.queue.filter(func(any) bool { return false }), DropEnded)
	}
	s.backlog = nil
	s.mu.Unlock()
	b.rec.note(Record{Kind: RecordEnded, Client: s.id})
	b.redispatch(refs)
	b.mu.Lock()
	w := s.takeWill()
	b.mu.Unlock()
	b.publishWill(s, w) // the session ends before the will delay [MQTT-3.1.2-8]
	b.opts.Logger.Debug("session ended", "client", s.id, "why", why)
	if f := b.opts.Events.SessionEnded; f != nil {
		f(s.id, why)
	}
}

// abandon takes what is in flight out of the backlog of a session that ends. It returns what came by shared
// subscriptions at QoS 1: others may get that, but not what has QoS 2 [MQTT-4.8.2-5]. s.mu is held.
func (b *Broker) abandon(l *backlog) (others []any) {
	for _, ref := range l.shared.takeAll() {
		if ref.(*outgoing).qos == mqtt.QoS1 {
			others = append(others, ref)
			delete(l.inflight, ref)
		}
	}
	for ref, n := range l.inflight {
		m, _, _, _ := unpack(ref)
		for range n {
			b.rec.release(m)
		}
	}
	return others
}
