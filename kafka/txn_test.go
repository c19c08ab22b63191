package kafka

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnRun is a machine whose records are durable, and whose markers are written, when the test says so.
type txnRun struct {
	t       testing.TB
	txn     Txn
	now     time.Time
	request uint64
	token   uint64 // of the last record
	markers TxnEvent
	lazy    int // records for which nobody waits
}

func newTxnRun(t testing.TB) *txnRun {
	return &txnRun{t: t, now: time.UnixMilli(1_000_000)}
}

// drain returns the events in words and notes what they ask for.
func (r *txnRun) drain() string {
	var list []string
	for e, ok := r.txn.Next(); ok; e, ok = r.txn.Next() {
		switch e.Kind {
		case TxnReply:
			list = append(list, fmt.Sprintf("%s %d/%d", name(e.Code), e.Producer.ID, e.Producer.Epoch))
		case TxnWrite:
			if e.Token == 0 {
				r.lazy++
			} else {
				r.token = e.Token
			}
			switch {
			case e.Record == nil:
				list = append(list, "write nothing")
			default:
				list = append(list, fmt.Sprintf("write %v %d/%d %v", e.Record.State, e.Record.ProducerID, e.Record.Epoch, e.Record.Partitions))
			}
		case TxnMarkers:
			r.markers = e
			list = append(list, fmt.Sprintf("mark %v commit=%v %d/%d v%d", e.Partitions, e.Commit, e.Producer.ID, e.Producer.Epoch, e.Version))
		}
	}
	return strings.Join(list, "; ")
}

func name(code kafkawire.ErrorCode) string {
	return strings.TrimPrefix(code.Error(), "kafka: ")
}

