package kafkaclient

import (
	"context"
	"slices"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupListing is a group as [Admin.Groups] lists it.
type GroupListing struct {
	Group        string
	ProtocolType string             // such as "consumer" or "connect"; empty for groups that have offsets only
	State        string             // such as "Stable"; empty with brokers before Kafka 2.6
	Type         string             // "classic", "consumer" or "share"; empty with brokers before Kafka 3.8
	Coordinator  kafkawire.BrokerID // that listed it
}

// Groups lists all groups, by name.
func (a *Admin) Groups(ctx context.Context) (groups []GroupListing, err error) {
	err = a.byBroker(ctx, nil, &kafkawire.ListGroupsRequest{}, func(id kafkawire.BrokerID, resp kafkawire.Response) error {
		r := resp.(*kafkawire.ListGroupsResponse)
		if r.ErrorCode != 0 {
			return remote(r.ErrorCode, nil)
		}
		for _, g := range r.Groups {
			groups = append(groups, GroupListing{string(g.GroupID), g.ProtocolType, g.GroupState, g.GroupType, id})
		}
		return nil
	})
	slices.SortFunc(groups, func(a, b GroupListing) int { return compareNames(a.Group, b.Group) })
	return groups, err
}

// GroupDescription describes a classic group.
type GroupDescription struct {
	Group        string
	State        string // such as "Stable", "Empty" or "Dead"
	ProtocolType string
	Protocol     string // such as "range"
	Members      []GroupMember
}

// GroupMember is a member of a group.
type GroupMember struct {
	ID         string
	InstanceID string // of a static member
	ClientID   string
	Host       string
	Metadata   []byte // of the protocol
	Assignment []byte // of the protocol

	// Partitions are those in Assignment, when the type of the protocol is "consumer".
	Partitions []kafka.TopicPartition
}

// DescribeGroups describes groups. One that there is not has the state "Dead", or is an error with brokers since Kafka 4.0.
func (a *Admin) DescribeGroups(ctx context.Context, names ...string) (map[string]GroupDescription, error) {
	var errs ItemErrors
	out := make(map[string]GroupDescription)
	for _, name := range names {
		r, err := coordinate(ctx, a.c, GroupCoordinator, name, &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{kafkawire.GroupID(name)}}, 0,
			func(r *kafkawire.DescribeGroupsResponse) kafkawire.ErrorCode {
				if len(r.Groups) == 0 {
					return kafkawire.ErrUnknownServerError
				}
				return r.Groups[0].ErrorCode
			})
		if err == nil && len(r.Groups) == 0 {
			err = protocolError("a response without the group")
		}
		if err == nil {
			err = remote(r.Groups[0].ErrorCode, r.Groups[0].ErrorMessage)
		}
		if err != nil {
			errs.add(name, err)
			continue
		}
		g := &r.Groups[0]
		x := GroupDescription{Group: name, State: g.GroupState, ProtocolType: g.ProtocolType, Protocol: g.ProtocolData}
		for _, m := range g.Members {
			n := GroupMember{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Metadata: m.MemberMetadata, Assignment: m.MemberAssignment}
			if m.GroupInstanceID != nil {
				n.InstanceID = *m.GroupInstanceID
			}
			if g.ProtocolType == "consumer" && len(m.MemberAssignment) > 0 {
				var as kafkawire.ConsumerProtocolAssignment
				if _, err := kafkawire.DecodeVersioned(m.MemberAssignment, &as); err == nil {
					for _, t := range as.AssignedPartitions {
						for _, p := range t.Partitions {
							n.Partitions = append(n.Partitions, kafka.TopicPartition{Topic: t.Topic, Partition: p})
						}
					}
				}
			}
			x.Members = append(x.Members, n)
		}
		out[name] = x
	}
	return out, errs.err()
}

// DeleteGroups deletes groups without members, and their offsets.
func (a *Admin) DeleteGroups(ctx context.Context, names ...string) error {
	var errs ItemErrors
	for _, name := range names {
		r, err := coordinate(ctx, a.c, GroupCoordinator, name, &kafkawire.DeleteGroupsRequest{GroupsNames: []kafkawire.GroupID{kafkawire.GroupID(name)}}, 0,
			func(r *kafkawire.DeleteGroupsResponse) kafkawire.ErrorCode {
				if len(r.Results) == 0 {
					return 0
				}
				return r.Results[0].ErrorCode
			})
		if err == nil && len(r.Results) > 0 {
			err = remote(r.Results[0].ErrorCode, r.Results[0].ErrorMessage)
		}
		errs.add(name, err)
	}
	return errs.err()
}

// RemoveMembers makes members leave a group: by instance id static ones, others by member id.
func (a *Admin) RemoveMembers(ctx context.Context, group string, members ...GroupMember) error {
	req := &kafkawire.LeaveGroupRequest{GroupID: kafkawire.GroupID(group)}
	for _, m := range members {
		x := kafkawire.LeaveGroupRequestMember{MemberID: m.ID}
		if m.InstanceID != "" {
			x.GroupInstanceID = new(m.InstanceID)
		}
		req.Members = append(req.Members, x)
	}
	r, err := coordinate(ctx, a.c, GroupCoordinator, group, req, 0, func(r *kafkawire.LeaveGroupResponse) kafkawire.ErrorCode { return r.ErrorCode })
	if err != nil {
		return err
	}
	if err := remote(r.ErrorCode, nil); err != nil {
		return err
	}
	var errs ItemErrors
	for _, m := range r.Members {
		name := m.MemberID
		if m.GroupInstanceID != nil {
			name = *m.GroupInstanceID
		}
		errs.add(name, remote(m.ErrorCode, nil))
	}
	return errs.err()
}

