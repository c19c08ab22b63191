package kafkabroker

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// offsetCommit stores how far a group has come.
func (s *session) offsetCommit(r *kafkaserver.Request) {
	req := new(kafkawire.OffsetCommitRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	w := commitWork{s: s, r: r, group: string(req.GroupID)}
	retention := int64(-1)
	if r.Version <= 4 {
		retention = req.RetentionTimeMs
	}
	w.resp.Topics = make([]kafkawire.OffsetCommitResponseTopic, len(req.Topics))
	ok := s.allowed(opRead, resourceGroup, w.group)
	for i := range req.Topics {
		t := &req.Topics[i]
		w.begin(i, string(t.Name), t.TopicID, r.Version >= 10)
		if !ok {
			w.code = kafkawire.ErrGroupAuthorizationFailed
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w.add(p.PartitionIndex, p.CommittedOffset, p.CommittedLeaderEpoch, p.CommittedMetadata)
		}
	}
	if len(w.offsets) == 0 {
		r.Reply(&w.resp)
		return
	}
	sh, code := s.groupShard(w.group)
	if code != noError {
		w.fail(code)
		return
	}
	sh.commit(&w, committer{req.MemberID, text(req.GroupInstanceID), req.GenerationIDOrMemberEpoch}, retention)
}

// commitWork is the offsets that a client wants to commit, and the answer. Both requests that commit have it.
type commitWork struct {
	s     *session
	r     *kafkaserver.Request
	group string
	resp  kafkawire.OffsetCommitResponse

	topic   *topicState // that is at hand
	code    kafkawire.ErrorCode
	at      int
	offsets []commitOffset
}

// commitOffset is an offset, and where its answer is.
type commitOffset struct {
	of     *topicState
	key    offsetKey
	c      committedOffset
	topic  int
	answer int
}

// begin begins with a topic.
func (w *commitWork) begin(i int, name string, id kafkawire.UUID, byID bool) {
	b := w.s.b
	w.at, w.code = i, noError
	unknown := kafkawire.ErrUnknownTopicOrPartition
	if byID {
		unknown = kafkawire.ErrUnknownTopicID
		w.topic = b.topicByID(id)
	} else {
		w.topic = b.topic(name)
	}
	w.resp.Topics[i].Name, w.resp.Topics[i].TopicID = kafkawire.TopicName(name), id
	if w.topic != nil {
		name = w.topic.name
	}
	switch {
	case w.topic == nil && byID:
		w.code = unknown
	case !w.s.allowed(opRead, resourceTopic, name):
		w.code = kafkawire.ErrTopicAuthorizationFailed
	case w.topic == nil:
		w.code = unknown
	}
}

// add adds a partition of the topic.
func (w *commitWork) add(partition int32, offset int64, epoch int32, metadata *string) {
	t := &w.resp.Topics[w.at]
	code := w.code
	switch {
	case code != noError:
	case w.topic.partition(partition) == nil:
		code = kafkawire.ErrUnknownTopicOrPartition
	default:
		w.offsets = append(w.offsets, commitOffset{
			of: w.topic, key: offsetKey{w.topic.name, partition}, topic: w.at, answer: len(t.Partitions),
			c: committedOffset{offset: offset, epoch: epoch, metadata: strings.Clone(text(metadata)), expire: -1},
		})
	}
	t.Partitions = append(t.Partitions, kafkawire.OffsetCommitResponsePartition{PartitionIndex: partition, ErrorCode: code})
}

// set answers for one offset.
func (w *commitWork) set(o *commitOffset, code kafkawire.ErrorCode) {
	w.resp.Topics[o.topic].Partitions[o.answer].ErrorCode = code
}

// fail refuses all offsets that were not refused yet.
func (w *commitWork) fail(code kafkawire.ErrorCode) {
	for i := range w.offsets {
		w.set(&w.offsets[i], code)
	}
	w.reply()
}

// reply sends the answer.
func (w *commitWork) reply() {
	if w.r.Key == kafkawire.KeyOffsetCommit {
		w.r.Reply(&w.resp)
		return
	}
	resp := kafkawire.TxnOffsetCommitResponse{Topics: make([]kafkawire.TxnOffsetCommitResponseTopic, len(w.resp.Topics))}
	for i := range w.resp.Topics {
		from, to := &w.resp.Topics[i], &resp.Topics[i]
		to.Name, to.TopicID = from.Name, from.TopicID
		to.Partitions = make([]kafkawire.TxnOffsetCommitResponsePartition, len(from.Partitions))
		for j := range from.Partitions {
			to.Partitions[j] = kafkawire.TxnOffsetCommitResponsePartition{
				PartitionIndex: from.Partitions[j].PartitionIndex, ErrorCode: from.Partitions[j].ErrorCode,
			}
		}
	}
	w.r.Reply(&resp)
}

// committer is who commits.
type committer struct {
	member, instance string
	generation       int32
}

// commit stores offsets.
func (s *groupShard) commit(w *commitWork, by committer, retention int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if code := s.checkCommit(now, w, by, false); code != noError {
		w.fail(code)
		return
	}
	s.batch.Reset()
	if !s.addCommit(now, w, retention) {
		w.reply() // all of them were refused
		return
	}
	res, err := s.append(nil)
	if err != nil {
		s.refuseCommit(w, err)
		return
	}
	e := s.makeGroup(now, w.group)
	record := res.base
	for i := range w.offsets {
		if o := &w.offsets[i]; o.topic >= 0 {
			o.c.record = record
			record++
			e.offsets[o.key] = o.c
		}
	}
	s.g.commits.Add(uint64(record - res.base))
	s.after(w.durable)
}

// refuseCommit answers when offsets could not be written.
func (s *groupShard) refuseCommit(w *commitWork, err error) {
	s.g.b.log.Error("kafkabroker: offsets cannot be written", "group", w.group, "error", err)
	w.taken()
	w.fail(commitCode(err))
}

// taken removes the offsets that were answered.
func (w *commitWork) taken() {
	list := w.offsets[:0]
	for _, o := range w.offsets {
		if o.topic >= 0 {
			list = append(list, o)
		}
	}
	w.offsets = list
}

// durable sends the answer when the offsets are durable.
func (w *commitWork) durable(err error) {
	if err != nil {
		w.taken()
		w.fail(commitCode(err))
		return
	}
	w.reply()
}

// checkCommit checks who commits. The caller holds mu.
func (s *groupShard) checkCommit(now time.Time, w *commitWork, by committer, txn bool) kafkawire.ErrorCode {
	e := s.group(w.group)
	if e == nil {
		switch {
		case by.generation < 0:
			return noError // a group of which only offsets are kept
		case !txn && w.r.Version >= 9:
			return kafkawire.ErrGroupIDNotFound
		}
		return kafkawire.ErrIllegalGeneration
	}
	code := e.m.CheckCommit(now, by.member, by.instance, by.generation, txn)
	s.arm(e)
	return code
}

// addCommit adds the records of offsets to the batch, and reports whether there are any. Those that are refused get the
// topic -1. The caller holds mu.
func (s *groupShard) addCommit(now time.Time, w *commitWork, retention int64) bool {
	for i := range w.offsets {
		o := &w.offsets[i]
		if o.of.deleted.Load() { // since the request was looked at: topicDeleted may have been here, and one of the same name begins anew
			w.set(o, kafkawire.ErrUnknownTopicOrPartition)
			o.topic = -1
			continue
		}
		if !s.g.metadataFits(o.c.metadata) {
			w.set(o, kafkawire.ErrOffsetMetadataTooLarge)
			o.topic = -1
			continue
		}
		o.c.at = now.UnixMilli()
		if retention >= 0 {
			o.c.expire = o.c.at + retention
		}
		if err := s.addOffset(now, w.group, o.key, &o.c); err != nil {
			w.set(o, kafkawire.ErrUnknownServerError)
			o.topic = -1
		}
		if int64(s.batch.Len()) > s.p.log.config().maxMessage {
			break // none of them will be taken; each record has the name of the group
		}
	}
	return s.batch.Count() > 0
}

// metadataFits reports whether the metadata of an offset are not too long.
func (g *groupCoordinator) metadataFits(m string) bool {
	return len(m) <= g.maxMetadata || utf8.RuneCountInString(m) <= g.maxMetadata
}

// txnOffsetCommit stores how far a group has come, to be valid when a transaction commits.
func (s *session) txnOffsetCommit(r *kafkaserver.Request) {
	req := new(kafkawire.TxnOffsetCommitRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	w := &commitWork{s: s, r: r, group: string(req.GroupID)}
	w.resp.Topics = make([]kafkawire.OffsetCommitResponseTopic, len(req.Topics))
	code := noError
	switch {
	case !s.allowed(opWrite, resourceTransactionalID, string(req.TransactionalID)):
		code = kafkawire.ErrTransactionalIDAuthorizationFailed
	case !s.allowed(opRead, resourceGroup, w.group):
		code = kafkawire.ErrGroupAuthorizationFailed
	case w.group == "":
		code = kafkawire.ErrInvalidGroupID
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		w.begin(i, string(t.Name), t.TopicID, r.Version >= 6)
		if code != noError {
			w.code = code
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w.add(p.PartitionIndex, p.CommittedOffset, p.CommittedLeaderEpoch, p.CommittedMetadata)
		}
	}
	if len(w.offsets) == 0 {
		w.reply()
		return
	}
	sh, code := s.groupShard(w.group)
	if code != noError {
		w.fail(code)
		return
	}
	id, epoch := int64(req.ProducerID), req.ProducerEpoch
	guard, err := sh.p.log.guardTransaction(id, epoch, -1, r.Version >= 5)
	if err != nil {
		w.fail(commitCode(err))
		return
	}
	if guard == 0 {
		sh.commitTxn(w, req, 0)
		return
	}
	// The transaction's coordinator knows whether it is open; it may have to write that.
	if !s.b.spawn(func() {
		t := joinedTxn{p: sh.p, sequence: -1, guard: guard}
		if r.Version >= 5 {
			list := []joinedTxn{t}
			s.b.joinTxn(string(req.TransactionalID), kafka.ProducerEpoch{ID: req.ProducerID, Epoch: epoch}, list)
			t = list[0]
		} else {
			t.err = s.b.verifyTxn(string(req.TransactionalID), id, epoch, []partitionID{sh.p.id()}, false)[0]
		}
		if t.err != nil {
			code := commitCode(t.err)
			if code == kafkawire.ErrTransactionAbortable && r.Version < 4 {
				code = kafkawire.ErrInvalidTxnState // which clients of that time know
			}
			w.fail(code)
			return
		}
		sh.commitTxn(w, req, t.guard)
	}) {
		w.fail(kafkawire.ErrNotCoordinator)
	}
}

// commitTxn stores the offsets of a transaction.
func (s *groupShard) commitTxn(w *commitWork, req *kafkawire.TxnOffsetCommitRequest, guard uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	by := committer{req.MemberID, text(req.GroupInstanceID), req.GenerationIDOrMemberEpoch}
	if code := s.checkCommit(now, w, by, true); code != noError {
		w.fail(code)
		return
	}
	s.batch.Reset()
	if !s.addCommit(now, w, -1) {
		w.reply()
		return
	}
	res, err := s.appendGuarded(&kafka.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, guard)
	if err != nil {
		s.refuseCommit(w, err)
		return
	}
	e := s.makeGroup(now, w.group)
	record := res.base
	for i := range w.offsets {
		if o := &w.offsets[i]; o.topic >= 0 {
			o.c.record = record
			record++
			s.addPending(int64(req.ProducerID), e, o.key, o.c)
		}
	}
	s.after(w.durable)
}
