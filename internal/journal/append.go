package journal

// Append adds a record of head followed by body and returns its number. It copies both, but a body of 4 KiB or more is
// kept until it is written: it must never change. live is how many of its bytes count as live until Release takes them
// back; 0 is a note, which Checkpoint makes unnecessary. A record has at most 256 MiB; a longer one poisons the journal.
// After Close, Append does nothing and returns 0; a token that is given then fails, on a goroutine of its own.
func (j *Journal[T]) Append(head, body []byte, live int) (lsn uint64) {
	j.mu.Lock()
	lsn = j.add(head, body, live, false)
	j.mu.Unlock()
	return lsn
}

// AppendAwait is Append, and t is completed when the record is durable.
func (j *Journal[T]) AppendAwait(head, body []byte, live int, t T) (lsn uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if lsn = j.add(head, body, live, false); lsn == 0 {
		j.late(t)
		return 0
	}
	j.addToken(t)
	j.signal()
	return lsn
}

// late fails a token that was given when the journal was at its end. The caller holds mu.
func (j *Journal[T]) late(t T) {
	if j.state != opened && j.h.Complete != nil {
		go j.h.Complete([]T{t}, Failed)
	}
}

// AppendTombstone is Append of a record for which Keep says [Tombstone]. It is not live.
func (j *Journal[T]) AppendTombstone(head, body []byte) (lsn uint64) {
	j.mu.Lock()
	lsn = j.add(head, body, 0, true)
	j.mu.Unlock()
	return lsn
}

// AppendTombstoneAwait is AppendTombstone, and t is completed when the record is durable.
func (j *Journal[T]) AppendTombstoneAwait(head, body []byte, t T) (lsn uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if lsn = j.add(head, body, 0, true); lsn == 0 {
		j.late(t)
		return 0
	}
	j.addToken(t)
	j.signal()
	return lsn
}

// Await completes t when everything appended so far is durable. There is no record for it: when the journal fails before
// it is completed, the outcome may be [Unknown] whatever became of the records.
func (j *Journal[T]) Await(t T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != running {
		j.late(t)
		return
	}
	if p := j.room(); p.records == 0 {
		p.early = true
	}
	j.addToken(t)
	j.signal()
}

// Reserve takes a number for something that is not recorded. After a restart, numbers that were reserved after the last
// record are given again.
func (j *Journal[T]) Reserve() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != running {
		return 0
	}
	j.next++
	return j.next - 1
}

// Entry is what brokers append: a record of Head followed by Body, see [Journal.Append] and [Journal.AppendTombstone].
type Entry struct {
	Head, Body []byte
	Live       int
	Tombstone  bool
}

// Add appends an entry. One without bytes takes a number, as Reserve does.
func (j *Journal[T]) Add(e Entry) (lsn uint64) {
	switch {
	case len(e.Head) == 0:
		return j.Reserve()
	case e.Tombstone:
		return j.AppendTombstone(e.Head, e.Body)
	}
	return j.Append(e.Head, e.Body, e.Live)
}

// AddAwait is Add, and t is completed when the entry is durable. One without bytes is that of Await, and has no number.
func (j *Journal[T]) AddAwait(e Entry, t T) (lsn uint64) {
	switch {
	case len(e.Head) == 0:
		j.Await(t)
		return 0
	case e.Tombstone:
		return j.AppendTombstoneAwait(e.Head, e.Body, t)
	}
	return j.AppendAwait(e.Head, e.Body, e.Live, t)
}

// Next returns the number that the next record will get.
func (j *Journal[T]) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// add adds a record to what is pending. The caller holds mu.
func (j *Journal[T]) add(head, body []byte, live int, tomb bool) uint64 {
	if j.state != running {
		return 0
	}
	lsn := j.next
	j.next++
	n := int64(len(head)) + int64(len(body))
	if n > maxRecord {
		if j.err == nil {
			j.err = &FailedError{errTooLarge}
		}
		head, body, live, n = nil, nil, 0, 0
	}
	if live == 0 {
		j.notes += uint64(n)
	}
	p := j.room()
	p.add(lsn, head, body, live, tomb)
	j.chain = lsn + 1
	if j.pending += n; j.pending > j.s.opt.MaxPending {
		j.notePending()
	}
	if p.size >= pendTarget {
		j.queue = append(j.queue, p)
		j.cur = nil
	}
	j.signal()
	return lsn
}

// room returns the pend that is being filled.
func (j *Journal[T]) room() *pend[T] {
	if j.cur == nil {
		if n := len(j.free); n > 0 {
			j.cur, j.free = j.free[n-1], j.free[:n-1]
		} else {
			j.cur = new(pend[T])
		}
		j.cur.reset(j.chain)
	}
	return j.cur
}

// addToken adds a token behind the last record.
func (j *Journal[T]) addToken(t T) {
	p := j.cur
	if p == nil {
		p = j.queue[len(j.queue)-1] // just filled by add, and mu was held since
	}
	p.tokens = append(p.tokens, t)
}

// signal wakes the writer if it sleeps and has something to do. The caller holds mu.
func (j *Journal[T]) signal() {
	switch {
	case !j.idle:
	case len(j.queue) == 0 && j.lazy():
		j.setTimer()
	default:
		j.idle = false
		j.work.Signal()
	}
}

// Release tells that live bytes of a record are dead. When that is so for the whole record, nobody may need it, though
// it stays until its segment is cleaned.
func (j *Journal[T]) Release(lsn uint64, live int) {
	s := j.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	if lsn >= s.published {
		j.releasePending(lsn, int64(live))
		return
	}
	g := s.find(lsn)
	if g == nil {
		return
	}
	now := g.live.Add(-int64(live))
	if g.sealed && worthCleaning(now, g.size) && !worthCleaning(now+int64(live), g.size) || now == 0 {
		poke(j.clean)
	}
}

// releasePending takes live bytes from a record that is in no segment yet. The caller holds the store's mu, so that
// nothing is published meanwhile.
func (j *Journal[T]) releasePending(lsn uint64, live int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cur != nil && lsn >= j.cur.base {
		if lsn < j.cur.end {
			j.cur.live -= live
		}
		return
	}
	for _, p := range j.queue {
		if lsn >= p.base && lsn < p.end {
			p.live -= live
			return
		}
	}
}
