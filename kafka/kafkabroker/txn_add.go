package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// addPartitionsToTxn adds partitions to transactions.
func (s *session) addPartitionsToTxn(r *kafkaserver.Request) {
	var req kafkawire.AddPartitionsToTxnRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	if r.Version >= 4 {
		s.addForBrokers(r, &req)
		return
	}
	a := txnAddition{
		s: s, id: req.V3AndBelowTransactionalID, topics: req.V3AndBelowTopics,
		producer: kafka.ProducerEpoch{ID: req.V3AndBelowProducerID, Epoch: req.V3AndBelowProducerEpoch},
	}
	a.run(func(results []kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult) {
		if r.Version < 2 {
			eachResult(results, func(code *kafkawire.ErrorCode) {
				if *code == kafkawire.ErrProducerFenced {
					*code = kafkawire.ErrInvalidProducerEpoch
				}
			})
		}
		r.Reply(&kafkawire.AddPartitionsToTxnResponse{ResultsByTopicV3AndBelow: results})
	})
}

// addForBrokers answers the form that brokers use, with several transactions.
func (s *session) addForBrokers(r *kafkaserver.Request, req *kafkawire.AddPartitionsToTxnRequest) {
	if !s.allowed(opClusterAction, resourceCluster, clusterName) {
		r.Reply(&kafkawire.AddPartitionsToTxnResponse{ErrorCode: kafkawire.ErrClusterAuthorizationFailed})
		return
	}
	resp := &kafkawire.AddPartitionsToTxnResponse{}
	resp.ResultsByTransaction = make([]kafkawire.AddPartitionsToTxnResponseResultsByTransaction, len(req.Transactions))
	left := newCountdown(len(req.Transactions), func() { r.Reply(resp) })
	for i := range req.Transactions {
		t := &req.Transactions[i]
		a := txnAddition{
			s: s, id: t.TransactionalID, topics: t.Topics, verify: t.VerifyOnly, broker: true,
			producer: kafka.ProducerEpoch{ID: t.ProducerID, Epoch: t.ProducerEpoch},
		}
		a.run(func(results []kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult) {
			if r.Version < 5 {
				eachResult(results, func(code *kafkawire.ErrorCode) {
					if *code == kafkawire.ErrTransactionAbortable {
						*code = kafkawire.ErrInvalidTxnState
					}
				})
			}
			resp.ResultsByTransaction[i].TransactionalID = t.TransactionalID
			resp.ResultsByTransaction[i].TopicResults = results
			left.done()
		})
	}
	left.done()
}

// txnAddition is partitions that are to become part of a transaction, or that are looked for in one.
type txnAddition struct {
	s        *session
	id       kafkawire.TransactionalID
	producer kafka.ProducerEpoch
	topics   []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic
	verify   bool
	broker   bool // somebody asks who may do so for others
}

// run does it and hands on the results, at once or later.
func (a *txnAddition) run(done func([]kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult)) {
	parts, bad := a.partitions()
	finish := func(codes func(i int) kafkawire.ErrorCode) {
		i := 0
		results := make([]kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult, len(a.topics))
		for n, t := range a.topics {
			results[n].Name = t.Name
			results[n].ResultsByPartition = make([]kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnPartitionResult, len(t.Partitions))
			for m, p := range t.Partitions {
				results[n].ResultsByPartition[m] = kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnPartitionResult{PartitionIndex: p, PartitionErrorCode: codes(i)}
				i++
			}
		}
		done(results)
	}
	all := func(code kafkawire.ErrorCode) { finish(func(int) kafkawire.ErrorCode { return code }) }
	shard, code := a.s.txnShard(a.id, false)
	switch {
	case !a.broker && !a.s.allowed(opWrite, resourceTransactionalID, string(a.id)):
		all(kafkawire.ErrTransactionalIDAuthorizationFailed)
	case a.id == "":
		all(kafkawire.ErrInvalidRequest)
	case bad != nil && !a.verify:
		finish(func(i int) kafkawire.ErrorCode {
			if bad[i] == noError {
				return kafkawire.ErrOperationNotAttempted
			}
			return bad[i]
		})
	case code != noError:
		all(code)
	case a.verify:
		codes := make([]kafkawire.ErrorCode, len(parts))
		shard.verify(a.id, a.producer, parts, codes)
		finish(func(i int) kafkawire.ErrorCode { return codes[i] })
	default:
		version := int16(0)
		if a.broker {
			version = 2
		}
		shard.call(a.id, false, func(_ kafka.ProducerEpoch, code kafkawire.ErrorCode) { all(code) },
			func(t *kafka.Txn, now time.Time, request uint64) {
				t.AddPartitions(now, request, a.producer, parts, version)
			})
	}
}

// partitions returns all partitions of the request, and codes for them when some cannot be added.
func (a *txnAddition) partitions() (parts []kafka.TopicPartition, bad []kafkawire.ErrorCode) {
	var codes []kafkawire.ErrorCode
	wrong := false
	for _, t := range a.topics {
		name := string(t.Name)
		denied := !a.broker && (isInternal(name) || !a.s.allowed(opWrite, resourceTopic, name))
		topic := a.s.b.topic(name)
		for _, p := range t.Partitions {
			parts = append(parts, kafka.TopicPartition{Topic: t.Name, Partition: p})
			code := noError
			switch {
			case denied:
				code = kafkawire.ErrTopicAuthorizationFailed
			case topic == nil || topic.partition(p) == nil:
				code = kafkawire.ErrUnknownTopicOrPartition
			}
			codes, wrong = append(codes, code), wrong || code != noError
		}
	}
	if !wrong {
		return parts, nil
	}
	return parts, codes
}

// eachResult visits the codes of results.
func eachResult(results []kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult, visit func(*kafkawire.ErrorCode)) {
	for i := range results {
		for j := range results[i].ResultsByPartition {
			visit(&results[i].ResultsByPartition[j].PartitionErrorCode)
		}
	}
}

// addOffsetsToTxn makes the offsets of a group part of a transaction.
func (s *session) addOffsetsToTxn(r *kafkaserver.Request) {
	var req kafkawire.AddOffsetsToTxnRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	reply := func(_ kafka.ProducerEpoch, code kafkawire.ErrorCode) {
		if code == kafkawire.ErrProducerFenced && r.Version < 2 {
			code = kafkawire.ErrInvalidProducerEpoch
		}
		r.Reply(&kafkawire.AddOffsetsToTxnResponse{ErrorCode: code})
	}
	refuse := func(code kafkawire.ErrorCode) { reply(noProducer(), code) }
	switch {
	case !s.allowed(opWrite, resourceTransactionalID, string(req.TransactionalID)):
		refuse(kafkawire.ErrTransactionalIDAuthorizationFailed)
		return
	case !s.allowed(opRead, resourceGroup, string(req.GroupID)):
		refuse(kafkawire.ErrGroupAuthorizationFailed)
		return
	case req.TransactionalID == "":
		refuse(kafkawire.ErrInvalidRequest)
		return
	}
	shard, code := s.txnShard(req.TransactionalID, false)
	if code != noError {
		refuse(code)
		return
	}
	offsets, err := s.b.internalTopic(offsetsTopic)
	if err != nil {
		refuse(coordinatorCode(err))
		return
	}
	index := coordinatorIndex(string(req.GroupID), len(offsets.partitions()))
	producer := kafka.ProducerEpoch{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	shard.call(req.TransactionalID, false, reply, func(t *kafka.Txn, now time.Time, request uint64) {
		t.AddPartitions(now, request, producer, []kafka.TopicPartition{{Topic: offsetsTopic, Partition: index}}, 0)
	})
}
