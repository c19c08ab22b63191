package kafkabroker

import (
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// endTxn commits or aborts a transaction. The answer comes when the decision is durable; markers follow.
func (s *session) endTxn(r *kafkaserver.Request) {
	var req kafkawire.EndTxnRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	reply := func(p kafka.ProducerEpoch, code kafkawire.ErrorCode) {
		if code == kafkawire.ErrProducerFenced && r.Version < 2 {
			code = kafkawire.ErrInvalidProducerEpoch
		}
		resp := &kafkawire.EndTxnResponse{ErrorCode: code, ProducerID: -1, ProducerEpoch: -1}
		if r.Version >= 5 {
			resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
		}
		r.Reply(resp)
	}
	refuse := func(code kafkawire.ErrorCode) { reply(noProducer(), code) }
	switch {
	case !s.allowed(opWrite, resourceTransactionalID, string(req.TransactionalID)):
		refuse(kafkawire.ErrTransactionalIDAuthorizationFailed)
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
	version := int16(0)
	if r.Version >= 5 {
		version = 2
	}
	producer := kafka.ProducerEpoch{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	shard.callWithID(req.TransactionalID, false, reply, func(t *kafka.Txn, now time.Time, request uint64, fresh kafkawire.ProducerID) {
		t.End(now, request, producer, req.Committed, version, fresh)
	})
}

// writeTxnMarkers writes markers for another coordinator, or for somebody who ends a transaction that hangs.
func (s *session) writeTxnMarkers(r *kafkaserver.Request) {
	var req kafkawire.WriteTxnMarkersRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	allowed := s.allowed(opClusterAction, resourceCluster, clusterName) || s.allowed(opAlter, resourceCluster, clusterName)
	resp := &kafkawire.WriteTxnMarkersResponse{Markers: make([]kafkawire.WriteTxnMarkersResponseMarker, len(req.Markers))}
	left := newCountdown(len(req.Markers), func() { r.Reply(resp) })
	for i := range req.Markers {
		m := &req.Markers[i]
		resp.Markers[i].ProducerID = m.ProducerID
		codes := resultsOf(m, &resp.Markers[i])
		if !allowed {
			for _, c := range codes {
				*c = kafkawire.ErrClusterAuthorizationFailed
			}
			left.done()
			continue
		}
		s.writeMarkers(m, codes, left)
	}
	left.done()
}

// resultsOf makes the results for a marker, and returns their codes.
func resultsOf(m *kafkawire.WriteTxnMarkersRequestMarker, a *kafkawire.WriteTxnMarkersResponseMarker) (codes []*kafkawire.ErrorCode) {
	a.Topics = make([]kafkawire.WriteTxnMarkersResponseTopic, len(m.Topics))
	for i, t := range m.Topics {
		a.Topics[i].Name = t.Name
		a.Topics[i].Partitions = make([]kafkawire.WriteTxnMarkersResponsePartition, len(t.PartitionIndexes))
		for j, p := range t.PartitionIndexes {
			a.Topics[i].Partitions[j].PartitionIndex = p
			codes = append(codes, &a.Topics[i].Partitions[j].ErrorCode)
		}
	}
	return codes
}

// writeMarkers writes a marker to its partitions.
func (s *session) writeMarkers(m *kafkawire.WriteTxnMarkersRequestMarker, codes []*kafkawire.ErrorCode, left *countdown) {
	marker := kafka.Marker{
		Type: kafka.ControlAbort, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch,
		CoordinatorEpoch: m.CoordinatorEpoch, Timestamp: time.Now().UnixMilli(),
	}
	if m.TransactionResult {
		marker.Type = kafka.ControlCommit
	}
	j := &markerJob{b: s.b, left: 1, results: make([]error, len(codes))}
	j.done = func() {
		for i, err := range j.results {
			*codes[i] = errorCode(err)
		}
		left.done()
	}
	i := 0
	for _, t := range m.Topics {
		for _, index := range t.PartitionIndexes {
			p := s.b.partition(string(t.Name), index)
			if p != nil && p.leader() != s.node.at.ID {
				p = nil
			}
			if m.ProducerID < 0 || m.ProducerEpoch < 0 {
				j.results[i] = kafkawire.ErrInvalidRequest
			} else {
				j.write(i, p, &marker, int16(m.TransactionVersion))
			}
			i++
		}
	}
	j.finish()
}

// countdown calls a function when a number of things are done, and done was called once more.
type countdown struct {
	left atomic.Int32
	then func()
}

func newCountdown(n int, then func()) *countdown {
	c := &countdown{then: then}
	c.left.Store(int32(n) + 1)
	return c
}

func (c *countdown) done() {
	if c.left.Add(-1) == 0 {
		c.then()
	}
}
