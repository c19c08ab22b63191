package kafkabroker

import (
	"context"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Group is what there is to know about a group.
type Group struct {
	ID    string
	State kafka.GroupState
	// Since is since when the group does what State says. The zero time is unknown.
	Since        time.Time
	Generation   int32
	ProtocolType string // such as "consumer"; empty when there were no members yet
	Protocol     string // of the generation, such as "range"
	Leader       string // the id of the member that computes assignments
	Members      []GroupMember
}

// GroupMember is a member of a group.
type GroupMember struct {
	ID         string
	InstanceID string // of a static member
	ClientID   string
	ClientHost string // as Kafka writes it: "/192.0.2.1"
	Metadata   []byte // what the member says about the protocol, while the group is stable
	Assignment []byte // the last one that it got
}

// GroupOffset is how far a group has come in a partition.
type GroupOffset struct {
	Topic       string
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // of the leader of the record before, -1 when it is unknown
	Metadata    string
	Committed   time.Time // of offsets that are read
	Pending     bool      // of offsets that are read: a transaction that is open has another one
}

// Groups returns all groups in the order of their names.
func (b *Broker) Groups() []Group {
	var list []Group
	for _, g := range b.listGroups(-1) {
		if v, ok := b.Group(string(g.GroupID)); ok {
			list = append(list, v)
		}
	}
	return list
}

// Group returns a group. ok is false when there is none.
func (b *Broker) Group(id string) (g Group, ok bool) {
	b.withGroup(id, func(_ *groupShard, e *groupEntry) error {
		g, ok = e.describe(), true
		return nil
	})
	return g, ok
}

func (e *groupEntry) describe() Group {
	m := e.m
	g := Group{
		ID: e.id, State: m.State(), Since: m.Since(), Generation: m.Generation(), ProtocolType: m.ProtocolType(),
		Protocol: m.Protocol(), Leader: m.Leader(),
	}
	for _, w := range m.Members() {
		g.Members = append(g.Members, GroupMember{
			ID: w.MemberID, InstanceID: text(w.GroupInstanceID), ClientID: w.ClientID, ClientHost: w.ClientHost,
			Metadata: append([]byte(nil), w.MemberMetadata...), Assignment: append([]byte(nil), w.MemberAssignment...),
		})
	}
	return g
}

// localShard returns the shard of a group, nil when there are no groups at all.
func (b *Broker) localShard(id string) (*groupShard, error) {
	t := b.topic(offsetsTopic)
	if t == nil {
		return nil, nil
	}
	list := t.partitions()
	s := b.groups.shard(list[coordinatorIndex(id, len(list))])
	return s, s.loaded()
}

// withGroup calls f with a group and its shard, whose mutex it holds.
func (b *Broker) withGroup(id string, f func(*groupShard, *groupEntry) error) error {
	s, err := b.localShard(id)
	if err != nil {
		return err
	}
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e := s.group(id); e != nil {
			return f(s, e)
		}
	}
	return logError(kafkawire.ErrGroupIDNotFound, "there is no group %q", id)
}

// RebalanceGroup has the members of a group join again, as if the leader had asked for it. It fails when the group is
// unknown, and does nothing when there are no members or they are joining already.
func (b *Broker) RebalanceGroup(id string) error {
	return b.withGroup(id, func(s *groupShard, e *groupEntry) error {
		e.m.Rebalance(time.Now())
		s.drain(e)
		return nil
	})
}

// RemoveGroupMember removes a member from a group, as LeaveGroup does. The others rebalance. It fails with
// UNKNOWN_MEMBER_ID when there is no such member. It returns when that is durable, see [Options].Sync, or ctx ends.
func (b *Broker) RemoveGroupMember(ctx context.Context, group, memberID string) error {
	s, err := b.localShard(group)
	if err != nil || s == nil {
		return orUnknown(err, group)
	}
	return s.locally(ctx, func() error {
		return b.withGroup(group, func(s *groupShard, e *groupEntry) error {
			code := e.m.Leave(time.Now(), []kafkawire.LeaveGroupRequestMember{{MemberID: memberID}})[0]
			s.drain(e)
			return code.Err()
		})
	})
}

// DeleteGroup deletes a group and its offsets. It fails with NON_EMPTY_GROUP when there are members. It returns when that is
// durable, see [Options].Sync, or ctx ends.
func (b *Broker) DeleteGroup(ctx context.Context, id string) error {
	s, err := b.localShard(id)
	if err != nil || s == nil {
		return orUnknown(err, id)
	}
	return s.locally(ctx, func() error {
		w := newBarrier(func(error) {})
		return s.deleteGroup(id, w).Err()
	})
}

