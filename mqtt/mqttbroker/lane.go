package mqttbroker

import (
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// lane is what waits for a data stream of a connection: its subscriptions and all that is on its way to it are of the stream,
// not of the session, and the journal has nothing of them. A lane that does not go on keeps no other one from going on. When
// its stream ends it ends, too, or becomes a part of the session where that was agreed. A session that keeps the state of
// streams and is in the journal has no lanes. It is used under the lock of the session.
type lane struct {
	queue   queue // in memory
	replays []replay
	zeros   int  // messages of QoS 0 in the queue
	reading bool // the body of a retained message is being read
}

// waits reports whether a message of a QoS must wait for those before it.
func (l *lane) waits(qos mqtt.QoS) bool {
	return len(l.replays) > 0 || l.zeros > 0 || qos > mqtt.QoS0 && l.queue.n > 0
}

// push puts ref at the end of the queue.
func (l *lane) push(ref any) {
	l.queue.push(ref)
	if _, qos, _, _ := unpack(ref); qos == mqtt.QoS0 {
		l.zeros++
	}
}

// pop takes the first message out of the queue.
func (l *lane) pop() any {
	ref := l.queue.pop()
	if _, qos, _, _ := unpack(ref); qos == mqtt.QoS0 {
		l.zeros--
	}
	return ref
}

// filter keeps what keep likes in the queue, and returns the rest.
func (l *lane) filter(keep func(ref any) bool) []any {
	out := l.queue.filter(keep)
	for _, ref := range out {
		if _, qos, _, _ := unpack(ref); qos == mqtt.QoS0 {
			l.zeros--
		}
	}
	return out
}

// SubscribeStream implements [mqttserver.StreamSession].
func (c *conn) SubscribeStream(bt *mqttserver.Batch, stream uint64, p *mqtt.Subscribe) {
	on, keeps := onStream(stream), c.c.KeepsStreams()
	if !keeps || !c.s.durable {
		on |= optEphemeral
		c.s.mu.Lock()
		c.s.kept = keeps
		if c.lanes == nil {
			c.lanes = make(map[uint32]*lane)
			c.laned.Store(true)
		}
		if n := on.stream(); c.lanes[n] == nil {
			c.lanes[n] = new(lane)
		}
		c.s.mu.Unlock()
	}
	c.subscribe(bt, p, on)
}

// StreamClosed implements [mqttserver.StreamSession].
func (c *conn) StreamClosed(bt *mqttserver.Batch, stream uint64) {
	n := onStream(stream).stream()
	if c.c.KeepsStreams() {
		c.keepLanes(n)
		c.drain(bt)
		return
	}
	c.b.endLanes(c, func(o subscriptionOptions) bool { return o.stream() == n })
}

// leaveStreams makes messages for the subscriptions on a data stream, 0 for all, go on stream 0. s.mu is held.
func (s *session) leaveStreams(n uint32) {
	for _, sub := range s.subs.list {
		if o := sub.options(); o.stream() != 0 && (n == 0 || o.stream() == n) {
			sub.opts.Store(uint64(o &^ optWhere))
		}
	}
}

// keepLanes makes what belongs to a data stream, 0 for all, a part of the session, which goes on on stream 0.
func (c *conn) keepLanes(n uint32) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveStreams(n)
	for at, l := range c.lanes {
		if n != 0 && at != n {
			continue
		}
		delete(c.lanes, at)
		for _, r := range l.replays {
			r.opts &^= optWhere
			s.pending().replays = append(s.pending().replays, r)
			c.replaying.Store(true)
		}
		for _, ref := range l.filter(func(any) bool { return false }) {
			o := *ref.(*outgoing)
			o.stream, o.ephemeral = 0, false
			c.b.enqueue(s, &o)
		}
	}
}

