package kafkaclient

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// partitionState is what a partition needs.
type partitionState uint8

const (
	partitionHeld       partitionState = iota // OnAssigned runs
	partitionCommitted                        // its committed offset
	partitionReset                            // an offset for start
	partitionValidating                       // to know whether the log was truncated
	partitionFetching
	partitionFailed // somebody to do something about it
)

// consumerPartition is a partition of a consumer. Consumer.mu guards it.
type consumerPartition struct {
	kafka.TopicPartition
	c       *Consumer
	version uint64 // changes whenever what was fetched does not count any more
	state   partitionState
	start   Start // for partitionReset
	busy    bool  // a request about its offset is under way
	paused  bool
	revoked bool   // it is being taken back
	seek    *Start // where OnAssigned wants it to begin
	gone    bool

	leader       kafkawire.BrokerID // -1: unknown
	leaderEpoch  int32              // -1: unknown
	topicID      kafkawire.UUID
	source       *source
	preferred    kafkawire.BrokerID // a replica that is nearer, -1: none
	preferredTil time.Time
	retryAt      time.Time
	failures     int

	position int64 // the next offset for the application
	epoch    int32 // of the leader, of the record before that; -1: unknown
	fetch    int64 // the next offset to fetch
	fetchEp  int32
	maxBytes int32

	queue   []*chunk
	queued  int  // bytes in queue
	corrupt bool // the last chunk ends with an error: there is nothing to fetch behind it
	isReady bool
	stash   *current // a chunk that was begun when the partition was paused

	asked   uint64 // round of its source in which it was asked for
	askedAt uint64 // version then

	acks      *acks
	committed int64 // what was committed last, -1: nothing

	high, stable, logStart int64 // -1: unknown
	records, bytes         uint64
}

// newPartition makes a partition. c.mu is held.
func (c *Consumer) newPartition(tp kafka.TopicPartition) *consumerPartition {
	c.versions++
	p := &consumerPartition{TopicPartition: tp, c: c, version: c.versions, leader: -1, leaderEpoch: -1, preferred: -1, position: -1, epoch: -1,
		fetch: -1, fetchEp: -1, committed: -1, high: -1, stable: -1, logStart: -1, maxBytes: c.o.PartitionMaxBytes}
	c.parts[tp] = p
	c.want(tp.Topic)
	p.locate(c.c.meta.current.Load())
	return p
}

// begin sets where to begin. c.mu is held.
func (p *consumerPartition) begin(s Start) {
	p.forgetFetched()
	p.busy, p.failures, p.retryAt = false, 0, time.Time{}
	switch s.kind {
	case startCommitted:
		p.state = partitionCommitted
		if p.c.o.Group == "" {
			p.reset()
		}
	case startReset:
		p.reset()
	case startOffset:
		p.at(s.offset, s.epoch)
	default:
		p.state, p.start = partitionReset, s
	}
	p.c.kick()
}

// release begins after OnAssigned. c.mu is held.
func (p *consumerPartition) release() {
	if p.state != partitionHeld {
		return
	}
	start := Start{}
	if p.seek != nil {
		start, p.seek = *p.seek, nil
	}
	p.begin(start)
}

// reset begins as the policy says.
func (p *consumerPartition) reset() {
	p.state = partitionReset
	switch p.c.o.Reset {
	case ResetLatest:
		p.start = StartLatest()
	case ResetEarliest:
		p.start = StartEarliest()
	case ResetByAge:
		p.start = StartAtTime(time.Now().Add(-p.c.o.ResetAge))
	default:
		p.fail(ErrNoOffset)
	}
}

// at begins at an offset; an epoch of the record before it lets the consumer find out whether the log was truncated.
func (p *consumerPartition) at(offset int64, epoch int32) {
	p.position, p.fetch = offset, offset
	p.epoch, p.fetchEp = epoch, epoch
	p.acks = newAcks(offset, epoch)
	p.state = partitionFetching
	p.failures, p.retryAt = 0, time.Time{}
	if epoch >= 0 && p.leaderEpoch >= 0 {
		p.state = partitionValidating
	}
	if p.source != nil {
		p.source.wakeUp()
	}
}

// forgetFetched makes everything that was fetched, or is being fetched, not count.
func (p *consumerPartition) forgetFetched() {
	p.c.versions++
	p.version = p.c.versions
	p.queue, p.queued, p.stash, p.corrupt = nil, 0, nil, false
	if p.acks != nil {
		p.acks.closed.Store(true)
	}
}

// fail stops the partition until it is sought in, and lets Poll tell.
func (p *consumerPartition) fail(err error) {
	p.state = partitionFailed
	p.c.report(&PartitionError{TopicPartition: p.TopicPartition, Offset: p.position, Err: err})
}

// drop takes the partition away.
func (p *consumerPartition) drop() {
	p.forgetFetched()
	p.gone = true
	p.setSource(nil)
}

