package kafka

import (
	"math"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// InitProducerID gives the producer a new epoch, so that those who had the one before are fenced. A transaction that is
// ongoing is aborted first: the answer is CONCURRENT_TRANSACTIONS, and the client asks again.
//
// timeout is how many milliseconds a transaction may take; the shell has checked it. A producer that goes on after an error
// says which id and epoch it had (KIP-360); the ID -1 is none. fresh is a producer id that nobody has used when
// [Txn.NeedsProducerID] says so, otherwise -1.
func (t *Txn) InitProducerID(now time.Time, request uint64, timeout int32, expected ProducerEpoch, fresh kafkawire.ProducerID) {
	r := &t.rec
	switch {
	case t.dead:
		t.refuse(request, kafkawire.ErrCoordinatorNotAvailable)
	case t.writing != 0 || r.State.deciding():
		t.refuse(request, kafkawire.ErrConcurrentTransactions)
	case !t.known:
		t.begin(now, request, timeout, fresh)
	case expected.ID >= 0 && expected.ID != r.ProducerID && (expected.ID != r.PreviousID || expected.Epoch < exhaustedEpoch):
		t.refuse(request, kafkawire.ErrProducerFenced)
	case r.State == TxnOngoing && expected.ID >= 0 && expected.Epoch != r.Epoch:
		// Who does not know the epoch of the transaction must not end it.
		t.refuse(request, kafkawire.ErrProducerFenced)
	case r.State == TxnOngoing:
		t.fence(now, request)
	case r.Epoch >= exhaustedEpoch && (expected.ID < 0 || expected.Epoch == r.Epoch):
		t.rotate(now, request, timeout, expected.ID >= 0, fresh)
	default:
		t.bump(now, request, timeout, expected)
	}
}

// empty prepares the record of a producer that begins anew.
func (t *Txn) empty(now time.Time, timeout int32) *TxnRecord {
	t.next = t.rec
	n := &t.next
	n.State, n.Partitions, n.Started = TxnEmpty, nil, -1
	n.NextID, n.Timeout, n.Updated = -1, timeout, now.UnixMilli()
	return n
}

// begin makes the first record of a transactional id.
func (t *Txn) begin(now time.Time, request uint64, timeout int32, fresh kafkawire.ProducerID) {
	if fresh < 0 {
		t.refuse(request, kafkawire.ErrCoordinatorNotAvailable)
		return
	}
	t.rec.ProducerID = -1
	n := t.empty(now, timeout)
	n.ProducerID, n.Epoch, n.LastEpoch = fresh, 0, -1
	t.transit()
	t.promise(request, 0, ProducerEpoch{n.ProducerID, n.Epoch})
}

// rotate gives a producer with no epochs left a new id.
func (t *Txn) rotate(now time.Time, request uint64, timeout int32, recordLast bool, fresh kafkawire.ProducerID) {
	if fresh < 0 {
		t.refuse(request, kafkawire.ErrCoordinatorNotAvailable)
		return
	}
	n := t.empty(now, timeout)
	n.ProducerID, n.Epoch, n.LastEpoch = fresh, 0, -1
	if recordLast {
		n.LastEpoch = t.rec.Epoch
	}
	t.transit()
	t.promise(request, 0, ProducerEpoch{n.ProducerID, n.Epoch})
}

// bump gives a producer the next epoch, or again the one that it was given and does not know of.
func (t *Txn) bump(now time.Time, request uint64, timeout int32, expected ProducerEpoch) {
	r := &t.rec
	epoch, last := r.Epoch+1, int16(-1)
	switch {
	case expected.ID < 0:
	case expected.ID == r.ProducerID && expected.Epoch == r.Epoch:
		last = r.Epoch
	case expected.Epoch == r.LastEpoch && r.LastEpoch >= 0:
		epoch, last = r.Epoch, r.LastEpoch
	default:
		t.refuse(request, kafkawire.ErrProducerFenced)
		return
	}
	if epoch > exhaustedEpoch {
		t.refuse(request, kafkawire.ErrProducerFenced)
		return
	}
	n := t.empty(now, timeout)
	n.Epoch, n.LastEpoch = epoch, last
	t.transit()
	t.promise(request, 0, ProducerEpoch{n.ProducerID, n.Epoch})
}

// fence aborts the ongoing transaction with a new epoch. Nobody is told of it, but a producer that aborts, or begins anew,
// and still has the epoch of the transaction: it may go on with the new one.
func (t *Txn) fence(now time.Time, request uint64) {
	t.next = t.rec
	n := &t.next
	n.State, n.Version, n.NextID, n.Updated = TxnPrepareAbort, 2, -1, now.UnixMilli()
	n.LastEpoch = n.Epoch
	if n.Epoch < math.MaxInt16 {
		n.Epoch++
	}
	t.transit()
	t.promise(request, kafkawire.ErrConcurrentTransactions, ProducerEpoch{ID: -1, Epoch: -1})
}
