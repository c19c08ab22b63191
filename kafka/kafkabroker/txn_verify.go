package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// askTxn asks the coordinator of a transactional id whether partitions are part of its producer's open transaction. With add
// they become part of it first (KIP-890), one is begun if need be, and all have the same answer. done gets a code for each:
// at once or, with add, when that is durable. It must not wait. The calls for a producer are answered in their order.
func (b *Broker) askTxn(id kafkawire.TransactionalID, p kafka.ProducerEpoch, parts []kafka.TopicPartition, add bool, done func([]kafkawire.ErrorCode)) {
	codes := make([]kafkawire.ErrorCode, len(parts))
	all := func(_ kafka.ProducerEpoch, code kafkawire.ErrorCode) {
		for i := range codes {
			codes[i] = code
		}
		done(codes)
	}
	s, err := b.txns.shard(id, false)
	switch {
	case err != nil:
		all(noProducer(), kafkawire.ErrCoordinatorNotAvailable)
	case s == nil:
		all(noProducer(), kafkawire.ErrInvalidProducerIDMapping)
	case add:
		s.call(id, false, all, func(t *kafka.Txn, now time.Time, request uint64) {
			t.AddPartitions(now, request, p, parts, 2)
		})
	default:
		s.verify(id, p, parts, codes)
		done(codes)
	}
}

// verify sets a code for each of some partitions.
func (s *txnShard) verify(id kafkawire.TransactionalID, p kafka.ProducerEpoch, parts []kafka.TopicPartition, codes []kafkawire.ErrorCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	for i, tp := range parts {
		switch {
		case s.dead:
			codes[i] = kafkawire.ErrNotCoordinator
		case e == nil:
			codes[i] = kafkawire.ErrInvalidProducerIDMapping
		default:
			codes[i] = e.txn.Verify(p, tp)
		}
	}
}

// verifyTxn is askTxn for producers: the errors are those that a produce response has, nil for none. It returns when the
// answer is there.
func (b *Broker) verifyTxn(txnID string, producerID int64, epoch int16, parts []partitionID, add bool) []error {
	list := make([]kafka.TopicPartition, len(parts))
	for i, p := range parts {
		list[i] = kafka.TopicPartition{Topic: kafkawire.TopicName(p.topic), Partition: p.partition}
	}
	answer := make(chan []kafkawire.ErrorCode, 1)
	producer := kafka.ProducerEpoch{ID: kafkawire.ProducerID(producerID), Epoch: epoch}
	b.askTxn(kafkawire.TransactionalID(txnID), producer, list, add, func(codes []kafkawire.ErrorCode) { answer <- codes })
	errs := make([]error, len(parts))
	select {
	case codes := <-answer:
		for i, code := range codes {
			errs[i] = producedCode(code, add).Err()
		}
	case <-b.stopping:
		for i := range errs {
			errs[i] = kafkawire.ErrNotLeaderOrFollower
		}
	}
	return errs
}

// producedCode is what a producer is told about an answer of the coordinator.
func producedCode(code kafkawire.ErrorCode, add bool) kafkawire.ErrorCode {
	switch code {
	case kafkawire.ErrProducerFenced:
		return kafkawire.ErrInvalidProducerEpoch
	case kafkawire.ErrConcurrentTransactions:
		if !add {
			return kafkawire.ErrNotEnoughReplicas // which clients of that time ask again for
		}
	case kafkawire.ErrCoordinatorNotAvailable, kafkawire.ErrCoordinatorLoadInProgress, kafkawire.ErrNotCoordinator:
		return kafkawire.ErrNotEnoughReplicas
	}
	return code
}
