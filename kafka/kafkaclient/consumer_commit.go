package kafkaclient

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// commits reports whether the consumer commits by itself.
func (c *Consumer) commits() bool { return c.o.Group != "" && c.o.Commit != CommitManual }

// consumed are the offsets that the application has reached: with [CommitDone] what is done, else what Poll returned,
// without what a loop over All has still to come to. c.mu is held.
func (c *Consumer) consumed() map[kafka.TopicPartition]CommitOffset {
	list := make(map[kafka.TopicPartition]CommitOffset, len(c.parts))
	for tp, p := range c.parts {
		if p.acks == nil || p.acks.closed.Load() || p.gone {
			continue
		}
		o := CommitOffset{Offset: p.position, LeaderEpoch: p.epoch}
		if c.o.Commit == CommitDone {
			o.Offset, o.LeaderEpoch = p.acks.low()
		}
		list[tp] = o
	}
	if c.o.Commit == CommitDone {
		return list
	}
	seen := make(map[kafka.TopicPartition]bool)
	rest := c.given[min(uint64(len(c.given)), c.yielded.Load()-c.base):]
	for _, r := range rest {
		tp := kafka.TopicPartition{Topic: kafkawire.TopicName(r.Topic), Partition: r.Partition}
		if _, ok := list[tp]; ok && !seen[tp] && !r.acks.closed.Load() {
			seen[tp] = true
			list[tp] = CommitOffset{Offset: r.Offset, LeaderEpoch: r.LeaderEpoch}
		}
	}
	return list
}

// toCommit is consumed without what is committed already. c.mu is held.
func (c *Consumer) toCommit() map[kafka.TopicPartition]CommitOffset {
	list := c.consumed()
	for tp, o := range list {
		if o.Offset == c.parts[tp].committed {
			delete(list, tp)
		}
	}
	return list
}

// commitByItself commits when it is time. The timer does so while nobody polls, if that is right.
func (c *Consumer) commitByItself(timer bool) {
	if !c.commits() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if timer && !c.closed {
		c.commitTimer.Reset(c.o.CommitInterval)
	}
	if c.closed || c.autoCommit || time.Since(c.lastCommit) < c.o.CommitInterval || !c.mayCommit && c.o.Commit != CommitDone {
		return
	}
	c.lastCommit = time.Now()
	list := c.toCommit()
	if len(list) == 0 {
		return
	}
	c.autoCommit = true
	c.commitAsync(list, func(err error) {
		if err != nil {
			c.c.o.Logger.Warn("cannot commit", "group", c.o.Group, "err", err)
		}
		c.mu.Lock()
		c.autoCommit = false
		c.mu.Unlock()
	})
}

// commitAsync commits on a goroutine. done, which may be nil, is told of the result. c.mu is held.
func (c *Consumer) commitAsync(list map[kafka.TopicPartition]CommitOffset, done func(error)) {
	if c.closed {
		if done != nil {
			go done(ErrClosed)
		}
		return
	}
	id, err := c.identity()
	turn := c.turn()
	c.spawn(func() {
		if err == nil && len(list) > 0 {
			err = c.commitAs(c.alive, turn, id, list)
		} else {
			turn.pass()
		}
		if done != nil {
			done(err)
		}
	})
}

// commitTurn is a place in the order of commits: an earlier one must not come to the broker after a later one.
type commitTurn struct{ before, mine chan struct{} }

// turn returns the next place. c.mu is held, as it was when it was found out what to commit.
func (c *Consumer) turn() commitTurn {
	t := commitTurn{c.lastTurn, make(chan struct{})}
	c.lastTurn = t.mine
	return t
}

