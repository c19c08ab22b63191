package mqttbroker

import (
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// fanOut delivers a message to everybody who subscribed to its topic.
func (b *Broker) fanOut(bt *mqttserver.Batch, sc *scratch, pub *publication) mqtt.ReasonCode {
	n := 0
	for sub := range b.subs.MatchBytes(pub.in.Topic) {
		switch {
		case sub.s != nil && !sub.s.overlaps.Load(), sub.local != nil && !sub.local.overlaps:
			if b.deliver(bt, sc, pub, sub, sub.options(), nil) {
				n++
			}
		case sub.group != nil:
			if sub.group.deliver(bt, sc, pub) {
				n++
			}
		default:
			sc.merged = append(sc.merged, match{sub, sub.options()})
		}
	}
	if len(sc.merged) > 0 {
		n += b.deliverMerged(bt, sc, pub)
	}
	if n == 0 {
		return mqtt.ReasonNoMatchingSubscribers
	}
	pub.stripe.sent(n, n*len(pub.in.Payload))
	return mqtt.ReasonSuccess
}

// deliverMerged delivers to receivers that may have several matching subscriptions: each gets the message once, with the
// highest QoS and the identifiers of all of them [MQTT-3.3.4-2], [MQTT-3.3.4-4].
func (b *Broker) deliverMerged(bt *mqttserver.Batch, sc *scratch, pub *publication) (n int) {
	all := sc.merged
	slices.SortFunc(all, func(x, y match) int { return cmp.Compare(x.sub.receiver(), y.sub.receiver()) })
	for i := 0; i < len(all); {
		first := all[i].sub
		opts, ids := subscriptionOptions(0), sc.ids[:0]
		for ; i < len(all) && all[i].sub.receiver() == first.receiver(); i++ {
			o := all[i].opts
			if !b.concerns(pub, all[i].sub, o) {
				continue
			}
			if o.id() != 0 && !slices.Contains(ids, o.id()) {
				ids = append(ids, o.id())
			}
			where := o & optWhere // one copy of the message is sent: on stream 0 if one of them is there
			if opts != 0 {
				where = min(where, opts&optWhere)
			}
			opts = max(opts&optQoS, o&optQoS) | (opts|o)&optRAP | optMatched | where
		}
		if sc.ids = ids; opts != 0 && b.deliver(bt, sc, pub, first, opts, ids) {
			n++
		}
	}
	clear(all)
	sc.merged = all[:0]
	return n
}

// receiver returns the number of the session or in-process subscriber.
func (s *subscription) receiver() uint64 {
	if s.s != nil {
		return s.s.num
	}
	return s.local.num
}

// concerns reports whether a subscription with options o gets the message at all: it is not the publisher's own
// [MQTT-3.8.3-3], and its client may receive it.
func (b *Broker) concerns(pub *publication, sub *subscription, o subscriptionOptions) bool {
	if o&(optNoLocal|optChecked|optMatched) == 0 || o.has(optMatched) || sub.s == nil {
		return true
	}
	if o.has(optNoLocal) && pub.from != nil && pub.from.ID == sub.s.id {
		return false
	}
	return !o.has(optChecked) || sub.s.allowed(ActionReceive, pub.name()) == Allow
}

// deliver gives the message to the receiver of a subscription: sends or queues it. It reports whether it did.
func (b *Broker) deliver(bt *mqttserver.Batch, sc *scratch, pub *publication, sub *subscription, o subscriptionOptions, ids []uint32) bool {
	if !b.concerns(pub, sub, o) || pub.got != nil && slices.Contains(pub.got, receiver{session: sub.s.num}) {
		return false
	}
	if ids == nil && o.id() != 0 {
		sc.ids = append(sc.ids[:0], o.id())
		ids = sc.ids
	}
	if sub.s != nil && !pub.locked && !o.has(optEphemeral) && sub.s.replaying() {
		b.ahead(bt, sc, pub, sub.s)
	}
	b.prepare(sc, pub, o, ids)
	if sub.local != nil {
		return sub.local.take(b, sc, pub, ids, nil)
	}
	if f := b.opts.Hooks.OnDeliver; f != nil && !f(sub.s.id, &sc.out) {
		return false
	}
	if o.has(optEphemeral) {
		done, moved := b.deliverLane(bt, sc, pub, sub.s, o, ids, nil, attemptQueue)
		if !moved {
			return done
		}
		o &^= optWhere
	}
	if sc.out.QoS == mqtt.QoS0 {
		return b.deliver0(bt, sc, pub, sub.s, o, ids)
	}
	return b.deliverQueued(bt, sc, pub, sub.s, o, ids)
}

// refTo returns how m travels to a session by a subscription with options o.
func refTo(m *Message, qos mqtt.QoS, retain bool, ids []uint32, member *subscription, o subscriptionOptions) any {
	if o.stream() != 0 {
		return laneRef(m, qos, retain, ids, member, o)
	}
	return refOf(m, qos, retain, ids, member)
}

// prepare makes sc.out, the message as it goes to a receiver whose subscription has options o.
func (b *Broker) prepare(sc *scratch, pub *publication, o subscriptionOptions, ids []uint32) {
	sc.out = *pub.in
	sc.out.QoS = min(sc.out.QoS, o.qos())
	sc.out.Retain = sc.out.Retain && o.has(optRAP)
	if len(ids) > 0 {
		sc.props = appendIDs(append(sc.props[:0], sc.out.Properties...), ids)
		sc.out.Properties = sc.props
	}
	if len(sc.out.Payload) > mqttserver.LargePayload { // it is shared, not copied, and must never change
		sc.out.Payload = pub.message(b).Payload()
	}
}

// deliver0 sends sc.out at QoS 0 to a session's client.
func (b *Broker) deliver0(bt *mqttserver.Batch, sc *scratch, pub *publication, s *session, o subscriptionOptions, ids []uint32) bool {
	locked := pub.locked || s.replaying()
	if locked {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	c := s.conn.Load()
	if c != nil && locked && c.replaying.Load() && s.waits() { // the retained message of the topic may be in the queue, see ahead
		return b.enqueue(s, refTo(pub.message(b), 0, sc.out.Retain, ids, nil, o))
	}
	if c == nil && b.opts.QueueQoS0 {
		m := b.messageFor(pub, s)
		if !locked {
			s.mu.Lock()
			defer s.mu.Unlock()
		}
		if c = s.conn.Load(); c == nil {
			return b.enqueue(s, refOf(m, 0, sc.out.Retain, ids, nil))
		}
	}
	if c == nil {
		return false
	}
	switch c.publish(bt, o.stream(), &sc.out, nil) {
	case mqttserver.Sent:
		return true
	case mqttserver.Dropped:
		b.dropped(s, pub.name(), DropSlow)
	case mqttserver.TooLarge:
		b.dropped(s, pub.name(), DropTooLarge)
	}
	return false
}

// deliverQueued sends sc.out at QoS 1 or 2 to a session's client or, when that is away or behind, queues it.
func (b *Broker) deliverQueued(bt *mqttserver.Batch, sc *scratch, pub *publication, s *session, o subscriptionOptions, ids []uint32) bool {
	ref := refTo(b.messageFor(pub, s), sc.out.QoS, sc.out.Retain, ids, nil, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.sendOrQueue(bt, sc, s, ref)
}

// messageFor returns the message as a session gets it at QoS 1 and 2: the journal has it if it has the session.
func (b *Broker) messageFor(pub *publication, s *session) *Message {
	if b.rec != nil && s.durable {
		return pub.durable(b)
	}
	return pub.message(b)
}

// sendOrQueue sends sc.out, for which ref stands, or queues it. s.mu is held.
func (b *Broker) sendOrQueue(bt *mqttserver.Batch, sc *scratch, s *session, ref any) bool {
	switch b.sendNow(bt, sc, s, ref) {
	case mqttserver.Sent:
		return true
	case mqttserver.TooLarge: // as if it had been sent [MQTT-3.1.2-25]
		b.lost(s, ref, DropTooLarge)
		return true
	}
	return b.enqueue(s, ref)
}

// sendNow sends sc.out unless it would overtake others. s.mu is held.
func (b *Broker) sendNow(bt *mqttserver.Batch, sc *scratch, s *session, ref any) mqttserver.Result {
	c := s.conn.Load()
	if c == nil || s.waits() {
		return mqttserver.Refused
	}
	r := c.publish(bt, streamOf(ref), &sc.out, ref)
	if r == mqttserver.Sent {
		b.sent(s, ref, sc.out.ID, false)
	}
	return r
}

// anyFull reports whether the queue of a receiver is full.
func (b *Broker) anyFull(pub *publication) bool {
	for sub := range b.subs.MatchBytes(pub.in.Topic) {
		if sub.s == nil || sub.options().qos() == 0 || !b.concerns(pub, sub, sub.options()) {
			continue
		}
		sub.s.mu.Lock()
		full := sub.s.backlog != nil && sub.s.backlog.queue.full(b.opts.QueueMessages, b.opts.QueueBytes)
		if c := sub.s.conn.Load(); sub.options().has(optEphemeral) && c != nil {
			l := c.lanes[sub.options().stream()]
			full = l != nil && b.laneFull(sub.s, c, l)
		}
		sub.s.mu.Unlock()
		if full {
			return true
		}
	}
	return false
}
