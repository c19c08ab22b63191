package amqpbroker

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// delayed is what waits in an x-delayed-message exchange. Of messages that the journal has only the number is in memory.
type delayed struct {
	x   *exchange
	num uint64 // as those of queues

	mu       sync.Mutex
	ready    delayedHeap // whose messages are in memory
	bytes    int         // what those of them take that the journal has
	plain    int         // and the others
	near     delayedHeap // what is due before the floor of far
	far      delayedFar  // the rest
	pos      uint64
	timer    timer
	deadline int64
	firing   bool
	over     bool
}

// delayedEntry is a message that waits.
type delayedEntry struct {
	due  int64    // unix milliseconds
	pos  uint64   // the number of its record, or its place among those that have none
	m    *message // nil when only the journal has it
	size int      // of one that the journal has, 0 of others
}

// messageCost is about how many bytes a message takes in memory beside its size.
const messageCost = 200

// plainBytes is how much the messages take in memory that the journal need not have, before it gets them all the same unless
// they would be read back at once.
const plainBytes = 8 << 20

func newDelayed(x *exchange) *delayed {
	d := &delayed{x: x}
	d.timer.owner = d
	return d
}

const delayHeader = "x-delay"

// delayOf returns for how many milliseconds a message is to be delayed.
func delayOf(props amqp091.RawProperties) int64 {
	v, ok := props.Headers().Get(delayHeader)
	if !ok {
		return 0
	}
	n, ok := v.Int()
	if !ok {
		if f, isFloat := v.Float(); isFloat {
			n = int64(f)
		}
	}
	return max(n, 0)
}

// isDelayed reports whether a message has to wait.
func (x *exchange) isDelayed(m *message) bool { return delayOf(m.props) > 0 }

// wholeMillis returns t in unix milliseconds, rounded up.
func wholeMillis(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// maxDelay is the longest delay in milliseconds: 1,000 years.
const maxDelay = 1000 * 365 * 24 * 3600 * 1000

// maxDue is the latest time that is taken from a journal, in milliseconds.
const maxDue = 1 << 50

// delay lets a message wait, if it is to, and confirms it when it is safe. No lock is held.
func (x *exchange) delay(bt *amqpserver.Batch, m *message, from *origin, conf confirmation) bool {
	d, wait := x.delayed, delayOf(m.props)
	if wait == 0 {
		return false
	}
	m = m.own()
	// The time of a batch may be that of an earlier message, and a part of a millisecond counts: never too early.
	now := wholeMillis(time.Now())
	due := now + min(wait, maxDelay)
	b := x.v.b
	room := b.rec.pressure()
	if room == PressureSlow {
		bt.Slow(slowPause)
	}
	recorded := b.rec != nil && x.outlives(m)
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		conf.done(bt, false)
		return true
	}
	switch {
	case recorded:
		b.rec.delay(m, d, from, due, conf.token())
	case wait > 2*aheadTime && d.plain >= plainBytes && b.rec != nil && !b.rec.broken() && room != PressureFull:
		recorded = true // nobody asks for that, but publishers are not to get far ahead of the disk
		b.rec.delay(m, d, nil, due, conf.token())
	}
	d.enter(m, due, now)
	d.mu.Unlock()
	if !recorded {
		conf.done(bt, false)
	}
	return true
}

// enter lets a message wait, of which the journal knows if it has a number. d.mu is held.
func (d *delayed) enter(m *message, due, now int64) {
	e := delayedEntry{due: due, pos: m.seq, size: m.size()}
	if m.seq == 0 {
		d.pos++
		e.pos, e.m, e.size = d.pos, m, 0
	}
	d.add(e, now)
}

// outlives reports whether a message that waits is to be there after a restart. Others that the journal has are there only to
// be out of memory.
func (x *exchange) outlives(m *message) bool { return x.durable && m.flags&messagePersistent != 0 }

// cost is how many bytes the message takes in memory.
func (e *delayedEntry) cost() int {
	if e.m != nil {
		return messageCost + e.m.size()
	}
	return messageCost + e.size
}

