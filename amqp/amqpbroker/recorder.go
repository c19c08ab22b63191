package amqpbroker

import (
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/journal"
)

// recorder is the broker's side of a journal. The nil recorder belongs to a broker in memory: it costs nothing.
//
// Its lock comes after all locks of the broker and the server.
type recorder struct {
	j       Journal
	log     *slog.Logger
	failed  atomic.Bool
	closing atomic.Bool // the broker closes it

	mu    sync.Mutex
	last  uint64       // the number of the last record
	refs  journal.Refs // for messages: queues that have them; for definitions and checkpoints 1
	head  []byte
	dirty []dirty // queues with records of their own since their last checkpoint, the oldest first
}

// dirty is a queue and the number of its first record since its last checkpoint.
type dirty struct {
	q     *queue
	first uint64
}

// queueJournal is what the recorder has to do with a queue.
type queueJournal struct {
	// Guarded by the lock of the queue:
	reach    uint64 // it is durable that messages below this may have been delivered
	reaching uint64 // and will be for messages below this
	marked   uint64 // what was recovered below this counts as delivered
	durable  uint64 // records below this are durable, as far as the queue knows
	waiting  bool   // for more of them
	unclean  bool   // marked is not what the last checkpoint says

	// Guarded by the lock of the recorder:
	dirty bool
	over  bool // the queue is gone
	check stored
}

func newRecorder(j Journal, log *slog.Logger) *recorder { return &recorder{j: j, log: log} }

// broken reports whether the journal has failed: nothing may be promised any more.
func (r *recorder) broken() bool { return r != nil && r.failed.Load() }

// append appends a record. r.mu is held.
func (r *recorder) append(e Entry, t Token) uint64 {
	seq := r.j.Append(e, t)
	r.last = max(r.last, seq)
	return seq
}

// touch notes that a queue has a record of its own. r.mu is held.
func (r *recorder) touch(q *queue, seq uint64) {
	if j := &q.journal; !j.dirty && !j.over && seq != 0 {
		j.dirty = true
		r.dirty = append(r.dirty, dirty{q, seq})
	}
}

// releaseLocked takes one reference to a record back. r.mu is held.
func (r *recorder) releaseLocked(seq uint64, size int) {
	if r.refs.Get(seq) == 1 {
		r.j.Release(seq, size)
	}
	r.refs.Remove(seq)
}

// message records a message that comes to durable queues, whose locks are held, and gives it its number. With an origin it
// leaves that.
func (r *recorder) message(m *message, queues []*queue, from *origin, t Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messageLocked(m, queues, from, 0, t)
}

func (r *recorder) messageLocked(m *message, queues []*queue, from *origin, tx uint64, t Token) {
	r.head = appendMessage(r.head[:0], m, queues, nil, from, 0, tx)
	m.seq = r.append(Entry{Head: r.head, Body: m.body, Live: m.size()}, t)
	if m.seq == 0 {
		return // the journal is closed
	}
	r.refs.Add(m.seq, len(queues))
	r.leftLocked(from, m.seq)
}

// delay records a message that comes to a delayed exchange, and gives it its number.
func (r *recorder) delay(m *message, d *delayed, from *origin, due int64, t Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delayLocked(m, d, from, due, 0, t)
}

func (r *recorder) delayLocked(m *message, d *delayed, from *origin, due int64, tx uint64, t Token) {
	r.head = appendMessage(r.head[:0], m, nil, d, from, due, tx)
	m.seq = r.append(Entry{Head: r.head, Body: m.body, Live: m.size()}, t)
	if m.seq != 0 {
		r.refs.Add(m.seq, 1)
		r.leftLocked(from, m.seq)
	}
}

// fired records that messages are not in a delayed exchange any more. Those that are taken have gone with other records.
func (r *recorder) fired(d *delayed, list []*origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seqs := make([]spent, 0, len(list))
	for _, o := range list {
		seqs = append(seqs, spent{o.seq, o.size})
	}
	r.head = binary.AppendUvarint(append(r.head[:0], byte(recordFired)), d.num)
	r.head = appendSeqs(r.head, seqs)
	r.append(Entry{Head: r.head, Tombstone: true}, Token{})
	for _, o := range list {
		if !o.taken {
			r.releaseLocked(o.seq, o.size)
		}
	}
}

