package kafka

import (
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ProducerEpoch is a producer id with its epoch. The ID -1 stands for none.
type ProducerEpoch struct {
	ID    kafkawire.ProducerID
	Epoch int16
}

// Txn is what a transaction coordinator knows and does about one transactional id: a machine without I/O. The shell around
// it keeps the log of records, writes markers, answers clients and tells the time.
//
// The verbs [Txn.InitProducerID], [Txn.AddPartitions] and [Txn.End] are the requests of producers. Each has a number of the
// shell's, and exactly one [TxnReply] with that number comes out of it, at once or later. After every call take the events
// with [Txn.Next] until there is none.
//
// A [TxnWrite] with a token is a barrier: what depends on the record happens after [Txn.Persisted]. So a producer hears of
// its new epoch, of an added partition and of a decision when it is durable, and markers are written when the decision is.
// The record that says that all markers are written has no barrier: without it the markers are written again, which changes
// nothing. The shell must append the records in the order in which they come.
//
// A Txn is not safe for concurrent use. The zero value is a transactional id of which nobody has heard.
type Txn struct {
	known bool
	dead  bool
	rec   TxnRecord // what holds

	next    TxnRecord // what is being written
	gone    bool      // what is being written is the end of the transactional id
	writing uint64    // the token of it, 0 for nothing
	replies []TxnEvent
	tokens  uint64

	markers uint64           // the token of the markers that are being written, 0 for none
	left    []TopicPartition // where they are not durable
	failed  []TopicPartition // where they could not be written
	waiting []txnAdd

	notBefore time.Time // no attempt on its own before

	events []TxnEvent
	head   int
}

// txnAdd is a request for partitions that waits until something else is done.
type txnAdd struct {
	request    uint64
	producer   ProducerEpoch
	partitions []TopicPartition
	version    int16
	until      time.Time
}

// What bounds how long and how many requests wait for each other, and how often is tried again what has failed.
const (
	txnWait    = 100 * time.Millisecond
	txnWaiting = 1000
	txnRetry   = time.Second
)

// TxnEventKind tells what a [TxnEvent] is.
type TxnEventKind uint8

// The kinds of events.
const (
	// TxnReply is the answer to a request.
	TxnReply TxnEventKind = iota + 1
	// TxnWrite asks to append a record to the log of the transactional id.
	TxnWrite
	// TxnMarkers asks to write markers that end the transaction, and to call [Txn.Written] or [Txn.Unwritten] for each.
	TxnMarkers
)

// TxnEvent is what a [Txn] wants done. Its slices are not changed afterwards; Record is valid until the next call of the
// machine.
type TxnEvent struct {
	Kind TxnEventKind

	// Request and Code belong to a TxnReply: the number of the request, and 0 or what is wrong. Producer is what the request
	// asks for, if anything, with the ID -1 otherwise. Of TxnMarkers it is who is in the markers.
	Request  uint64
	Code     kafkawire.ErrorCode
	Producer ProducerEpoch

	// Token is that of TxnWrite or TxnMarkers. A TxnWrite with Token 0 is one for which nobody waits.
	Token uint64
	// Record is what a TxnWrite is to write. nil is the end of the transactional id.
	Record *TxnRecord

	// Partitions, Commit and Version belong to TxnMarkers: where they go, what they say, and the version of transactions. From
	// 2 on the epoch of the markers is higher than that of the records.
	Partitions []TopicPartition
	Commit     bool
	Version    int16
}

// Next returns the next event and reports whether there is one.
func (t *Txn) Next() (TxnEvent, bool) {
	if t.head == len(t.events) {
		clear(t.events)
		t.events, t.head = t.events[:0], 0
		return TxnEvent{}, false
	}
	t.head++
	return t.events[t.head-1], true
}

// Restore sets what the last record in the log says. Call it before anything else.
func (t *Txn) Restore(r *TxnRecord) {
	*t = Txn{known: true, rec: *r}
	t.rec.LastEpoch = -1
}

// Resume goes on with what a restart has interrupted, after Restore.
func (t *Txn) Resume() {
	if t.rec.State.deciding() {
		t.writeMarkers()
	}
}

// Record returns what holds. ok is false when nothing was written yet, or the transactional id has ended.
func (t *Txn) Record() (r *TxnRecord, ok bool) {
	return &t.rec, t.known && !t.dead
}

// Dead reports whether the transactional id has ended, so that the machine can be thrown away.
func (t *Txn) Dead() bool { return t.dead }

// Idle reports whether nothing is being written and nobody waits, so that a machine of which nothing was ever written can
// be thrown away.
func (t *Txn) Idle() bool {
	return t.writing == 0 && t.markers == 0 && len(t.waiting) == 0
}

// NeedsProducerID reports whether InitProducerID or End may need a producer id that nobody has used.
func (t *Txn) NeedsProducerID() bool {
	return !t.known || t.rec.Epoch >= exhaustedEpoch
}

// Timeout returns when Advance is to be called; zero is never.
func (t *Txn) Timeout() (at time.Time) {
	earliest := func(x time.Time) {
		if at.IsZero() || x.Before(at) {
			at = x
		}
	}
	for i := range t.waiting {
		earliest(t.waiting[i].until)
	}
	if len(t.failed) > 0 {
		earliest(t.notBefore)
	}
	if t.writing == 0 && t.rec.State == TxnOngoing {
		d := t.rec.deadline()
		if d.Before(t.notBefore) {
			d = t.notBefore
		}
		earliest(d)
	}
	return at
}

// Advance does what is due: it aborts a transaction that takes too long, answers those who have waited too long, and tries
// again to write markers.
func (t *Txn) Advance(now time.Time) {
	t.waiting = slices.DeleteFunc(t.waiting, func(a txnAdd) bool {
		if a.until.After(now) {
			return false
		}
		t.refuse(a.request, kafkawire.ErrConcurrentTransactions)
		return true
	})
	if now.Before(t.notBefore) {
		return
	}
	if len(t.failed) > 0 {
		list := t.failed
		t.failed = nil
		t.emitMarkers(list)
	}
	if t.writing == 0 && t.rec.State == TxnOngoing && !t.rec.deadline().After(now) {
		t.fence(now, 0)
	}
}

// Expire ends the transactional id, when it has not been used for a time and no transaction is open.
func (t *Txn) Expire(now time.Time, after time.Duration) {
	if !t.known || t.dead || t.writing != 0 || now.Before(t.notBefore) || now.Sub(time.UnixMilli(t.rec.Updated)) < after {
		return
	}
	if s := t.rec.State; s != TxnEmpty && s != TxnCompleteCommit && s != TxnCompleteAbort {
		return
	}
	t.gone = true
	t.write(nil)
}

// Persisted tells that the record with a token, and those before it, are durable.
func (t *Txn) Persisted(now time.Time, token uint64) {
	if token == 0 || token != t.writing {
		return
	}
	t.writing = 0
	if t.gone {
		t.dead = true
		t.answer(nil)
		return
	}
	t.known, t.rec, t.next = true, t.next, TxnRecord{}
	t.answer(nil)
	if t.rec.State.deciding() {
		t.writeMarkers()
	}
	t.goOn(now)
}

// Failed tells that the record with a token was not written. Nothing of it is in the log. Those who wait for it get the code.
func (t *Txn) Failed(now time.Time, token uint64, code kafkawire.ErrorCode) {
	if token == 0 || token != t.writing {
		return
	}
	t.writing, t.gone, t.next = 0, false, TxnRecord{}
	t.notBefore = now.Add(txnRetry)
	t.answer(&code)
	t.goOn(now)
}

// answer sends the replies that wait for a record.
func (t *Txn) answer(code *kafkawire.ErrorCode) {
	for _, r := range t.replies {
		if code != nil {
			r.Code, r.Producer = *code, ProducerEpoch{ID: -1, Epoch: -1}
		}
		t.emit(r)
	}
	clear(t.replies)
	t.replies = t.replies[:0]
}

// goOn takes up the requests that have waited.
func (t *Txn) goOn(now time.Time) {
	if len(t.waiting) == 0 || t.writing != 0 || t.rec.State.deciding() {
		return
	}
	list := t.waiting
	t.waiting = nil
	for i := range list {
		a := &list[i]
		t.add(now, a)
	}
}

func (t *Txn) emit(e TxnEvent) { t.events = append(t.events, e) }

// reply answers at once.
func (t *Txn) reply(request uint64, code kafkawire.ErrorCode, p ProducerEpoch) {
	if request != 0 {
		t.emit(TxnEvent{Kind: TxnReply, Request: request, Code: code, Producer: p})
	}
}

func (t *Txn) refuse(request uint64, code kafkawire.ErrorCode) {
	t.reply(request, code, ProducerEpoch{ID: -1, Epoch: -1})
}

// promise answers when what is being written is durable.
func (t *Txn) promise(request uint64, code kafkawire.ErrorCode, p ProducerEpoch) {
	if request != 0 {
		t.replies = append(t.replies, TxnEvent{Kind: TxnReply, Request: request, Code: code, Producer: p})
	}
}

// write asks for a record behind a barrier.
func (t *Txn) write(r *TxnRecord) {
	t.tokens++
	t.writing = t.tokens
	t.emit(TxnEvent{Kind: TxnWrite, Token: t.writing, Record: r})
}

// transit begins the transition to t.next.
func (t *Txn) transit() {
	t.next.PreviousID = t.rec.ProducerID
	t.write(&t.next)
}