// wait waits until it is this one's turn.
func (t commitTurn) wait(ctx context.Context) error {
	if t.before == nil {
		return nil
	}
	select {
	case <-t.before:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pass gives the turn to the next one, as soon as it has come.
func (t commitTurn) pass() {
	if t.before != nil {
		select {
		case <-t.before:
		default:
			go func() {
				<-t.before
				close(t.mine)
			}()
			return
		}
	}
	close(t.mine)
}

// Commit commits what the application has consumed: everything that Poll has returned, the records of All before the
// current one, or with [CommitDone] what is done. It waits for the answer. The error wraps [kafka.ErrRebalancing] when a
// rebalance is under way: poll, then commit again; [kafka.ErrCommitFailed] when the group has given the partitions to
// others; or it is a [*PartitionError] for the first partition that failed.
func (c *Consumer) Commit(ctx context.Context) error {
	c.mu.Lock()
	return c.commitNow(ctx, c.consumed())
}

// CommitAsync is [Consumer.Commit] without waiting. done, which may be nil, is called with the result on a goroutine of
// its own; it may call all methods.
func (c *Consumer) CommitAsync(done func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commitAsync(c.consumed(), done)
}

// CommitOffsets commits given offsets, which need not be of partitions that the consumer has.
func (c *Consumer) CommitOffsets(ctx context.Context, offsets map[kafka.TopicPartition]CommitOffset) error {
	c.mu.Lock()
	return c.commitNow(ctx, maps.Clone(offsets))
}

// commitNow commits and waits. c.mu is held, and released; the list belongs to it.
func (c *Consumer) commitNow(ctx context.Context, list map[kafka.TopicPartition]CommitOffset) error {
	id, err := c.identity()
	switch {
	case c.o.Group == "":
		err = errNoGroup
	case c.closed:
		err = ErrClosed
	case err == nil && len(list) > 0:
		turn := c.turn()
		c.mu.Unlock()
		return c.commitAs(ctx, turn, id, list)
	}
	c.mu.Unlock()
	return err
}

// identity is with what to commit now. c.mu is held.
func (c *Consumer) identity() (kafka.MemberIdentity, error) {
	if c.group == nil {
		return kafka.MemberIdentity{GroupID: kafkawire.GroupID(c.o.Group), Generation: -1}, nil
	}
	id, err := c.group.m.Identity()
	if err == kafka.ErrRebalancing && c.shutting.Load() && id.Generation >= 0 {
		err = nil // there is no later, and the coordinator may take it
	}
	return id, err
}

// commitAs commits when it is its turn.
func (c *Consumer) commitAs(ctx context.Context, turn commitTurn, id kafka.MemberIdentity, list map[kafka.TopicPartition]CommitOffset) error {
	defer turn.pass()
	if err := turn.wait(ctx); err != nil {
		return err
	}
	return c.retry(ctx, func(ctx context.Context) error { return c.commitOnce(ctx, id, list) })
}

// commitOnce sends one request. What succeeds leaves the list.
func (c *Consumer) commitOnce(ctx context.Context, id kafka.MemberIdentity, list map[kafka.TopicPartition]CommitOffset) error {
	req := new(kafkawire.OffsetCommitRequest)
	req.Reset()
	req.GroupID, req.GenerationIDOrMemberEpoch, req.MemberID = id.GroupID, id.Generation, id.MemberID
	if id.InstanceID != "" && id.MemberID != "" {
		req.GroupInstanceID = &id.InstanceID
	}
	at := make(map[kafkawire.TopicName]int)
	for tp, o := range list {
		i, ok := at[tp.Topic]
		if !ok {
			i = len(req.Topics)
			at[tp.Topic] = i
			req.Topics = append(req.Topics, kafkawire.OffsetCommitRequestTopic{Name: tp.Topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, kafkawire.OffsetCommitRequestPartition{
			PartitionIndex: tp.Partition, CommittedOffset: o.Offset, CommittedLeaderEpoch: o.LeaderEpoch, CommittedMetadata: new(o.Metadata)})
	}
	resp, err := c.c.requestCoordinator(ctx, GroupCoordinator, string(id.GroupID), req, &sendOptions{limit: 9}, func(r kafkawire.Response) kafkawire.ErrorCode {
		for _, t := range r.(*kafkawire.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return p.ErrorCode
				}
			}
		}
		return 0
	})
	if err != nil {
		return err
	}
	var first error
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Commits++
	for _, t := range resp.(*kafkawire.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
			if p.ErrorCode == 0 {
				if x := c.parts[tp]; x != nil {
					x.committed = list[tp].Offset
				}
				delete(list, tp)
				continue
			}
			err := c.commitRefused(id, p.ErrorCode)
			if errors.Is(err, kafka.ErrRebalancing) || errors.Is(err, kafka.ErrCommitFailed) {
				return err
			}
			if first == nil {
				first = &PartitionError{TopicPartition: tp, Offset: list[tp].Offset, Err: err}
			}
		}
	}
	return first
}

// commitRefused says what an error code means. c.mu is held.
func (c *Consumer) commitRefused(id kafka.MemberIdentity, code kafkawire.ErrorCode) error {
	if c.group == nil || id.MemberID == "" {
		return remote(code, nil)
	}
	err := c.group.m.Committed(time.Now(), id, code)
	c.drainGroup()
	return err
}

// GroupMetadata says who the consumer is in its group, for [Producer.SendOffsets]. It fails as [Consumer.Commit] does while
// the consumer has no place in its group.
func (c *Consumer) GroupMetadata() (GroupMetadata, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Group == "" {
		return GroupMetadata{}, errNoGroup
	}
	id, err := c.identity()
	return GroupMetadata{Group: c.o.Group, MemberID: id.MemberID, InstanceID: id.InstanceID, Generation: id.Generation}, err
}

// Consumed returns what [Consumer.Commit] would commit, for [Producer.SendOffsets].
func (c *Consumer) Consumed() map[kafka.TopicPartition]CommitOffset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.consumed()
}
