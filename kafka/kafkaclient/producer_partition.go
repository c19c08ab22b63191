package kafkaclient

import (
	"context"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// producerPartition is a partition to which a producer writes.
type producerPartition struct {
	p     *Producer
	t     *producerTopic
	index int32
	group int32 // with which it shares a stream

	mu        sync.Mutex
	seq       kafka.Sequencer
	queue     []*batch // never sent, in order; the last one may be open
	flights   []*batch // sent and not decided, in the order of seq
	sink      *sink    // of the leader; nil when there is none
	listed    bool     // the sink knows that there is something to send
	notBefore time.Time
	failures  int
	last      error  // why an attempt failed last
	round     uint64 // of the sink
	joined    uint64 // the transaction to which the partition was added
	err       error  // no records are taken
	done      []*batch
}

func newPartition(t *producerTopic, index int32) *producerPartition {
	part := &producerPartition{p: t.p, t: t, index: index, group: t.p.group(t.wire, index)}
	o := t.p.o
	part.seq.Transactional = t.p.txn != nil
	switch {
	case o.idempotent:
		part.seq.Limit = kafka.MaxInFlight
	case o.Reorder:
		part.seq.Limit = o.MaxInFlight
	default:
		part.seq.Limit = 1
	}
	return part
}

// latest is the generation of what is produced now.
const latest = ^uint64(0)

// add adds a record of a generation. full is set when that completed a batch.
func (part *producerPartition) add(ctx context.Context, e entry, room int, generation uint64, full *bool) error {
	p := part.p
	part.mu.Lock()
	if part.err != nil {
		err := part.err
		part.mu.Unlock()
		return err
	}
	if p.txn != nil && generation == latest {
		if err := p.txn.mayProduce(); err != nil {
			part.mu.Unlock()
			return err
		}
	}
	var b *batch
	var size int
	complete := false
	if n := len(part.queue); n > 0 && !part.queue[n-1].closed {
		b = part.queue[n-1]
		if size = b.with(e.r); size > p.o.BatchSize {
			b.closed, complete = true, true
			b = nil
		}
	}
	if b == nil {
		b = p.newBatch(part)
		size = b.with(e.r)
		b.made = time.Now()
		if generation == latest {
			b.flush = p.flush.begin()
		} else {
			b.flush = p.flush.same(generation)
		}
		if p.o.DeliveryTimeout >= 0 {
			b.deadline = b.made.Add(p.o.DeliveryTimeout)
		}
		part.queue = append(part.queue, b)
	} else if generation < b.flush {
		generation = p.flush.same(generation)
		p.flush.ended(b.flush)
		b.flush = generation
	}
	e.r.Partition = part.index
	b.add(ctx, e, size, room)
	if size >= p.o.BatchSize {
		b.closed, complete = true, true
	}
	s := part.sink
	if s != nil && (!part.listed || complete) {
		s.list(part, complete)
	}
	part.mu.Unlock()
	if s == nil {
		p.c.meta.refresh() // for a leader
	}
	if full != nil {
		*full = complete
	}
	return nil
}

// lead notes the leader.
func (part *producerPartition) lead(leader kafkawire.BrokerID) {
	var s *sink
	if leader >= 0 {
		s = part.p.sink(leader, part.group)
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.sink == s {
		return
	}
	part.sink, part.listed, part.notBefore = s, false, time.Time{}
	part.relist()
}

// relist tells the sink that there is something to send. part.mu is held.
func (part *producerPartition) relist() {
	if part.sink != nil && part.err == nil && (len(part.queue) > 0 || part.seq.Undecided() > part.seq.UnderWay()) {
		part.sink.list(part, true)
	}
}

// txnLinger is how long records of a transaction for which nobody waits are kept for others, without a Linger: there is a
// commit to come, which sends them at once.
const txnLinger = time.Millisecond

// pick takes what is to be sent next. at is when to come again, zero when something else will tell, and more whether there
// is anything left. part.mu is held. idle tells that nothing is under way to the broker.
func (part *producerPartition) pick(now time.Time, idle bool) (b *batch, x kafka.Sending, at time.Time, more bool) {
	p := part.p
	if part.err != nil {
		return nil, x, at, false
	}
	if part.notBefore.After(now) {
		return nil, x, part.notBefore, true
	}
	if !part.identify() {
		return nil, x, at, true
	}
	for {
		id, ok := part.seq.Waiting()
		if !ok {
			break
		}
		b := part.flight(id)
		if b.halve && len(b.entries) > 1 {
			part.split(b)
			continue
		}
		b.encoding = len(b.wire()) == 0
		return b, part.seq.Again(id), at, true
	}
	if part.seq.NeedsIdentity() {
		p.renewIdentity()
		return nil, x, at, true
	}
	for len(part.queue) > 0 && part.seq.Open() {
		b := part.queue[0]
		if !b.closed && !p.flush.wanted(b.flush) {
			if p.o.Linger > 0 {
				if ready := b.made.Add(p.o.Linger); ready.After(now) {
					return nil, x, ready, true
				}
			} else if !idle {
				return nil, x, at, true
			} else if ready := b.made.Add(txnLinger); p.txn != nil && !b.awaited && ready.After(now) {
				return nil, x, ready, true
			}
		}
		if len(b.contexts) > 0 {
			if gone := b.cancelled(); len(gone) > 0 {
				part.done = append(part.done, gone...)
			}
		}
		if len(b.entries) == 0 {
			part.unqueue()
			part.done = append(part.done, b)
			continue
		}
		if p.txn != nil && !p.txn.join(part) {
			return nil, x, at, true
		}
		b.closed = true
		part.unqueue()
		part.flights = append(part.flights, b)
		x = part.seq.Send(int32(len(b.entries)))
		b.id, b.encoding = x.ID, true
		return b, x, at, len(part.queue) > 0
	}
	return nil, x, at, len(part.queue) > 0 || part.seq.Undecided() > part.seq.UnderWay()
}

// unqueue takes the first batch off the queue.
func (part *producerPartition) unqueue() {
	n := copy(part.queue, part.queue[1:])
	part.queue[n] = nil
	part.queue = part.queue[:n]
}

// flight returns the batch with an id.
func (part *producerPartition) flight(id uint64) *batch {
	for _, b := range part.flights {
		if b.id == id {
			return b
		}
	}
	return nil
}

// split makes two of a batch that is too large.
func (part *producerPartition) split(b *batch) {
	n := len(b.entries) / 2
	second, ok := part.seq.Split(b.id, int32(n))
	if !ok {
		b.halve = false
		return
	}
	rest := b.split()
	rest.id, rest.flush = second, part.p.flush.same(b.flush)
	for i, f := range part.flights {
		if f == b {
			part.flights = append(part.flights, nil)
			copy(part.flights[i+2:], part.flights[i+1:])
			part.flights[i+1] = rest
			return
		}
	}
}

// answer is what a broker says about a batch.
type answer struct {
	code   kafkawire.ErrorCode
	text   *string
	offset int64
	time   int64
	errs   []kafkawire.ProduceResponseRecordError
	leader *kafkawire.ProduceResponseCurrentLeader
}

// answered takes the answer to an attempt.
func (part *producerPartition) answered(b *batch, x kafka.Sending, a *answer) {
	p := part.p
	part.mu.Lock()
	var err error
	if a.code != 0 {
		err = remote(a.code, a.text)
	}
	switch {
	case a.code == 0 || a.code == kafkawire.ErrDuplicateSequenceNumber:
		b.offset, b.time = a.offset, a.time
		part.failures, part.last, part.notBefore = 0, nil, time.Time{}
	case (a.code == kafkawire.ErrMessageTooLarge || a.code == kafkawire.ErrRecordListTooLarge) && len(b.entries) > 1:
		b.halve = true
	default:
		b.err = err
		if len(a.errs) > 0 {
			b.errs = make(map[int]string, len(a.errs))
			for _, e := range a.errs {
				text := ""
				if e.BatchIndexErrorMessage != nil {
					text = *e.BatchIndexErrorMessage
				}
				b.errs[int(e.BatchIndex)] = text
			}
		}
	}
	if b.halve {
		part.seq.Lost(x.ID, x.Attempt, true)
	} else {
		part.seq.Receive(x.ID, x.Attempt, a.code)
	}
	moved := a.leader != nil && a.leader.LeaderID >= 0
	if err != nil && !b.halve {
		part.failed(err, moved || a.code == kafkawire.ErrOutOfOrderSequenceNumber || a.code == kafkawire.ErrUnknownProducerID)
	}
	part.collect()
	done := part.take()
	part.relist()
	part.mu.Unlock()
	p.finish(done)
	switch {
	case moved:
		p.c.meta.setLeader(part.t.wire, part.index, a.leader.LeaderID, a.leader.LeaderEpoch)
		part.t.update()
	case a.code.StaleMetadata():
		p.c.meta.refresh()
	}
	if a.code != 0 {
		p.refused(a.code, err)
	}
}

// lost ends an attempt without an answer.
func (part *producerPartition) lost(x kafka.Sending, unsent bool, err error) {
	part.mu.Lock()
	part.seq.Lost(x.ID, x.Attempt, unsent)
	part.failed(err, false)
	part.collect()
	done := part.take()
	part.relist()
	part.mu.Unlock()
	part.p.finish(done)
}

// failed notes that an attempt failed, and when to try again. part.mu is held.
func (part *producerPartition) failed(err error, now bool) {
	part.last = err
	part.failures++
	if !now || part.failures > 10 {
		part.notBefore = time.Now().Add(part.p.c.backoffAfter(err, part.failures))
	}
}

// collect moves batches that are decided to done. part.mu is held.
func (part *producerPartition) collect() {
	err := part.err
	if err == nil && part.p.txn != nil && part.p.txn.aborting.Load() {
		err = ErrAborted
	}
	if err != nil {
		for _, b := range part.flights {
			if part.seq.GiveUp(b.id, kafkawire.ErrUnknownServerError) {
				b.err = err
			}
		}
	}
	for {
		r, ok := part.seq.Next()
		if !ok {
			return
		}
		b := part.flights[0]
		n := copy(part.flights, part.flights[1:])
		part.flights[n] = nil
		part.flights = part.flights[:n]
		switch {
		case r.Code == 0:
			b.err = nil
			if r.Duplicate {
				b.offset = -1
			}
		default:
			b.doubt = r.Doubt
			if b.err == nil {
				b.err = remote(r.Code, nil)
			}
		}
		part.done = append(part.done, b)
	}
}

// take returns batches for Producer.finish. part.mu is held.
func (part *producerPartition) take() []*batch {
	done := part.done
	part.done = nil
	return done
}

// expire fails what has waited too long, and drops what is not wanted any more.
func (part *producerPartition) expire(now time.Time) {
	part.mu.Lock()
	for _, b := range part.flights {
		if !b.deadline.IsZero() && now.After(b.deadline) {
			err := b.err
			if err == nil {
				err = part.last
			}
			if part.seq.GiveUp(b.id, kafkawire.ErrRequestTimedOut) {
				b.err = timedOut(err)
			}
		}
	}
	part.collect()
	for len(part.queue) > 0 {
		b := part.queue[0]
		if b.deadline.IsZero() || !now.After(b.deadline) {
			break
		}
		part.unqueue()
		b.err = timedOut(part.last)
		part.done = append(part.done, b)
	}
	kept := part.queue[:0]
	for _, b := range part.queue {
		if len(b.contexts) > 0 {
			part.done = append(part.done, b.cancelled()...)
		}
		if len(b.entries) == 0 {
			part.done = append(part.done, b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(part.queue[len(kept):])
	part.queue = kept
	done := part.take()
	part.relist()
	part.mu.Unlock()
	part.p.finish(done)
}

// timedOut is ErrTimeout with what went wrong last.
func timedOut(last error) error {
	if last == nil {
		return ErrTimeout
	}
	return &expired{err: last, cause: ErrTimeout}
}

// fail fails everything that is not under way, and with forever also that, and what comes later.
func (part *producerPartition) fail(err error, forever bool) {
	part.mu.Lock()
	if forever {
		part.err = err
	}
	for _, b := range part.flights {
		if part.seq.GiveUp(b.id, kafkawire.ErrUnknownServerError) {
			b.err = err
		}
	}
	part.collect()
	if forever {
		for _, b := range part.flights {
			if !b.encoding { // otherwise encode sees to it
				part.done = append(part.done, b.abandon(err))
			}
		}
	}
	for _, b := range part.queue {
		b.err = err
		part.done = append(part.done, b)
	}
	clear(part.queue)
	part.queue = part.queue[:0]
	done := part.take()
	part.mu.Unlock()
	part.p.finish(done)
}

// abandon moves the records of a batch that is under way to another one, which fails. The batch itself is left to those who
// send it.
func (b *batch) abandon(err error) *batch {
	d := b.part.p.newBatch(b.part)
	d.entries, b.entries = b.entries, nil
	d.room, b.room = b.room, 0
	d.made, b.made = b.made, time.Time{}
	d.flush, d.async, b.async = b.flush, b.async, false
	d.err, d.doubt = err, true
	return d
}
