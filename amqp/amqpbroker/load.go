package amqpbroker

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

const (
	loadMessages = 256     // so many are loaded at a time
	loadBytes    = 1 << 20 // or so many bytes
)

// isFull reports whether no more ready messages of a queue that the journal has are to be in memory.
func (b *Broker) isFull(n int, bytes int64) bool {
	limit, most := b.opts.hotMessages, b.opts.hotBytes
	if b.alarms.tight.Load() {
		limit, most = limit/16, most/16
	}
	return n >= limit || bytes >= most
}

// isLow reports whether so few are in memory that more are to be loaded.
func (b *Broker) isLow(n int) bool {
	limit := b.opts.hotMessages / 4
	if b.alarms.tight.Load() {
		limit /= 16
	}
	return n <= limit
}

// load loads messages in the background. q.mu is held.
func (q *queue) load() {
	if !q.loading && q.b.rec != nil && !q.b.rec.broken() {
		if q.loaded == nil {
			q.loaded = make(chan struct{})
		}
		q.loading = q.b.spawn(q.loader)
	}
}

// awaitFront waits until the loader or the journal has done something for the first entry. q.mu is held, but not while it
// waits.
func (q *queue) awaitFront() error {
	if q.b.rec == nil || q.b.rec.broken() || q.journal.reaching == reachedAll {
		return errJournal()
	}
	if q.loaded == nil {
		q.loaded = make(chan struct{})
	}
	if q.front() == nil {
		q.load()
		if !q.loading {
			return errJournal()
		}
	}
	wait := q.loaded
	q.mu.Unlock()
	<-wait
	q.mu.Lock()
	return nil
}

// wakeWaiters tells those in awaitFront. q.mu is held.
func (q *queue) wakeWaiters() {
	if q.loaded != nil {
		close(q.loaded)
		q.loaded = nil
	}
}

func errJournal() *amqp091.Error {
	return amqp091.HardError(amqp091.InternalError, "storage failed")
}

// loader loads messages until enough are in memory.
func (q *queue) loader() {
	bt := amqpserver.NewBatch()
	r := q.b.rec.j.Reader()
	for q.loadSome(bt, r) {
		bt.Flush()
	}
	bt.Flush()
}

// lacking returns the level of which messages are to be loaded, -1 for none.
func (q *queue) lacking() int {
	if q.deleted || q.b.rec.broken() || q.b.isStopped() {
		return -1
	}
	for lv := len(q.levels) - 1; lv >= 0; lv-- {
		l := &q.levels[lv]
		if l.cold == nil {
			continue
		}
		if l.hot.n == 0 || q.trimming || !q.b.isFull(2*q.hot, 2*q.hotBytes) || q.looksBeyond(l, lv) {
			return lv
		}
	}
	return -1
}

// looksBeyond reports whether a consumer has looked at everything of a level that is in memory.
func (q *queue) looksBeyond(l *level, lv int) bool {
	if q.cs.special == 0 && q.grouping == nil || q.cs.open == 0 {
		return false
	}
	last := l.hot.at(l.hot.n - 1).pos
	for _, c := range q.cs.list {
		if c.state == consumerOpen && (c.next == nil || c.next[lv] > last) {
			return true
		}
	}
	return false
}

// loadSome loads some messages. It reports whether there may be more to load; otherwise nobody loads any more.
func (q *queue) loadSome(bt *amqpserver.Batch, r JournalReader) bool {
	q.mu.Lock()
	lv := q.lacking()
	if lv < 0 {
		q.loading = false
		q.wakeWaiters()
		q.mu.Unlock()
		return false
	}
	gen := q.gen
	var list []coldEntry
	var messages []*message // nil for those to be read: plain entries may be used under the lock only
	cu := q.levels[lv].cold.cursor()
	for bytes := 0; len(list) < loadMessages && bytes < loadBytes; {
		e, ok := cu.next()
		if !ok {
			break
		}
		bytes += e.size
		list = append(list, e)
		var m *message
		if e.plain != nil {
			m = e.plain.m
		}
		messages = append(messages, m)
	}
	q.mu.Unlock()

	failed := false
	for i := range list {
		if messages[i] != nil {
			continue
		}
		m, err := q.b.readSurely(r, list[i].seq)
		if err != nil {
			failed = !q.b.isStopped()
			if failed {
				q.b.opts.Logger.Error("journal: a message cannot be read", "queue", q.name, "vhost", q.v.name, "err", err)
			}
			messages = messages[:i]
			break
		}
		messages[i] = m
	}

	q.mu.Lock()
	if q.gen != gen || q.deleted {
		q.mu.Unlock()
		return true
	}
	for i, m := range messages {
		q.warm(uint8(lv), list[i].pos, m)
	}
	if failed && len(messages) == 0 && !q.b.rec.broken() { // it would stop all that come after it
		e := q.shiftCold(uint8(lv))
		q.spent = append(q.spent, spent{e.seq, e.size})
		q.counts.dropped++
	}
	if q.trimming {
		q.trim(bt)
	}
	q.expire(bt)
	q.dispatch(bt)
	q.wakeWaiters()
	q.unlock()
	q.b.bury(bt)
	return true
}

// warm moves the first entry of the cold of a level into memory, with its message.
func (q *queue) warm(lv uint8, pos uint64, m *message) {
	l := &q.levels[lv]
	c := l.cold.shift()
	if l.cold.n == 0 {
		l.cold = nil
	}
	e := entry{m: m, pos: pos, expires: c.expires, count: c.count, level: lv, flags: c.flags}
	if c.plain != nil {
		e = *c.plain
		e.pos = pos
	} else if q.recorded(m) {
		if m.seq < q.journal.marked {
			e.flags |= entryRedelivered
		}
		m.flags |= messageMoved // perhaps it is not durable yet
	}
	l.hot.push(e)
	q.hot++
	q.hotBytes += int64(m.size())
}

// readSurely reads a message, several times if need be.
func (b *Broker) readSurely(r JournalReader, seq uint64) (m *message, err error) {
	for range 3 {
		if m, err = readMessage(r, seq); err == nil || b.isStopped() {
			return m, err
		}
		r = b.rec.j.Reader()
	}
	return nil, err
}
