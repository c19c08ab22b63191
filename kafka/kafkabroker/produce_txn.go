package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// joinedTxn is a partition that became part of a transaction because of a request, or the error that kept it from that.
type joinedTxn struct {
	p        *partition
	sequence int32 // of the first record, -1 when it does not count
	guard    uint64
	err      error
}

// joins reports whether partitions become part of a transaction by being written to (KIP-890).
func (j *produceJob) joins() bool { return j.r.Version >= 12 }

// joinTxn has the coordinator of the transaction make all partitions part of it that are not yet, with one record. It waits
// until that is durable.
func (j *produceJob) joinTxn(v *kafkawire.ProduceView) {
	if j.txn == "" || j.refused != noError || !j.joins() {
		return
	}
	joins := false
	var producer kafka.ProducerEpoch
	for v.Next() {
		p := j.find(v)
		if p == nil || p.topic.internal || p.leader() != j.s.node.at.ID || !j.s.allowed(opWrite, resourceTopic, p.topic.name) {
			continue // the append says more
		}
		batch := transactionalBatch(v.Records)
		if batch == nil || batch.ProducerID() < 0 {
			continue
		}
		guard, err := p.log.guardTransaction(int64(batch.ProducerID()), batch.ProducerEpoch(), batch.BaseSequence(), true)
		by := kafka.ProducerEpoch{ID: batch.ProducerID(), Epoch: batch.ProducerEpoch()}
		if err == nil && joins && by != producer {
			err = logError(kafkawire.ErrInvalidRequest, "a request with batches of more than one producer")
		}
		if err == nil && guard == 0 {
			continue
		}
		j.joined = append(j.joined, joinedTxn{p, batch.BaseSequence(), guard, err})
		if err == nil {
			producer, joins = by, true
		}
	}
	v.Rewind()
	j.s.b.joinTxn(j.txn, producer, j.joined)
}

// maxJoins is how often the coordinator is asked because a marker was written meanwhile.
const maxJoins = 3

// joinTxn has the coordinator of a transaction make partitions part of it, and sets their errors. A request that came before the
// markers of the transaction before waits for them there, and its guard is gone then: with another one it asks again.
func (b *Broker) joinTxn(id string, p kafka.ProducerEpoch, list []joinedTxn) {
	for range maxJoins {
		var parts []partitionID
		var asked []*joinedTxn
		for i := range list {
			if t := &list[i]; t.err == nil && t.guard != 0 {
				parts, asked = append(parts, t.p.id()), append(asked, t)
			}
		}
		if len(parts) == 0 {
			return
		}
		changed := false
		for i, err := range b.verifyTxn(id, int64(p.ID), p.Epoch, parts, true) {
			t := asked[i]
			old := t.guard
			if t.err = err; err == nil {
				t.guard, t.err = t.p.log.guardTransaction(int64(p.ID), p.Epoch, t.sequence, true)
			}
			changed = changed || t.guard != old
		}
		if !changed {
			return
		}
	}
}

// find returns the partition that a view is at, or nil.
func (j *produceJob) find(v *kafkawire.ProduceView) *partition {
	b := j.s.b
	b.mu.RLock()
	t := b.byID[v.Topic.ID]
	if v.Topic.Name != nil {
		t = b.topics[string(v.Topic.Name)]
	}
	b.mu.RUnlock()
	if t == nil {
		return nil
	}
	return t.partition(v.Index)
}

// transactionalBatch returns the first of some batches if it is part of a transaction, otherwise nil.
func transactionalBatch(records []byte) kafka.Batch {
	entry, _, err := kafka.Split(records)
	if err != nil || entry == nil || kafka.Magic(entry) != 2 {
		return nil // the append says more
	}
	if batch := kafka.Batch(entry); batch.Attributes().Transactional() {
		return batch
	}
	return nil
}

// verify sees to it that a batch of a transaction is written only while the transaction's coordinator knows of it.
func (j *produceJob) verify(p *partition, req *appendRequest, c *logConfig) error {
	batch := transactionalBatch(req.records)
	if batch == nil {
		return nil
	}
	id, epoch := int64(batch.ProducerID()), batch.ProducerEpoch()
	switch {
	case j.txn == "":
		return logError(kafkawire.ErrTransactionalIDAuthorizationFailed, "a transactional batch without a transactional id")
	case id < 0:
		return logError(kafkawire.ErrInvalidTxnState, "a transactional batch without a producer id")
	case !c.strictTxn && !j.joins():
		return nil
	}
	for i := range j.joined {
		if t := &j.joined[i]; t.p == p {
			req.guard = t.guard
			return t.err
		}
	}
	var err error
	if req.guard, err = p.log.guardTransaction(id, epoch, batch.BaseSequence(), j.joins()); err != nil || req.guard == 0 {
		return err
	}
	err = j.s.b.verifyTxn(j.txn, id, epoch, []partitionID{p.id()}, j.joins())[0]
	if err == kafkawire.ErrTransactionAbortable && j.r.Version < 11 {
		return kafkawire.ErrInvalidTxnState // the client does not know the other
	}
	return err
}
