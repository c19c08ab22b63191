package mqttbroker

import (
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
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
	hot   atomic.Int64 // bytes of bodies in memory, of messages that the journal has too
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
			pub.cleared = b.rec != nil && !reserved(old.Topic())
		}
		return mqtt.ReasonSuccess
	}
	if old != nil {
		pub.topic = old.Topic()
	}
	if old == nil && b.opts.MaxRetained > 0 && b.gauges.retained.Load() >= int64(b.opts.MaxRetained) {
		return mqtt.ReasonQuotaExceeded
	}
	grow := int64(pub.size())
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
	m := b.storedRetained(pub)
	b.retained.names.Set(m.Topic(), m)
	b.forgetRetained(old)
	if m.flags&flagExpires != 0 {
		b.deadlines.add(m)
	}
	return mqtt.ReasonSuccess
}

// storedRetained returns the message of a publication as it is retained. The journal has it, but for what the broker tells
// about itself. The bodies of more than RetainedMemory bytes are left to the journal.
func (b *Broker) storedRetained(pub *publication) *Message {
	if b.rec == nil || reserved(pub.name()) {
		return pub.message(b)
	}
	pub.keep = true
	recorded := pub.m != nil && pub.m.flags&flagJournaled != 0
	m := pub.durable(b)
	if recorded { // without the record that it is retained
		b.rec.retain(m)
	}
	b.rec.hold(m)
	if !b.hot(m) {
		m = m.cold()
	}
	return m
}

// hot reports whether the body of a retained message is to stay in memory, and counts it.
func (b *Broker) hot(m *Message) bool {
	limit := int64(b.opts.RetainedMemory)
	if limit >= 0 && b.retained.hot.Load()+int64(m.size) > limit {
		return false
	}
	b.retained.hot.Add(int64(m.size))
	return true
}

// forgetRetained lets a message go that was retained, nil for none.
func (b *Broker) forgetRetained(m *Message) {
	if m == nil {
		return
	}
	b.deadlines.forget(m)
	if b.rec == nil || reserved(m.Topic()) {
		return
	}
	if m.flags&flagCold == 0 {
		b.retained.hot.Add(-int64(m.size))
	}
	b.rec.forgetRetained(m)
}

// unretain removes a retained message. The stripe of its topic is held.
func (b *Broker) unretain(m *Message) {
	b.retained.names.Delete(m.Topic()) // before the record that the journal must not throw away while it was not so
	if b.rec != nil && !reserved(m.Topic()) {
		b.rec.unretained(m.Topic())
	}
	b.gauges.retained.Add(-1)
	b.gauges.retainedBytes.Add(-int64(m.bytes()))
	b.forgetRetained(m)
}

// expireRetained removes a retained message whose time has come, unless it was replaced.
func (b *Broker) expireRetained(m *Message) {
	mu := b.retained.stripe([]byte(m.Topic()))
	mu.Lock()
	defer mu.Unlock()
	if now, ok := b.retained.names.Get(m.Topic()); ok && now.seq == m.seq {
		b.unretain(now)
	}
}

// isRetained reports whether m is still the retained message of its topic.
func (b *Broker) isRetained(m *Message) bool {
	now, ok := b.retained.names.Get(m.Topic())
	return ok && now.seq == m.seq
}

// replay is the rest of the retained messages for a new subscription.
type replay struct {
	list []*Message
	opts subscriptionOptions
	// pending are the messages of list that are still to be sent. It is made when a live message wants one of them out of
	// turn; nil means all of them.
	pending map[uint64]*Message
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
	_, ok := r.pending[m.seq]
	return ok
}

// take takes the message that is retained now out of turn, and returns it as it is in the list; nil if it was not still
// to be sent.
func (r *replay) take(now *Message) *Message {
	if r.pending == nil {
		r.pending = make(map[uint64]*Message, len(r.list))
		for _, m := range r.list {
			r.pending[m.seq] = m
		}
	}
	m := r.pending[now.seq]
	delete(r.pending, now.seq)
	return m
}

// skip takes the first message off.
func (r *replay) skip() {
	delete(r.pending, r.list[0].seq)
	r.list[0] = nil
	r.list = r.list[1:]
}

