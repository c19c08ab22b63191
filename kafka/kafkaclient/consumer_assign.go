package kafkaclient

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka"
)

// Assign makes the given partitions those of the consumer, and no others. Those that it has already go on where they are
// unless their Start is another than the zero one. The consumer must not have a subscription. What was consumed of
// partitions that it gives up is committed, as [ConsumerOptions.Commit] says, without waiting for it.
func (c *Consumer) Assign(partitions map[kafka.TopicPartition]Start) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.group != nil:
		return errSubscribed
	}
	for tp := range partitions {
		if tp.Partition < 0 || tp.Topic == "" {
			return fmt.Errorf("kafkaclient: no partition has the name %v", tp)
		}
	}
	var gone []*consumerPartition
	for tp, p := range c.parts {
		if _, stays := partitions[tp]; !stays {
			gone = append(gone, p)
		}
	}
	if len(gone) > 0 && c.commits() {
		c.commitAsync(c.toCommit(), nil)
	}
	for _, p := range gone {
		p.drop()
		delete(c.parts, p.TopicPartition)
	}
	for tp, start := range partitions {
		p := c.parts[tp]
		if p != nil && start == (Start{}) {
			continue
		}
		if p == nil {
			p = c.newPartition(tp)
		}
		p.begin(start)
	}
	return nil
}

var errSubscribed = fmt.Errorf("kafkaclient: the consumer has a subscription")

// Assignment returns the partitions of the consumer, sorted.
func (c *Consumer) Assignment() []kafka.TopicPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]kafka.TopicPartition, 0, len(c.parts))
	for tp := range c.parts {
		list = append(list, tp)
	}
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	return list
}

// Pause stops fetching of partitions. What has been fetched does not come either until Resume. The partitions stay the
// consumer's, and being paused ends when they are revoked. Partitions that the consumer has not got are passed over.
func (c *Consumer) Pause(partitions ...kafka.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range partitions {
		if p := c.parts[tp]; p != nil {
			p.paused = true
			p.part()
			if p.source != nil {
				p.source.wakeUp() // others may have room now
			}
		}
	}
}

// Resume goes on with partitions that were paused.
func (c *Consumer) Resume(partitions ...kafka.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range partitions {
		if p := c.parts[tp]; p != nil && p.paused {
			p.paused = false
			p.setReady()
			if p.source != nil {
				p.source.wakeUp()
			}
		}
	}
}

// Paused returns the partitions that are paused, sorted.
func (c *Consumer) Paused() (list []kafka.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp, p := range c.parts {
		if p.paused {
			list = append(list, tp)
		}
	}
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	return list
}

// ErrNotAssigned: the consumer has not got the partition.
var ErrNotAssigned = fmt.Errorf("kafkaclient: the partition is not assigned to the consumer")

// Seek goes on elsewhere in a partition. Records that were fetched from where it was before do not come any more, and
// [Record.Done] of earlier ones does not count. It fails with [ErrNotAssigned].
func (c *Consumer) Seek(partition kafka.TopicPartition, to Start) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	p := c.parts[partition]
	if p == nil {
		return ErrNotAssigned
	}
	if p.state == partitionHeld {
		p.seek = &to
		return nil
	}
	p.begin(to)
	return nil
}

// Position returns the offset of the next record that the application gets from a partition. It waits until that is known,
// and fails with [ErrNotAssigned].
func (c *Consumer) Position(ctx context.Context, partition kafka.TopicPartition) (int64, error) {
	for failures := 1; ; failures++ {
		c.mu.Lock()
		p := c.parts[partition]
		if c.closed || p == nil {
			closed := c.closed
			c.mu.Unlock()
			if closed {
				return -1, ErrClosed
			}
			return -1, ErrNotAssigned
		}
		offset, known := p.position, p.acks != nil && !p.acks.closed.Load()
		if p.state == partitionHeld { // OnAssigned asks
			p.release()
		}
		c.mu.Unlock()
		if known {
			return offset, nil
		}
		if !c.pause(ctx, min(time.Duration(failures)*2*time.Millisecond, 50*time.Millisecond)) {
			if c.alive.Err() != nil {
				return -1, ErrClosed
			}
			return -1, context.Cause(ctx)
		}
	}
}

// pause waits, unless ctx or the consumer ends.
func (c *Consumer) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-c.alive.Done():
	}
	return false
}

// Lag returns how many offsets there are between the position in a partition and its end: the high watermark, or with
// ReadCommitted the last stable offset. ok is false while that is not known.
func (c *Consumer) Lag(partition kafka.TopicPartition) (n int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[partition]
	if p == nil {
		return 0, false
	}
	return p.lag()
}