// leftLocked notes that an entry has gone with the record of another message. r.mu is held.
func (r *recorder) leftLocked(from *origin, seq uint64) {
	if from == nil || from.taken {
		return
	}
	from.taken = true
	if from.q != nil {
		r.touch(from.q, seq)
	}
	r.releaseLocked(from.seq, from.size)
}

// claim reports whether an entry has not gone with a record yet. Then it must be told to go, and does not go with one any more.
func (r *recorder) claim(o *origin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := o.taken
	o.taken = true
	return !was
}

// release takes one reference to a record back.
func (r *recorder) release(seq uint64, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releaseLocked(seq, size)
}

// num is the number of the queue or the delayed exchange.
func (o *origin) num() uint64 {
	if o.delayed != nil {
		return o.delayed.num
	}
	return o.q.num
}

// note records something about a queue. r.mu is held.
func (r *recorder) note(q *queue, t Token) {
	r.touch(q, r.append(Entry{Head: r.head}, t))
}

// spent records that messages are not in a queue any more.
func (r *recorder) spent(q *queue, list []spent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !q.journal.over {
		r.head = binary.AppendUvarint(append(r.head[:0], byte(recordSpent)), q.num)
		r.head = appendSeqs(r.head, list)
		r.note(q, Token{})
	}
	for _, s := range list {
		r.releaseLocked(s.seq, s.size)
	}
}

// returned records how often a message was given back.
func (r *recorder) returned(q *queue, e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = binary.AppendUvarint(append(r.head[:0], byte(recordReturned)), q.num)
	r.head = binary.AppendUvarint(binary.AppendUvarint(r.head, e.m.seq), uint64(e.count))
	r.note(q, Token{})
}

// aside records that a message was set aside, until a point in time unless that is 0.
func (r *recorder) aside(q *queue, e *entry, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = binary.AppendUvarint(append(r.head[:0], byte(recordAside)), q.num)
	r.head = binary.AppendUvarint(binary.AppendUvarint(r.head, e.m.seq), uint64(at))
	r.note(q, Token{})
}

// reachStep is for how many records ahead it is recorded that messages may have been delivered.
const reachStep = 1 << 17

// reached reports whether everything is durable without which the message must not be delivered: that it may have been, and that
// it is no more where it was before. Otherwise what is ready is dispatched then. q.mu is held.
func (q *queue) reached(m *message) bool {
	if !q.recorded(m) {
		return true
	}
	j := &q.journal
	if m.seq+reachStep/2 >= j.reaching {
		q.reach(m.seq + reachStep)
	}
	if m.flags&messageMoved != 0 && m.seq >= j.durable {
		q.settleDown()
		return false
	}
	return m.seq < j.reach
}

// settleDown waits until everything that is recorded so far is durable.
func (q *queue) settleDown() {
	if q.journal.waiting {
		return
	}
	q.journal.waiting = true
	r := q.b.rec
	r.mu.Lock()
	next := r.last + 1
	r.mu.Unlock()
	r.wait(Token{then: func(bt *amqpserver.Batch, o Outcome, _ bool) {
		q.mu.Lock()
		q.journal.waiting = false
		if o == Done && !q.deleted {
			q.journal.durable = next
			q.dispatch(bt)
		}
		q.wakeWaiters()
		q.unlock()
		q.b.bury(bt)
	}})
}

// reach records that messages below a number may be delivered.
func (q *queue) reach(to uint64) {
	q.journal.reaching = to
	r := q.b.rec
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.journal.over {
		return
	}
	r.head = binary.AppendUvarint(append(r.head[:0], byte(recordReach)), q.num)
	r.head = binary.AppendUvarint(r.head, to)
	r.note(q, Token{then: func(bt *amqpserver.Batch, o Outcome, _ bool) {
		q.mu.Lock()
		if o == Done && to > q.journal.reach && !q.deleted {
			q.journal.reach = to
			q.dispatch(bt)
		}
		q.wakeWaiters()
		q.unlock()
		q.b.bury(bt)
	}})
}

