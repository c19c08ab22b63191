package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// read reads the committed records that came since the last time, and returns in how many partitions a transaction is open.
func (h *harness) read(ctx context.Context) (open int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cl := h.client()
	stable, err := ends(ctx, cl, 1)
	if err != nil {
		cl.Close()
		return 0, err
	}
	all, err := ends(ctx, cl, 0)
	cl.Close()
	if err != nil {
		return 0, err
	}
	from := make(map[string]map[int32]kgo.Offset)
	left := 0
	for topic, list := range h.positions {
		for i, at := range list {
			if all[topic][i] > stable[topic][i] {
				open++
				continue // it is read when the transaction has ended
			}
			if at >= stable[topic][i] {
				continue
			}
			if from[topic] == nil {
				from[topic] = make(map[int32]kgo.Offset)
			}
			from[topic][int32(i)] = kgo.NewOffset().At(at)
			left++
		}
	}
	if left == 0 {
		return open, nil
	}
	reader := h.client(kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer reader.Close()
	for left > 0 {
		f := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			return open, fmt.Errorf("reading: %w", ctx.Err())
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				h.l.arrived(r.Topic, r.Partition, r.Offset, r.Value)
			}
			// Without an open transaction a partition ends with a record or a marker.
			before := h.positions[r.Topic][r.Partition]
			h.positions[r.Topic][r.Partition] = r.Offset + 1
			if end := stable[r.Topic][r.Partition]; before < end && r.Offset+1 >= end {
				left--
			}
		})
	}
	return open, nil
}

// ends returns the ends of all partitions for readers of committed records (1) or of all (0).
func ends(ctx context.Context, cl *kgo.Client, isolation int8) (map[string][]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	for topic, n := range partitions() {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for i := range n {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = i, -1, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	list := make(map[string][]int64)
	for _, t := range resp.Topics {
		list[t.Topic] = make([]int64, len(t.Partitions))
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("end of %s-%d: %w", t.Topic, p.Partition, err)
			}
			list[t.Topic][p.Partition] = p.Offset
		}
	}
	return list, nil
}
