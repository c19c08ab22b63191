package amqpbroker

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/codec"
)

// checkFlags are what a checkpoint says of an entry. They are on disk.
type checkFlags uint8

const (
	checkRedelivered checkFlags = 1 << iota
	checkDeferred
	checkScheduled
	checkCount // a count follows
	checkTime  // a point in time follows
	checkDead  // it was rejected, and is to be dead-lettered
)

// appendCheckpoint appends what a queue has: the entries that are in memory or held, and for each level the number from which
// on it has everything that came. q.mu and r.mu are held.
func (r *recorder) appendCheckpoint(dst []byte, q *queue, clean bool) []byte {
	reach := q.journal.reaching
	if clean {
		reach = 0
	}
	dst = binary.AppendUvarint(append(dst, byte(recordCheckpoint)), q.num)
	dst = binary.AppendUvarint(dst, reach)
	dst = binary.AppendUvarint(dst, q.journal.marked)
	dst = binary.AppendUvarint(dst, r.last+1)
	var kept keptList
	n := 0
	var lows []byte
	for lv := range q.levels {
		c := q.levels[lv].cold
		if c == nil {
			continue
		}
		cu := c.cursor()
		for e, ok := cu.next(); ok; e, ok = cu.next() {
			if e.plain != nil {
				continue
			}
			if e.seq >= c.solid {
				lows = binary.AppendUvarint(append(lows, byte(lv)), e.seq)
				n++
				break
			}
			kept.add(e.seq, e.flags, e.count, 0, 0)
		}
	}
	dst = append(binary.AppendUvarint(dst, uint64(n)), lows...)

	add := func(e *entry, flags checkFlags, at int64) {
		if q.recorded(e.m) {
			kept.add(e.m.seq, e.flags, e.count, flags, at)
		}
	}
	for lv := range q.levels {
		hot := &q.levels[lv].hot
		for i := range hot.n {
			add(hot.at(i), 0, 0)
		}
	}
	for _, h := range q.held {
		switch h.state {
		case stateAcquired:
			add(&h.entry, checkRedelivered, 0)
		case stateDeferred:
			add(&h.entry, checkDeferred, 0)
		case stateScheduled:
			add(&h.entry, checkScheduled|checkTime, h.at)
		case stateDead:
			if h.from == nil || !h.from.taken { // it has not gone with the record of the dead letter
				flags := checkFlags(0)
				if h.why == deathRejected {
					flags = checkDead
				}
				add(&h.entry, flags, 0)
			}
		}
	}
	for _, k := range q.aside {
		flags := k.mark.flags & (checkDeferred | checkScheduled | checkDead)
		if flags&checkScheduled != 0 {
			flags |= checkTime
		}
		kept.add(k.seq, k.coldEntry.flags, k.mark.count, flags, k.at)
	}
	return append(binary.AppendUvarint(dst, uint64(kept.n)), kept.b...)
}

// keptList is the list of entries in a checkpoint.
type keptList struct {
	b    []byte
	n    int
	prev uint64
}

func (l *keptList) add(seq uint64, is entryFlags, count uint32, flags checkFlags, at int64) {
	l.n++
	if is&entryRedelivered != 0 {
		flags |= checkRedelivered
	}
	if count > 0 {
		flags |= checkCount
	}
	l.b = append(binary.AppendVarint(l.b, int64(seq-l.prev)), byte(flags))
	l.prev = seq
	if flags&checkCount != 0 {
		l.b = binary.AppendUvarint(l.b, uint64(count))
	}
	if flags&checkTime != 0 {
		l.b = binary.AppendUvarint(l.b, uint64(at))
	}
}

// rewrite records what a queue has, in place of all its records so far. q.mu is held.
func (r *recorder) rewrite(q *queue, clean bool) (size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.journal.over {
		return 0
	}
	old := q.journal.check
	r.head = r.appendCheckpoint(r.head[:0], q, clean)
	s := stored{r.append(Entry{Head: r.head, Live: len(r.head)}, Token{}), len(r.head)}
	if s.seq == 0 {
		return 0
	}
	r.refs.Add(s.seq, 1)
	q.journal.check, q.journal.dirty, q.journal.unclean = s, false, false
	if old.seq != 0 {
		r.releaseLocked(old.seq, old.size)
	}
	return s.size
}

// pace is how much the checkpoints of many queues write before they wait until that is durable.
const pace = 64 << 10

// checkpoint is called by the journal before records below a number are thrown away.
func (b *Broker) checkpoint(below uint64) {
	r := b.rec
	written := 0
	for !r.broken() {
		r.mu.Lock()
		if len(r.dirty) == 0 || r.dirty[0].first >= below {
			r.mu.Unlock()
			return
		}
		q := r.dirty[0].q
		r.dirty[0] = dirty{}
		r.dirty = r.dirty[1:]
		skip := q.journal.over || !q.journal.dirty
		r.mu.Unlock()
		if skip {
			continue
		}
		q.mu.Lock()
		written += r.rewrite(q, false)
		q.mu.Unlock()
		if written >= pace {
			written = 0
			if r.pressure() == PressureFull { // perhaps it waits for the room that this is to make
				continue
			}
			done := make(chan struct{})
			r.wait(Token{then: func(*amqpserver.Batch, Outcome, bool) { close(done) }})
			<-done
		}
	}
}

// keep says what is to become of a record.
func (b *Broker) keep(seq uint64, raw []byte) Verdict {
	if len(raw) == 0 {
		return Discard
	}
	switch recordKind(raw[0]) {
	case recordMessage, recordDefined, recordCheckpoint:
		b.rec.mu.Lock()
		defer b.rec.mu.Unlock()
		if b.rec.refs.Get(seq) > 0 {
			return Keep
		}
		return Discard
	case recordCommitted: // its messages must not be the last records
		rd := codec.NewReader(raw[1:])
		b.rec.mu.Lock()
		defer b.rec.mu.Unlock()
		for first := rd.Uvarint64(); first != 0 && first < seq; first++ {
			if b.rec.refs.Get(first) > 0 {
				return Keep
			}
		}
		return Discard
	case recordSpent, recordReturned, recordAside, recordReach, recordClean:
		return Discard // checkpoint has made it superfluous
	case recordUndefined, recordAborted, recordFired:
		return Tombstone
	}
	b.opts.Logger.Error("journal: unknown record", "seq", seq)
	return Keep
}

// reachedAll is what queueJournal.reaching is when the broker is closed: nothing that is recorded may be delivered any more.
const reachedAll = 1 << 63

// recordClean records what all queues have, and that nothing was delivered since. Nothing that is recorded is delivered any
// more.
func (b *Broker) recordClean(vhosts []*vhost) {
	for _, v := range vhosts {
		v.mu.RLock()
		for _, q := range v.queues {
			if !q.durable {
				continue
			}
			q.mu.Lock()
			if q.journal.reaching != 0 || q.journal.dirty || q.journal.unclean {
				b.rec.rewrite(q, true)
			}
			q.journal.reach, q.journal.reaching = 0, reachedAll
			q.wakeWaiters()
			q.mu.Unlock()
		}
		v.mu.RUnlock()
	}
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	b.rec.head = append(b.rec.head[:0], byte(recordClean))
	b.rec.append(Entry{Head: b.rec.head}, Token{})
}
