package amqpbroker

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// queue is a queue. Its lock comes after that of its virtual host and before those of channels and of the recorder; whoever
// takes several locks of queues takes them in the order of their numbers.
//
// A queue never waits with something ready for a consumer that takes it: whoever changes one of the two calls dispatch.
type queue struct {
	b           *Broker
	v           *vhost
	name        string
	num         uint64 // never used again
	kind        string // its x-queue-type, "classic" without one
	durable     bool
	autoDelete  bool
	single      bool     // a single active consumer
	owner       *session // of an exclusive queue
	maxPriority uint8
	args        amqp091.Table
	record      stored      // its definition
	bonds       bonds       // by which messages come to it; v.mu guards it
	ages        atomic.Bool // set.ttl is not negative

	mu       sync.Mutex
	set      settings
	deleted  bool
	levels   []level // by priority
	filled   [4]uint64
	pos      uint64 // the last that was given
	ready    int
	bytes    int64 // lengths of the messages that are ready
	hot      int   // how many ready entries are in memory
	hotBytes int64
	held     []*held
	acquired int
	free     []*held
	timed    []*held // scheduled ones, as a heap
	cs       consumers
	spent    []spent
	used     int64 // unix milliseconds: when somebody had to do with it
	timer    timer
	deadline int64  // what the timer is set to, 0 for nothing
	late     int64  // when what a consumer holds is late, 0 when nobody looks
	gen      uint64 // counts what is taken out of the cold other than by the loader
	loading  bool
	loaded   chan struct{} // closed when the loader has done something
	trimming bool          // there is too much, of which the first must be loaded
	journal  queueJournal
	counts   queueCounts
	grouping *grouping
	aside    []keptEntry // while it is restored: what is to be deferred, scheduled or dead-lettered
}

// level is the ready entries of one priority: those in memory, then those that are not.
type level struct {
	hot  ring[entry]
	cold *cold // nil when empty
}

func (l *level) len() int {
	if l.cold == nil {
		return l.hot.n
	}
	return l.hot.n + l.cold.n
}

// queueCounts count what happened to a queue.
type queueCounts struct {
	published   uint64
	delivered   uint64 // to be acknowledged
	deliveredNo uint64 // without
	got         uint64
	gotNo       uint64
	redelivered uint64
	acked       uint64
	returned    uint64
	dead        uint64
	dropped     uint64 // for lack of room or time, without a dead letter exchange
	refused     uint64
}

// spent is a recorded entry that is gone.
type spent struct {
	seq  uint64
	size int
}

// recorded reports whether the journal has an entry of this queue.
func (q *queue) recorded(m *message) bool { return q.durable && m.seq != 0 }

// top returns the highest level that is not empty. There is one.
func (q *queue) top() *level {
	if len(q.levels) == 1 {
		return &q.levels[0]
	}
	for i := len(q.filled) - 1; ; i-- {
		if w := q.filled[i]; w != 0 {
			return &q.levels[i*64+63-bits.LeadingZeros64(w)]
		}
	}
}

// front returns the first ready entry, nil when it is not in memory. There is one.
func (q *queue) front() *entry {
	l := q.top()
	if l.hot.n == 0 {
		return nil
	}
	return l.hot.at(0)
}

// added counts a ready entry.
func (q *queue) added(lv uint8, length int64) {
	q.ready++
	q.bytes += length
	q.filled[lv>>6] |= 1 << (lv & 63)
}

// removed counts a ready entry off, whose level has lost it.
func (q *queue) removed(lv uint8, length int64) {
	q.ready--
	q.bytes -= length
	if q.levels[lv].len() == 0 {
		q.filled[lv>>6] &^= 1 << (lv & 63)
	}
}

// push puts an entry at the end of its level.
func (q *queue) push(e *entry) {
	l := &q.levels[e.level]
	if l.cold != nil || q.recorded(e.m) && q.b.isFull(q.hot, q.hotBytes) {
		if l.cold == nil {
			l.cold = new(cold)
		}
		l.cold.push(e)
	} else {
		l.hot.push(*e)
		q.hot++
		q.hotBytes += int64(e.m.size())
	}
	q.added(e.level, e.m.length())
}

// shift takes the first entry out, which is in memory.
func (q *queue) shift() entry {
	l := q.top()
	e := l.hot.shift()
	q.left(l, &e)
	return e
}

// left counts an entry off that was taken out of the part of a level that is in memory.
func (q *queue) left(l *level, e *entry) {
	q.hot--
	q.hotBytes -= int64(e.m.size())
	q.removed(e.level, e.m.length())
	if l.cold != nil && q.b.isLow(q.hot) {
		q.load()
	}
}

