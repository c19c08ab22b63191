package mqttbroker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// session is what the broker keeps for a client identifier, connected or not. It is kept small: what only a connected
// client or a waiting message needs is elsewhere.
//
// Locks: the mutex of a topic's stripe, then that of a group, then that of a session or of a Subscription, then those of
// the server. Broker.mu is not held together with any of them but that of the deadlines.
type session struct {
	id     string
	user   string
	num    uint64 // unique in the broker
	conn   atomic.Pointer[conn]
	permit atomic.Pointer[Permissions]

	mu      sync.Mutex
	subs    subscriptions
	backlog *backlog // nil when it would be empty
	ended   bool
	doomed  bool // it ends with its connection; under Broker.mu
	// overlaps tells that two subscriptions of the session may match the same topic.
	overlaps atomic.Bool

	// Under Broker.mu:
	owner   *conn
	state   *mqtt.State // nil when it is empty and the client away
	will    *will
	expires int64  // unix milliseconds, while the client is away; 0 is never
	expiry  uint32 // session expiry interval in seconds
	place   int32  // in the heap of deadlines, under its mutex
}

// forever is the session expiry interval of sessions that do not expire (section 3.1.2.11.2).
const forever = 0xFFFFFFFF

// backlog is what waits for a session.
type backlog struct {
	queue   queue
	replays []replay
	shared  outgoingList
	// What is in flight, if a journal holds it.
	inflight map[any]int
}

func (l *backlog) empty() bool {
	return l == nil || l.queue.len() == 0 && len(l.replays) == 0 && l.shared.first == nil && len(l.inflight) == 0
}

// waits reports whether messages wait to be sent. s.mu is held.
func (s *session) waits() bool { return s.backlog != nil && s.backlog.queue.len() > 0 }

// replaying reports whether the session has a connection on which retained messages are to be sent.
func (s *session) replaying() bool {
	c := s.conn.Load()
	return c != nil && c.replaying.Load()
}

// pending returns the backlog, made if need be. s.mu is held.
func (s *session) pending() *backlog {
	if s.backlog == nil {
		s.backlog = new(backlog)
	}
	return s.backlog
}

// trim lets an empty backlog go. s.mu is held.
func (s *session) trim() {
	if s.backlog.empty() {
		s.backlog = nil
	}
}

// allowed asks the permissions of the session's client.
func (s *session) allowed(a Action, topic string) Decision {
	if p := s.permit.Load(); p != nil {
		return (*p)(a, topic)
	}
	return Deny
}

// sent notes a message that is in flight from now on, if that must be known. s.mu is held.
func (b *Broker) sent(s *session, ref any) {
	if o, ok := ref.(*outgoing); ok && o.member != nil {
		s.pending().shared.add(o)
	}
	if _, qos, _, _ := unpack(ref); b.rec != nil && qos > 0 {
		l := s.pending()
		if l.inflight == nil {
			l.inflight = make(map[any]int)
		}
		l.inflight[ref]++ // a message may match a subscription that is made meanwhile, and go twice
	}
}

// settled notes a message that is not in flight any more. s.mu is held.
func (b *Broker) settled(s *session, ref any) {
	l := s.pending()
	l.shared.remove(ref)
	if n := l.inflight[ref]; n > 0 {
		if l.inflight[ref] = n - 1; n == 1 {
			delete(l.inflight, ref)
		}
		m, _, _, _ := unpack(ref)
		b.rec.release(m)
	}
	s.trim()
}

// enqueue puts ref at the end of what waits for the session, within the bounds, or drops it. s.mu is held.
func (b *Broker) enqueue(s *session, ref any) bool {
	if s.ended {
		b.discard(s, []any{ref}, DropEnded)
		return false
	}
	q := &s.pending().queue
	if q.full(b.opts.QueueMessages, b.opts.QueueBytes) {
		now := time.Now().UnixMilli()
		b.discard(s, q.filter(func(ref any) bool { m, _, _, _ := unpack(ref); return !m.expired(now) }), DropExpired)
	}
	for b.opts.QueuePolicy == DropOldest && q.len() > 0 && q.full(b.opts.QueueMessages, b.opts.QueueBytes) {
		b.discard(s, []any{q.pop()}, DropQueueFull)
	}
	if q.full(b.opts.QueueMessages, b.opts.QueueBytes) {
		b.discard(s, []any{ref}, DropQueueFull)
		return false
	}
	q.push(ref)
	return true
}

