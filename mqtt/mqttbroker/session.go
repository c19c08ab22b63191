package mqttbroker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic/delivery"
)

// session is what the broker keeps for a client identifier, connected or not. It is kept small: what only a connected
// client or a waiting message needs is elsewhere.
//
// Locks: the mutex of a topic's stripe, then that of a group, then that of a session or of a Subscription, then those of
// the server. Broker.mu is not held together with any of them but that of the deadlines.
type session struct {
	id     string
	user   string
	num    uint64 // unique in the broker and its journal
	conn   atomic.Pointer[conn]
	permit atomic.Pointer[Permissions]

	mu      sync.Mutex
	subs    subscriptions
	backlog *backlog // nil when it would be empty
	// overlaps tells that two subscriptions of the session may match the same topic.
	overlaps atomic.Bool
	ended    bool
	kept     bool // lanes become a part of it when they end
	awake    bool // owner has the state, see wake and rest
	durable  bool // it has records in the journal; set before the session is known
	doomed   bool // it ends with its connection; under Broker.mu
	told     bool // it has a recordSession; under Broker.mu
	dirty    bool // it has records since its last checkpoint; under recorder.mu
	over     bool // it has no records any more; under recorder.mu

	// Under recorder.mu:
	ownerLen, checkLen uint32        // what the records are worth
	ownerSeq, checkSeq uint64        // the last recordSession and recordCheckpoint
	inbound            *delivery.IDs // QoS 2 messages that the client has not released; nil while there was none

	// Under Broker.mu; state changes, and owner is used, under mu too while the session is awake:
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
	reading bool // the body of a retained message is being read
}

