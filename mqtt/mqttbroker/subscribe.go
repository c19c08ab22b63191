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
		if f := c.b.opts.Events.Subscribed; f != nil {
			f(c.client, p.Filters[i])
		}
	}
	suback := &mqtt.Suback{ID: p.ID, Reasons: reasons}
	c.whenDurable(bt, func(bt *mqttserver.Batch) {
		c.c.Suback(bt, suback)
		c.drain(bt)
	})
}

// whenDurable calls then when everything recorded so far is durable; at once if nothing of the session is recorded.
func (c *conn) whenDurable(bt *mqttserver.Batch, then func(bt *mqttserver.Batch)) {
	if !c.s.durable {
		then(bt)
		return
	}
	c.b.rec.await(c, func(bt *mqttserver.Batch, o Outcome) {
		if o != Done {
			c.cut(bt)
			return
		}
		then(bt)
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
		if f := c.b.opts.Events.Unsubscribed; f != nil {
			f(c.client, filter)
		}
	}
	c.whenDurable(bt, func(bt *mqttserver.Batch) { c.c.Unsuback(bt, unsuback) })
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
	b.rec.note(s, record{kind: recordSubscribed, filter: f.Filter, opts: o}, Token{})
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
	if sub != nil {
		b.rec.note(s, record{kind: recordUnsubscribed, filter: name}, Token{})
	}
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	b.withdraw(sub)
	if sub.shared() {
		s.mu.Lock()
		refs := b.takeShared(s, sub)
		if len(refs) > 0 {
			b.rewrite(s)
		}
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
	refs := b.takeShared(s, nil)
	var cold *cold
	var flight []entry
	if l := s.backlog; l != nil {
		refs = append(b.abandon(s, l), refs...)
		for _, ref := range l.queue.filter(func(any) bool { return false }) {
			if m, _, _, _ := unpack(ref); s.recordsOf(ref) {
				b.rec.release(m)
			}
			b.lost(s, ref, DropEnded)
		}
		cold = l.queue.cold
	}
	s.backlog = nil
	flight, s.state = b.abandonState(s), nil
	s.mu.Unlock()
	b.redispatch(refs)
	b.mu.Lock()
	w := s.takeWill()
	b.mu.Unlock()
	b.publishWill(s, w) // the session ends before the will delay [MQTT-3.1.2-8]
	b.opts.Logger.Debug("session ended", "client", s.id, "why", why)
	if f := b.opts.Events.SessionEnded; f != nil {
		f(s.id, why)
	}
	if cold == nil && len(flight) == 0 {
		b.forgetSession(s)
		return
	}
	b.spawn(func() { b.takeApart(s, cold, flight) })
}

// endsSession takes a session out of those of the broker, which calls endSession next. b.mu is held.
func (b *Broker) endsSession(s *session) {
	delete(b.sessions, s.id)
	if s.told {
		b.ending[s.num] = s
	}
}

// forgetSession records that a session has ended, when nothing waits for it any more.
func (b *Broker) forgetSession(s *session) {
	b.rec.ended(s)
	b.mu.Lock()
	delete(b.ending, s.num)
	b.mu.Unlock()
}

// abandon takes what came by shared subscriptions and is in flight out of the backlog of a session that ends. It returns
// what has QoS 1: others may get that, but not what has QoS 2 [MQTT-4.8.2-5]. s.mu is held.
func (b *Broker) abandon(s *session, l *backlog) (others []any) {
	for _, ref := range l.shared.takeAll() {
		if ref.(*outgoing).qos == mqtt.QoS1 {
			others = append(others, ref)
		}
	}
	b.reopen(s, others)
	return others
}

// abandonState lets go what is in flight to a session that ends, but for what abandon returned. It returns what is to go to
// other members of groups, and is not in memory. s.mu is held.
func (b *Broker) abandonState(s *session) (others []entry) {
	if s.state == nil || !s.durable {
		return nil
	}
	for o := range s.state.Outbound() {
		if e, ok := o.Ref.(*entry); ok {
			if e.group != "" && e.qos == mqtt.QoS1 {
				others = append(others, *e)
				continue
			}
			b.rec.releaseSeq(e.seq, int(e.size))
			continue
		}
		if out, ok := o.Ref.(*outgoing); ok && out.member != nil && out.qos == mqtt.QoS1 {
			continue
		}
		m, _, _, _ := unpack(o.Ref)
		b.rec.release(m)
	}
	return others
}

// takeApart lets go what waited for a session that has ended and is not in memory. What came by shared subscriptions goes
// to other members.
func (b *Broker) takeApart(s *session, c *cold, flight []entry) {
	rd := b.rec.j.Reader()
	for i := range flight {
		b.moveOn(s, rd, &flight[i])
	}
	if c != nil {
		pages := c.pages
		for list := c.head; ; {
			for list.n > 0 && !b.rec.broken() {
				e := list.pop()
				b.dropped(s, "", DropEnded)
				b.moveOn(s, rd, &e)
			}
			if len(pages) == 0 {
				break
			}
			var err error
			if list, err = readPage(rd, pages[0]); err != nil {
				return // the broker is closed, or broken: the next one goes on
			}
			pages = pages[1:]
		}
		for rest := c.tail; rest.n > 0; {
			e := rest.pop()
			b.dropped(s, "", DropEnded)
			b.moveOn(s, rd, &e)
		}
		for _, p := range c.pages {
			b.rec.j.Release(p.seq, p.live)
		}
		for _, p := range c.opened {
			b.rec.j.Release(p.seq, p.live)
		}
	}
	b.forgetSession(s)
}

// moveOn gives a message of a session that has ended to another member of its group, if it has one, and lets it go.
func (b *Broker) moveOn(s *session, rd JournalReader, e *entry) {
	if e.group == "" {
		b.rec.releaseSeq(e.seq, int(e.size))
		return
	}
	m, err := readMessage(rd, e.seq)
	if err != nil {
		b.rec.releaseSeq(e.seq, int(e.size))
		return
	}
	b.rec.reopen(e.seq, e.group)
	b.redispatch([]any{&outgoing{m: m, qos: e.qos, retain: e.retain, ids: e.ids, recorded: true, member: &subscription{s: s, filter: e.group}}})
}
