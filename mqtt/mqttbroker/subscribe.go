package mqttbroker

import (
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Subscribe implements [mqttserver.Session].
func (c *conn) Subscribe(bt *mqttserver.Batch, p *mqtt.Subscribe) { c.subscribe(bt, p, 0) }

// subscribe makes the subscriptions of a SUBSCRIBE, whose messages are sent where on says.
func (c *conn) subscribe(bt *mqttserver.Batch, p *mqtt.Subscribe, on subscriptionOptions) {
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
		o := makeOptions(f, id, d) | on
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
	stored := existed && !sub.options().has(optEphemeral)
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
	switch {
	case !o.has(optEphemeral):
		b.rec.note(s, record{kind: recordSubscribed, filter: f.Filter, opts: o}, Token{})
	case stored:
		b.rec.note(s, record{kind: recordUnsubscribed, filter: f.Filter}, Token{})
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
	if wanted && !o.has(optEphemeral) {
		c.replaying.Store(true) // until drain finds nothing left
	}
	if !existed {
		b.subs.Insert(filter, sub)
	}
	if !wanted {
		return
	}
	r := b.newReplay(filter, o)
	switch {
	case len(r.list) == 0:
	case o.has(optEphemeral):
		l := c.lanes[o.stream()]
		l.replays = append(l.replays, r)
	default:
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
	if sub != nil && !sub.options().has(optEphemeral) {
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
		if c := s.conn.Load(); c != nil {
			for _, l := range c.lanes {
				refs = append(refs, l.filter(func(ref any) bool { return ref.(*outgoing).member != sub })...)
			}
		}
		if len(refs) > 0 {
			b.rewriteMoving(s, refs)
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
	if l := s.backlog; l != nil {
		refs = append(abandon(l), refs...)
		for _, ref := range l.queue.filter(func(any) bool { return false }) {
			if m, _, _, _ := unpack(ref); s.recordsOf(ref) {
				b.rec.release(m)
			}
			b.lost(s, ref, DropEnded)
		}
		s.trim()
	}
	b.abandonState(s)
	left := s.cold() != nil || s.state != nil // what is not in memory
	if s.durable && (len(refs) > 0 || left) {
		b.rewriteMoving(s, refs)
	}
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
	if !left {
		b.forgetSession(s)
		return
	}
	b.spawn(func() { b.takeApart(s) })
}

// endsSession takes a session out of those of the broker, which calls endSession next. b.mu is held.
func (b *Broker) endsSession(s *session) {
	delete(b.sessions, s.id)
	if !s.told {
		return
	}
	b.ending[s.num] = s
	s.expiry, s.expires = 0, 1 // if it is still there after a crash, it ends again
	b.recordOwner(s, false)
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
func abandon(l *backlog) (others []any) {
	for _, ref := range l.shared.takeAll() {
		if ref.(*outgoing).qos == mqtt.QoS1 {
			others = append(others, ref)
		}
	}
	return others
}

// abandonState lets go what is in flight to a session that ends, but for what abandon returned. What is to go to other
// members of groups and is not in memory stays in the State, which is nil if there is none. s.mu is held.
func (b *Broker) abandonState(s *session) {
	if s.state == nil || !s.durable {
		s.state = nil
		return
	}
	var done []uint16
	stay := 0
	for o := range s.state.Outbound() {
		switch ref := o.Ref.(type) {
		case *entry:
			if ref.group != "" && ref.qos == mqtt.QoS1 {
				stay++
				continue
			}
			b.rec.releaseSeq(ref.seq, int(ref.size))
		case *outgoing:
			if ref.member == nil || ref.qos != mqtt.QoS1 {
				b.rec.release(ref.m)
			}
		case *Message:
			b.rec.release(ref)
		}
		done = append(done, o.ID)
	}
	if stay == 0 {
		s.state = nil
		return
	}
	for _, id := range done {
		_ = s.state.Apply(mqtt.DeltaSettled, id, 0, nil) // it is in the State
	}
}

// takeApart lets go what waited for a session that has ended and is not in memory. What came by shared subscriptions goes
// to other members. Each step is recorded: a crash goes on where it was.
func (b *Broker) takeApart(s *session) {
	rd := b.rec.j.Reader()
	for b.takeFlight(s, rd) || b.takeFirst(s, rd) {
		if b.rec.broken() || b.isStopped() {
			return // the next broker goes on
		}
	}
	s.mu.Lock()
	rest := s.cold() != nil || s.state != nil
	s.mu.Unlock()
	if !rest {
		b.forgetSession(s)
	}
}

// takeFlight takes one of the messages in flight. It reports false when there is none.
func (b *Broker) takeFlight(s *session, rd JournalReader) bool {
	s.mu.Lock()
	if s.state == nil {
		s.mu.Unlock()
		return false
	}
	for o := range s.state.Outbound() {
		e := o.Ref.(*entry)
		b.rec.reopen(s, e, o.ID)
		_ = s.state.Apply(mqtt.DeltaSettled, o.ID, 0, nil) // it is in the State
		s.mu.Unlock()
		b.moveOn(s, rd, e)
		return true
	}
	s.state = nil
	s.mu.Unlock()
	return false
}

// takeFirst takes the first message of the queue. It reports false when there is none, or it cannot be read.
func (b *Broker) takeFirst(s *session, rd JournalReader) bool {
	s.mu.Lock()
	co := s.cold()
	for co != nil && co.head.n == 0 { // others may open pages and drop what is in them meanwhile
		if s.backlog.queue.n == 0 {
			s.backlog = nil
		} else if !b.openPage(s, co, rd) {
			break
		}
		co = s.cold()
	}
	if co == nil || co.head.n == 0 {
		s.mu.Unlock()
		return false
	}
	q := &s.backlog.queue
	e := co.head.pop()
	q.n--
	q.bytes -= int(e.size)
	if e.group == "" {
		b.rec.note(s, record{kind: recordDropped}, Token{})
		b.rec.releaseSeq(e.seq, int(e.size))
		b.dropped(s, "", DropEnded)
	} else {
		b.rec.reopen(s, &e, 0)
	}
	b.left(s)
	s.trim()
	s.mu.Unlock()
	if e.group != "" {
		b.moveOn(s, rd, &e)
	}
	return true
}

// moveOn gives a message that was reopened to another member of its group, and lets it go.
func (b *Broker) moveOn(s *session, rd JournalReader, e *entry) {
	m, err := b.readSurely(rd, e.seq)
	if err != nil {
		if !b.isStopped() {
			b.opts.Logger.Error("journal: a message that waited cannot be read", "client", s.id, "err", err)
			b.dropped(s, "", DropUnreadable)
			m = coldMessage("", e.seq, messageFlags(e.qos), e.size-messageOverhead, 0)
			b.rec.accepted(m, e.group, Token{})
		}
		return
	}
	b.redispatch([]any{&outgoing{m: m, qos: e.qos, retain: e.retain, ids: e.ids, recorded: true, member: &subscription{s: s, filter: e.group}}})
}