// ref returns how the message m of the replay travels.
func (r *replay) ref(m *Message) any {
	var ids []uint32
	if r.opts.id() != 0 {
		ids = []uint32{r.opts.id()}
	}
	if r.opts.stream() != 0 {
		return laneRef(m, min(m.QoS(), r.opts.qos()), true, ids, nil, r.opts)
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
		if m.flags&flagCold != 0 {
			l.reading = l.reading || c.b.spawn(func() { c.readReplay() })
			return false
		}
		if !c.sendRetained(bt, sc, r.ref(m)) {
			return false
		}
		r.skip()
	}
	return true
}

// readReplay reads the bodies of the next retained messages and sends them.
func (c *conn) readReplay() {
	bt := mqttserver.NewBatch()
	rd := c.b.rec.j.Reader()
	for c.readSome(rd) {
		c.drain(bt)
		bt.Flush()
		bt.Wait()
	}
}

// readSome reads the bodies of the next retained messages of the first replay. It reports false when nobody reads any
// more.
func (c *conn) readSome(rd JournalReader) bool {
	s := c.s
	s.mu.Lock()
	var list []*Message
	if l := s.backlog; l != nil && s.conn.Load() == c && len(l.replays) > 0 {
		r := &l.replays[0]
		for _, m := range r.list {
			if m.flags&flagCold == 0 || len(list) == loadMessages {
				break
			}
			list = append(list, m)
		}
	}
	if len(list) == 0 && s.backlog != nil {
		s.backlog.reading = false
		if now := s.conn.Load(); now != nil && now != c { // it does not read because this one did
			c.b.spawn(now.goOn)
		}
	}
	s.mu.Unlock()
	if len(list) == 0 {
		return false
	}
	read := make([]*Message, len(list))
	for i, m := range list {
		read[i] = c.b.readRetained(rd, m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.backlog; l != nil && len(l.replays) > 0 {
		l.replays[0].warm(list, read)
	}
	return true
}

// readRetained returns a retained message with its body, nil if it is retained no more. It stays in memory if there is
// room.
func (b *Broker) readRetained(rd JournalReader, m *Message) *Message {
	full, err := readMessage(rd, m.seq)
	if err != nil {
		if b.isRetained(m) && !b.isStopped() {
			b.opts.Logger.Error("journal: a retained message cannot be read", "topic", m.Topic(), "err", err)
		}
		return nil
	}
	full.topic = m.topic
	mu := b.retained.stripe([]byte(m.Topic()))
	mu.Lock()
	defer mu.Unlock()
	if now, ok := b.retained.names.Get(m.Topic()); ok && now.seq == m.seq && now.flags&flagCold != 0 && b.hot(full) {
		b.retained.names.Set(m.Topic(), full)
	}
	return full
}

// warm puts messages with their bodies in the place of those that they were read for; nil is none.
func (r *replay) warm(list, read []*Message) {
	for i, m := range list {
		at := slices.Index(r.list, m)
		if at < 0 {
			continue
		}
		if read[i] == nil {
			delete(r.pending, m.seq)
			r.list = slices.Delete(r.list, at, at+1)
			continue
		}
		r.list[at] = read[i]
		if r.pending[m.seq] != nil {
			r.pending[m.seq] = read[i]
		}
	}
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
	now, ok := b.retained.names.GetBytes(pub.in.Topic)
	if !ok {
		return
	}
	for i := range l.replays {
		r := &l.replays[i]
		m := r.take(now)
		if m == nil || !r.permitted(s, m) {
			continue
		}
		ref := r.ref(m)
		if s.waits() || m.flags&flagCold != 0 {
			if c.withheld(sc, ref) {
				continue
			}
		} else if c.sendRetained(bt, sc, ref) {
			continue
		}
		if ref, ok := b.heldRetained(s, ref); ok {
			b.enqueue(s, ref)
			b.unholdRetained(s, ref)
		}
	}
	c.warm()
	c.readFirst()
}

// readFirst reads the body of the first message that waits, if it is a retained one of which only the journal has the
// body. s.mu is held.
func (c *conn) readFirst() {
	l := c.s.backlog
	if l == nil || l.reading || l.queue.k == 0 || !coldRef(l.queue.front()) {
		return
	}
	ref := l.queue.front()
	l.reading = c.b.spawn(func() {
		m, _, _, _ := unpack(ref)
		full := c.b.readRetained(c.b.rec.j.Reader(), m)
		c.s.mu.Lock()
		if l := c.s.backlog; l != nil {
			l.reading = false
			if l.queue.k > 0 && l.queue.front() == ref {
				if full == nil {
					c.b.discardFront(c.s, DropExpired)
				} else {
					o := *ref.(*outgoing) // retained messages travel as such
					o.m = full
					l.queue.ring[l.queue.head] = &o
				}
				c.s.trim()
			}
		}
		now := c.s.conn.Load() // another one does not read because this one did
		c.s.mu.Unlock()
		if now != nil {
			now.goOn()
		}
	})
}

// coldRef reports whether only the journal has the body of a reference's message.
func coldRef(ref any) bool {
	m, _, _, _ := unpack(ref)
	return m.flags&flagCold != 0
}

// withheld reports whether the hook keeps a retained message from the client.
func (c *conn) withheld(sc *scratch, ref any) bool {
	f := c.b.opts.Hooks.OnDeliver
	if f == nil {
		return false
	}
	if m, _, _, _ := unpack(ref); m.flags&flagCold != 0 {
		return false // asked when it is sent
	}
	sc.render(ref, time.Now().UnixMilli())
	return !f(c.s.id, &sc.out)
}

// heldRetained holds a retained message of QoS 1 or 2 for a session that the journal has, while it is sent or queued. It
// reports false when the message was replaced just now and the journal has it no more: the one that replaced it comes
// live.
func (b *Broker) heldRetained(s *session, ref any) (any, bool) {
	m, qos, retain, ids := unpack(ref)
	switch {
	case b.rec == nil || !s.durable || qos == 0:
		return ref, true
	case m.flags&flagJournaled != 0:
		return ref, b.rec.tryHold(m)
	}
	m = m.copied() // what the broker tells about itself is not recorded otherwise
	b.rec.message(m, origin{}, false, Token{})
	b.rec.hold(m)
	b.rec.accepted(m, "", Token{})
	if o, ok := ref.(*outgoing); ok && o.stream != 0 {
		again := *o
		again.m = m
		return &again, true
	}
	return refOf(m, qos, retain, ids, nil), true
}

// unholdRetained takes back what heldRetained gave.
func (b *Broker) unholdRetained(s *session, ref any) {
	if m, qos, _, _ := unpack(ref); s.durable && qos > 0 {
		b.rec.release(m)
	}
}

// sendRetained sends a message that was not queued. taken is false when it must wait. s.mu is held.
func (c *conn) sendRetained(bt *mqttserver.Batch, sc *scratch, ref any) (taken bool) {
	b, s := c.b, c.s
	if c.withheld(sc, ref) {
		return true
	}
	ref, ok := b.heldRetained(s, ref)
	if !ok {
		return true
	}
	defer b.unholdRetained(s, ref)
	m, _, _, _ := unpack(ref)
	now := time.Now().UnixMilli()
	if m.expired(now) {
		b.lost(s, ref, DropExpired)
		return true
	}
	switch sc.render(ref, now); c.offer(bt, sc, ref) {
	case mqttserver.Sent:
		b.sent(s, ref, sc.out.ID, false)
	case mqttserver.TooLarge:
		b.lost(s, ref, DropTooLarge)
	default:
		return false
	}
	c.stripe.sent(1, len(m.Payload()))
	return true
}

// Retained returns the retained messages whose topics match a filter, in no particular order; none when the filter is not
// valid. Messages that are retained meanwhile may be among them.
func (b *Broker) Retained(filter string) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		if topic.MQTT.ValidateFilter(filter) != nil {
			return
		}
		now := time.Now().UnixMilli()
		var rd JournalReader
		for _, m := range b.retained.names.Match(filter) {
			if m.flags&flagCold != 0 {
				if rd == nil {
					rd = b.rec.j.Reader()
				}
				if m = b.readRetained(rd, m); m == nil {
					continue
				}
			}
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