// pushReady adds an entry whose message is in memory. d.mu is held.
func (d *delayed) pushReady(e delayedEntry) {
	if d.ready.push(e); e.size > 0 {
		d.bytes += e.cost()
	} else {
		d.plain += e.cost()
	}
}

// popReady takes the earliest entry out whose message is in memory. d.mu is held.
func (d *delayed) popReady() delayedEntry {
	e := d.ready.pop()
	if e.size > 0 {
		d.bytes -= e.cost()
	} else {
		d.plain -= e.cost()
	}
	return e
}

// add adds an entry. now is where far begins when this is its first one. d.mu is held.
func (d *delayed) add(e delayedEntry, now int64) {
	if e.m == nil && d.far.n == 0 {
		d.far.floor = min(now, e.due)
	}
	switch {
	case e.m != nil:
		d.pushReady(e)
	case e.due < d.far.floor:
		d.near.push(e)
	default:
		d.far.add(e)
	}
	d.arm()
}

// unread returns when to look at what is not in memory: the first of it is due then, or later. d.mu is held.
func (d *delayed) unread() (at int64, ok bool) {
	at, ok = d.far.first()
	if len(d.near) > 0 && (!ok || d.near[0].due < at) {
		return d.near[0].due, true
	}
	return at, ok
}

// arm sets the timer. d.mu is held.
func (d *delayed) arm() {
	if d.firing || d.over {
		return
	}
	at := int64(math.MaxInt64)
	if len(d.ready) > 0 {
		at = d.ready[0].due
	}
	if next, ok := d.unread(); ok && d.bytes < aheadBytes/2 {
		at = min(at, next-aheadTime/2)
	}
	if at < math.MaxInt64 && (d.deadline == 0 || at < d.deadline) {
		d.deadline = at
		d.x.v.b.deadlines.set(&d.timer, at)
	}
}

// len returns how many messages wait. d.mu is held.
func (d *delayed) len() int { return len(d.ready) + len(d.near) + d.far.n }

// Messages are read before they are due, many at a time in the order in which they are in the journal: those that are due at
// about the same time may be anywhere in it.
const (
	aheadTime     = 1000 // milliseconds
	aheadMessages = 32 << 10
	aheadBytes    = 16 << 20
	aheadSteps    = 64 << 10 // entries that are looked at without letting others go on
)

// readAhead reads messages that are due soon. It reports false when the journal cannot be used any more. Only fire calls it.
func (d *delayed) readAhead(r JournalReader, now int64) bool {
	b := d.x.v.b
	list := d.due(now)
	slices.SortFunc(list, func(a, b delayedEntry) int { return cmp.Compare(a.pos, b.pos) })
	n := 0
	for _, e := range list {
		m, err := b.readSurely(r, e.pos)
		if err != nil {
			if b.isStopped() || b.rec.broken() {
				return false
			}
			b.opts.Logger.Error("journal: a delayed message cannot be read", "exchange", d.x.name, "vhost", d.x.v.name, "err", err)
			b.rec.fired(d, []*origin{{delayed: d, seq: e.pos, size: e.size}})
			continue
		}
		e.m = m
		list[n] = e
		n++
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range list[:n] {
		if d.over {
			b.rec.release(e.pos, e.size)
			continue
		}
		d.pushReady(e)
	}
	return true
}

// due takes entries out that are due soon and not in memory, as many as there is room for.
func (d *delayed) due(now int64) []delayedEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []delayedEntry
	steps := aheadSteps
	for bytes := d.bytes; len(list) < aheadMessages && bytes < aheadBytes && !d.over; {
		var e delayedEntry
		if len(d.near) > 0 && d.near[0].due <= now+aheadTime {
			e = d.near.pop()
		} else {
			var ok bool
			if e, ok = d.far.take(now+aheadTime, &steps); !ok {
				break
			}
		}
		bytes += e.cost()
		list = append(list, e)
	}
	if at, ok := d.far.first(); ok && at > now {
		d.far.floor = max(d.far.floor, now)
	}
	return list
}