// queued records that a message of QoS 1 or 2 is to reach the session's client.
func (b *Broker) queued(s *session, ref any) {
	if b.rec == nil {
		return
	}
	m, qos, retain, ids := unpack(ref)
	group := ""
	if o, ok := ref.(*outgoing); ok && o.member != nil {
		group = o.member.filter
	}
	b.rec.hold(m)
	b.rec.note(Record{Kind: RecordQueued, Client: s.id, Seq: m.seq, QoS: qos, Retain: retain, IDs: ids, Topic: group})
}

// unqueued records that the message does not wait for the session any more, because it will not get it.
func (b *Broker) unqueued(s *session, m *Message) {
	if b.rec != nil {
		b.rec.note(Record{Kind: RecordDequeued, Client: s.id, Seq: m.seq})
		b.rec.release(m)
	}
}

// discard drops messages that waited.
func (b *Broker) discard(s *session, refs []any, why Drop) {
	for _, ref := range refs {
		m, qos, _, _ := unpack(ref)
		if qos > 0 {
			b.unqueued(s, m)
		}
		b.dropped(s, m.Topic(), why)
	}
}

// dropped counts a message that does not reach the session's client.
func (b *Broker) dropped(s *session, topic string, why Drop) {
	b.drops[why].Add(1)
	if f := b.opts.Events.Dropped; f != nil {
		f(s.id, topic, why)
	}
}

// send gives a message that waits to the connection. taken is false when it must go on waiting. s.mu is held.
func (c *conn) send(bt *mqttserver.Batch, sc *scratch, ref any) (taken bool) {
	m, _, _, _ := unpack(ref)
	now := time.Now().UnixMilli()
	if m.expired(now) {
		c.b.discard(c.s, []any{ref}, DropExpired)
		return true
	}
	sc.render(ref, now)
	var r mqttserver.Result
	if sc.out.QoS == mqtt.QoS0 {
		r = c.c.Offer(bt, &sc.out)
	} else {
		r = c.c.Publish(bt, &sc.out, ref)
	}
	switch r {
	case mqttserver.Sent:
		c.b.sent(c.s, ref)
	case mqttserver.TooLarge:
		c.b.discard(c.s, []any{ref}, DropTooLarge)
	default:
		return false
	}
	return true
}

// render makes sc.out of ref.
func (sc *scratch) render(ref any, now int64) {
	m, qos, retain, ids := unpack(ref)
	sc.name = append(sc.name[:0], m.Topic()...)
	sc.props = m.appendProperties(sc.props[:0], now, ids)
	sc.out = mqtt.Publish{Topic: sc.name, Payload: m.Payload(), Properties: sc.props, QoS: qos, Retain: retain}
}

// chunk is how many waiting messages are sent before the session's lock is let go for others.
const chunk = 64

// drain sends what waits for the session, in order: live messages, then retained ones.
func (c *conn) drain(bt *mqttserver.Batch) {
	sc := c.b.scratch(bt)
	for c.drainSome(bt, sc) {
	}
}

// drainSome sends some messages and reports whether it makes sense to go on.
func (c *conn) drainSome(bt *mqttserver.Batch, sc *scratch) bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backlog == nil {
		c.replaying.Store(false)
		return false
	}
	defer s.trim()
	q := &s.backlog.queue
	for range chunk {
		if q.len() == 0 {
			return c.replaySome(bt, sc)
		}
		if !c.send(bt, sc, q.front()) {
			return false
		}
		q.pop()
	}
	return true
}
