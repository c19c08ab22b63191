package kafka

import (
	"math"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// AddPartitions adds partitions to the transaction of a producer, and begins one if there is none. version is that of
// transactions that the client uses: 2 from KIP-890 on, before that 1 or 0.
//
// While something else is being written, or the markers of the transaction before, the request waits for it a moment.
func (t *Txn) AddPartitions(now time.Time, request uint64, p ProducerEpoch, partitions []TopicPartition, version int16) {
	a := txnAdd{request: request, producer: p, version: version, until: now.Add(txnWait)}
	if !slices.IsSortedFunc(partitions, TopicPartition.Compare) {
		partitions = slices.SortedFunc(slices.Values(partitions), TopicPartition.Compare)
	}
	a.partitions = partitions
	t.add(now, &a)
}

func (t *Txn) add(now time.Time, a *txnAdd) {
	r := &t.rec
	if code := t.check(a.producer); code != 0 {
		t.refuse(a.request, code)
		return
	}
	if t.writing != 0 || r.State.deciding() {
		if t.writing != 0 && !t.gone && t.next.State == TxnOngoing && containsAll(t.next.Partitions, a.partitions) {
			t.promise(a.request, 0, ProducerEpoch{ID: -1, Epoch: -1})
			return
		}
		// Of version 1, a request that comes late would begin a transaction that nobody ends.
		between := t.rec.State.deciding() || t.next.State != TxnOngoing
		if t.gone || between && a.version < 2 || len(t.waiting) >= txnWaiting {
			t.refuse(a.request, kafkawire.ErrConcurrentTransactions)
			return
		}
		t.waiting = append(t.waiting, *a)
		return
	}
	if r.State == TxnOngoing && containsAll(r.Partitions, a.partitions) {
		t.refuse(a.request, 0)
		return
	}
	t.next = *r
	n := &t.next
	n.State, n.Version, n.NextID, n.Updated = TxnOngoing, a.version, -1, now.UnixMilli()
	if r.State != TxnOngoing {
		n.Partitions, n.Started = nil, n.Updated
	}
	n.Partitions = union(n.Partitions, a.partitions)
	t.transit()
	t.promise(a.request, 0, ProducerEpoch{ID: -1, Epoch: -1})
}

// check looks whether a producer is the current one.
func (t *Txn) check(p ProducerEpoch) kafkawire.ErrorCode {
	r := &t.rec
	switch {
	case !t.known || t.dead:
		return kafkawire.ErrInvalidProducerIDMapping
	case r.State.deciding() && r.NextID == p.ID && p.ID >= 0 && p.Epoch == 0:
		return 0 // it was told so, and the transaction before is not complete
	case p.ID != r.ProducerID:
		return kafkawire.ErrInvalidProducerIDMapping
	case p.Epoch != r.Epoch || p.Epoch == math.MaxInt16:
		return kafkawire.ErrProducerFenced
	}
	return 0
}

// Verify tells whether a producer may write to a partition in its transaction: 0, or what is wrong. TRANSACTION_ABORTABLE is
// the code when the partition is not in the transaction.
func (t *Txn) Verify(p ProducerEpoch, partition TopicPartition) kafkawire.ErrorCode {
	if code := t.check(p); code != 0 {
		return code
	}
	switch {
	case t.rec.State.deciding():
		return kafkawire.ErrConcurrentTransactions
	case t.rec.State != TxnOngoing || !t.rec.Contains(partition):
		return kafkawire.ErrTransactionAbortable
	}
	return 0
}

// containsAll reports whether all of some partitions are in others. Both are in order.
func containsAll(list, some []TopicPartition) bool {
	for _, p := range some {
		if _, ok := slices.BinarySearchFunc(list, p, TopicPartition.Compare); !ok {
			return false
		}
	}
	return true
}

// union returns the partitions of two lists in order. Both stay as they are.
func union(a, b []TopicPartition) []TopicPartition {
	list := make([]TopicPartition, 0, len(a)+len(b))
	list = append(append(list, a...), b...)
	slices.SortFunc(list, TopicPartition.Compare)
	return slices.Compact(list)
}