// giveBack puts entries back in their places.
func (q *queue) giveBack(list []entry) {
	byPlace := func(a, b entry) int {
		switch {
		case a.level != b.level:
			return int(a.level) - int(b.level)
		case a.pos < b.pos:
			return -1
		}
		return 1
	}
	if !slices.IsSortedFunc(list, byPlace) {
		slices.SortFunc(list, byPlace)
	}
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].level == list[0].level {
			n++
		}
		q.merge(list[:n])
		list = list[n:]
	}
}

// merge puts entries of one level, in order, back in their places.
func (q *queue) merge(list []entry) {
	hot := &q.levels[list[0].level].hot
	last := list[len(list)-1].pos
	var before []entry
	for hot.n > 0 && hot.at(0).pos < last {
		before = append(before, hot.shift())
	}
	i, k := len(list)-1, len(before)-1
	for i >= 0 || k >= 0 {
		if k < 0 || i >= 0 && list[i].pos > before[k].pos {
			hot.unshift(list[i])
			i--
		} else {
			hot.unshift(before[k])
			k--
		}
	}
	for i := range list {
		e := &list[i]
		q.hot++
		q.hotBytes += int64(e.m.size())
		q.added(e.level, e.m.length())
		for _, c := range q.cs.list {
			if c.next != nil && c.next[e.level] > e.pos {
				c.next[e.level] = e.pos
			}
		}
	}
}

// hold takes an entry over that is not ready any more.
func (q *queue) hold(e *entry, s entryState) *held {
	var h *held
	if n := len(q.free); n > 0 {
		h, q.free = q.free[n-1], q.free[:n-1]
	} else {
		h = &held{q: q}
	}
	h.entry, h.state, h.index = *e, s, len(q.held)
	q.held = append(q.held, h)
	if s == stateAcquired {
		q.acquired++
	}
	return h
}

// unhold lets an entry go and returns it.
func (q *queue) unhold(h *held) entry {
	e := h.entry
	if h.state == stateAcquired {
		q.acquired--
		if h.c != nil {
			h.c.held--
		}
	}
	last := len(q.held) - 1
	moved := q.held[last]
	q.held[h.index], moved.index = moved, h.index
	q.held[last] = nil
	q.held = q.held[:last]
	if cap(q.held) > 1024 && last < cap(q.held)/8 {
		q.held = append(make([]*held, 0, cap(q.held)/4), q.held...)
	}
	*h = held{q: q}
	if len(q.free) < 1024 {
		q.free = append(q.free, h)
	}
	return e
}

// gone notes that an entry is not in the queue any more.
func (q *queue) gone(e *entry) {
	if q.recorded(e.m) {
		q.spent = append(q.spent, spent{e.m.seq, e.m.size()})
	}
}

// die takes care of an entry that is not to be delivered: it goes to the dead letter exchange, if there is one.
func (q *queue) die(bt *amqpserver.Batch, e *entry, why deathReason) {
	if !q.set.deadLetter {
		if why == deathRejected {
			q.counts.acked++
		} else {
			q.counts.dropped++
		}
		q.gone(e)
		return
	}
	q.counts.dead++
	h := q.hold(e, stateDead)
	h.why = why
	sc := scratchOf(bt)
	sc.dead = append(sc.dead, h)
}

// expiry returns when a message that comes now expires in this queue, 0 for never.
func (q *queue) expiry(m *message) int64 {
	ttl := m.ttl
	if q.set.ttl >= 0 && (ttl < 0 || q.set.ttl < ttl) {
		ttl = q.set.ttl
	}
	switch {
	case ttl < 0:
		return 0
	case ttl == 0:
		return expiresAtOnce
	}
	return m.at + ttl
}

// expiresAtOnce is the expiry of messages that die unless a consumer is there: m.at is up to a millisecond ahead.
const expiresAtOnce = 1

// configure changes the settings. q.mu is held, or nobody knows the queue yet.
func (q *queue) configure(s settings) {
	q.set = s
	q.ages.Store(s.ttl >= 0)
}

// hasTTL reports whether messages expire that do not say so themselves.
func (q *queue) hasTTL() bool { return q.ages.Load() }

// refuses reports whether there is no room for a message that its publisher is to be told about.
func (q *queue) refuses(m *message) bool {
	return q.set.overflow != overflowDropHead && q.set.bounded() &&
		(q.set.maxLength >= 0 && int64(q.ready) >= q.set.maxLength || q.set.maxBytes >= 0 && q.bytes+m.length() > q.set.maxBytes)
}

