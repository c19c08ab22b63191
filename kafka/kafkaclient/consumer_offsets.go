package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// offsetTask is a partition whose offset is asked for, as it was when the question was asked.
type offsetTask struct {
	p       *consumerPartition
	version uint64
	start   Start
	offset  int64 // to validate
	epoch   int32
	leader  int32 // epoch
}

// kick asks for the offsets that partitions need. c.mu is held.
func (c *Consumer) kick() {
	if c.closed {
		return
	}
	now := time.Now()
	var committed []offsetTask
	var lists, epochs map[kafkawire.BrokerID][]offsetTask
	refresh := false
	for _, p := range c.parts {
		if p.busy || p.gone || now.Before(p.retryAt) {
			continue
		}
		t := offsetTask{p: p, version: p.version, start: p.start, offset: p.fetch, epoch: p.fetchEp, leader: p.leaderEpoch}
		switch p.state {
		case partitionCommitted:
			committed = append(committed, t)
		case partitionReset, partitionValidating:
			if p.leader < 0 {
				refresh = true
				continue
			}
			if p.state == partitionReset {
				lists = addTask(lists, p.leader, t)
			} else {
				epochs = addTask(epochs, p.leader, t)
			}
		case partitionFetching:
			refresh = refresh || p.leader < 0
			continue
		default:
			continue
		}
		p.busy = true
	}
	if len(committed) > 0 {
		c.spawn(func() { c.findCommitted(committed) })
	}
	for id, tasks := range lists {
		c.spawn(func() { c.findOffsets(id, tasks) })
	}
	for id, tasks := range epochs {
		c.spawn(func() { c.validate(id, tasks) })
	}
	if refresh {
		c.c.meta.refresh()
	}
}

func addTask(m map[kafkawire.BrokerID][]offsetTask, id kafkawire.BrokerID, t offsetTask) map[kafkawire.BrokerID][]offsetTask {
	if m == nil {
		m = make(map[kafkawire.BrokerID][]offsetTask)
	}
	m[id] = append(m[id], t)
	return m
}

// settle applies what came of a task, unless the partition has moved on.
func (c *Consumer) settle(tasks []offsetTask, apply func(t *offsetTask)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range tasks {
		t := &tasks[i]
		if t.p.gone || t.p.version != t.version {
			continue // busy belongs to what came after
		}
		t.p.busy = false
		if !c.closed {
			apply(t)
		}
	}
	c.kick()
}

// offsetFailed decides about an error of a task. c.mu is held.
func (t *offsetTask) failed(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	if Retriable(err) || errors.Is(err, ErrNoBroker) {
		t.p.later()
		return
	}
	t.p.later()
	if t.p.failures == 1 {
		t.p.c.report(&PartitionError{TopicPartition: t.p.TopicPartition, Offset: t.p.position, Err: err})
	}
}

// findCommitted asks for committed offsets.
func (c *Consumer) findCommitted(tasks []offsetTask) {
	names := make([]kafka.TopicPartition, len(tasks))
	for i := range tasks {
		names[i] = tasks[i].p.TopicPartition
	}
	found, err := c.fetchCommitted(c.alive, names)
	c.settle(tasks, func(t *offsetTask) {
		if t.p.state != partitionCommitted {
			return
		}
		o, ok := found[t.p.TopicPartition]
		switch {
		case err != nil:
			t.failed(err)
		case ok && o.err != 0:
			t.failed(remote(o.err, nil))
		case !ok || o.Offset < 0:
			t.p.reset()
		default:
			t.p.committed = o.Offset
			t.p.at(o.Offset, o.LeaderEpoch)
		}
	})
}

type foundOffset struct {
	CommitOffset
	err kafkawire.ErrorCode
}