func (r *txnRun) want(what, want string) {
	r.t.Helper()
	if got := r.drain(); got != want {
		r.t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

func (r *txnRun) init(expected ProducerEpoch, fresh kafkawire.ProducerID) {
	r.request++
	r.txn.InitProducerID(r.now, r.request, 60_000, expected, fresh)
}

func (r *txnRun) add(p ProducerEpoch, version int16, partitions ...int32) {
	r.request++
	var list []TopicPartition
	for _, n := range partitions {
		list = append(list, TopicPartition{"t", n})
	}
	r.txn.AddPartitions(r.now, r.request, p, list, version)
}

func (r *txnRun) end(p ProducerEpoch, commit bool, version int16, fresh kafkawire.ProducerID) {
	r.request++
	r.txn.End(r.now, r.request, p, commit, version, fresh)
}

// durable makes the last record durable.
func (r *txnRun) durable() { r.txn.Persisted(r.now, r.token) }

// written makes all markers durable.
func (r *txnRun) written() {
	for _, p := range r.markers.Partitions {
		r.txn.Written(r.now, r.markers.Token, p)
	}
}

// in brings a machine into a state, with producer 7 and epoch 3.
func (r *txnRun) in(s TxnState) {
	rec := &TxnRecord{ProducerID: 7, Epoch: 3, PreviousID: 7, NextID: -1, State: s, Version: 2, Timeout: 60_000, Updated: r.now.UnixMilli(), Started: r.now.UnixMilli()}
	if s == TxnOngoing || s.deciding() {
		rec.Partitions = []TopicPartition{{"t", 0}}
	}
	r.txn.Restore(rec)
}

func none() ProducerEpoch { return ProducerEpoch{-1, -1} }

func TestTxnOfTwo(t *testing.T) {
	r := newTxnRun(t)
	r.init(none(), 7)
	r.want("init", "write Empty 7/0 []")
	r.durable()
	p := ProducerEpoch{7, 0}
	r.want("durable", "NONE 7/0")
	r.add(p, 2, 1)
	r.add(p, 2, 1)
	r.add(p, 2, 0)
	r.want("the second and third wait for the first", "write Ongoing 7/0 [t-1]")
	r.durable()
	r.want("and the third has a record of its own", "NONE -1/-1; NONE -1/-1; write Ongoing 7/0 [t-0 t-1]")
	r.durable()
	r.want("durable", "NONE -1/-1")
	r.end(p, true, 2, -1)
	r.want("end", "write PrepareCommit 7/1 [t-0 t-1]")
	r.end(p, true, 2, -1)
	r.want("end, again", "CONCURRENT_TRANSACTIONS -1/-1")
	r.durable()
	r.want("decided", "NONE 7/1; mark [t-0 t-1] commit=true 7/1 v2")
	r.end(p, true, 2, -1)
	r.want("asked again", "CONCURRENT_TRANSACTIONS -1/-1")
	r.add(ProducerEpoch{7, 1}, 2, 5)
	r.want("the next transaction waits", "")
	r.txn.Written(r.now, r.markers.Token, TopicPartition{"t", 0})
	r.txn.Written(r.now, r.markers.Token, TopicPartition{"t", 0})
	r.txn.Written(r.now, r.markers.Token+1, TopicPartition{"t", 1})
	r.want("half of the markers", "")
	r.txn.Written(r.now, r.markers.Token, TopicPartition{"t", 1})
	r.want("complete", "write CompleteCommit 7/1 []; write Ongoing 7/1 [t-5]")
	r.durable()
	r.want("durable", "NONE -1/-1")
	r.end(p, true, 2, -1)
	r.want("the end of the one before, much later", "PRODUCER_FENCED -1/-1")
}

// TestTxnEnd is the table of what End answers, by state, version, and whether the epoch is the current one or that before.
func TestTxnEnd(t *testing.T) {
	const (
		fenced     = "PRODUCER_FENCED -1/-1"
		state      = "INVALID_TXN_STATE -1/-1"
		concurrent = "CONCURRENT_TRANSACTIONS -1/-1"
		again      = "NONE 7/3"
		done       = "NONE -1/-1"
		commit     = "write PrepareCommit"
		abort      = "write PrepareAbort"
	)
	for _, c := range []struct {
		state   TxnState
		version int16
		// Abort with the epoch before and with the current one, and commit.
		abortBefore, abortNow, commitBefore, commitNow string
	}{
		{TxnEmpty, 2, fenced, abort + " 7/4 []", fenced, state},
		{TxnOngoing, 2, fenced, abort + " 7/4 [t-0]", fenced, commit + " 7/4 [t-0]"},
		{TxnPrepareCommit, 2, state, concurrent, concurrent, concurrent},
		{TxnPrepareAbort, 2, concurrent, concurrent, state, concurrent},
		{TxnCompleteCommit, 2, state, abort + " 7/4 []", again, state},
		{TxnCompleteAbort, 2, again, abort + " 7/4 []", state, state},
		{TxnEmpty, 0, fenced, state, fenced, state},
		{TxnOngoing, 1, fenced, abort + " 7/3 [t-0]", fenced, commit + " 7/3 [t-0]"},
		{TxnPrepareCommit, 0, fenced, state, fenced, concurrent},
		{TxnPrepareAbort, 0, fenced, concurrent, fenced, state},
		{TxnCompleteCommit, 0, fenced, state, fenced, done},
		{TxnCompleteAbort, 0, fenced, done, fenced, state},
	} {
		for i, want := range []string{c.abortBefore, c.abortNow, c.commitBefore, c.commitNow} {
			r := newTxnRun(t)
			r.in(c.state)
			r.end(ProducerEpoch{7, int16(2 + i%2)}, i >= 2, c.version, -1)
			r.want(fmt.Sprintf("%v, version %d, case %d", c.state, c.version, i), want)
			r = newTxnRun(t)
			r.in(c.state)
			r.end(ProducerEpoch{8, 3}, i >= 2, c.version, -1)
			r.want("another producer", "INVALID_PRODUCER_ID_MAPPING -1/-1")
		}
	}
}

// TestTxnEndOfFenced: a producer that was fenced by one of before KIP-890 does not take that one's commit for its own.
func TestTxnEndOfFenced(t *testing.T) {
	r := newTxnRun(t)
	r.in(TxnCompleteCommit)
	r.txn.rec.Version = 0
	r.end(ProducerEpoch{7, 2}, true, 2, -1)
	r.want("commit", "PRODUCER_FENCED -1/-1")
	r.end(ProducerEpoch{7, 2}, false, 2, -1)
	r.want("abort", "PRODUCER_FENCED -1/-1")
}

func TestTxnInit(t *testing.T) {
	for _, c := range []struct {
		what     string
		state    TxnState
		last     int16 // epoch
		expected ProducerEpoch
		want     string
	}{
		{"a new producer", TxnEmpty, -1, none(), "write Empty 7/4 []"},
		{"a new producer after a transaction", TxnCompleteCommit, -1, none(), "write Empty 7/4 []"},
		{"a new producer ends an open transaction", TxnOngoing, -1, none(), "write PrepareAbort 7/4 [t-0]"},
		{"a new producer while markers are written", TxnPrepareCommit, -1, none(), "CONCURRENT_TRANSACTIONS -1/-1"},
		{"goes on after an error", TxnEmpty, -1, ProducerEpoch{7, 3}, "write Empty 7/4 []"},
		{"ends its own transaction", TxnOngoing, -1, ProducerEpoch{7, 3}, "write PrepareAbort 7/4 [t-0]"},
		{"asks again", TxnEmpty, 2, ProducerEpoch{7, 2}, "write Empty 7/3 []"},
		{"asks again, late", TxnOngoing, 2, ProducerEpoch{7, 2}, "PRODUCER_FENCED -1/-1"},
		{"is fenced", TxnEmpty, -1, ProducerEpoch{7, 2}, "PRODUCER_FENCED -1/-1"},
		{"is another", TxnEmpty, -1, ProducerEpoch{6, 3}, "PRODUCER_FENCED -1/-1"},
	} {
		r := newTxnRun(t)
		r.in(c.state)
		r.txn.rec.LastEpoch = c.last
		r.init(c.expected, -1)
		r.want(c.what, c.want)
	}
}

// TestTxnEpochs runs a producer out of epochs: it gets another id.
func TestTxnEpochs(t *testing.T) {
	r := newTxnRun(t)
	r.in(TxnEmpty)
	r.txn.rec.Epoch = math.MaxInt16 - 2
	p := ProducerEpoch{7, math.MaxInt16 - 2}
	r.add(p, 2, 0)
	r.drain()
	r.durable()
	r.drain()
	r.end(p, true, 2, -1)
	r.want("the last but one", "write PrepareCommit 7/32766 [t-0]")
	r.durable()
	r.want("decided", "NONE 7/32766; mark [t-0] commit=true 7/32766 v2")
	r.written()
	r.want("complete", "write CompleteCommit 7/32766 []")
	p.Epoch++
	if !r.txn.NeedsProducerID() {
		t.Error("no need of an id")
	}
	r.add(p, 2, 0)
	r.drain()
	r.durable()
	r.drain()
	r.end(p, false, 2, -1)
	r.want("without an id", "COORDINATOR_NOT_AVAILABLE -1/-1")
	r.end(p, false, 2, 9)
	r.want("the last", "write PrepareAbort 7/32767 [t-0]")
	r.durable()
	r.want("decided", "NONE 9/0; mark [t-0] commit=false 7/32767 v2")
	r.add(ProducerEpoch{9, 0}, 2, 4)
	r.want("the new id waits", "")
	r.end(ProducerEpoch{9, 0}, false, 2, -1)
	r.want("it ends what it has not begun", "CONCURRENT_TRANSACTIONS -1/-1")
	r.end(p, false, 2, 10)
	r.want("asked again", "CONCURRENT_TRANSACTIONS -1/-1")
	r.written()
	r.want("complete", "write CompleteAbort 9/0 []; write Ongoing 9/0 [t-4]")
	r.durable()
	r.drain()
	r.add(p, 2, 0)
	r.want("the old id", "INVALID_PRODUCER_ID_MAPPING -1/-1")

	// A fence takes the epochs that no producer is given.
	r = newTxnRun(t)
	r.in(TxnOngoing)
	r.txn.rec.Epoch = math.MaxInt16 - 1
	r.init(none(), 9)
	r.want("fence", "write PrepareAbort 7/32767 [t-0]")
	r.durable()
	r.want("fenced", "CONCURRENT_TRANSACTIONS -1/-1; mark [t-0] commit=false 7/32767 v2")
	r.written()
	r.want("complete", "write CompleteAbort 7/32767 []")
	r.add(ProducerEpoch{7, math.MaxInt16}, 2, 0)
	r.want("an epoch that nobody has", "PRODUCER_FENCED -1/-1")
	r.end(ProducerEpoch{7, math.MaxInt16}, true, 2, 9)
	r.want("an epoch that nobody has", "INVALID_TXN_STATE -1/-1")
	r.init(none(), 9)
	r.want("another id", "write Empty 9/0 []")

	// KIP-360: it asks again, for the answer with its new id was lost.
	r = newTxnRun(t)
	r.in(TxnEmpty)
	r.txn.rec.Epoch = math.MaxInt16 - 1
	r.init(ProducerEpoch{7, math.MaxInt16 - 1}, 9)
	r.want("another id", "write Empty 9/0 []")
	r.durable()
	r.drain()
	r.init(ProducerEpoch{7, math.MaxInt16 - 1}, -1)
	r.want("asked again", "write Empty 9/0 []")
}

func TestTxnTimeout(t *testing.T) {
	r := newTxnRun(t)
	r.in(TxnEmpty)
	if at := r.txn.Timeout(); !at.IsZero() {
		t.Error("timeout", at)
	}
	r.add(ProducerEpoch{7, 3}, 2, 0)
	r.drain()
	r.durable()
	r.drain()
	want := r.now.Add(time.Minute)
	if at := r.txn.Timeout(); !at.Equal(want) {
		t.Errorf("timeout %v, want %v", at, want)
	}
	r.txn.Advance(want.Add(-time.Millisecond))
	r.want("early", "")
	r.now = want
	r.txn.Advance(r.now)
	r.want("in time", "write PrepareAbort 7/4 [t-0]")
	r.txn.Advance(r.now)
	r.want("again", "")
	r.txn.Failed(r.now, r.token, kafkawire.ErrCoordinatorNotAvailable)
	r.want("failed", "")
	if at := r.txn.Timeout(); !at.Equal(want.Add(time.Second)) {
		t.Errorf("timeout %v after a failure", at)
	}
	r.now = r.now.Add(time.Second)
	r.txn.Advance(r.now)
	r.want("tried again", "write PrepareAbort 7/4 [t-0]")
	r.durable()
	r.want("decided", "mark [t-0] commit=false 7/4 v2")
	r.txn.Unwritten(r.now, r.markers.Token, TopicPartition{"t", 0})
	r.txn.Unwritten(r.now, r.markers.Token, TopicPartition{"t", 1})
	r.want("a marker could not be written", "")
	r.now = r.txn.Timeout()
	r.txn.Advance(r.now)
	r.want("tried again", "mark [t-0] commit=false 7/4 v2")
	r.written()
	r.want("complete", "write CompleteAbort 7/4 []")
	r.end(ProducerEpoch{7, 3}, true, 2, -1)
	r.want("the producer comes too late", "INVALID_TXN_STATE -1/-1")
	r.end(ProducerEpoch{7, 3}, false, 2, -1)
	r.want("it takes note", "NONE 7/4")
	r.init(ProducerEpoch{7, 3}, -1)
	r.want("or begins anew", "write Empty 7/4 []")
}

func TestTxnWaiting(t *testing.T) {
	r := newTxnRun(t)
	r.in(TxnPrepareCommit)
	r.txn.Resume()
	r.want("resume", "mark [t-0] commit=true 7/3 v2")
	p := ProducerEpoch{7, 3}
	r.add(p, 1, 1)
	r.want("a client of version 1 does not wait", "CONCURRENT_TRANSACTIONS -1/-1")
	r.add(p, 2, 1)
	r.want("waits", "")
	r.now = r.txn.Timeout()
	r.txn.Advance(r.now)
	r.want("waited", "CONCURRENT_TRANSACTIONS -1/-1")
	for range txnWaiting {
		r.add(p, 2, 1)
	}
	r.want("all wait", "")
	r.add(p, 2, 1)
	r.want("too many", "CONCURRENT_TRANSACTIONS -1/-1")
	r.written()
	r.want("the first begins", "write CompleteCommit 7/3 []; write Ongoing 7/3 [t-1]")
	r.txn.Failed(r.now, r.token, kafkawire.ErrCoordinatorNotAvailable)
	if got := r.drain(); strings.Count(got, "COORDINATOR_NOT_AVAILABLE") != txnWaiting {
		t.Error(got)
	}
}

func TestTxnExpire(t *testing.T) {
	r := newTxnRun(t)
	r.in(TxnOngoing)
	r.txn.Expire(r.now.Add(time.Hour), time.Minute)
	r.want("ongoing", "")
	r.in(TxnCompleteAbort)
	r.txn.Expire(r.now.Add(time.Minute-1), time.Minute)
	r.want("young", "")
	r.txn.Expire(r.now.Add(time.Minute), time.Minute)
	r.want("old", "write nothing")
	r.add(ProducerEpoch{7, 3}, 2, 0)
	r.want("too late", "CONCURRENT_TRANSACTIONS -1/-1")
	r.durable()
	if !r.txn.Dead() {
		t.Error("not dead")
	}
	r.add(ProducerEpoch{7, 3}, 2, 0)
	r.want("dead", "INVALID_PRODUCER_ID_MAPPING -1/-1")
	r.init(none(), 9)
	r.want("dead", "COORDINATOR_NOT_AVAILABLE -1/-1")
}

func TestTxnVerify(t *testing.T) {
	for _, c := range []struct {
		state TxnState
		p     ProducerEpoch
		part  int32
		want  kafkawire.ErrorCode
	}{
		{TxnOngoing, ProducerEpoch{7, 3}, 0, 0},
		{TxnOngoing, ProducerEpoch{7, 3}, 1, kafkawire.ErrTransactionAbortable},
		{TxnOngoing, ProducerEpoch{7, 2}, 0, kafkawire.ErrProducerFenced},
		{TxnOngoing, ProducerEpoch{7, 4}, 0, kafkawire.ErrProducerFenced},
		{TxnOngoing, ProducerEpoch{6, 3}, 0, kafkawire.ErrInvalidProducerIDMapping},
		{TxnPrepareCommit, ProducerEpoch{7, 3}, 0, kafkawire.ErrConcurrentTransactions},
		{TxnCompleteCommit, ProducerEpoch{7, 3}, 0, kafkawire.ErrTransactionAbortable},
		{TxnEmpty, ProducerEpoch{7, 3}, 0, kafkawire.ErrTransactionAbortable},
	} {
		r := newTxnRun(t)
		r.in(c.state)
		if got := r.txn.Verify(c.p, TopicPartition{"t", c.part}); got != c.want {
			t.Errorf("%v, %v, partition %d: %v, want %v", c.state, c.p, c.part, got, c.want)
		}
	}
	var unknown Txn
	if got := unknown.Verify(ProducerEpoch{7, 3}, TopicPartition{"t", 0}); got != kafkawire.ErrInvalidProducerIDMapping {
		t.Error(got)
	}
}

func TestTxnRecord(t *testing.T) {
	want := TxnRecord{
		ProducerID: 7, Epoch: 32767, PreviousID: 6, NextID: 9, LastEpoch: -1, State: TxnPrepareCommit, Version: 2, Timeout: 60_000,
		Partitions: []TopicPartition{{"a", 0}, {"a", 3}, {"b", 1}}, Updated: 5, Started: 4,
	}
	b, err := want.AppendValue(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadTxnValue(b)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", got, err)
	}
	key, err := AppendTxnKey(nil, "ü")
	if err != nil {
		t.Fatal(err)
	}
	if id, ok, err := ReadTxnKey(key); id != "ü" || !ok || err != nil {
		t.Error(id, ok, err)
	}
	if _, ok, err := ReadTxnKey([]byte{0, 9, 1}); ok || err != nil {
		t.Error("a key of another kind", ok, err)
	}
	for i := range b {
		if r, err := ReadTxnValue(b[:i]); err == nil {
			t.Errorf("%d bytes: %+v", i, r)
		}
	}
}

func FuzzReadTxnValue(f *testing.F) {
	r := TxnRecord{ProducerID: 7, PreviousID: -1, NextID: -1, State: TxnOngoing, Partitions: []TopicPartition{{"a", 0}}}
	b, err := r.AppendValue(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadTxnValue(b)
		if err != nil {
			return
		}
		again, err := r.AppendValue(nil)
		if err != nil {
			t.Fatal(err)
		}
		same, err := ReadTxnValue(again)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == TxnEmpty {
			r.Partitions = nil
		}
		if fmt.Sprint(*same) != fmt.Sprint(*r) {
			t.Fatalf("%+v\n%+v", r, same)
		}
	})
}