// over reports whether there is more than there may be.
func (q *queue) over() bool {
	return q.set.maxLength >= 0 && int64(q.ready) > q.set.maxLength || q.set.maxBytes >= 0 && q.bytes > q.set.maxBytes
}

// accept takes a message. q.mu is held, and refuses was asked.
func (q *queue) accept(bt *amqpserver.Batch, pub *publication) {
	m := pub.m
	q.pos++
	q.counts.published++
	e := entry{m: m, pos: q.pos, level: min(m.priority, q.maxPriority), expires: q.expiry(m)}
	if q.ready == 0 && q.cs.open > 0 && q.cs.special == 0 && q.grouping == nil && q.reached(m) {
		for q.cs.open > 0 {
			c := q.cs.first()
			if !c.noAck || c.keeps {
				e.m = pub.own()
			}
			if q.give(bt, c, &e) {
				return
			}
		}
	}
	e.m = pub.own()
	q.push(&e)
	if q.cs.open > 0 {
		q.dispatch(bt)
	}
	if e.expires != 0 && e.expires <= m.at {
		q.expire(bt)
	}
	if q.set.bounded() && q.over() {
		q.trim(bt)
	}
}

// give offers an entry to the consumer whose turn it is. When it is true the entry is the consumer's and not the queue's any
// more; it may be that of the front. Otherwise the consumer is blocked.
func (q *queue) give(bt *amqpserver.Batch, c *consumer, e *entry) bool {
	if c.noAck {
		if !c.sink.deliver(bt, c, e.m, e, nil) {
			q.cs.block(c)
			return false
		}
		q.counts.deliveredNo++
		q.gone(e)
	} else {
		h := q.hold(e, stateAcquired)
		h.c, h.at = c, bt.Now().UnixMilli()
		c.held++
		if q.late == 0 {
			q.hurry(h.at)
		}
		if !c.sink.deliver(bt, c, e.m, &h.entry, h) {
			q.unhold(h)
			q.cs.block(c)
			return false
		}
		q.counts.delivered++
	}
	if e.redelivered() {
		q.counts.redelivered++
	}
	q.cs.turn(c)
	return true
}

// dispatch gives consumers what is ready.
func (q *queue) dispatch(bt *amqpserver.Batch) {
	if q.cs.special > 0 || q.grouping != nil {
		q.dispatchSpecial(bt)
		return
	}
	for q.cs.open > 0 && q.ready > 0 {
		e := q.front()
		if e == nil {
			q.load()
			return
		}
		if e.expires != 0 && e.expired(bt.Now().UnixMilli()) {
			dead := q.shift()
			q.die(bt, &dead, deathExpired)
			continue
		}
		if !q.reached(e.m) {
			return
		}
		if q.give(bt, q.cs.first(), e) {
			q.shift()
		}
	}
}

// expire lets the first entries die that have expired.
func (q *queue) expire(bt *amqpserver.Batch) {
	for q.ready > 0 {
		now := bt.Now().UnixMilli()
		e := q.front()
		if e == nil {
			c := q.top().cold
			if first, _ := c.first(); first.expires == 0 || first.expires > now {
				return
			}
			if !q.dropCold() {
				return
			}
			continue
		}
		if !e.expired(now) {
			return
		}
		dead := q.shift()
		q.die(bt, &dead, deathExpired)
	}
}

// trim lets the first entries die until there is no more than there may be.
func (q *queue) trim(bt *amqpserver.Batch) {
	for q.ready > 0 && q.over() {
		if q.front() == nil {
			if !q.dropCold() {
				q.trimming = true
				return
			}
			continue
		}
		dead := q.shift()
		q.die(bt, &dead, deathMaxlen)
	}
	q.trimming = false
}

// dropCold drops the first entry, which is not in memory. If it must be dead-lettered it is loaded, and nothing dropped.
func (q *queue) dropCold() bool {
	if q.set.deadLetter {
		q.load()
		return false
	}
	l := q.top()
	lv := uint8(0)
	if len(q.levels) > 1 {
		for i := range q.levels {
			if &q.levels[i] == l {
				lv = uint8(i)
			}
		}
	}
	e := q.shiftCold(lv)
	q.counts.dropped++
	if e.plain == nil {
		q.spent = append(q.spent, spent{e.seq, e.size})
	}
	q.gen++
	return true
}

// shiftCold takes the first entry out of the cold of a level.
func (q *queue) shiftCold(lv uint8) coldEntry {
	l := &q.levels[lv]
	e := l.cold.shift()
	if l.cold.n == 0 {
		l.cold = nil
	}
	q.removed(lv, e.length)
	return e
}

