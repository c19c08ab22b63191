package kafkabroker

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// produceJob is a produce request on its way. It is used again.
type produceJob struct {
	s    *session
	r    *kafkaserver.Request
	acks int16
	now  int64
	txn  string // transactional id
	resp kafkawire.ProduceResponse

	topic   *topicState // of the topic that is at hand
	refused kafkawire.ErrorCode
	places  []producePlace
	joined  []joinedTxn  // partitions that had to become part of the transaction
	advance []*partition // who waits for these is to be woken

	pending atomic.Int32 // logs that are not durable
	failed  atomic.Bool  // and will not be
}

// producePlace is where the answer for a partition that waits for storage is.
type producePlace struct{ topic, partition int32 }

var produceJobs = sync.Pool{New: func() any { return new(produceJob) }}

// produce appends record batches.
func (s *session) produce(r *kafkaserver.Request) {
	var v kafkawire.ProduceView
	err := viewed(v.Decode(r.Body, r.Version))
	if err == nil {
		err = r.CheckElements(v.Topics + v.Partitions)
	}
	if err != nil {
		r.Fail(err)
		return
	}
	j := produceJobs.Get().(*produceJob)
	j.s, j.r, j.acks, j.now = s, r, v.Acks, time.Now().UnixMilli()
	j.pending.Store(1)
	j.begin(&v)
	j.joinTxn(&v)
	for v.Next() {
		j.one(&v)
	}
	woken := j.advance // the job may be another's after done
	j.advance = nil
	j.done()
	for _, p := range woken {
		p.wake()
	}
}

// begin looks at the request as a whole.
func (j *produceJob) begin(v *kafkawire.ProduceView) {
	j.resp.Responses = grow(j.resp.Responses, v.Topics)
	j.refused = noError
	switch {
	case v.Acks < -1 || v.Acks > 1:
		j.refused = kafkawire.ErrInvalidRequiredAcks
	case v.TransactionalID != nil:
		j.txn = string(v.TransactionalID)
		if !j.s.allowed(opWrite, resourceTransactionalID, j.txn) {
			j.refused = kafkawire.ErrTransactionalIDAuthorizationFailed
		}
	}
}

// grow returns a slice of n elements, of which those that were there keep their memory.
func grow[T any](list []T, n int) []T {
	if n > cap(list) {
		list = append(list[:cap(list)], make([]T, n-cap(list))...)
	}
	return list[:n]
}

// one appends to one partition and notes the answer.
func (j *produceJob) one(v *kafkawire.ProduceView) {
	t := &j.resp.Responses[v.Topic.Index]
	if first := len(t.PartitionResponses) == 0; first {
		j.findTopic(v, t)
	}
	t.PartitionResponses = append(t.PartitionResponses, kafkawire.ProduceResponsePartition{
		Index: v.Index, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1,
	})
	a := &t.PartitionResponses[len(t.PartitionResponses)-1]
	if a.ErrorCode = j.refused; a.ErrorCode != noError {
		return
	}
	if j.topic == nil {
		a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		if j.r.Version >= 13 {
			a.ErrorCode = kafkawire.ErrUnknownTopicID
		}
		return
	}
	p := j.topic.partition(v.Index)
	if p == nil {
		a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		return
	}
	if err := j.append(p, v, t, a); err != nil {
		j.fail(p, a, err)
	}
}

// findTopic finds the topic that the view is at. j.topic is nil when there is none, t gets its name.
func (j *produceJob) findTopic(v *kafkawire.ProduceView, t *kafkawire.ProduceResponseTopic) {
	b := j.s.b
	b.mu.RLock()
	if v.Topic.Name != nil {
		j.topic = b.topics[string(v.Topic.Name)]
	} else {
		j.topic = b.byID[v.Topic.ID]
	}
	b.mu.RUnlock()
	t.TopicID = v.Topic.ID
	name := ""
	if j.topic != nil {
		name = j.topic.name
	} else {
		name = string(v.Topic.Name)
	}
	t.Name = kafkawire.TopicName(name)
	if j.refused == kafkawire.ErrTopicAuthorizationFailed { // of the topic before
		j.refused = noError
	}
	if j.refused == noError && name != "" && !j.s.allowed(opWrite, resourceTopic, name) {
		j.refused = kafkawire.ErrTopicAuthorizationFailed
	}
}