func (l *backlog) empty() bool {
	return l == nil || l.queue.len() == 0 && len(l.replays) == 0 && l.shared.first == nil
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

// recordsOf reports whether the session's records name ref.
func (s *session) recordsOf(ref any) bool { return s.durable && recorded(ref) }

// sent notes that a message, which was the first of the queue or did not wait, went to the client with an identifier.
// s.mu is held.
func (b *Broker) sent(s *session, ref any, id uint16, queued bool) {
	m, qos, _, _ := unpack(ref)
	if o, ok := ref.(*outgoing); ok && o.member != nil && qos > 0 {
		s.pending().shared.add(o)
	}
	if !s.recordsOf(ref) {
		return
	}
	switch {
	case qos == mqtt.QoS0:
		b.rec.noteReleasing(s, record{kind: recordDropped}, m)
	case queued: // and held since
		b.rec.note(s, sentRecord(ref, id, true), Token{})
	default:
		b.rec.noteHolding(s, sentRecord(ref, id, false), m)
	}
}

// unshare notes a message that is not in flight any more. s.mu is held.
func (s *session) unshare(ref any) {
	if s.backlog != nil {
		s.backlog.shared.remove(ref)
		s.trim()
	}
}

// enqueue puts ref at the end of what waits for the session, within the bounds, or drops it. s.mu is held.
func (b *Broker) enqueue(s *session, ref any) bool {
	if s.ended {
		b.lost(s, ref, DropEnded)
		return false
	}
	q := &s.pending().queue
	defer s.trim()
	if q.full(b.opts.QueueMessages, b.opts.QueueBytes) && !b.makeRoom(s) {
		b.lost(s, ref, DropQueueFull)
		return false
	}
	hot := b.rec == nil || !s.durable || q.takesHot(b.opts.hotMessages) && s.conn.Load() != nil
	switch {
	case s.recordsOf(ref):
		b.pushRecorded(s, ref, hot)
	case hot:
		q.push(ref)
	default:
		ref, fresh := b.recordable(ref)
		b.pushRecorded(s, ref, false)
		if fresh {
			b.rec.accepted(ref.m, "", Token{})
		}
	}
	return true
}

// pushRecorded puts a reference at the end of the queue and records it. s.mu is held.
func (b *Broker) pushRecorded(s *session, ref any, hot bool) {
	q := &s.backlog.queue
	m, _, _, _ := unpack(ref)
	e := entryOf(ref)
	b.rec.noteHolding(s, record{kind: recordQueued, entry: e}, m)
	if hot {
		q.push(ref)
		return
	}
	if streamOf(ref) != 0 { // what waits in the journal goes on stream 0, and so must what comes after it
		s.leaveStreams(0)
	}
	q.pushCold(&e)
	b.seal(s)
}

// recordable returns ref, of QoS 0, as a reference that can be recorded. fresh tells that its message is now in the journal
// for that, and open.
func (b *Broker) recordable(ref any) (o *outgoing, fresh bool) {
	m, qos, retain, ids := unpack(ref)
	o = &outgoing{m: m, qos: qos, retain: retain, ids: ids, recorded: true}
	if old, ok := ref.(*outgoing); ok {
		o.member, o.stream = old.member, old.stream
	}
	if m.flags&flagJournaled != 0 {
		return o, false
	}
	o.m = m.copied()
	b.rec.message(o.m, origin{}, false, Token{})
	return o, true
}

// makeRoom drops from a full queue what has expired and, where that is the policy, what waits longest. It reports whether
// there is room, or will be when what is to be dropped is loaded. s.mu is held.
func (b *Broker) makeRoom(s *session) bool {
	q := &s.backlog.queue
	now := time.Now().UnixMilli()
	expired := q.filter(func(ref any) bool { m, _, _, _ := unpack(ref); return !m.expired(now) })
	b.withdrawn(s, expired, DropExpired)
	for c := q.cold; q.k == 0 && c != nil && c.head.n > 0; {
		if e := c.head.front(); !e.expired(now) {
			break
		}
		b.discardFront(s, DropExpired)
	}
	for b.opts.QueuePolicy == DropOldest && q.n > 0 && q.full(b.opts.QueueMessages, b.opts.QueueBytes) {
		if !b.discardFront(s, DropQueueFull) {
			return !q.cold.failed
		}
	}
	return !q.full(b.opts.QueueMessages, b.opts.QueueBytes)
}

// discardFront drops the first message that waits. It reports false when that must be loaded first. s.mu is held.
func (b *Broker) discardFront(s *session, why Drop) bool {
	q := &s.backlog.queue
	if q.k > 0 {
		ref := q.pop()
		b.forget(s, ref)
		if s.recordsOf(ref) {
			b.left(s)
		}
		b.lost(s, ref, why)
		return true
	}
	c := q.cold
	if c == nil {
		return false
	}
	if c.head.n == 0 && len(c.pages) == 0 {
		c.head, c.tail = c.tail, entries{}
	}
	if c.head.n == 0 {
		b.fetch(s)
		return false
	}
	e := c.head.pop()
	c.gen = b.gens.Add(1)
	q.n--
	q.bytes -= int(e.size)
	b.rec.note(s, record{kind: recordDropped}, Token{})
	b.rec.releaseSeq(e.seq, int(e.size))
	b.left(s)
	b.dropped(s, "", why)
	return true
}

// forget notes that the first message of the queue is not sent. s.mu is held.
func (b *Broker) forget(s *session, ref any) {
	if s.recordsOf(ref) {
		m, _, _, _ := unpack(ref)
		b.rec.noteReleasing(s, record{kind: recordDropped}, m)
	}
}

// withdrawn drops messages that were taken out of the midst of the queue. s.mu is held.
func (b *Broker) withdrawn(s *session, refs []any, why Drop) {
	if len(refs) == 0 {
		return
	}
	for _, ref := range refs {
		if s.recordsOf(ref) {
			m, _, _, _ := unpack(ref)
			b.rec.release(m)
		}
		b.lost(s, ref, why)
	}
	b.rewrite(s)
}

// lost counts a message that does not reach the session's client.
func (b *Broker) lost(s *session, ref any, why Drop) {
	m, _, _, _ := unpack(ref)
	b.dropped(s, m.Topic(), why)
}

// dropped counts a message that does not reach the session's client. The topic is empty when the message is not in memory.
func (b *Broker) dropped(s *session, topic string, why Drop) {
	b.drops[why].Add(1)
	if f := b.opts.Events.Dropped; f != nil {
		f(s.id, topic, why)
	}
}

// send gives the first message that waits to the connection. taken is false when it must go on waiting. s.mu is held.
func (c *conn) send(bt *mqttserver.Batch, sc *scratch, ref any) (taken bool) {
	m, _, _, _ := unpack(ref)
	now := time.Now().UnixMilli()
	if m.expired(now) {
		c.b.forget(c.s, ref)
		c.b.lost(c.s, ref, DropExpired)
		return true
	}
	switch sc.render(ref, now); c.offer(bt, sc, ref) {
	case mqttserver.Sent:
		c.b.sent(c.s, ref, sc.out.ID, true)
	case mqttserver.TooLarge:
		c.b.forget(c.s, ref)
		c.b.lost(c.s, ref, DropTooLarge)
	default:
		return false
	}
	return true
}

// offer gives sc.out, for which ref stands, to the connection.
func (c *conn) offer(bt *mqttserver.Batch, sc *scratch, ref any) mqttserver.Result {
	if sc.out.QoS == mqtt.QoS0 {
		return c.offerOn(bt, sc, streamOf(ref))
	}
	return c.publish(bt, streamOf(ref), &sc.out, ref)
}

// offerOn offers sc.out, of QoS 0, to the connection, on a data stream as long as that is there.
func (c *conn) offerOn(bt *mqttserver.Batch, sc *scratch, stream uint32) mqttserver.Result {
	if stream != 0 {
		if r := c.c.OfferStream(bt, uint64(stream)<<2, &sc.out); r != mqttserver.Gone {
			return r
		}
	}
	return c.c.Offer(bt, &sc.out)
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
	if c.laned.Load() {
		for c.drainLanes(bt, sc) {
		}
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
	defer c.warm()
	for range chunk {
		if q.len() == 0 {
			return c.replaySome(bt, sc)
		}
		if q.k == 0 {
			return false
		}
		if coldRef(q.front()) {
			c.readFirst()
			return false
		}
		if !c.send(bt, sc, q.front()) {
			return false
		}
		if ref := q.pop(); s.recordsOf(ref) {
			c.b.left(s)
		}
	}
	return true
}