// locate finds the leader. c.mu is held.
func (p *consumerPartition) locate(now *cluster) {
	t := now.topics[p.Topic]
	if t == nil || int(p.Partition) >= len(t.partitions) {
		return
	}
	info := &t.partitions[p.Partition]
	anew := !t.id.IsZero() && !p.topicID.IsZero() && t.id != p.topicID
	if p.topicID = t.id; info.leader == p.leader && info.epoch == p.leaderEpoch {
		p.moveSource()
		if anew {
			p.madeAnew()
		}
		return
	}
	newer := info.epoch > p.leaderEpoch // than what the position was checked with, if at all
	p.leader, p.leaderEpoch = info.leader, info.epoch
	p.preferred = -1
	if newer && p.state == partitionFetching && p.fetchEp >= 0 {
		p.state = partitionValidating
	} else if p.state == partitionFetching && p.retryAt.After(time.Now()) {
		p.retryAt = time.Time{} // there is a new leader
	}
	p.moveSource()
	if anew {
		p.madeAnew()
	}
}

// madeAnew begins with a topic that has the name of the one that was consumed, which was deleted: offsets mean other records
// now, none of which was seen.
func (p *consumerPartition) madeAnew() {
	switch p.state {
	case partitionFetching, partitionValidating, partitionFailed:
	default:
		return
	}
	p.committed, p.high, p.stable, p.logStart = -1, -1, -1, -1
	p.c.c.o.Logger.Warn("the topic was made anew", "partition", p.TopicPartition.String(), "offset", p.position)
	if p.c.o.Reset != ResetNone {
		p.begin(StartEarliest())
		return
	}
	p.forgetFetched()
	p.busy, p.state = false, partitionFailed
	p.c.report(&PartitionError{TopicPartition: p.TopicPartition, Offset: 0, Err: ErrTruncated})
}

// moveSource makes the partition one of those of the broker from which it is to be fetched.
func (p *consumerPartition) moveSource() {
	id := p.leader
	if p.preferred >= 0 {
		if time.Now().Before(p.preferredTil) && p.c.c.broker(p.preferred) != nil {
			id = p.preferred
		} else {
			p.preferred = -1
		}
	}
	if p.gone || id < 0 {
		p.setSource(nil)
	} else if p.source == nil || p.source.id != id {
		p.setSource(p.c.source(id))
	}
}

func (p *consumerPartition) setSource(s *source) {
	if p.source != nil {
		delete(p.source.parts, p)
		p.source.wakeUp()
	}
	p.source = s
	if s != nil {
		s.parts[p] = struct{}{}
		s.wakeUp()
	}
}

// later tries again after a while. c.mu is held.
func (p *consumerPartition) later() {
	p.failures++
	d := p.c.c.backoff(p.failures)
	p.retryAt = time.Now().Add(d)
	c := p.c
	time.AfterFunc(d+time.Millisecond, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed && !p.gone {
			c.kick()
			if p.source != nil {
				p.source.wakeUp()
			}
		}
	})
}

// isFetchable reports whether to fetch now.
func (p *consumerPartition) isFetchable(now time.Time) bool {
	return p.state == partitionFetching && !p.paused && !p.revoked && !p.corrupt && !now.Before(p.retryAt)
}

// push adds fetched records.
func (p *consumerPartition) push(k *chunk) {
	p.queue = append(p.queue, k)
	p.queued += len(k.data)
	p.bytes += uint64(len(k.data))
	p.c.stats.Bytes += uint64(len(k.data))
	p.corrupt = k.err != nil
	if p.paused {
		p.part()
	}
	p.setReady()
}

// part takes what was fetched out of the memory that it shares with other partitions, which may be much more: a partition
// that is paused may keep it for long.
func (p *consumerPartition) part() {
	for _, k := range p.queue {
		if !k.apart {
			k.data, k.apart = append([]byte(nil), k.data...), true
		}
	}
}

func (p *consumerPartition) setReady() {
	if !p.isReady && !p.paused && (len(p.queue) > 0 || p.stash != nil) {
		p.isReady = true
		p.c.ready = append(p.c.ready, p)
		p.c.wakeUp()
	}
}

// neededTopics are those whose metadata is of use. c.mu is held.
func (c *Consumer) neededTopics() map[kafkawire.TopicName]bool {
	needed := make(map[kafkawire.TopicName]bool, len(c.wants))
	for tp := range c.parts {
		needed[tp.Topic] = true
	}
	if c.group != nil {
		for _, name := range c.group.m.Subscription() {
			needed[kafkawire.TopicName(name)] = true
		}
		for _, name := range c.group.m.Watched() {
			needed[kafkawire.TopicName(name)] = true
		}
	}
	return needed
}

// metadataChanged takes new metadata.
func (c *Consumer) metadataChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	now := c.c.meta.current.Load() // under the lock: partitions must not go back to what was known before
	for _, p := range c.parts {
		p.locate(now)
	}
	needed := c.neededTopics()
	for name := range c.wants {
		if !needed[name] { // it was, before the assignment or the subscription changed
			delete(c.wants, name)
			delete(c.refused, name)
			c.c.meta.forget(name)
			continue
		}
		t := now.topics[name]
		bad := t != nil && (t.err == kafkawire.ErrTopicAuthorizationFailed || t.err == kafkawire.ErrInvalidTopic)
		if bad && !c.refused[name] {
			c.report(&kafka.Error{Code: t.err, Text: "topic " + string(name), Remote: true})
		}
		if bad != c.refused[name] {
			c.refused[name] = bad
		}
	}
	if c.group != nil {
		c.groupMetadata(now)
	}
	c.kick()
}
