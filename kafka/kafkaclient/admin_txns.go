package kafkaclient

import (
	"context"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TransactionListing is a transactional id as [Admin.Transactions] lists it.
type TransactionListing struct {
	TransactionalID string
	ProducerID      kafkawire.ProducerID
	State           string // such as "Ongoing" or "CompleteCommit"
	Coordinator     kafkawire.BrokerID
}

// Transactions lists all transactional ids, by name.
func (a *Admin) Transactions(ctx context.Context) (list []TransactionListing, err error) {
	req := new(kafkawire.ListTransactionsRequest)
	req.Reset()
	err = a.byBroker(ctx, nil, req, func(id kafkawire.BrokerID, resp kafkawire.Response) error {
		r := resp.(*kafkawire.ListTransactionsResponse)
		if r.ErrorCode != 0 {
			return remote(r.ErrorCode, nil)
		}
		for _, t := range r.TransactionStates {
			list = append(list, TransactionListing{string(t.TransactionalID), t.ProducerID, t.TransactionState, id})
		}
		return nil
	})
	slices.SortFunc(list, func(a, b TransactionListing) int { return compareNames(a.TransactionalID, b.TransactionalID) })
	return list, err
}

// TransactionDescription describes what the coordinator knows of a transactional id.
type TransactionDescription struct {
	TransactionalID string
	State           string
	ProducerID      kafkawire.ProducerID
	ProducerEpoch   int16
	Timeout         time.Duration
	Start           time.Time // zero without a transaction
	Partitions      []kafka.TopicPartition
}

// DescribeTransactions describes transactional ids.
func (a *Admin) DescribeTransactions(ctx context.Context, ids ...string) (map[string]TransactionDescription, error) {
	var errs ItemErrors
	out := make(map[string]TransactionDescription)
	for _, id := range ids {
		req := &kafkawire.DescribeTransactionsRequest{TransactionalIDs: []kafkawire.TransactionalID{kafkawire.TransactionalID(id)}}
		code := func(r *kafkawire.DescribeTransactionsResponse) kafkawire.ErrorCode {
			if len(r.TransactionStates) == 0 {
				return kafkawire.ErrUnknownServerError
			}
			return r.TransactionStates[0].ErrorCode
		}
		r, err := coordinate(ctx, a.c, TransactionCoordinator, id, req, 0, code)
		if err == nil {
			err = remote(code(r), nil)
		}
		if err != nil {
			errs.add(id, err)
			continue
		}
		t := &r.TransactionStates[0]
		x := TransactionDescription{TransactionalID: id, State: t.TransactionState, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch,
			Timeout: time.Duration(t.TransactionTimeoutMs) * time.Millisecond}
		if t.TransactionStartTimeMs > 0 {
			x.Start = time.UnixMilli(t.TransactionStartTimeMs)
		}
		for _, y := range t.Topics {
			for _, p := range y.Partitions {
				x.Partitions = append(x.Partitions, kafka.TopicPartition{Topic: y.Topic, Partition: p})
			}
		}
		out[id] = x
	}
	return out, errs.err()
}

// ProducerState is what a partition knows of an idempotent producer.
type ProducerState struct {
	ProducerID       kafkawire.ProducerID
	Epoch            int32
	LastSequence     int32
	LastTimestamp    time.Time // zero: unknown
	CoordinatorEpoch int32
	TxnStartOffset   int64 // of the open transaction, -1 without one
}

// Producers describes the producers that partitions know.
func (a *Admin) Producers(ctx context.Context, partitions ...kafka.TopicPartition) (map[kafka.TopicPartition][]ProducerState, error) {
	var errs ItemErrors
	out := make(map[kafka.TopicPartition][]ProducerState)
	a.byLeader(ctx, partitions, &errs, func(ctx context.Context, id kafkawire.BrokerID, list []kafka.TopicPartition) (map[kafka.TopicPartition]error, error) {
		req := new(kafkawire.DescribeProducersRequest)
		for _, tp := range list {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != tp.Topic {
				req.Topics = append(req.Topics, kafkawire.DescribeProducersRequestTopic{Name: tp.Topic})
			}
			t := &req.Topics[len(req.Topics)-1]
			t.PartitionIndexes = append(t.PartitionIndexes, tp.Partition)
		}
		resp, err := a.c.RequestBroker(ctx, id, req)
		if err != nil {
			return nil, err
		}
		again := make(map[kafka.TopicPartition]error)
		for _, t := range resp.(*kafkawire.DescribeProducersResponse).Topics {
			for _, p := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
				a.sort(tp, p.ErrorCode, again, &errs)
				if p.ErrorCode != 0 {
					continue
				}
				states := make([]ProducerState, 0, len(p.ActiveProducers))
				for _, s := range p.ActiveProducers {
					x := ProducerState{s.ProducerID, s.ProducerEpoch, s.LastSequence, time.Time{}, s.CoordinatorEpoch, s.CurrentTxnStartOffset}
					if s.LastTimestamp > 0 {
						x.LastTimestamp = time.UnixMilli(s.LastTimestamp)
					}
					states = append(states, x)
				}
				out[tp] = states
			}
		}
		return again, nil
	})
	return out, errs.err()
}
