package amqpbroker

import (
	"math"
	"slices"
	"sync"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// delayed is what waits in an x-delayed-message exchange. Of messages that the journal has only the number is in memory.
type delayed struct {
	x   *exchange
	num uint64 // as those of queues

	mu       sync.Mutex
	near     delayedHeap // what is due in the span of horizon or before, and what the journal has not got
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
	m    *message // nil when the journal has it
	size int      // of one that the journal has
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
	e := delayedEntry{due: m.at + min(wait, maxDelay), size: m.size()}
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
		e.pos, e.m = d.pos, m
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
	if span := e.due >> spanBits; e.m == nil && span > d.horizon {
		d.far.add(span, e)
	} else {
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
	if len(d.near) > 0 {
		at = d.near[0].due
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
func (d *delayed) len() int { return len(d.near) + d.far.n }

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
		var list []delayedEntry
		d.mu.Lock()
		d.advance(now)
		for len(list) < fireMessages && len(d.near) > 0 && d.near[0].due <= now && !d.over && !b.isStopped() {
			list = append(list, d.near.pop())
		}
		if len(list) == 0 {
			d.firing = false
			d.arm()
			d.mu.Unlock()
			break
		}
		d.mu.Unlock()
		if !d.publish(bt, r, list) {
			return
		}
		b.bury(bt)
		bt.Flush()
	}
	bt.Flush()
}

// publish publishes messages that are due. It reports false when the journal cannot be used any more.
func (d *delayed) publish(bt *amqpserver.Batch, r JournalReader, list []delayedEntry) bool {
	b, x := d.x.v.b, d.x
	var fired []*origin
	for _, e := range list {
		m := e.m
		var from *origin
		if m == nil {
			from = &origin{delayed: d, seq: e.pos, size: e.size}
			var err error
			if m, err = b.readSurely(r, e.pos); err != nil {
				if b.isStopped() || b.rec.broken() {
					return false
				}
				b.opts.Logger.Error("journal: a delayed message cannot be read", "exchange", x.name, "vhost", x.v.name, "err", err)
			}
			fired = append(fired, from)
		}
		if m == nil {
			continue
		}
		out := *m
		out.seq, out.at = 0, bt.Now().UnixMilli()
		out.props = negated(m.props)
		sc := scratchOf(bt)
		targets := slices.Clone(x.v.route(sc, x, []byte(out.key), out.props))
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
	return true
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
		for _, e := range d.near {
			if e.m == nil {
				r.releaseLocked(e.pos, e.size)
			}
		}
		r.mu.Unlock()
	}
	d.near, d.far = nil, delayedFar{}
}