func orUnknown(err error, group string) error {
	if err != nil {
		return err
	}
	return logError(kafkawire.ErrGroupIDNotFound, "there is no group %q", group)
}

// locally waits for the records that f writes. f takes the shard's mutex.
func (s *groupShard) locally(ctx context.Context, f func() error) error {
	if err := f(); err != nil {
		return err
	}
	s.mu.Lock()
	end, wait := s.end, s.mustWait()
	s.mu.Unlock()
	if !wait {
		return nil
	}
	return s.p.awaitDurable(ctx, end)
}

// GroupOffsets returns how far a group has come, in the order of topics and partitions. A group that nobody knows has no
// offsets, and that is no error.
func (b *Broker) GroupOffsets(group string) ([]GroupOffset, error) {
	var list []GroupOffset
	err := b.withGroup(group, func(_ *groupShard, e *groupEntry) error {
		for _, k := range e.keys() {
			c := e.offsets[k]
			list = append(list, GroupOffset{
				Topic: k.topic, Partition: k.partition, Offset: c.offset, LeaderEpoch: c.epoch, Metadata: c.metadata,
				Committed: time.UnixMilli(c.at), Pending: e.pending[k] > 0,
			})
		}
		return nil
	})
	if errorCode(err) == kafkawire.ErrGroupIDNotFound {
		err = nil
	}
	return list, err
}

// CommitGroupOffsets sets how far a group has come: all of the offsets, or none and an error. Topics must be there. While the
// group has members it fails with UNKNOWN_MEMBER_ID, as for everybody who is none. It returns when the offsets are durable,
// see [Options].Sync, or ctx ends.
func (b *Broker) CommitGroupOffsets(ctx context.Context, group string, offsets ...GroupOffset) error {
	if _, err := b.internalTopic(offsetsTopic); err != nil {
		return err
	}
	s, err := b.localShard(group)
	if err != nil || len(offsets) == 0 {
		return err
	}
	if s == nil { // the topic was deleted meanwhile
		return kafkawire.ErrNotCoordinator
	}
	return s.locally(ctx, func() error { return s.commitLocally(group, offsets) })
}

// commitLocally stores offsets.
func (s *groupShard) commitLocally(group string, offsets []GroupOffset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if e := s.group(group); e != nil {
		if code := e.m.CheckCommit(now, "", "", -1, false); code != noError {
			return code
		}
	}
	s.batch.Reset()
	list := make([]commitOffset, len(offsets))
	for i, o := range offsets {
		p := s.g.b.partition(o.Topic, o.Partition)
		switch {
		case p == nil:
			return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no partition %d of %q", o.Partition, o.Topic)
		case !s.g.metadataFits(o.Metadata):
			return kafkawire.ErrOffsetMetadataTooLarge
		}
		list[i] = commitOffset{
			key: offsetKey{p.topic.name, o.Partition},
			c:   committedOffset{offset: o.Offset, epoch: o.LeaderEpoch, metadata: o.Metadata, at: now.UnixMilli(), expire: -1},
		}
		if err := s.addOffset(now, group, list[i].key, &list[i].c); err != nil {
			return err
		}
	}
	res, err := s.append(nil)
	if err != nil {
		return err
	}
	e := s.makeGroup(now, group)
	for i := range list {
		list[i].c.record = res.base + int64(i)
		e.offsets[list[i].key] = list[i].c
	}
	s.g.commits.Add(uint64(len(list)))
	return nil
}

// GroupStats are figures of the groups of a broker. Those that count begin with Open. They are named after Kafka's metrics.
type GroupStats struct {
	Groups     int64                      // NumGroups
	States     [kafka.GroupDead + 1]int64 // groups in each [kafka.GroupState]
	Members    int64
	Offsets    int64  // NumOffsets
	Pending    int64  // offsets in open transactions
	Waiting    int64  // members that wait for others to join, or for their assignment
	Rebalances uint64 // completed ones: group-completed-rebalance-count
	Commits    uint64 // offsets that were committed: offset-commit-count
	Expired    uint64 // offsets that were removed as nobody used them: offset-expiration-count
}

// GroupStats returns a snapshot. It walks over all groups.
func (b *Broker) GroupStats() GroupStats {
	g := b.groups
	st := GroupStats{Rebalances: g.rebalances.Load(), Commits: g.commits.Load(), Expired: g.expired.Load()}
	for _, s := range g.all() {
		s.mu.Lock()
		st.Groups += int64(len(s.groups))
		st.Waiting += int64(len(s.waiting))
		for _, e := range s.groups {
			st.States[e.m.State()]++
			st.Members += int64(e.m.Len())
			st.Offsets += int64(len(e.offsets))
		}
		for _, m := range s.txns {
			st.Pending += int64(len(m))
		}
		s.mu.Unlock()
	}
	return st
}
