package kafkabroker

import (
	"math"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// appendOrigin says who appends, which says what is checked.
type appendOrigin uint8

const (
	fromClient      appendOrigin = iota // a producer: everything is checked
	fromCoordinator                     // a coordinator: its records have no sequence numbers, and it writes markers
	fromLeader                          // a leader that has checked everything; offsets and epochs are taken as they are
)

// producerUpdate is what an append changes in a producerTable when it has succeeded. It is used again for the next one.
type producerUpdate struct {
	producers []producer
	started   []openTxn
	completed []completedTxn
	marked    []int64        // producers with a marker
	duplicate *producedBatch // of a batch that is sent again; nothing is to be appended
}

func (u *producerUpdate) reset() {
	*u = producerUpdate{producers: u.producers[:0], started: u.started[:0], completed: u.completed[:0], marked: u.marked[:0]}
}

// of returns the state of a producer after the batches so far.
func (u *producerUpdate) of(t *producerTable, id int64) *producer {
	for i := range u.producers {
		if u.producers[i].id == id {
			return &u.producers[i]
		}
	}
	u.producers = append(u.producers, t.get(id))
	return &u.producers[len(u.producers)-1]
}

// producerCheck is how a batch is checked.
type producerCheck struct {
	origin     appendOrigin
	txnVersion int16  // of the transaction that a marker ends; from 2 on each has an epoch of its own
	guard      uint64 // what startVerification returned, 0 for none
	now        int64  // milliseconds
	verify     bool   // refuse transactional batches of transactions that nobody has verified
	seg, pos   int64  // where the batch will be
}

// addBatch checks a batch that has its offsets, and notes what it changes. Batches without producer are nothing to it.
func (t *producerTable) addBatch(u *producerUpdate, b kafka.Batch, c *producerCheck) error {
	id := int64(b.ProducerID())
	if id < 0 {
		return nil
	}
	if c.origin == fromClient {
		if p := t.m[id]; p != nil {
			if d := p.duplicate(b); d != nil {
				u.duplicate = d
				return nil
			}
		}
	}
	a := b.Attributes()
	if c.origin != fromLeader && c.verify && a.Transactional() && !a.Control() {
		if err := t.verify(b, c); err != nil {
			return err
		}
	}
	p := u.of(t, id)
	if a.Control() {
		return u.addMarker(p, b, c)
	}
	if err := t.checkData(p, b, c); err != nil {
		return err
	}
	p.setEpoch(b.ProducerEpoch())
	p.add(producedBatch{lastSequence: b.LastSequence(), delta: b.LastOffsetDelta(), last: b.LastOffset(), time: b.MaxTimestamp()})
	switch {
	case p.txnFirst >= 0 && !a.Transactional():
		if c.origin != fromLeader {
			return logError(kafkawire.ErrInvalidTxnState, "producer %d writes outside of its transaction", id)
		}
	case p.txnFirst < 0 && a.Transactional():
		p.txnFirst = b.BaseOffset()
		u.started = append(u.started, openTxn{producerID: id, first: p.txnFirst, marker: -1, seg: c.seg, pos: c.pos})
	}
	return nil
}

// verify refuses a batch of a transaction that its coordinator may not know.
func (t *producerTable) verify(b kafka.Batch, c *producerCheck) error {
	id, epoch := int64(b.ProducerID()), b.ProducerEpoch()
	if p := t.m[id]; p != nil {
		switch {
		case p.txnFirst >= 0 && p.epoch == epoch:
			return nil
		case epoch < p.epoch:
			return staleEpoch(id, epoch, p.epoch)
		}
	}
	if g, ok := t.guards[id]; !ok || g.id != c.guard || c.guard == 0 {
		return logError(kafkawire.ErrInvalidTxnState, "producer %d has no transaction that was verified", id)
	}
	return nil
}

func staleEpoch(id int64, epoch, current int16) error {
	return logError(kafkawire.ErrInvalidProducerEpoch, "producer %d has epoch %d, and %d was seen", id, epoch, current)
}

// checkData checks the epoch and the sequence number of a batch with records.
func (t *producerTable) checkData(p *producer, b kafka.Batch, c *producerCheck) error {
	if c.origin == fromLeader {
		return nil
	}
	epoch, first := b.ProducerEpoch(), b.BaseSequence()
	if epoch < p.epoch {
		return staleEpoch(p.id, epoch, p.epoch)
	}
	if c.origin != fromClient {
		return nil
	}
	if g, ok := t.guards[p.id]; ok && g.epoch == epoch {
		if g.strict && first != 0 && p.n == 0 && p.epoch < 0 || g.sequence >= 0 && first > g.sequence {
			return outOfOrder(p, first)
		}
	}
	if m, ok := t.missed[p.id]; ok && p.n == 0 && m.epoch == epoch && first > m.sequence && c.now-m.at <= missedMs {
		return outOfOrder(p, first)
	}
	if epoch != p.epoch {
		if first != 0 && p.epoch >= 0 {
			return outOfOrder(p, first)
		}
		return nil
	}
	// A producer of which nothing is known, because its records are deleted, begins anywhere.
	last := p.lastSequence()
	if int64(first) != int64(last)+1 && (first != 0 || last != math.MaxInt32) {
		return outOfOrder(p, first)
	}
	return nil
}

func outOfOrder(p *producer, first int32) error {
	return logError(kafkawire.ErrOutOfOrderSequenceNumber, "producer %d sends sequence number %d after %d of epoch %d",
		p.id, first, p.lastSequence(), p.epoch)
}

// addMarker notes the end of a transaction.
func (u *producerUpdate) addMarker(p *producer, b kafka.Batch, c *producerCheck) error {
	m, ok, err := kafka.ReadMarker(b)
	if err != nil || !ok { // without records, as compaction leaves them, or about something else
		return err
	}
	epoch := b.ProducerEpoch()
	if c.origin != fromLeader {
		// With transactions of version 2 each marker has a higher epoch than the records. That of the current one is a
		// marker that is written again, when no transaction is open.
		again := epoch == p.epoch && p.txnFirst < 0
		if epoch < p.epoch || c.txnVersion >= 2 && epoch == p.epoch && !again {
			return staleEpoch(p.id, epoch, p.epoch)
		}
		if m.CoordinatorEpoch < p.coordinatorEpoch {
			return logError(kafkawire.ErrTransactionCoordinatorFenced, "coordinator epoch %d ends a transaction of producer %d, and %d was seen",
				m.CoordinatorEpoch, p.id, p.coordinatorEpoch)
		}
	}
	if p.txnFirst >= 0 {
		u.completed = append(u.completed, completedTxn{p.id, p.txnFirst, b.BaseOffset(), m.Type == kafka.ControlAbort})
	}
	u.marked = append(u.marked, p.id)
	p.setEpoch(epoch)
	p.coordinatorEpoch, p.lastTime, p.txnFirst = m.CoordinatorEpoch, m.Timestamp, -1
	return nil
}

// abortedBy returns the entries of the transaction index for the transactions that an append aborts.
func (t *producerTable) abortedBy(u *producerUpdate) (list []abortedTxn) {
	for _, c := range u.completed {
		if !c.aborted {
			continue
		}
		stable := t.txns.lastStableAfter(c)
		for _, s := range u.started {
			if s.producerID != c.producerID && s.first < stable {
				stable = s.first
			}
		}
		list = append(list, abortedTxn{producerID: c.producerID, first: c.first, last: c.marker, lastStable: stable})
	}
	return list
}

// apply makes the changes of an append.
func (t *producerTable) apply(u *producerUpdate, end int64) {
	for i := range u.producers {
		t.put(&u.producers[i])
		delete(t.missed, u.producers[i].id)
		if p := &u.producers[i]; p.txnFirst >= 0 {
			delete(t.guards, p.id)
		}
	}
	for _, s := range u.started {
		t.txns.start(s)
	}
	for _, c := range u.completed {
		t.txns.complete(c)
	}
	for _, id := range u.marked { // also where nothing was written yet: what comes late would begin a transaction that nobody ends
		delete(t.guards, id)
	}
	t.end = end
}

// guard begins to verify a transaction and returns what the append needs, or 0 when the transaction is open here already.
func (t *producerTable) guard(id int64, epoch int16, sequence int32, strict bool) (uint64, error) {
	if p := t.m[id]; p != nil {
		switch {
		case epoch < p.epoch:
			return 0, staleEpoch(id, epoch, p.epoch)
		case epoch == p.epoch && p.txnFirst >= 0:
			return 0, nil
		}
	}
	g, ok := t.guards[id]
	if !ok || g.epoch != epoch {
		t.guardID++
		g = txnGuard{id: t.guardID, epoch: epoch, sequence: sequence, strict: strict}
	} else if sequence < g.sequence {
		g.sequence = sequence
	}
	if t.guards == nil {
		t.guards = make(map[int64]txnGuard)
	}
	t.guards[id] = g
	return g.id, nil
}