// define records a definition.
func (r *recorder) define(what definition, names []string, data []byte) stored {
	if r == nil {
		return stored{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = append(appendNames(r.head[:0], recordDefined, what, names), data...)
	s := stored{r.append(Entry{Head: r.head, Live: len(r.head)}, Token{}), len(r.head)}
	if s.seq != 0 {
		r.refs.Add(s.seq, 1)
	}
	return s
}

// redefine records a definition in the place of another.
func (r *recorder) redefine(what definition, names []string, data []byte, old stored) stored {
	s := r.define(what, names, data)
	if r != nil && old.seq != 0 {
		r.mu.Lock()
		r.releaseLocked(old.seq, old.size)
		r.mu.Unlock()
	}
	return s
}

// undefine records that a definition is gone.
func (r *recorder) undefine(what definition, names []string, old stored) {
	if r == nil || old.seq == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = appendNames(r.head[:0], recordUndefined, what, names)
	r.append(Entry{Head: r.head, Tombstone: true}, Token{})
	r.releaseLocked(old.seq, old.size)
}

// forget notes that a queue is gone: nothing is recorded about it any more.
func (r *recorder) forget(q *queue) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q.journal.over = true
	if c := q.journal.check; c.seq != 0 {
		r.releaseLocked(c.seq, c.size)
		q.journal.check = stored{}
	}
}

// wait completes t when everything recorded so far is durable.
func (r *recorder) wait(t Token) { r.j.Append(Entry{}, t) }

// pressure tells how much room the journal has.
func (r *recorder) pressure() Pressure {
	if r == nil {
		return PressureNone
	}
	return r.j.Pressure()
}

// complete is the journal's callback.
func (r *recorder) complete(tokens []Token, o Outcome) {
	if o != Done && !r.failed.Swap(true) && !r.closing.Load() {
		r.log.Error("journal failed: no persistent message is confirmed any more")
	}
	bt := amqpserver.NewBatch()
	for i := range tokens {
		tokens[i].complete(bt, o)
	}
	bt.Flush()
}

// commit records a transaction: its messages that are persistent, one after the other, and what was acknowledged or is to be
// dead-lettered. All its queues and delayed exchanges are locked. It reports whether there was something to record.
func (r *recorder) commit(t *transaction) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*txMessage
	for i := range t.messages {
		if m := &t.messages[i]; m.record() {
			list = append(list, m)
		}
	}
	acked, dead := make(spentByQueue), make(spentByQueue)
	for _, s := range t.settled {
		h := s.h
		switch {
		case h.state != stateAcquired || !h.q.recorded(h.m):
		case s.how == amqpserver.Acked, s.how == amqpserver.Rejected && !h.q.set.deadLetter:
			acked[h.q] = append(acked[h.q], spent{seq: h.m.seq})
		case s.how == amqpserver.Rejected:
			dead[h.q] = append(dead[h.q], spent{seq: h.m.seq})
		}
	}
	if len(list) == 0 && len(acked) == 0 && len(dead) == 0 {
		return false
	}
	whole := len(list) == 1 && len(acked) == 0 && len(dead) == 0 // one record is all or nothing
	first := uint64(0)
	for _, m := range list {
		tx := first + 1
		if whole {
			tx = 0
		}
		if m.delayed != nil {
			r.delayLocked(m.m, m.delayed, nil, m.due, tx, Token{})
		} else {
			r.messageLocked(m.m, m.durable, nil, tx, Token{})
		}
		if first == 0 {
			first = m.m.seq
		}
	}
	if whole {
		return true
	}
	r.head = binary.AppendUvarint(append(r.head[:0], byte(recordCommitted)), first)
	r.head = dead.append(acked.append(r.head))
	seq := r.append(Entry{Head: r.head}, Token{})
	for _, settled := range []spentByQueue{acked, dead} {
		for q := range settled {
			r.touch(q, seq)
		}
	}
	return true
}

// spentByQueue are entries of queues.
type spentByQueue map[*queue][]spent

func (s spentByQueue) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	for q, seqs := range s {
		dst = appendSeqs(binary.AppendUvarint(dst, q.num), seqs)
	}
	return dst
}