// Committed returns the committed offsets of partitions. Those without one are not in the map.
func (c *Consumer) Committed(ctx context.Context, partitions ...kafka.TopicPartition) (map[kafka.TopicPartition]CommitOffset, error) {
	if c.o.Group == "" {
		return nil, errNoGroup
	}
	if len(partitions) == 0 {
		return nil, nil
	}
	out := make(map[kafka.TopicPartition]CommitOffset)
	err := c.retry(ctx, func(ctx context.Context) error {
		found, err := c.fetchCommitted(ctx, partitions)
		if err != nil {
			return err
		}
		for tp, o := range found {
			if o.err != 0 {
				return &PartitionError{TopicPartition: tp, Offset: -1, Err: remote(o.err, nil)}
			}
			if o.Offset >= 0 {
				out[tp] = o.CommitOffset
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// retry is that of the client, until the consumer is closed.
func (c *Consumer) retry(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.alive, func() { cancel(ErrClosed) })()
	return c.c.retry(ctx, f)
}

// offsetFetch is an OffsetFetchRequest for one group in every version.
type offsetFetch struct {
	*kafkawire.OffsetFetchRequest
	group  kafkawire.GroupID
	topics []kafkawire.OffsetFetchRequestGroupTopic
}

func (r *offsetFetch) Append(dst []byte, version int16) ([]byte, error) {
	var req kafkawire.OffsetFetchRequest
	req.Reset()
	req.RequireStable = version >= 7
	if version < 8 {
		req.GroupID = r.group
		for _, t := range r.topics {
			req.Topics = append(req.Topics, kafkawire.OffsetFetchRequestTopic{Name: t.Name, PartitionIndexes: t.PartitionIndexes})
		}
		return req.Append(dst, version)
	}
	var g kafkawire.OffsetFetchRequestGroup
	g.Reset()
	g.GroupID, g.Topics = r.group, r.topics
	req.Groups = []kafkawire.OffsetFetchRequestGroup{g}
	return req.Append(dst, version)
}

// fetchCommitted asks once.
func (c *Consumer) fetchCommitted(ctx context.Context, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]foundOffset, error) {
	req := &offsetFetch{OffsetFetchRequest: new(kafkawire.OffsetFetchRequest), group: kafkawire.GroupID(c.o.Group)}
	at := make(map[kafkawire.TopicName]int)
	for _, p := range partitions {
		i, ok := at[p.Topic]
		if !ok {
			i = len(req.topics)
			at[p.Topic] = i
			req.topics = append(req.topics, kafkawire.OffsetFetchRequestGroupTopic{Name: p.Topic})
		}
		req.topics[i].PartitionIndexes = append(req.topics[i].PartitionIndexes, p.Partition)
	}
	resp, err := c.c.requestCoordinator(ctx, GroupCoordinator, c.o.Group, req, &sendOptions{limit: 9}, func(r kafkawire.Response) kafkawire.ErrorCode {
		m := r.(*kafkawire.OffsetFetchResponse)
		if len(m.Groups) > 0 {
			return m.Groups[0].ErrorCode
		}
		return m.ErrorCode
	})
	if err != nil {
		return nil, err
	}
	m := resp.(*kafkawire.OffsetFetchResponse)
	out := make(map[kafka.TopicPartition]foundOffset, len(partitions))
	str := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	code := m.ErrorCode
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			out[kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}] = foundOffset{
				CommitOffset{p.CommittedOffset, p.CommittedLeaderEpoch, str(p.Metadata)}, p.ErrorCode}
		}
	}
	for _, g := range m.Groups {
		code = g.ErrorCode
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				out[kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}] = foundOffset{
					CommitOffset{p.CommittedOffset, p.CommittedLeaderEpoch, str(p.Metadata)}, p.ErrorCode}
			}
		}
	}
	return out, remote(code, nil)
}

// timestamp is what a ListOffsets request says for a start.
func (s Start) timestamp() int64 {
	switch s.kind {
	case startEarliest:
		return -2
	case startTime:
		return s.offset
	}
	return -1
}

