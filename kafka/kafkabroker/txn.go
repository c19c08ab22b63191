package kafkabroker

import (
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnCoordinator runs the transactions of all transactional ids. Each partition of the topic of transactions is a shard
// with a lock of its own. It is safe for concurrent use.
type txnCoordinator struct {
	b   *Broker
	ids producerIDs

	mu     sync.Mutex
	shards map[*partition]*txnShard
	sweep  *time.Timer
	closed bool

	unreadable int // records, when the broker was opened
}

// txnShard has the transactional ids of a partition.
//
// A machine says under mu what is to be written, and queue keeps that order. Whoever finds nobody writing writes the queue
// to the log, with no lock held, all of it in one batch. What waits for storage goes on in a goroutine of its own.
type txnShard struct {
	c *txnCoordinator
	p *partition

	mu      sync.Mutex
	dead    bool // the topic is being deleted, or gone
	entries map[kafkawire.TransactionalID]*txnEntry
	queue   []txnQueued
	writing bool
}

// txnEntry is a transactional id. The shard's mu guards it.
type txnEntry struct {
	id    kafkawire.TransactionalID
	txn   kafka.Txn
	calls []txnCall
	last  uint64 // number of a call
	timer *time.Timer
	due   time.Time // of the timer
}

// txnCall is a request that was not answered.
type txnCall struct {
	number uint64
	done   func(kafka.ProducerEpoch, kafkawire.ErrorCode)
}

// txnQueued is a record that is to be written.
type txnQueued struct {
	e          *txnEntry
	token      uint64
	time       int64
	key, value []byte // of value nil is the end of the transactional id
}

// noProducer stands for none.
func noProducer() kafka.ProducerEpoch { return kafka.ProducerEpoch{ID: -1, Epoch: -1} }

// shard returns the shard of a transactional id, nil when there is no topic for it. With create the topic is made.
func (c *txnCoordinator) shard(id kafkawire.TransactionalID, create bool) (*txnShard, error) {
	t := c.b.topic(transactionsTopic)
	if t == nil {
		if !create {
			return nil, nil
		}
		var err error
		if t, err = c.b.internalTopic(transactionsTopic); err != nil {
			return nil, err
		}
	}
	p := t.partition(coordinatorIndex(string(id), len(t.partitions())))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errBrokerClosed
	}
	return c.shardOf(p), nil
}

// shardOf returns the shard of a partition. The caller holds mu.
func (c *txnCoordinator) shardOf(p *partition) *txnShard {
	s := c.shards[p]
	if s == nil {
		s = &txnShard{c: c, p: p, entries: make(map[kafkawire.TransactionalID]*txnEntry)}
		c.shards[p] = s
	}
	return s
}

// all returns the shards.
func (c *txnCoordinator) all() []*txnShard {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*txnShard, 0, len(c.shards))
	for _, s := range c.shards {
		list = append(list, s)
	}
	return list
}

// close stops the timers. What waits for storage is not answered any more.
func (c *txnCoordinator) close() {
	c.mu.Lock()
	c.closed = true
	if c.sweep != nil {
		c.sweep.Stop()
	}
	c.mu.Unlock()
	for _, s := range c.all() {
		s.mu.Lock()
		for _, e := range s.entries {
			if e.timer != nil {
				e.timer.Stop()
			}
		}
		s.mu.Unlock()
	}
}

// call has the machine of a transactional id handle a request, and done told its answer: at once or later, once. done must
// not wait. Without create an id that is not known is an error.
func (s *txnShard) call(id kafkawire.TransactionalID, create bool, done func(kafka.ProducerEpoch, kafkawire.ErrorCode), f func(t *kafka.Txn, now time.Time, request uint64)) {
	s.mu.Lock()
	e := s.entries[id]
	switch {
	case s.dead:
		s.mu.Unlock()
		done(noProducer(), kafkawire.ErrNotCoordinator)
		return
	case e == nil && !create:
		s.mu.Unlock()
		done(noProducer(), kafkawire.ErrInvalidProducerIDMapping)
		return
	}
	if e == nil {
		e = &txnEntry{id: id}
		s.entries[id] = e
	}
	e.last++
	e.calls = append(e.calls, txnCall{e.last, done})
	f(&e.txn, time.Now(), e.last)
	s.finish(e)
}

// do calls the machine of a transactional id.
func (s *txnShard) do(e *txnEntry, f func(t *kafka.Txn, now time.Time)) {
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return
	}
	f(&e.txn, time.Now())
	s.finish(e)
}

// txnAnswer is an answer that is to be given.
type txnAnswer struct {
	done     func(kafka.ProducerEpoch, kafkawire.ErrorCode)
	producer kafka.ProducerEpoch
	code     kafkawire.ErrorCode
}

// finish takes what the machine wants, lets go of mu, which the caller holds, and does it.
func (s *txnShard) finish(e *txnEntry) {
	var answers []txnAnswer
	var markers []kafka.TxnEvent
	for v, ok := e.txn.Next(); ok; v, ok = e.txn.Next() {
		switch v.Kind {
		case kafka.TxnReply:
			if done := e.take(v.Request); done != nil {
				answers = append(answers, txnAnswer{done, v.Producer, v.Code})
			}
		case kafka.TxnWrite:
			s.enqueue(e, &v)
		case kafka.TxnMarkers:
			markers = append(markers, v)
		}
	}
	if _, ok := e.txn.Record(); !ok && e.txn.Idle() && s.entries[e.id] == e { // it may have ended before, and begun anew
		delete(s.entries, e.id)
	}
	s.schedule(e)
	s.mu.Unlock()
	// Markers come first: who has the answer to EndTxn finds the records of the transaction committed.
	for i := range markers {
		s.mark(e, &markers[i])
	}
	for _, a := range answers {
		a.done(a.producer, a.code)
	}
	s.drain()
}

// take removes a call from those that were not answered.
func (e *txnEntry) take(number uint64) func(kafka.ProducerEpoch, kafkawire.ErrorCode) {
	for i, c := range e.calls {
		if c.number == number {
			e.calls = append(e.calls[:i], e.calls[i+1:]...)
			return c.done
		}
	}
	return nil
}

// schedule sets the timer of a transactional id. The caller holds mu.
func (s *txnShard) schedule(e *txnEntry) {
	at := e.txn.Timeout()
	if at.Equal(e.due) {
		return
	}
	e.due = at
	switch {
	case at.IsZero():
		e.timer.Stop()
	case e.timer == nil:
		e.timer = time.AfterFunc(time.Until(at), func() {
			s.c.b.spawn(func() { s.advance(e) })
		})
	default:
		e.timer.Reset(time.Until(at))
	}
}

// advance does what is due.
func (s *txnShard) advance(e *txnEntry) {
	s.mu.Lock()
	e.due = time.Time{}
	e.txn.Advance(time.Now())
	s.finish(e)
}

// errorCode is what clients of a coordinator are told about an error of the log or the metadata.
func coordinatorCode(err error) kafkawire.ErrorCode {
	switch code := errorCode(err); code {
	case noError:
		return noError
	case kafkawire.ErrMessageTooLarge, kafkawire.ErrRecordListTooLarge, kafkawire.ErrUnknownServerError:
		return kafkawire.ErrUnknownServerError
	case kafkawire.ErrNotLeaderOrFollower:
		return kafkawire.ErrNotCoordinator
	}
	return kafkawire.ErrCoordinatorNotAvailable
}
