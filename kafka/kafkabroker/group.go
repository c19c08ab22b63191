package kafkabroker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupCoordinator coordinates the groups: each of them in the shard of a partition of the offsets topic, in which its
// members and offsets are. It is safe for concurrent use.
type groupCoordinator struct {
	b           *Broker
	opt         kafka.GroupOptions
	maxMetadata int           // offset.metadata.max.bytes
	retention   time.Duration // offsets.retention.minutes
	sweepEvery  time.Duration // offsets.retention.check.interval.ms

	doomed []string // topics whose deletion was not finished when the broker ended

	commits, expired atomic.Uint64 // offsets that were committed, or removed because nobody used them
	rebalances       atomic.Uint64

	mu     sync.Mutex
	shards map[int32]*groupShard
	closed bool
}

func newGroupCoordinator(b *Broker) *groupCoordinator {
	c := b.configs.broker()
	ms := func(name string) time.Duration { return time.Duration(c.int64(name)) * time.Millisecond }
	g := &groupCoordinator{
		b: b, shards: make(map[int32]*groupShard), maxMetadata: int(c.int32("offset.metadata.max.bytes")),
		retention:  time.Duration(c.int64("offsets.retention.minutes")) * time.Minute,
		sweepEvery: ms("offsets.retention.check.interval.ms"),
		opt: kafka.GroupOptions{
			InitialRebalanceDelay: ms("group.initial.rebalance.delay.ms"),
			MinSessionTimeout:     ms("group.min.session.timeout.ms"),
			MaxSessionTimeout:     ms("group.max.session.timeout.ms"),
		},
	}
	if g.opt.InitialRebalanceDelay == 0 {
		g.opt.InitialRebalanceDelay = -1
	}
	if n := c.int32("group.max.size"); n < math.MaxInt32 {
		g.opt.MaxSize = int(n)
	}
	return g
}

// noteDoomed notes which topics are half deleted, before opening the logs finishes that.
func (g *groupCoordinator) noteDoomed() error {
	return g.b.eachMeta(metaDoomed, func(_ string, name []byte) error {
		g.doomed = append(g.doomed, string(name))
		return nil
	})
}

// load reads the groups of all partitions of the offsets topic. Those of their members that are gone are removed when their
// sessions have timed out.
func (g *groupCoordinator) load() error {
	t := g.b.topic(offsetsTopic)
	if t == nil {
		return nil
	}
	list := t.partitions()
	err := g.b.logs.inParallel(len(list), func(i int) error {
		return g.shard(list[i]).loaded()
	})
	for _, name := range g.doomed {
		if g.b.topic(name) == nil {
			g.topicDeleted(name)
		}
	}
	g.doomed = nil
	return err
}

// shard returns the shard of a partition. One of a topic that is gone has no part in what is there now.
func (g *groupCoordinator) shard(p *partition) *groupShard {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shards[p.index]
	if s == nil || s.p != p { // the topic was deleted and made again
		if p.topic.deleted.Load() {
			s = newGroupShard(g, p)
			s.dead = true
			return s
		}
		if s != nil {
			go s.close()
		}
		s = newGroupShard(g, p)
		s.dead = g.closed
		g.shards[p.index] = s
	}
	return s
}

// close ends all groups. Who waits is told to look for the coordinator again.
func (g *groupCoordinator) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, s := range g.all() {
		s.close()
	}
}

// all returns the shards that there are.
func (g *groupCoordinator) all() []*groupShard {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*groupShard, 0, len(g.shards))
	for _, s := range g.shards {
		list = append(list, s)
	}
	return list
}

// groupShard returns the shard of a group for a request to a node, or the code for who must ask another one.
func (s *session) groupShard(group string) (*groupShard, kafkawire.ErrorCode) {
	t := s.b.topic(offsetsTopic)
	if t == nil {
		return nil, kafkawire.ErrNotCoordinator
	}
	list := t.partitions()
	p := list[coordinatorIndex(group, len(list))]
	if p.leader() != s.node.at.ID {
		return nil, kafkawire.ErrNotCoordinator
	}
	sh := s.b.groups.shard(p)
	if err := sh.loaded(); err != nil {
		return nil, groupCode(err)
	}
	return sh, noError
}

// groupCode is the code for a record that could not be written.
func groupCode(err error) kafkawire.ErrorCode {
	code := errorCode(err)
	switch code {
	case kafkawire.ErrUnknownTopicOrPartition, kafkawire.ErrNotEnoughReplicas, kafkawire.ErrNotEnoughReplicasAfterAppend,
		kafkawire.ErrRequestTimedOut:
		return kafkawire.ErrCoordinatorNotAvailable
	case kafkawire.ErrNotLeaderOrFollower, kafkawire.ErrKafkaStorageError:
		return kafkawire.ErrNotCoordinator
	case kafkawire.ErrMessageTooLarge, kafkawire.ErrRecordListTooLarge, kafkawire.ErrInvalidFetchSize:
		return kafkawire.ErrUnknownServerError
	}
	return code
}

// commitCode is the code for offsets that could not be written.
func commitCode(err error) kafkawire.ErrorCode {
	switch errorCode(err) {
	case kafkawire.ErrMessageTooLarge, kafkawire.ErrRecordListTooLarge, kafkawire.ErrInvalidFetchSize:
		return kafkawire.ErrInvalidCommitOffsetSize
	}
	return groupCode(err)
}
