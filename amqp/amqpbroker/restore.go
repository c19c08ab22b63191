package amqpbroker

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// keep makes what was replayed the state of the broker.
func (r *restoring) keep() error {
	b := r.b
	r.dropVhosts()
	for _, v := range b.vhosts {
		b.restoreRecord(v.record)
		for _, x := range v.exchanges {
			b.restoreRecord(x.record)
			b.applyPolicy(x)
		}
	}
	for _, s := range b.recorded {
		b.restoreRecord(s)
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.bindings), func(x, y string) int {
		return cmp.Compare(r.bindings[x].record.seq, r.bindings[y].record.seq)
	}) {
		if err := r.bind(r.bindings[key]); err != nil {
			return err
		}
	}
	var list []dirty
	for _, num := range slices.Sorted(maps.Keys(r.queues)) {
		t := r.queues[num]
		for seq := range t.missing {
			return fmt.Errorf("amqpbroker: message %d of %s: %w", seq, t.q.title(), errTorn)
		}
		t.keep(r.clean)
		if t.first != 0 {
			t.q.journal.dirty = true
			list = append(list, dirty{t.q, t.first})
		}
	}
	slices.SortFunc(list, func(x, y dirty) int { return cmp.Compare(x.first, y.first) })
	b.rec.dirty = list
	for _, t := range r.delayed {
		t.keep()
	}
	return nil
}

// restoreRecord counts a definition or a checkpoint that is needed.
func (b *Broker) restoreRecord(s stored) {
	if s.seq != 0 {
		b.rec.refs.Add(s.seq, 1)
		b.rec.j.Restore(s.seq, s.size)
	}
}

// bind makes a binding. One whose ends are not there any more is forgotten.
func (r *restoring) bind(rb restoredBinding) error {
	v := r.b.vhosts[rb.names[0]]
	if v == nil {
		return nil
	}
	x := v.exchanges[rb.names[1]]
	var dest target
	if rb.names[2] == destinationExchange {
		dest.x = v.exchanges[rb.names[3]]
	} else {
		dest.q = v.queues[rb.names[3]]
	}
	if x == nil || dest == (target{}) {
		return nil
	}
	args, err := amqp091.RawTable(rb.args).Decode()
	if err != nil {
		return err
	}
	b, added, err := x.router.bind(dest, rb.names[4], args)
	if err != nil || !added {
		return err
	}
	r.b.restoreRecord(rb.record)
	list := dest.bonds()
	if *list == nil {
		*list = make(bonds)
	}
	(*list)[b] = &bond{source: x, dest: dest, b: b, record: rb.record}
	return nil
}

// keep makes the entries those of the queue.
func (t *restored) keep(clean bool) {
	q, b := t.q, t.q.b
	q.configure(b.settingsOf(q))
	if !clean && t.reach > q.journal.marked {
		q.journal.marked, q.journal.unclean = t.reach, true
	}
	b.restoreRecord(q.record)
	b.restoreRecord(q.journal.check)
	lists := make([][]keptEntry, len(q.levels))
	for _, seq := range slices.Sorted(maps.Keys(t.kept)) {
		e := t.kept[seq]
		lists[e.level] = append(lists[e.level], e)
	}
	holes := uint64(0) // the last one that is not in its place
	for seq := range t.gone {
		holes = max(holes, seq+1)
	}
	for seq := range t.marks {
		holes = max(holes, seq+1)
	}
	for lv := range t.levels {
		out := new(cold)
		if len(lists[lv]) == 0 && len(t.gone) == 0 && len(t.marks) == 0 {
			out = &t.levels[lv]
			cu := out.cursor()
			for e, ok := cu.next(); ok; e, ok = cu.next() {
				b.restoreMessage(e.seq, e.size)
				q.added(uint8(lv), e.length)
			}
		} else {
			for _, e := range lists[lv] {
				t.keepEntry(out, &e)
			}
			for c := &t.levels[lv]; c.n > 0; {
				e := keptEntry{coldEntry: c.shift(), level: uint8(lv)}
				if t.isGone(e.seq) {
					continue
				}
				e.mark = t.marks[e.seq]
				t.keepEntry(out, &e)
			}
		}
		if out.n > 0 {
			out.solid = max(t.lows[lv], holes)
			q.levels[lv].cold = out
		}
	}
	if q.ready > 0 {
		if e, _ := q.top().cold.first(); e.expires != 0 {
			q.arm(e.expires)
		}
	}
}

// keepEntry puts an entry where it belongs.
func (t *restored) keepEntry(out *cold, e *keptEntry) {
	q := t.q
	q.b.restoreMessage(e.seq, e.size)
	if e.mark.flags&checkRedelivered != 0 {
		e.coldEntry.flags |= entryRedelivered
	}
	e.coldEntry.count = e.mark.count
	if e.mark.flags&(checkDeferred|checkScheduled|checkDead) == 0 {
		out.pushCold(&e.coldEntry)
		q.added(e.level, e.length)
		return
	}
	q.aside = append(q.aside, *e)
}

// restoreMessage counts a queue that has a message.
func (b *Broker) restoreMessage(seq uint64, size int) {
	if b.rec.refs.Add(seq, 1) == 0 {
		b.rec.j.Restore(seq, size)
	}
}

// keep makes the entries those of the delayed exchange.
func (t *restoredDelayed) keep() {
	b := t.d.x.v.b
	t.take(func(e delayedEntry) {
		b.rec.j.Restore(e.pos, e.size)
		t.d.add(e, t.least)
	})
}

// begin starts the journal. Unless aborted is 0, the log ends with messages of a transaction, of which that is the first, that
// was cut off by a crash: they never were. The first record says so, since any other one after them would mean that they are
// there.
func (r *recorder) begin(b *Broker, aborted uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.j.Start(JournalHandler{Complete: r.complete, Checkpoint: b.checkpoint, Keep: b.keep}); err != nil {
		return err
	}
	if aborted != 0 {
		r.head = binary.AppendUvarint(append(r.head[:0], byte(recordAborted)), aborted)
		r.append(Entry{Head: r.head, Tombstone: true}, Token{})
	}
	return nil
}

// restoreAside reads back what was set aside, when the journal can be read.
func (b *Broker) restoreAside() {
	bt := amqpserver.NewBatch()
	var r JournalReader
	for _, v := range b.vhosts {
		for _, q := range v.queues {
			for len(q.aside) > 0 {
				if r == nil {
					r = b.rec.j.Reader()
				}
				q.setAside(bt, r, q.aside[0])
			}
		}
	}
	b.bury(bt)
	bt.Flush()
}

// setAside makes the first entry of aside deferred or scheduled again.
func (q *queue) setAside(bt *amqpserver.Batch, r JournalReader, k keptEntry) {
	m, err := q.b.readSurely(r, k.seq)
	q.mu.Lock()
	defer q.unlock()
	if q.aside = q.aside[1:]; len(q.aside) == 0 {
		q.aside = nil
	}
	if err != nil {
		q.b.opts.Logger.Error("journal: a message cannot be read", "queue", q.name, "vhost", q.v.name, "err", err)
		q.spent = append(q.spent, spent{k.seq, k.size})
		return
	}
	e := entry{m: m, pos: k.pos, expires: k.expires, count: k.mark.count, level: k.level, flags: k.coldEntry.flags}
	switch {
	case k.mark.flags&checkDead != 0:
		q.die(bt, &e, deathRejected)
	case k.mark.flags&checkScheduled != 0:
		q.postpone(&e, k.at)
	default:
		q.hold(&e, stateDeferred)
	}
}
