package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// initProducerID gives a producer an id and an epoch.
func (s *session) initProducerID(r *kafkaserver.Request) {
	var req kafkawire.InitProducerIDRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	reply := func(p kafka.ProducerEpoch, code kafkawire.ErrorCode) {
		if code == kafkawire.ErrProducerFenced && r.Version < 4 {
			code = kafkawire.ErrInvalidProducerEpoch
		}
		r.Reply(&kafkawire.InitProducerIDResponse{ErrorCode: code, ProducerID: p.ID, ProducerEpoch: p.Epoch})
	}
	refuse := func(code kafkawire.ErrorCode) { reply(noProducer(), code) }
	switch id := req.TransactionalID; {
	case id == nil && !s.allowed(opIdempotentWrite, resourceCluster, clusterName) && !s.allowedAny(opWrite, resourceTopic):
		refuse(kafkawire.ErrClusterAuthorizationFailed)
	case id != nil && !s.allowed(opWrite, resourceTransactionalID, string(*id)):
		refuse(kafkawire.ErrTransactionalIDAuthorizationFailed)
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1), id != nil && *id == "":
		refuse(kafkawire.ErrInvalidRequest)
	case id == nil:
		s.b.txns.ids.take(func(id kafkawire.ProducerID, err error) {
			if err != nil {
				refuse(coordinatorCode(err))
				return
			}
			reply(kafka.ProducerEpoch{ID: id}, noError)
		})
	case req.TransactionTimeoutMs <= 0 || req.TransactionTimeoutMs > s.b.configs.broker().int32("transaction.max.timeout.ms"):
		refuse(kafkawire.ErrInvalidTransactionTimeout)
	default:
		shard, code := s.txnShard(*id, true)
		if code != noError {
			refuse(code)
			return
		}
		expected := kafka.ProducerEpoch{ID: req.ProducerID, Epoch: req.ProducerEpoch}
		shard.callWithID(*id, true, reply, func(t *kafka.Txn, now time.Time, request uint64, fresh kafkawire.ProducerID) {
			t.InitProducerID(now, request, req.TransactionTimeoutMs, expected, fresh)
		})
	}
}

// txnShard returns the shard of a transactional id, if the session's node is its coordinator. With create the topic of
// transactions is made if need be.
func (s *session) txnShard(id kafkawire.TransactionalID, create bool) (*txnShard, kafkawire.ErrorCode) {
	shard, err := s.b.txns.shard(id, create)
	switch {
	case err != nil:
		return nil, kafkawire.ErrCoordinatorNotAvailable
	case shard == nil, shard.p.leader() != s.node.at.ID:
		return nil, kafkawire.ErrNotCoordinator
	}
	return shard, noError
}

// callWithID is call with a producer id that nobody has, for machines that need one, otherwise -1.
func (s *txnShard) callWithID(id kafkawire.TransactionalID, create bool, done func(kafka.ProducerEpoch, kafkawire.ErrorCode), f func(t *kafka.Txn, now time.Time, request uint64, fresh kafkawire.ProducerID)) {
	s.mu.Lock()
	e := s.entries[id]
	needs := e == nil && create || e != nil && e.txn.NeedsProducerID()
	s.mu.Unlock()
	call := func(fresh kafkawire.ProducerID) {
		s.call(id, create, done, func(t *kafka.Txn, now time.Time, request uint64) { f(t, now, request, fresh) })
	}
	if !needs {
		call(-1)
		return
	}
	s.c.ids.take(func(fresh kafkawire.ProducerID, err error) {
		if err != nil {
			done(noProducer(), coordinatorCode(err))
			return
		}
		call(fresh)
	})
}