// endLanes ends lanes of a connection, with their subscriptions. What waits there by a shared subscription goes to other
// members.
func (b *Broker) endLanes(c *conn, which func(o subscriptionOptions) bool) {
	s := c.s
	s.mu.Lock()
	var subs []*subscription
	for _, sub := range s.subs.list {
		if o := sub.options(); o.has(optEphemeral) && which(o) {
			subs = append(subs, sub)
		}
	}
	for _, sub := range subs {
		s.subs.remove(sub.filter)
	}
	if len(subs) > 0 {
		s.overlaps.Store(s.subs.overlap())
	}
	var refs []any
	for n, l := range c.lanes {
		if which(subscriptionOptions(n)<<streamShift | optEphemeral) {
			refs = append(refs, l.filter(func(any) bool { return false })...)
			delete(c.lanes, n)
		}
	}
	s.mu.Unlock()
	for _, sub := range subs {
		b.withdraw(sub)
		if f := b.opts.Events.Unsubscribed; f != nil {
			f(c.client, sub.filter)
		}
	}
	var shared []any
	for _, ref := range refs {
		if o := ref.(*outgoing); o.member != nil {
			shared = append(shared, ref)
		} else {
			b.lost(s, ref, DropEnded)
		}
	}
	b.redispatch(shared)
}

// laneRef returns how a message travels to a data stream.
func laneRef(m *Message, qos mqtt.QoS, retain bool, ids []uint32, member *subscription, o subscriptionOptions) *outgoing {
	return &outgoing{
		m: m, qos: qos, retain: retain, ids: append([]uint32(nil), ids...), member: member,
		stream: o.stream(), ephemeral: o.has(optEphemeral),
	}
}

