package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnBatchBytes is about how many bytes of records go into a batch. A larger record is alone in its batch, which may be too
// large for the log.
const txnBatchBytes = 256 << 10

func (q *txnQueued) size() int { return len(q.key) + len(q.value) }

// enqueue puts a record into the queue. The caller holds mu.
func (s *txnShard) enqueue(e *txnEntry, v *kafka.TxnEvent) {
	q := txnQueued{e: e, token: v.Token, time: time.Now().UnixMilli()}
	var err error
	q.key, err = kafka.AppendTxnKey(nil, e.id)
	if err == nil && v.Record != nil {
		q.value, err = v.Record.AppendValue(nil)
	}
	if err != nil {
		s.c.b.log.Error("kafkabroker: the state of a transaction cannot be encoded", "id", e.id, "error", err)
	}
	s.queue = append(s.queue, q)
}

// drain writes the queue, if nobody does.
func (s *txnShard) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing {
		return
	}
	s.writing = true
	for len(s.queue) > 0 {
		list := s.queue
		n, size := 0, 0
		for n < len(list) && (n == 0 || size+list[n].size() <= txnBatchBytes) {
			size += list[n].size()
			n++
		}
		s.queue = list[n:]
		s.mu.Unlock()
		s.write(list[:n:n])
		s.mu.Lock()
	}
	s.queue = nil
	s.writing = false
}

// write appends records to the log in one batch and goes on when they are durable.
func (s *txnShard) write(list []txnQueued) {
	var w kafka.BatchWriter
	waited := false
	for i := range list {
		w.Add(list[i].time, list[i].key, list[i].value)
		waited = waited || list[i].token != 0
	}
	records, err := w.Append(nil, nil)
	var res appendResult
	if err == nil {
		res, err = s.c.b.appendRecords(s.p, records, fromCoordinator)
	}
	if err == nil && waited && s.p.log.config().acksWait() {
		var pending bool
		pending, err = s.p.log.await(res.end, &txnWaiter{s, list})
		if pending {
			return
		}
	}
	s.settle(list, err)
}

// txnWaiter waits until records are durable.
type txnWaiter struct {
	s    *txnShard
	list []txnQueued
}

// durable implements [durableWaiter].
func (w *txnWaiter) durable(err error) {
	w.s.c.b.spawn(func() { w.s.settle(w.list, err) })
}

// settle tells the machines what became of their records.
func (s *txnShard) settle(list []txnQueued, err error) {
	if err != nil && !s.c.b.isStopped() {
		s.c.b.log.Warn("kafkabroker: the state of transactions could not be written", "partition", s.p.id(), "error", err)
	}
	code := coordinatorCode(err)
	for _, q := range list {
		if q.token == 0 {
			continue
		}
		s.do(q.e, func(t *kafka.Txn, now time.Time) {
			if err != nil {
				t.Failed(now, q.token, code)
			} else {
				t.Persisted(now, q.token)
			}
		})
	}
}

// mark writes the markers that end a transaction. A partition that is not there any more needs none.
func (s *txnShard) mark(e *txnEntry, v *kafka.TxnEvent) {
	b := s.c.b
	m := kafka.Marker{
		Type: kafka.ControlAbort, ProducerID: v.Producer.ID, ProducerEpoch: v.Producer.Epoch,
		CoordinatorEpoch: b.leaderEpoch(s.p), Timestamp: time.Now().UnixMilli(),
	}
	if v.Commit {
		m.Type = kafka.ControlCommit
	}
	j := &markerJob{b: b, left: 1, results: make([]error, len(v.Partitions))}
	j.done = func() { s.marked(e, v.Token, v.Partitions, j.results) }
	// While the coordinator keeps its promises after a loss of power, the markers must survive it as well.
	j.wait = s.p.log.config().acksWait()
	for i, tp := range v.Partitions {
		j.write(i, b.partition(string(tp.Topic), tp.Partition), &m, v.Version)
	}
	j.finish()
}

// marked tells the machine which markers are written.
func (s *txnShard) marked(e *txnEntry, token uint64, list []kafka.TopicPartition, results []error) {
	s.do(e, func(t *kafka.Txn, now time.Time) {
		for i, tp := range list {
			switch err := results[i]; errorCode(err) {
			case noError, kafkawire.ErrUnknownTopicOrPartition:
				t.Written(now, token, tp)
			case kafkawire.ErrInvalidProducerEpoch, kafkawire.ErrTransactionCoordinatorFenced:
				// Somebody else, such as an administrator, has ended it there. It will never be taken.
				s.c.b.log.Warn("kafkabroker: a transaction was ended before", "id", e.id, "partition", tp, "error", err)
				t.Written(now, token, tp)
			default:
				if !s.c.b.isStopped() {
					s.c.b.log.Warn("kafkabroker: a transaction could not be ended", "id", e.id, "partition", tp, "error", err)
				}
				t.Unwritten(now, token, tp)
			}
		}
	})
}