// append appends to a partition.
func (j *produceJob) append(p *partition, v *kafkawire.ProduceView, t *kafkawire.ProduceResponseTopic, a *kafkawire.ProduceResponsePartition) error {
	b := j.s.b
	if p.leader() != j.s.node.at.ID {
		return kafkawire.ErrNotLeaderOrFollower
	}
	if p.topic.internal && j.r.ClientID != adminClientID {
		return logError(kafkawire.ErrInvalidTopic, "%s is a topic of the broker itself", p.topic.name)
	}
	c := p.log.config()
	if j.acks == -1 && len(p.replicas) < int(c.minInSync) {
		return logError(kafkawire.ErrNotEnoughReplicas, "%d replicas are in sync, and min.insync.replicas is %d", len(p.replicas), c.minInSync)
	}
	if b.diskFull.Load() {
		p.log.missed(v.Records, j.now)
		return errDiskFull
	}
	req := appendRequest{records: v.Records, leaderEpoch: b.leaderEpoch(p), now: j.now, quiet: true}
	if err := j.verify(p, &req, c); err != nil {
		return err
	}
	res, err := p.log.append(&req)
	if err != nil {
		return err
	}
	a.BaseOffset, a.LogAppendTimeMs, a.LogStartOffset = res.base, res.appendTime, res.start
	if !res.duplicate {
		p.topic.stats.in(res.last-res.base+1, len(v.Records))
	}
	if res.advanced && p.waiting.Load() > 0 {
		j.advance = append(j.advance, p)
	}
	if j.acks != -1 || !c.acksWait() {
		return nil
	}
	j.pending.Add(1)
	waits, err := p.log.await(res.end, j)
	if !waits {
		j.pending.Add(-1)
		return err
	}
	j.places = append(j.places, producePlace{int32(v.Topic.Index), int32(len(t.PartitionResponses) - 1)})
	return nil
}

// adminClientID is the client id that Apache Kafka lets write to the topics of the broker itself.
const adminClientID = "__admin_client"

// fail notes an error for a partition.
func (j *produceJob) fail(p *partition, a *kafkawire.ProduceResponsePartition, err error) {
	a.ErrorCode, a.ErrorMessage = errorCode(err), errorText(err)
	a.BaseOffset, a.LogAppendTimeMs, a.LogStartOffset = -1, -1, -1
	p.topic.stats.failedProduce.Add(1)
	var be *batchError
	var se *storageError
	switch {
	case errors.As(err, &be):
		for _, r := range be.records {
			a.RecordErrors = append(a.RecordErrors, kafkawire.ProduceResponseRecordError{BatchIndex: int32(r.index), BatchIndexErrorMessage: &r.text})
		}
	case a.ErrorCode == kafkawire.ErrNotLeaderOrFollower && j.r.Version >= 10:
		b := j.s.b
		l := p.leadership()
		a.CurrentLeader = &kafkawire.ProduceResponseCurrentLeader{LeaderID: kafkawire.BrokerID(l.leader), LeaderEpoch: b.leaderEpoch(p)}
		known := slices.ContainsFunc(j.resp.NodeEndpoints, func(e kafkawire.ProduceResponseNodeEndpoint) bool { return int32(e.NodeID) == l.leader })
		if n := b.node(l.leader); n != nil && !known {
			host, port := j.s.address(n)
			e := kafkawire.ProduceResponseNodeEndpoint{NodeID: kafkawire.BrokerID(l.leader), Host: host, Port: port, Rack: n.rack()}
			j.resp.NodeEndpoints = append(j.resp.NodeEndpoints, e)
		}
	case errors.As(err, &se):
		j.s.b.log.Warn("kafkabroker: records could not be appended", "topic", p.topic.name, "partition", p.index, "error", err)
	}
}

// durable implements [durableWaiter].
func (j *produceJob) durable(err error) {
	if err != nil {
		j.failed.Store(true)
	}
	j.done()
}

// done answers when there is nothing more to wait for.
func (j *produceJob) done() {
	if j.pending.Add(-1) > 0 {
		return
	}
	if j.failed.Load() {
		for _, at := range j.places {
			a := &j.resp.Responses[at.topic].PartitionResponses[at.partition]
			*a = kafkawire.ProduceResponsePartition{
				Index: a.Index, ErrorCode: kafkawire.ErrKafkaStorageError, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1,
			}
		}
	}
	if j.acks == 0 {
		j.silent()
	} else {
		// Topics without partitions have no answer.
		j.resp.Responses = slices.DeleteFunc(j.resp.Responses, func(t kafkawire.ProduceResponseTopic) bool { return len(t.PartitionResponses) == 0 })
		j.r.Reply(&j.resp)
	}
	j.free()
}

// silent ends a request without acknowledgement. As Kafka does, it closes the connection when something failed: that is all
// that the producer can be told.
func (j *produceJob) silent() {
	for i := range j.resp.Responses {
		t := &j.resp.Responses[i]
		for _, a := range t.PartitionResponses {
			if a.ErrorCode != noError {
				j.r.Fail(fmt.Errorf("kafkabroker: acks=0, and %s-%d: %w", t.Name, a.Index, a.ErrorCode))
				return
			}
		}
	}
	j.r.ReplyNothing()
}

// free gives the job back.
func (j *produceJob) free() {
	kept := cap(j.resp.Responses)
	for i := range j.resp.Responses {
		t := &j.resp.Responses[i]
		kept += cap(t.PartitionResponses)
		clear(t.PartitionResponses)
		*t = kafkawire.ProduceResponseTopic{PartitionResponses: t.PartitionResponses[:0]}
	}
	clear(j.resp.NodeEndpoints)
	j.resp.NodeEndpoints = nil
	clear(j.joined)
	*j = produceJob{resp: j.resp, places: j.places[:0], joined: j.joined[:0], advance: j.advance[:0]}
	if kept <= maxKept {
		produceJobs.Put(j)
	}
}
