package kafkaclient

import (
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ConsumerStats are counters since a consumer was made, and gauges.
type ConsumerStats struct {
	Records   uint64        // that Poll has returned, or All has taken in
	Bytes     uint64        // of record batches that were fetched, as they came
	Fetches   uint64        // requests that were answered
	FetchTime time.Duration // from sending these to their answers, all together; it includes FetchMaxWait
	Commits   uint64        // requests that were answered
	Assigned  uint64        // how often the group gave an assignment
	Buffered  int           // bytes that were fetched and wait for Poll

	Partitions []PartitionStats // sorted
}

// PartitionStats is the state of a partition of a consumer. What is not known is -1.
type PartitionStats struct {
	kafka.TopicPartition
	Leader        kafkawire.BrokerID
	Source        kafkawire.BrokerID // from which it fetches
	Position      int64              // the next offset for the application
	Committed     int64              // what was committed last, or found committed
	LogStart      int64              // the first offset that there is
	HighWatermark int64              // the end of the log for consumers
	Stable        int64              // the end of what is decided, for ReadCommitted
	Lag           int64              // from Position to the end, as [Consumer.Lag] has it
	Buffered      int                // bytes that wait for Poll
	Records       uint64             // since the consumer got the partition
	Bytes         uint64
	Paused        bool
}

// Stats returns a snapshot.
func (c *Consumer) Stats() ConsumerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Partitions = make([]PartitionStats, 0, len(c.parts))
	for tp, p := range c.parts {
		x := PartitionStats{TopicPartition: tp, Leader: p.leader, Source: -1, Position: p.position, Committed: p.committed, LogStart: p.logStart,
			HighWatermark: p.high, Stable: p.stable, Lag: -1, Buffered: p.queued, Records: p.records, Bytes: p.bytes, Paused: p.paused}
		if p.source != nil {
			x.Source = p.source.id
		}
		if n, ok := p.lag(); ok {
			x.Lag = n
		}
		s.Buffered += p.queued
		s.Partitions = append(s.Partitions, x)
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStats) int { return a.Compare(b.TopicPartition) })
	return s
}

// lag is how far the position is behind the end. c.mu is held.
func (p *consumerPartition) lag() (n int64, ok bool) {
	end := p.high
	if p.c.o.ReadCommitted {
		end = p.stable
	}
	if p.position < 0 || end < 0 {
		return 0, false
	}
	return max(end-p.position, 0), true
}
