package kafka

import (
	"math"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// End commits or aborts the transaction of a producer. version is that of transactions that the client uses; with 2 the
// answer has the producer's next epoch, and perhaps id. fresh is a producer id that nobody has used when
// [Txn.NeedsProducerID] says so, otherwise -1.
//
// The answer comes when the decision is durable; the markers follow.
func (t *Txn) End(now time.Time, request uint64, p ProducerEpoch, commit bool, version int16, fresh kafkawire.ProducerID) {
	switch {
	case !t.known || t.dead:
		t.refuse(request, kafkawire.ErrInvalidProducerIDMapping)
	case version >= 2:
		t.endBumping(now, request, p, commit, version, fresh)
	default:
		t.endPlain(now, request, p, commit)
	}
}

// endPlain is End for clients that keep their epoch.
func (t *Txn) endPlain(now time.Time, request uint64, p ProducerEpoch, commit bool) {
	r := &t.rec
	switch {
	case p.ID != r.ProducerID:
		t.refuse(request, kafkawire.ErrInvalidProducerIDMapping)
	case p.Epoch != r.Epoch:
		t.refuse(request, kafkawire.ErrProducerFenced)
	case t.writing != 0:
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
	case r.State == TxnOngoing:
		t.next = *r
		t.next.State, t.next.Version, t.next.NextID, t.next.Updated = prepared(commit), 0, -1, now.UnixMilli()
		t.transit()
		t.promise(request, 0, ProducerEpoch{ID: -1, Epoch: -1})
	case r.State == completed(commit):
		t.refuse(request, 0)
	case r.State == prepared(commit):
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
	default:
		t.refuse(request, kafkawire.ErrInvalidTxnState)
	}
}

// endBumping is End for clients that get a new epoch for each transaction. One that asks again because it got no answer is
// known by the epoch before, if it was End that took the next one: after a transaction of a client that keeps its epoch, the
// epoch before is of somebody who was fenced. One that has the next epoch, and ends its next transaction before the markers of
// the last one are written, asks again.
func (t *Txn) endBumping(now time.Time, request uint64, p ProducerEpoch, commit bool, version int16, fresh kafkawire.ProducerID) {
	r := &t.rec
	rotated := p.ID == r.PreviousID && p.ID != r.ProducerID && p.Epoch == exhaustedEpoch && r.Epoch == 0
	again := r.Version >= 2 && (rotated || p.ID == r.ProducerID && int(r.Epoch) == int(p.Epoch)+1)
	current := p.ID == r.ProducerID && p.Epoch == r.Epoch
	if r.State.deciding() && t.check(p) == 0 {
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
		return
	}
	if p.ID != r.ProducerID && !rotated {
		t.refuse(request, kafkawire.ErrInvalidProducerIDMapping)
		return
	}
	valid := current
	switch {
	case r.State.deciding():
		valid = again
	case r.State == TxnCompleteCommit || r.State == TxnCompleteAbort:
		valid = current || again
	}
	switch {
	case !valid:
		t.refuse(request, kafkawire.ErrProducerFenced)
	case t.writing != 0:
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
	case r.State == prepared(commit):
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
	case r.State.deciding():
		t.refuse(request, kafkawire.ErrInvalidTxnState)
	case again && r.State == completed(commit):
		t.reply(request, 0, ProducerEpoch{r.ProducerID, r.Epoch})
	case again:
		t.refuse(request, kafkawire.ErrInvalidTxnState)
	case r.State == TxnOngoing:
		t.decide(now, request, commit, version, fresh, r.Started)
	case commit:
		t.refuse(request, kafkawire.ErrInvalidTxnState)
	default:
		// Nothing was added. The abort still makes sure that what is on its way is not added any more.
		t.decide(now, request, false, version, fresh, now.UnixMilli())
	}
}

// decide ends the transaction with a new epoch.
func (t *Txn) decide(now time.Time, request uint64, commit bool, version int16, fresh kafkawire.ProducerID, started int64) {
	t.next = t.rec
	n := &t.next
	if n.Epoch == math.MaxInt16 && commit {
		t.refuse(request, kafkawire.ErrProducerFenced) // nobody was given this epoch
		return
	}
	n.State, n.Version, n.NextID = prepared(commit), version, -1
	n.Updated, n.Started = now.UnixMilli(), started
	if t.rec.State != TxnOngoing {
		n.Partitions = nil
	}
	if n.Epoch >= exhaustedEpoch {
		if fresh < 0 {
			t.refuse(request, kafkawire.ErrCoordinatorNotAvailable)
			return
		}
		n.NextID = fresh
	}
	n.LastEpoch = n.Epoch
	if n.Epoch < math.MaxInt16 {
		n.Epoch++
	}
	p := ProducerEpoch{n.ProducerID, n.Epoch}
	if n.NextID >= 0 {
		p = ProducerEpoch{n.NextID, 0}
	}
	t.transit()
	t.promise(request, 0, p)
}

func prepared(commit bool) TxnState {
	if commit {
		return TxnPrepareCommit
	}
	return TxnPrepareAbort
}

func completed(commit bool) TxnState {
	if commit {
		return TxnCompleteCommit
	}
	return TxnCompleteAbort
}

// writeMarkers begins to write the markers of a decision.
func (t *Txn) writeMarkers() {
	t.tokens++
	t.markers = t.tokens
	t.failed = nil
	t.left = slices.Clone(t.rec.Partitions)
	if len(t.left) == 0 {
		t.complete(time.UnixMilli(t.rec.Updated))
		return
	}
	t.emitMarkers(t.rec.Partitions)
}

func (t *Txn) emitMarkers(list []TopicPartition) {
	r := &t.rec
	t.emit(TxnEvent{
		Kind: TxnMarkers, Token: t.markers, Producer: ProducerEpoch{r.ProducerID, r.Epoch},
		Partitions: list, Commit: r.State == TxnPrepareCommit, Version: r.Version,
	})
}

// Written tells that the marker of a TxnMarkers is durable in a partition, or that there is no such partition any more.
func (t *Txn) Written(now time.Time, token uint64, p TopicPartition) {
	if token == 0 || token != t.markers {
		return
	}
	i, ok := slices.BinarySearchFunc(t.left, p, TopicPartition.Compare)
	if !ok {
		return
	}
	t.left = slices.Delete(t.left, i, i+1)
	t.failed = slices.DeleteFunc(t.failed, func(f TopicPartition) bool { return f == p })
	if len(t.left) == 0 {
		t.complete(now)
		t.goOn(now)
	}
}

// Unwritten tells that the marker of a TxnMarkers could not be written to a partition. After a while it is to be tried again.
func (t *Txn) Unwritten(now time.Time, token uint64, p TopicPartition) {
	if token == 0 || token != t.markers {
		return
	}
	if _, ok := slices.BinarySearchFunc(t.left, p, TopicPartition.Compare); ok && !slices.Contains(t.failed, p) {
		t.failed = append(t.failed, p)
		t.notBefore = now.Add(txnRetry)
	}
}

// complete notes that all markers are written.
func (t *Txn) complete(now time.Time) {
	t.markers, t.left, t.failed = 0, nil, nil
	r := &t.rec
	id := r.ProducerID
	if r.NextID >= 0 {
		r.ProducerID, r.Epoch = r.NextID, 0
	}
	r.PreviousID, r.NextID = id, -1
	r.State, r.Partitions, r.Updated = completed(r.State == TxnPrepareCommit), nil, max(now.UnixMilli(), r.Updated)
	done := *r
	t.emit(TxnEvent{Kind: TxnWrite, Record: &done})
}
