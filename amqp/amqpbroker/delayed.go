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
	bytes    int         // what those of them count that the journal has
	near     delayedHeap // what is due in the span of horizon or before
	far      delayedFar  // the rest
	horizon  int64
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

// maxDelay is the longest delay in milliseconds: 1,000 years.
const maxDelay = 1000 * 365 * 24 * 3600 * 1000

// delay lets a message wait, if it is to, and confirms it when it is safe. No lock is held.
func (x *exchange) delay(bt *amqpserver.Batch, m *message, from *origin, conf confirmation) bool {
	d, wait := x.delayed, delayOf(m.props)
	if wait == 0 {
		return false
	}
	m = m.own()
	// The time of a batch may be that of an earlier message: never too early.
	e := delayedEntry{due: time.Now().UnixMilli() + min(wait, maxDelay), size: m.size()}
	recorded := x.durable && m.flags&messagePersistent != 0 && x.v.b.rec != nil
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		conf.done(bt, false)
		return true
	}
	if recorded {
		x.v.b.rec.delay(m, d, from, e.due, conf.token())
	}
	if e.pos = m.seq; m.seq == 0 {
		d.pos++
		e.pos, e.m, e.size = d.pos, m, 0
	}
	d.add(e)
	d.mu.Unlock()
	if !recorded {
		conf.done(bt, false)
	}
	return true
}

// add adds an entry. d.mu is held.
func (d *delayed) add(e delayedEntry) {
	span := e.due >> spanBits
	switch {
	case e.m != nil:
		d.ready.push(e)
	case span > d.horizon:
		d.far.add(span, e)
	default:
		d.near.push(e)
	}
	d.arm()
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
	if len(d.near) > 0 && d.bytes < aheadBytes/2 {
		at = min(at, d.near[0].due-aheadTime/2)
	}
	if span, ok := d.far.first(); ok {
		at = min(at, span<<spanBits)
	}
	if at < math.MaxInt64 && (d.deadline == 0 || at < d.deadline) {
		d.deadline = at
		d.x.v.b.deadlines.set(&d.timer, at)
	}
}

// advance brings what is due in the span of a time, or before, near. d.mu is held.
func (d *delayed) advance(now int64) {
	for {
		span, ok := d.far.first()
		if !ok || span > now>>spanBits {
			break
		}
		d.far.take(func(e delayedEntry) { d.near = append(d.near, e) })
		d.near.init()
	}
	d.horizon = now >> spanBits
}

// len returns how many messages wait. d.mu is held.
func (d *delayed) len() int { return len(d.ready) + len(d.near) + d.far.n }

// Messages are read before they are due, many at a time in the order in which they are in the journal: those that are due at
// about the same time may be anywhere in it.
const (
	aheadTime     = 1000 // milliseconds
	aheadMessages = 32 << 10
	aheadBytes    = 16 << 20
)

// readAhead reads messages that are due soon. It reports false when the journal cannot be used any more. Only fire calls it.
func (d *delayed) readAhead(r JournalReader, now int64) bool {
	b := d.x.v.b
	d.mu.Lock()
	d.advance(now + aheadTime)
	var list []delayedEntry
	for bytes := d.bytes; len(d.near) > 0 && d.near[0].due <= now+aheadTime && len(list) < aheadMessages && bytes < aheadBytes && !d.over; {
		e := d.near.pop()
		bytes += e.size
		list = append(list, e)
	}
	d.mu.Unlock()
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
		d.bytes += e.size
		d.ready.push(e)
	}
	return true
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
	for {
		now := bt.Now().UnixMilli()
		if b.isStopped() || !d.readAhead(r, now) {
			return
		}
		for {
			var list []delayedEntry
			d.mu.Lock()
			for len(list) < fireMessages && len(d.ready) > 0 && d.ready[0].due <= now && !d.over {
				e := d.ready.pop()
				d.bytes -= e.size
				list = append(list, e)
			}
			d.mu.Unlock()
			if len(list) == 0 {
				break
			}
			d.publish(bt, list)
			b.bury(bt)
			bt.Flush()
		}
		bt.Flush()
		if d.rest() {
			return
		}
	}
}

// rest ends the work of fire when there is nothing to do now.
func (d *delayed) rest() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now().UnixMilli()
	if !d.over && (len(d.ready) > 0 && d.ready[0].due <= now || len(d.near) > 0 && d.bytes < aheadBytes/2 && d.near[0].due <= now+aheadTime/2) {
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
		if e.size > 0 {
			from = &origin{delayed: d, seq: e.pos, size: e.size}
			fired = append(fired, from)
		}
		out := *e.m
		out.seq, out.at = 0, bt.Now().UnixMilli()
		out.flags |= messageMoved
		out.props = negated(out.props)
		targets := slices.Clone(x.v.route(scratchOf(bt), x, []byte(out.key), out.props))
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
		for {
			if _, ok := d.far.first(); !ok {
				break
			}
			d.far.take(func(e delayedEntry) { r.releaseLocked(e.pos, e.size) })
		}
		for _, e := range slices.Concat(d.near, d.ready) {
			if e.size > 0 {
				r.releaseLocked(e.pos, e.size)
			}
		}
		r.mu.Unlock()
	}
	d.ready, d.near, d.far = nil, nil, delayedFar{}
}
