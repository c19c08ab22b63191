package kafkaclient

import (
	"context"
	"fmt"
	"slices"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupMetadata says who a member of a group is. A consumer returns its own. With the name of the group only, offsets are
// committed without a check that the member still has the partitions.
type GroupMetadata struct {
	Group      string
	MemberID   string
	InstanceID string // of a static member
	Generation int32  // -1 without MemberID
}

// CommitOffset is an offset to be committed: that of the next record to consume.
type CommitOffset struct {
	Offset      int64
	LeaderEpoch int32 // -1: unknown
	Metadata    string
}

// SendOffsets makes offsets of a consumer a part of the transaction: they are committed with it. The offsets are those of
// the next records to consume. When the error is [Abortable], as when the member does not have the partitions any more, the
// transaction can only be aborted.
func (p *Producer) SendOffsets(ctx context.Context, group GroupMetadata, offsets map[kafka.TopicPartition]CommitOffset) error {
	t, err := p.lockTxn(ctx)
	if err != nil {
		return err
	}
	defer t.unlock()
	t.mu.Lock()
	state, failed, known := t.state, t.err, t.groups[group.Group]
	t.mu.Unlock()
	switch {
	case state != txnOpen:
		return ErrNoTransaction
	case failed != nil:
		return failed
	case len(offsets) == 0:
		return nil
	}
	if !known {
		if err := t.addGroup(ctx, group.Group); err != nil {
			return t.end(err)
		}
	}
	req := &kafkawire.TxnOffsetCommitRequest{}
	req.Reset()
	id := p.identity.current.Load()
	req.TransactionalID, req.GroupID, req.ProducerID, req.ProducerEpoch = t.id(), kafkawire.GroupID(group.Group), id.ID, id.Epoch
	req.GenerationIDOrMemberEpoch = -1
	if group.MemberID != "" {
		req.GenerationIDOrMemberEpoch, req.MemberID = group.Generation, group.MemberID
	}
	if group.InstanceID != "" {
		req.GroupInstanceID = &group.InstanceID
	}
	left := make([]kafka.TopicPartition, 0, len(offsets))
	for tp := range offsets {
		left = append(left, tp)
	}
	slices.SortFunc(left, kafka.TopicPartition.Compare)
	limit := int16(4)
	if t.second.Load() {
		limit = 5
	}
	err = p.c.retry(ctx, func(ctx context.Context) error {
		req.Topics = offsetTopics(left, offsets)
		resp, err := p.c.requestCoordinator(ctx, GroupCoordinator, group.Group, req, &sendOptions{limit: limit}, func(r kafkawire.Response) kafkawire.ErrorCode {
			for _, x := range r.(*kafkawire.TxnOffsetCommitResponse).Topics {
				for _, y := range x.Partitions {
					if y.ErrorCode.CoordinatorMoved() {
						return y.ErrorCode
					}
				}
			}
			return 0
		})
		if err != nil {
			return err
		}
		left, err = offsetErrors(resp.(*kafkawire.TxnOffsetCommitResponse))
		return err
	})
	return t.end(err)
}

// end makes an error one of the transaction.
func (t *transaction) end(err error) error {
	if err == nil {
		return nil
	}
	t.broke(err)
	if t.p.closed.Load() {
		return t.p.closedErr()
	}
	return t.failed(err)
}

// addGroup tells the coordinator that offsets of a group come.
func (t *transaction) addGroup(ctx context.Context, group string) error {
	t.mu.Lock()
	t.begun = true
	t.mu.Unlock()
	if !t.second.Load() {
		id := t.p.identity.current.Load()
		req := &kafkawire.AddOffsetsToTxnRequest{TransactionalID: t.id(), ProducerID: id.ID, ProducerEpoch: id.Epoch, GroupID: kafkawire.GroupID(group)}
		err := t.p.c.retry(ctx, func(ctx context.Context) error {
			resp, err := t.request(ctx, req, 3, func(r kafkawire.Response) kafkawire.ErrorCode {
				return r.(*kafkawire.AddOffsetsToTxnResponse).ErrorCode
			})
			if err != nil {
				return err
			}
			return remote(resp.(*kafkawire.AddOffsetsToTxnResponse).ErrorCode, nil)
		})
		if err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groups == nil {
		t.groups = make(map[string]bool)
	}
	t.groups[group] = true
	return nil
}

// offsetTopics groups offsets by topic.
func offsetTopics(list []kafka.TopicPartition, offsets map[kafka.TopicPartition]CommitOffset) (topics []kafkawire.TxnOffsetCommitRequestTopic) {
	for _, tp := range list {
		if n := len(topics); n == 0 || topics[n-1].Name != tp.Topic {
			topics = append(topics, kafkawire.TxnOffsetCommitRequestTopic{Name: tp.Topic})
		}
		o := offsets[tp]
		t := &topics[len(topics)-1]
		t.Partitions = append(t.Partitions, kafkawire.TxnOffsetCommitRequestPartition{PartitionIndex: tp.Partition,
			CommittedOffset: o.Offset, CommittedLeaderEpoch: o.LeaderEpoch, CommittedMetadata: &o.Metadata})
	}
	return topics
}

// offsetErrors returns the partitions that are to be tried again, or the error of one that is not.
func offsetErrors(r *kafkawire.TxnOffsetCommitResponse) (left []kafka.TopicPartition, err error) {
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				continue
			}
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
			this := fmt.Errorf("kafkaclient: offset of %v: %w", tp, remote(p.ErrorCode, nil))
			if !p.ErrorCode.Retriable() {
				return nil, this
			}
			left, err = append(left, tp), this
		}
	}
	return left, err
}
