package kafkabroker

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// describeTransactions tells what the coordinator knows of transactional ids.
func (s *session) describeTransactions(r *kafkaserver.Request) {
	var req kafkawire.DescribeTransactionsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := &kafkawire.DescribeTransactionsResponse{}
	room := maxAnswers
	for _, id := range req.TransactionalIDs {
		a := kafkawire.DescribeTransactionsResponseTransactionState{TransactionalID: id, ErrorCode: kafkawire.ErrInvalidRequest}
		if room > 0 {
			a = s.describeTransaction(id)
		}
		for i := range a.Topics {
			room -= len(a.Topics[i].Partitions)
		}
		resp.TransactionStates = append(resp.TransactionStates, a)
	}
	r.Reply(resp)
}

func (s *session) describeTransaction(id kafkawire.TransactionalID) kafkawire.DescribeTransactionsResponseTransactionState {
	a := kafkawire.DescribeTransactionsResponseTransactionState{TransactionalID: id}
	if !s.allowed(opDescribe, resourceTransactionalID, string(id)) {
		a.ErrorCode = kafkawire.ErrTransactionalIDAuthorizationFailed
		return a
	}
	if id == "" {
		a.ErrorCode = kafkawire.ErrInvalidRequest
		return a
	}
	shard, code := s.txnShard(id, false)
	if code != noError {
		a.ErrorCode = code
		return a
	}
	rec, ok := shard.record(id)
	if !ok {
		a.ErrorCode = kafkawire.ErrTransactionalIDNotFound
		return a
	}
	a.TransactionState, a.TransactionTimeoutMs, a.TransactionStartTimeMs = rec.State.String(), rec.Timeout, rec.Started
	a.ProducerID, a.ProducerEpoch = rec.ProducerID, rec.Epoch
	for _, p := range rec.Partitions {
		n := len(a.Topics)
		if n == 0 || a.Topics[n-1].Topic != p.Topic {
			if !s.allowed(opDescribe, resourceTopic, string(p.Topic)) {
				continue
			}
			a.Topics = append(a.Topics, kafkawire.DescribeTransactionsResponseTopic{Topic: p.Topic})
			n++
		}
		a.Topics[n-1].Partitions = append(a.Topics[n-1].Partitions, p.Partition)
	}
	return a
}

// record returns a copy of what holds for a transactional id.
func (s *txnShard) record(id kafkawire.TransactionalID) (kafka.TxnRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return kafka.TxnRecord{}, false
	}
	r, ok := e.txn.Record()
	return *r, ok
}

// listTransactions lists the transactional ids of which the node is the coordinator.
func (s *session) listTransactions(r *kafkaserver.Request) {
	var req kafkawire.ListTransactionsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := &kafkawire.ListTransactionsResponse{}
	var pattern *regexp.Regexp
	if p := req.TransactionalIDPattern; p != nil && *p != "" {
		var err error
		if pattern, err = regexp.Compile("^(?:" + *p + ")$"); err != nil {
			resp.ErrorCode = kafkawire.ErrInvalidRegularExpression
			r.Reply(resp)
			return
		}
	}
	for _, name := range req.StateFilters {
		if !slices.Contains(txnStateNames(), name) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, name)
		}
	}
	if len(req.StateFilters) > 0 && len(resp.UnknownStateFilters) == len(req.StateFilters) {
		r.Reply(resp)
		return
	}
	states := make(map[string]bool)
	for _, name := range req.StateFilters {
		states[name] = true
	}
	producers := make(map[kafkawire.ProducerID]bool)
	for _, id := range req.ProducerIDFilters {
		producers[id] = true
	}
	now := time.Now().UnixMilli()
	for _, t := range s.b.Transactions() {
		switch {
		case t.node != s.node.at.ID,
			len(states) > 0 && !states[t.State],
			len(producers) > 0 && !producers[kafkawire.ProducerID(t.ProducerID)],
			req.DurationFilter >= 0 && now-t.started <= req.DurationFilter,
			pattern != nil && !pattern.MatchString(t.ID),
			!s.allowed(opDescribe, resourceTransactionalID, t.ID):
			continue
		}
		resp.TransactionStates = append(resp.TransactionStates, kafkawire.ListTransactionsResponseTransactionState{
			TransactionalID: kafkawire.TransactionalID(t.ID), ProducerID: kafkawire.ProducerID(t.ProducerID), TransactionState: t.State,
		})
	}
	r.Reply(resp)
}

// txnStateNames are the names of the states that there are.
func txnStateNames() []string {
	list := []string{"Dead", "PrepareEpochFence"}
	for st := kafka.TxnEmpty; st <= kafka.TxnCompleteAbort; st++ {
		list = append(list, st.String())
	}
	return list
}

// Transaction is what the broker knows about a transactional id.
type Transaction struct {
	ID         string // the transactional id
	ProducerID int64
	Epoch      int16 // of the producer
	// State is Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit or CompleteAbort.
	State string
	// Timeout is how long a transaction may take until it is aborted.
	Timeout time.Duration
	// Started is when the transaction began, zero when there is none. Updated is when something changed.
	Started, Updated time.Time
	// Partitions are those that are part of the transaction, in order.
	Partitions []kafka.TopicPartition

	node    int32
	started int64
}

// Transactions returns what the broker knows about transactional ids, in their order.
func (b *Broker) Transactions() []Transaction {
	var list []Transaction
	for _, s := range b.txns.all() {
		leader := s.p.leader()
		s.mu.Lock()
		for _, e := range s.entries {
			r, ok := e.txn.Record()
			if !ok {
				continue
			}
			t := Transaction{
				ID: string(e.id), ProducerID: int64(r.ProducerID), Epoch: r.Epoch, State: r.State.String(),
				Timeout: time.Duration(r.Timeout) * time.Millisecond, Updated: time.UnixMilli(r.Updated),
				Partitions: slices.Clone(r.Partitions), node: leader, started: r.Started,
			}
			if r.Started >= 0 {
				t.Started = time.UnixMilli(r.Started)
			}
			list = append(list, t)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Transaction) int { return strings.Compare(a.ID, b.ID) })
	return list
}
