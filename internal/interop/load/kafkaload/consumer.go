package kafkaload

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Consumer fetches from partitions of a topic, one request at a time, with the limits that the Java client has by default
// and without a fetch session.
type Consumer struct {
	*Client
	// Records is how many have come. It may be read while Run runs.
	Records atomic.Int64
	// Each is called with the batches, if it is not nil. It must not keep them.
	Each func(kafka.Batch) error

	req    kafkawire.FetchRequest
	resp   kafkawire.FetchResponse
	offset map[int32]int64
}

// NewConsumer connects a consumer that begins at offset 0.
func NewConsumer(addr, topic string, partitions []int) (*Consumer, error) {
	c, err := Connect(addr)
	if err != nil {
		return nil, err
	}
	k := &Consumer{Client: c, offset: make(map[int32]int64)}
	k.req.Reset()
	k.req.MaxWaitMs, k.req.MinBytes, k.req.MaxBytes, k.req.SessionEpoch = 500, 1, 50<<20, -1
	t := kafkawire.FetchRequestTopic{Topic: kafkawire.TopicName(topic)}
	for _, p := range partitions {
		var q kafkawire.FetchRequestPartition
		q.Partition, q.CurrentLeaderEpoch, q.LastFetchedEpoch, q.LogStartOffset, q.PartitionMaxBytes = int32(p), -1, -1, -1, 1<<20
		t.Partitions = append(t.Partitions, q)
	}
	k.req.Topics = []kafkawire.FetchRequestTopic{t}
	return k, nil
}

// Fetch asks once and goes on behind what came. It returns how many records came.
func (k *Consumer) Fetch() (n int64, err error) {
	for i := range k.req.Topics[0].Partitions {
		p := &k.req.Topics[0].Partitions[i]
		p.FetchOffset = k.offset[p.Partition]
	}
	if err := k.call(&k.req, fetchVersion, &k.resp); err != nil {
		return 0, err
	}
	if k.resp.ErrorCode != 0 {
		return 0, fmt.Errorf("fetch: %w", k.resp.ErrorCode)
	}
	for _, t := range k.resp.Responses {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.ErrorCode != 0 {
				return n, fmt.Errorf("fetch of %d: %w", p.PartitionIndex, p.ErrorCode)
			}
			got, err := k.take(p)
			if err != nil {
				return n, err
			}
			n += got
		}
	}
	k.Records.Add(n)
	return n, nil
}

// take looks at the batches of a partition.
func (k *Consumer) take(p *kafkawire.FetchResponsePartition) (n int64, err error) {
	for b := p.Records; len(b) > 0; {
		entry, rest, err := kafka.Split(b)
		if err != nil {
			return n, err
		}
		if entry == nil {
			break // the beginning of one that did not fit
		}
		b = rest
		batch := kafka.Batch(entry)
		if batch.LastOffset() < k.offset[p.PartitionIndex] {
			return n, fmt.Errorf("partition %d: offset %d after %d", p.PartitionIndex, batch.LastOffset(), k.offset[p.PartitionIndex])
		}
		if k.Each != nil {
			if err := k.Each(batch); err != nil {
				return n, err
			}
		}
		n += batch.LastOffset() + 1 - max(batch.BaseOffset(), k.offset[p.PartitionIndex])
		k.offset[p.PartitionIndex] = batch.LastOffset() + 1
	}
	return n, nil
}

// Rewind begins at offset 0 again.
func (k *Consumer) Rewind() { clear(k.offset) }

// Run fetches from offset 0 on until the given time, and begins again where it comes to the end of end records.
func (k *Consumer) Run(until time.Time, end int64) error {
	k.Rewind()
	at := int64(0)
	for time.Now().Before(until) {
		n, err := k.Fetch()
		if err != nil {
			return err
		}
		if at += n; at >= end {
			k.Rewind()
			at = 0
		}
	}
	return nil
}