// GroupOffsets returns the committed offsets of a group: those of partitions, all without any. Partitions without one are
// not in the map.
func (a *Admin) GroupOffsets(ctx context.Context, group string, partitions ...kafka.TopicPartition) (map[kafka.TopicPartition]CommitOffset, error) {
	req := &offsetFetch{OffsetFetchRequest: new(kafkawire.OffsetFetchRequest), group: kafkawire.GroupID(group)}
	list := slices.Clone(partitions)
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	for _, tp := range list {
		if n := len(req.topics); n == 0 || req.topics[n-1].Name != tp.Topic {
			req.topics = append(req.topics, kafkawire.OffsetFetchRequestGroupTopic{Name: tp.Topic})
		}
		t := &req.topics[len(req.topics)-1]
		t.PartitionIndexes = append(t.PartitionIndexes, tp.Partition)
	}
	var errs ItemErrors
	out := make(map[kafka.TopicPartition]CommitOffset)
	add := func(topic kafkawire.TopicName, index int32, offset int64, epoch int32, metadata *string, code kafkawire.ErrorCode) {
		tp := kafka.TopicPartition{Topic: topic, Partition: index}
		errs.add(tp.String(), remote(code, nil))
		if code == 0 && offset >= 0 {
			o := CommitOffset{Offset: offset, LeaderEpoch: epoch}
			if metadata != nil {
				o.Metadata = *metadata
			}
			out[tp] = o
		}
	}
	code := func(r *kafkawire.OffsetFetchResponse) kafkawire.ErrorCode {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == kafkawire.ErrUnstableOffsetCommit {
					return p.ErrorCode
				}
			}
		}
		for _, g := range r.Groups {
			if g.ErrorCode != 0 {
				return g.ErrorCode
			}
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode == kafkawire.ErrUnstableOffsetCommit {
						return p.ErrorCode
					}
				}
			}
		}
		return r.ErrorCode
	}
	r, err := coordinate(ctx, a.c, GroupCoordinator, group, req, 9, code)
	if err == nil {
		err = remote(code(r), nil)
	}
	if err != nil {
		return nil, err
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			add(t.Name, p.PartitionIndex, p.CommittedOffset, p.CommittedLeaderEpoch, p.Metadata, p.ErrorCode)
		}
	}
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				add(t.Name, p.PartitionIndex, p.CommittedOffset, p.CommittedLeaderEpoch, p.Metadata, p.ErrorCode)
			}
		}
	}
	return out, errs.err()
}

// SetGroupOffsets commits offsets for a group that has no members.
func (a *Admin) SetGroupOffsets(ctx context.Context, group string, offsets map[kafka.TopicPartition]CommitOffset) error {
	req := new(kafkawire.OffsetCommitRequest)
	req.Reset()
	req.GroupID = kafkawire.GroupID(group)
	list := make([]kafka.TopicPartition, 0, len(offsets))
	for tp := range offsets {
		list = append(list, tp)
	}
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	for _, tp := range list {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != tp.Topic {
			req.Topics = append(req.Topics, kafkawire.OffsetCommitRequestTopic{Name: tp.Topic})
		}
		o := offsets[tp]
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, kafkawire.OffsetCommitRequestPartition{PartitionIndex: tp.Partition, CommittedOffset: o.Offset,
			CommittedLeaderEpoch: o.LeaderEpoch, CommittedMetadata: &o.Metadata})
	}
	r, err := coordinate(ctx, a.c, GroupCoordinator, group, req, 9, func(r *kafkawire.OffsetCommitResponse) (code kafkawire.ErrorCode) {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode.Retriable() {
					code = p.ErrorCode
				}
			}
		}
		return code
	})
	if err != nil {
		return err
	}
	var errs ItemErrors
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			errs.add(kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}.String(), remote(p.ErrorCode, nil))
		}
	}
	return errs.err()
}

// DeleteGroupOffsets deletes committed offsets of a group, of topics to which no member is subscribed.
func (a *Admin) DeleteGroupOffsets(ctx context.Context, group string, partitions ...kafka.TopicPartition) error {
	req := &kafkawire.OffsetDeleteRequest{GroupID: kafkawire.GroupID(group)}
	list := slices.Clone(partitions)
	slices.SortFunc(list, kafka.TopicPartition.Compare)
	for _, tp := range list {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != tp.Topic {
			req.Topics = append(req.Topics, kafkawire.OffsetDeleteRequestTopic{Name: tp.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, kafkawire.OffsetDeleteRequestPartition{PartitionIndex: tp.Partition})
	}
	r, err := coordinate(ctx, a.c, GroupCoordinator, group, req, 0, func(r *kafkawire.OffsetDeleteResponse) kafkawire.ErrorCode { return r.ErrorCode })
	if err == nil {
		err = remote(r.ErrorCode, nil)
	}
	if err != nil {
		return err
	}
	var errs ItemErrors
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			errs.add(kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}.String(), remote(p.ErrorCode, nil))
		}
	}
	return errs.err()
}