// findOffsets asks a leader for offsets.
func (c *Consumer) findOffsets(id kafkawire.BrokerID, tasks []offsetTask) {
	asks := make([]offsetAsk, len(tasks))
	for i, t := range tasks {
		asks[i] = offsetAsk{t.p.TopicPartition, t.leader, t.start.timestamp()}
	}
	found, err := c.listOffsets(c.alive, id, asks)
	c.settle(tasks, func(t *offsetTask) {
		if t.p.state != partitionReset {
			return
		}
		o, ok := found[t.p.TopicPartition]
		switch {
		case err != nil:
			c.c.meta.refresh()
			t.failed(err)
		case !ok:
			t.failed(protocolError("no offset in the response"))
		case o.err != 0:
			if o.err.StaleMetadata() || o.err.Retriable() {
				c.c.meta.refresh()
			}
			t.failed(remote(o.err, nil))
		case o.Offset < 0 && t.start.kind == startTime: // nothing is that young
			t.p.start = StartLatest()
		case o.Offset < 0:
			t.failed(protocolError("an offset of " + strconv.FormatInt(o.Offset, 10)))
		default:
			t.p.at(o.Offset, -1)
		}
	})
}

type offsetAsk struct {
	kafka.TopicPartition
	epoch     int32
	timestamp int64
}

// listedOffset is what a leader says.
type listedOffset struct {
	Offset    int64
	Timestamp int64
	epoch     int32
	err       kafkawire.ErrorCode
}

// listOffsets asks a leader once.
func (c *Consumer) listOffsets(ctx context.Context, id kafkawire.BrokerID, asks []offsetAsk) (map[kafka.TopicPartition]listedOffset, error) {
	req := new(kafkawire.ListOffsetsRequest)
	req.Reset()
	req.ReplicaID = -1
	if c.o.ReadCommitted {
		req.IsolationLevel = 1
	}
	at := make(map[kafkawire.TopicName]int)
	for _, a := range asks {
		i, ok := at[a.Topic]
		if !ok {
			i = len(req.Topics)
			at[a.Topic] = i
			req.Topics = append(req.Topics, kafkawire.ListOffsetsRequestTopic{Name: a.Topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, kafkawire.ListOffsetsRequestPartition{
			PartitionIndex: a.Partition, CurrentLeaderEpoch: a.epoch, Timestamp: a.timestamp})
	}
	resp, err := c.c.requestBroker(ctx, id, req, nil)
	if err != nil {
		return nil, err
	}
	out := make(map[kafka.TopicPartition]listedOffset, len(asks))
	for _, t := range resp.(*kafkawire.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			out[kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}] = listedOffset{p.Offset, p.Timestamp, p.LeaderEpoch, p.ErrorCode}
		}
	}
	return out, nil
}