// deliverLane sends sc.out on the data stream of a subscription with options o, or queues it in the lane of that as far as
// how allows it. It reports whether it did. s is the subscriber's session. moved is true when the lane has just become a part
// of the session: the message is to be delivered there.
func (b *Broker) deliverLane(bt *mqttserver.Batch, sc *scratch, pub *publication, s *session, o subscriptionOptions, ids []uint32, member *subscription, how attempt) (done, moved bool) {
	m := pub.message(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conn.Load()
	if c == nil || c.lanes[o.stream()] == nil {
		return false, s.kept
	}
	if how == attemptAway {
		return false, false
	}
	l := c.lanes[o.stream()]
	ref := laneRef(m, sc.out.QoS, sc.out.Retain, ids, member, o)
	if !l.waits(sc.out.QoS) {
		switch c.publishLane(bt, sc, ref, how == attemptSend) {
		case mqttserver.Sent:
			return true, false
		case mqttserver.Closed, mqttserver.Gone:
			if !s.kept {
				return false, false
			}
		case mqttserver.TooLarge: // as if it had been sent [MQTT-3.1.2-25]
			b.lost(s, ref, DropTooLarge)
			return sc.out.QoS > mqtt.QoS0, false
		case mqttserver.Dropped:
			b.lost(s, ref, DropSlow)
			return false, false
		}
	}
	if how == attemptSend || sc.out.QoS == mqtt.QoS0 && !l.waits(mqtt.QoS0) {
		return false, false
	}
	if b.laneFull(s, c, l) && !b.makeLaneRoom(s, c, l) {
		b.lost(s, ref, DropQueueFull)
		return false, false
	}
	l.push(ref)
	return true, false
}

// publishLane gives sc.out, for which ref stands, to its data stream. One of QoS 0 that can wait is only offered.
func (c *conn) publishLane(bt *mqttserver.Batch, sc *scratch, ref *outgoing, offer bool) mqttserver.Result {
	stream := uint64(ref.stream) << 2
	if ref.qos > mqtt.QoS0 {
		return c.c.PublishStream(bt, stream, &sc.out, ref)
	}
	if offer {
		return c.c.OfferStream(bt, stream, &sc.out)
	}
	return c.c.PublishStream(bt, stream, &sc.out, nil)
}

// laneFull reports whether the queue of a lane is full: the bounds of a session hold for all its queues together, and one of
// them may take no more than what the others leave. s.mu is held.
func (b *Broker) laneFull(s *session, c *conn, l *lane) bool {
	n, bytes := l.queue.n, l.queue.bytes
	for _, other := range c.lanes {
		n += other.queue.n
		bytes += other.queue.bytes
	}
	if s.backlog != nil {
		n += s.backlog.queue.n
		bytes += s.backlog.queue.bytes
	}
	all := queue{n: n, bytes: bytes}
	return all.full(b.opts.QueueMessages, b.opts.QueueBytes)
}

// makeLaneRoom drops from a full queue what has expired and, where that is the policy, what waits longest. s.mu is held.
func (b *Broker) makeLaneRoom(s *session, c *conn, l *lane) bool {
	now := time.Now().UnixMilli()
	for _, ref := range l.filter(func(ref any) bool { m, _, _, _ := unpack(ref); return !m.expired(now) }) {
		b.lost(s, ref, DropExpired)
	}
	for b.opts.QueuePolicy == DropOldest && l.queue.n > 0 && b.laneFull(s, c, l) {
		b.lost(s, l.pop(), DropQueueFull)
	}
	return !b.laneFull(s, c, l)
}

// drainLanes sends some of what waits for each data stream and reports whether it makes sense to go on.
func (c *conn) drainLanes(bt *mqttserver.Batch, sc *scratch) (more bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for n, l := range c.lanes {
		more = c.drainLane(bt, sc, n, l) || more
	}
	return more
}

// drainLane sends some of what waits for a data stream, retained messages first, and reports whether there may be more that
// can be sent. s.mu is held.
func (c *conn) drainLane(bt *mqttserver.Batch, sc *scratch, n uint32, l *lane) bool {
	for range chunk {
		if len(l.replays) > 0 {
			if !c.replayLane(bt, sc, n, l) {
				return false
			}
			continue
		}
		if l.queue.n == 0 {
			return false
		}
		if !c.sendLane(bt, sc, l.queue.front().(*outgoing), false) {
			return false
		}
		l.pop()
	}
	return true
}

// replayLane sends the next retained message of a lane. It reports false when that must wait. s.mu is held.
func (c *conn) replayLane(bt *mqttserver.Batch, sc *scratch, n uint32, l *lane) bool {
	r := &l.replays[0]
	m := r.next(c.b, c.s)
	if m == nil {
		l.replays[0] = replay{}
		l.replays = l.replays[1:]
		return true
	}
	if m.flags&flagCold != 0 {
		l.reading = l.reading || c.b.spawn(func() { c.readLane(n, l, m) })
		return false
	}
	ref := r.ref(m).(*outgoing)
	if !c.withheld(sc, ref) && !c.sendLane(bt, sc, ref, true) {
		return false
	}
	r.skip()
	return true
}

// readLane reads the body of a retained message that a lane waits for.
func (c *conn) readLane(n uint32, l *lane, m *Message) {
	full := c.b.readRetained(c.b.rec.j.Reader(), m)
	c.s.mu.Lock()
	l.reading = false
	if len(l.replays) > 0 {
		l.replays[0].warm([]*Message{m}, []*Message{full})
	}
	c.s.mu.Unlock()
	c.goOn()
}

// sendLane gives a message that waits to its data stream. taken is false when it must go on waiting. s.mu is held.
func (c *conn) sendLane(bt *mqttserver.Batch, sc *scratch, ref *outgoing, retained bool) (taken bool) {
	now := time.Now().UnixMilli()
	if ref.m.expired(now) {
		c.b.lost(c.s, ref, DropExpired)
		return true
	}
	sc.render(ref, now)
	switch c.publishLane(bt, sc, ref, true) {
	case mqttserver.Sent:
		if retained {
			c.stripe.sent(1, len(ref.m.Payload()))
		}
	case mqttserver.TooLarge:
		c.b.lost(c.s, ref, DropTooLarge)
	default:
		return false
	}
	return true
}

// publish gives p, for which ref stands, to the client: on a data stream, as long as that is there, or on stream 0.
func (c *conn) publish(bt *mqttserver.Batch, stream uint32, p *mqtt.Publish, ref any) mqttserver.Result {
	if stream != 0 {
		if r := c.c.PublishStream(bt, uint64(stream)<<2, p, ref); r != mqttserver.Gone {
			return r
		}
	}
	return c.c.Publish(bt, p, ref)
}

// streamOf returns the data stream on which a reference's message is to be sent, 0 for stream 0.
func streamOf(ref any) uint32 {
	if o, ok := ref.(*outgoing); ok {
		return o.stream
	}
	return 0
}