// unlock ends a change of the queue: what is gone is told to the journal, the timer is set. Then call [Broker.bury] when no
// lock is held.
func (q *queue) unlock() {
	q.finish()
	q.mu.Unlock()
}

func (q *queue) finish() {
	if len(q.spent) > 0 {
		q.b.rec.spent(q, q.spent)
		q.spent = q.spent[:0]
	}
	if q.ready > 0 {
		if l := q.top(); l.hot.n > 0 {
			if at := l.hot.at(0).expires; at != 0 {
				q.arm(at)
			}
		} else if e, _ := l.cold.first(); e.expires != 0 && !q.awaitsLoader(e.expires) {
			q.arm(e.expires)
		}
	}
}

// awaitsLoader reports whether the first entry, which is not in memory, has expired and can only die when it was loaded. Nobody
// need look at it until then.
func (q *queue) awaitsLoader(expires int64) bool {
	return q.set.deadLetter && (q.loading || q.b.rec.broken()) && expires <= time.Now().UnixMilli()
}

// arm sees to it that the queue is looked at at a time in unix milliseconds.
func (q *queue) arm(at int64) {
	if q.deadline == 0 || at < q.deadline {
		q.deadline = at
		q.b.deadlines.set(&q.timer, at)
	}
}

// settle is what becomes of entries that somebody had acquired. h is not used any more. q.mu is held; requeued entries are
// gathered in the scratch, see settled.
func (q *queue) settle(bt *amqpserver.Batch, h *held, s amqpserver.Settlement) {
	if h.state != stateAcquired {
		return // the queue is gone
	}
	e := q.unhold(h)
	switch s {
	case amqpserver.Acked:
		q.counts.acked++
		q.gone(&e)
	case amqpserver.Rejected:
		q.die(bt, &e, deathRejected)
	default:
		e.flags |= entryRedelivered
		e.count++
		if q.set.deliveryLimit >= 0 && int64(e.count) > q.set.deliveryLimit {
			q.die(bt, &e, deathDeliveryLimit)
			return
		}
		q.counts.returned++
		sc := scratchOf(bt)
		sc.back = append(sc.back, e)
		if q.set.deliveryLimit >= 0 && q.recorded(e.m) {
			q.b.rec.returned(q, &e)
		}
	}
}

// settled ends calls of settle.
func (q *queue) settled(bt *amqpserver.Batch) {
	sc := scratchOf(bt)
	if len(sc.back) > 0 {
		q.giveBack(sc.back)
		clear(sc.back)
		sc.back = sc.back[:0]
		q.expire(bt)
		q.dispatch(bt)
		if q.set.bounded() && q.over() {
			q.trim(bt)
		}
	}
}

// resume tells that a consumer which was blocked may have room again.
func (q *queue) resume(bt *amqpserver.Batch, c *consumer) {
	q.mu.Lock()
	if c.state == consumerBlocked && !q.deleted {
		q.cs.wake(c)
		q.dispatch(bt)
	}
	q.unlock()
}

// purge takes everything out that is ready. The caller discards it when q.mu is not held any more.
func (q *queue) purge() (list discarded) {
	list = discarded{q: q, levels: q.levels, n: q.ready}
	q.levels = make([]level, len(q.levels))
	q.filled, q.ready, q.bytes, q.hot, q.hotBytes = [4]uint64{}, 0, 0, 0, 0
	q.gen++
	q.trimming = false
	return list
}

// discarded is what was taken out of a queue at once.
type discarded struct {
	q      *queue
	levels []level
	n      int // messages
}

// discard tells the journal that messages are not in their queue any more: that may be millions. No lock is held.
func (d *discarded) discard() {
	if !d.q.durable || d.q.b.rec == nil {
		return
	}
	const some = 4096
	list := make([]spent, 0, min(d.n, some))
	add := func(seq uint64, size int) {
		if list = append(list, spent{seq, size}); len(list) == some {
			d.q.b.rec.spent(d.q, list)
			list = list[:0]
		}
	}
	for i := range d.levels {
		l := &d.levels[i]
		for l.hot.n > 0 {
			if e := l.hot.shift(); e.m.seq != 0 {
				add(e.m.seq, e.m.size())
			}
		}
		for l.cold != nil && l.cold.n > 0 {
			if e := l.cold.shift(); e.plain == nil {
				add(e.seq, e.size)
			}
		}
	}
	if len(list) > 0 {
		d.q.b.rec.spent(d.q, list)
	}
}