// Offsets returns an offset of each of some partitions, which need not be the consumer's: the first one, the end, or the
// first one that is not older than a time, as the Start says. With ReadCommitted the end is that of what is decided. An
// offset is -1 when nothing is that young. Each partition must have a Start of [StartEarliest], [StartLatest] or
// [StartAtTime].
func (c *Consumer) Offsets(ctx context.Context, partitions map[kafka.TopicPartition]Start) (map[kafka.TopicPartition]int64, error) {
	out := make(map[kafka.TopicPartition]int64, len(partitions))
	for tp, s := range partitions {
		if s.kind != startEarliest && s.kind != startLatest && s.kind != startTime {
			return nil, fmt.Errorf("kafkaclient: %v has no Start that brokers know", tp)
		}
		c.c.meta.want(tp.Topic)
		defer c.c.meta.forget(tp.Topic)
	}
	err := c.retry(ctx, func(ctx context.Context) error {
		byLeader := make(map[kafkawire.BrokerID][]offsetAsk)
		for tp, s := range partitions {
			if _, done := out[tp]; done {
				continue
			}
			id, epoch, ok := c.c.meta.leader(tp.Topic, tp.Partition)
			if !ok {
				if err := c.c.meta.await(ctx); err != nil {
					return err
				}
				if id, epoch, ok = c.c.meta.leader(tp.Topic, tp.Partition); !ok {
					return &PartitionError{TopicPartition: tp, Offset: -1, Err: remote(kafkawire.ErrUnknownTopicOrPartition, nil)}
				}
			}
			byLeader[id] = append(byLeader[id], offsetAsk{tp, epoch, s.timestamp()})
		}
		for id, asks := range byLeader {
			found, err := c.listOffsets(ctx, id, asks)
			if err != nil {
				c.c.meta.refresh()
				return err
			}
			for tp, o := range found {
				if o.err != 0 {
					c.c.meta.refresh()
					return &PartitionError{TopicPartition: tp, Offset: -1, Err: remote(o.err, nil)}
				}
				out[tp] = o.Offset
			}
		}
		if len(out) < len(partitions) {
			return protocolError("no offset in the response")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// validate asks a leader where epochs end: when that of what was read last ends before the position, the log was truncated
// (KIP-320).
func (c *Consumer) validate(id kafkawire.BrokerID, tasks []offsetTask) {
	req := new(kafkawire.OffsetForLeaderEpochRequest)
	req.Reset()
	req.ReplicaID = -1
	for _, t := range tasks {
		var p kafkawire.OffsetForLeaderEpochRequestPartition
		p.Reset()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = t.p.Partition, t.leader, t.epoch
		req.Topics = append(req.Topics, kafkawire.OffsetForLeaderEpochRequestTopic{Topic: t.p.Topic,
			Partitions: []kafkawire.OffsetForLeaderEpochRequestPartition{p}})
	}
	resp, err := c.c.requestBroker(c.alive, id, req, nil)
	found := make(map[kafka.TopicPartition]kafkawire.OffsetForLeaderEpochResponsePartition)
	if err == nil {
		for _, t := range resp.(*kafkawire.OffsetForLeaderEpochResponse).Topics {
			for _, p := range t.Partitions {
				found[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p
			}
		}
	}
	c.settle(tasks, func(t *offsetTask) {
		p := t.p
		if p.state != partitionValidating {
			return
		}
		o, ok := found[p.TopicPartition]
		switch {
		case errors.Is(err, ErrUnsupported):
			p.validated()
		case err != nil:
			c.c.meta.refresh()
			t.failed(err)
		case !ok:
			t.failed(protocolError("no epoch in the response"))
		case o.ErrorCode != 0:
			c.c.meta.refresh()
			t.failed(remote(o.ErrorCode, nil))
		case o.EndOffset < 0 || o.LeaderEpoch < 0:
			p.truncated(-1, -1) // nothing is known of that epoch any more
		case o.EndOffset < t.offset:
			p.truncated(o.EndOffset, o.LeaderEpoch)
		case p.leaderEpoch > t.leader: // there is another leader meanwhile: it is asked, too
		default:
			p.validated()
		}
	})
}

// validated goes on fetching.
func (p *consumerPartition) validated() {
	p.state = partitionFetching
	p.failures, p.retryAt = 0, time.Time{}
	if p.source != nil {
		p.source.wakeUp()
	}
}

// truncated goes back to where the log still is what was read.
func (p *consumerPartition) truncated(end int64, epoch int32) {
	if p.fetch != p.position && p.position >= 0 {
		// What waits for Poll may be gone, and perhaps more.
		offset, last := p.position, p.epoch
		acks := p.acks
		p.acks = nil
		p.forgetFetched()
		p.acks = acks // what was given out stays
		p.fetch, p.fetchEp = offset, last
		if p.state = partitionValidating; last < 0 {
			p.validated()
		}
		return
	}
	p.c.c.o.Logger.Warn("the log was truncated", "partition", p.TopicPartition.String(), "offset", p.position, "end", end)
	switch {
	case p.c.o.Reset == ResetNone:
		err := &PartitionError{TopicPartition: p.TopicPartition, Offset: end, Err: ErrTruncated}
		p.state = partitionFailed
		p.c.report(err)
	case end < 0:
		p.begin(Start{kind: startReset})
	default:
		p.begin(Start{kind: startOffset, offset: end, epoch: epoch})
	}
}