// tick publishes what is due, on a goroutine of its own: it may have to be read from the disk.
func (d *delayed) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = 0
	if !d.over && !d.firing {
		d.firing = d.x.v.b.spawn(d.fire)
	}
}

// fireMessages is how many messages are published at a time.
const fireMessages = 256

func (d *delayed) fire() {
	b := d.x.v.b
	bt := amqpserver.NewBatch()
	var r JournalReader
	if b.rec != nil {
		r = b.rec.j.Reader()
	}
	var pace firePace
	for {
		now := bt.Now().UnixMilli()
		if b.isStopped() || !d.readAhead(r, now) {
			return
		}
		for {
			var list []delayedEntry
			d.mu.Lock()
			for len(list) < fireMessages && len(d.ready) > 0 && d.ready[0].due <= now && !d.over {
				list = append(list, d.popReady())
			}
			d.mu.Unlock()
			if len(list) == 0 {
				break
			}
			d.publish(bt, list)
			b.bury(bt)
			bt.Flush()
			pace.wait(b.rec, list)
		}
		bt.Flush()
		if d.rest() {
			return
		}
	}
}

// firePace keeps what is published from getting far ahead of the disk.
type firePace struct {
	bytes int
	done  chan struct{} // closed when what was published before is durable
}

// firePaceBytes is after how many bytes of messages it is waited until those before them are durable.
const firePaceBytes = 1 << 20

// wait counts messages that the journal has.
func (p *firePace) wait(r *recorder, list []delayedEntry) {
	for i := range list {
		p.bytes += list[i].size
	}
	if r == nil || p.bytes < firePaceBytes {
		return
	}
	p.bytes = 0
	if p.done != nil {
		<-p.done
	}
	done := make(chan struct{})
	p.done = done
	r.wait(Token{then: func(*amqpserver.Batch, Outcome, bool) { close(done) }})
}

// rest ends the work of fire when there is nothing to do now.
func (d *delayed) rest() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now().UnixMilli()
	next, ok := d.unread()
	if !d.over && (len(d.ready) > 0 && d.ready[0].due <= now || ok && d.bytes < aheadBytes/2 && next <= now+aheadTime/2) {
		return false
	}
	d.firing = false
	d.arm()
	return true
}

// publish publishes messages that are due.
func (d *delayed) publish(bt *amqpserver.Batch, list []delayedEntry) {
	b, x := d.x.v.b, d.x
	var fired []*origin
	for _, e := range list {
		var from *origin
		switch {
		case e.size == 0:
		case !x.outlives(e.m):
			b.rec.release(e.pos, e.size)
		default:
			from = &origin{delayed: d, seq: e.pos, size: e.size}
			fired = append(fired, from)
		}
		out := *e.m
		out.seq, out.at = 0, bt.Now().UnixMilli()
		out.flags |= messageMoved
		out.props = negated(out.props)
		targets := x.v.route(scratchOf(bt), x, []byte(out.key), out.props)
		if len(targets) == 0 {
			b.counts.unroutable.Add(1)
			continue
		}
		stripCopies(&out)
		b.distribute(bt, &publication{m: &out}, targets, from, confirmation{})
	}
	if len(fired) > 0 {
		b.rec.fired(d, fired)
	}
}

// negated returns properties in which the delay is negative: it is over. Consumers who publish the message again do not delay
// it again.
func negated(props amqp091.RawProperties) amqp091.RawProperties {
	headers, err := amqp091.AppendField(props.Headers().AppendWithout(nil, delayHeader), delayHeader, -delayOf(props))
	if err != nil {
		return props
	}
	return props.WithHeaders(nil, headers)
}

// end drops everything: the exchange is gone.
func (d *delayed) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.x.v.b.deadlines.set(&d.timer, 0)
	if r := d.x.v.b.rec; r != nil {
		r.mu.Lock()
		d.far.all(func(e delayedEntry) { r.releaseLocked(e.pos, e.size) })
		for _, e := range slices.Concat(d.near, d.ready) {
			if e.size > 0 {
				r.releaseLocked(e.pos, e.size)
			}
		}
		r.mu.Unlock()
	}
	d.ready, d.near, d.far = nil, nil, delayedFar{}
}
