package kafka

import (
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// lead begins the leader's work: it asks for the topics to which members subscribe.
func (m *Member) lead(now time.Time, r *kafkawire.JoinGroupResponse) {
	m.group = make([]Subscriber, len(r.Members))
	topics := make(map[string]bool)
	for i, o := range r.Members {
		s := Subscriber{MemberID: o.MemberID}
		if o.GroupInstanceID != nil {
			s.InstanceID = *o.GroupInstanceID
		}
		readConsumerProtocol(o.Metadata, &s.Subscription)
		for _, t := range s.Subscription.Topics {
			topics[t] = true
		}
		m.group[i] = s
	}
	m.asked = m.asked[:0]
	for t := range topics {
		m.asked = append(m.asked, t)
	}
	slices.Sort(m.asked)
	m.state, m.layouts = memberLeading, nil
	if r.SkipAssignment {
		m.emit(MemberEvent{Kind: MemberNeedTopics, Topics: slices.Clone(m.asked)}) // to see when they change
		m.group = nil
		m.sendSync(nil)
		return
	}
	m.emit(MemberEvent{Kind: MemberNeedTopics, Topics: slices.Clone(m.asked)})
}

// readConsumerProtocol reads what members say to each other. Later versions have more at the end, and some clients leave
// out what their version has: what can be read counts.
func readConsumerProtocol(b []byte, message kafkawire.Message) error {
	_, err := kafkawire.DecodeVersioned(b, message)
	if errors.Is(err, kafkawire.ErrVersion) && len(b) > 2 && b[0] < 0x80 {
		if err = message.Decode(b[2:], 3); errors.Is(err, kafkawire.ErrTrailing) {
			err = nil
		}
	}
	return err
}

// Topics tells the leader what topics look like: those of [MemberNeedTopics] when it was asked, and again when something
// about them may have changed. Then the group rebalances if something has. Topics that are not there are left out.
func (m *Member) Topics(now time.Time, topics []TopicLayout) {
	switch {
	case m.state == memberLeading:
		m.layouts = pickLayouts(topics, m.asked)
		m.assignAll()
	case m.leader && m.state == memberSyncing && m.layouts == nil:
		m.layouts = pickLayouts(topics, m.asked)
	case m.leader && m.state == memberStable:
		if picked := pickLayouts(topics, m.asked); m.layouts == nil {
			m.layouts = picked
		} else if !slices.EqualFunc(m.layouts, picked, sameLayout) {
			m.wantRejoin("cached metadata has changed")
			m.step(now)
		}
	}
}

// NoTopics says that topics could not be found out, now.
func (m *Member) NoTopics(now time.Time, err error) {
	if m.state == memberLeading {
		m.requestFailed(now, 0, err)
	}
}

// Watched are the topics of which the leader of a stable group wants to know when they change. They must not be changed.
func (m *Member) Watched() []string {
	if !m.leader {
		return nil
	}
	return m.asked
}

// pickLayouts returns a copy of those topics that are named, by name.
func pickLayouts(topics []TopicLayout, names []string) []TopicLayout {
	picked := []TopicLayout{}
	for _, t := range topics {
		if _, ok := slices.BinarySearch(names, string(t.Name)); ok && len(t.Racks) > 0 {
			t.Racks = slices.Clone(t.Racks)
			picked = append(picked, t)
		}
	}
	slices.SortFunc(picked, func(a, b TopicLayout) int {
		return TopicPartition{Topic: a.Name}.Compare(TopicPartition{Topic: b.Name})
	})
	return picked
}

func sameLayout(a, b TopicLayout) bool {
	return a.Name == b.Name && slices.EqualFunc(a.Racks, b.Racks, func(x, y []string) bool { return slices.Equal(x, y) })
}

// assignAll computes the assignment and sends it.
func (m *Member) assignAll() {
	i := slices.IndexFunc(m.o.Assignors, func(a Assignor) bool { return a.Name() == m.protocol })
	if i < 0 {
		m.fail(&Error{Code: kafkawire.ErrInconsistentGroupProtocol, Text: "the coordinator chose an assignor that this member has not"})
		return
	}
	result := m.o.Assignors[i].Assign(m.group, m.layouts)
	list := make([]kafkawire.SyncGroupRequestAssignment, len(m.group))
	for i := range m.group {
		var a kafkawire.ConsumerProtocolAssignment
		partitions := slices.SortedFunc(slices.Values(result[i]), TopicPartition.Compare)
		for j, p := range partitions {
			if j == 0 || partitions[j-1].Topic != p.Topic {
				a.AssignedPartitions = append(a.AssignedPartitions, kafkawire.ConsumerProtocolAssignmentAssignedPartition{Topic: p.Topic})
			}
			t := &a.AssignedPartitions[len(a.AssignedPartitions)-1]
			t.Partitions = append(t.Partitions, p.Partition)
		}
		b, err := kafkawire.AppendVersioned(nil, &a, 3)
		if err != nil {
			m.fail(err)
			return
		}
		list[i] = kafkawire.SyncGroupRequestAssignment{MemberID: m.group[i].MemberID, Assignment: b}
	}
	m.group = nil
	m.sendSync(list)
}

// sendSync asks for the assignment of this member, and brings those of all when it is the leader.
func (m *Member) sendSync(list []kafkawire.SyncGroupRequestAssignment) {
	m.state = memberSyncing
	m.current = m.send(&kafkawire.SyncGroupRequest{
		GroupID: m.o.GroupID, GenerationID: m.generation, MemberID: m.id, GroupInstanceID: m.instance(),
		ProtocolType: new("consumer"), ProtocolName: new(m.protocol), Assignments: list,
	})
}

func (m *Member) syncAnswered(now time.Time, r *kafkawire.SyncGroupResponse) {
	switch code := r.ErrorCode; {
	case code == kafkawire.ErrUnknownMemberID, code == kafkawire.ErrIllegalGeneration:
		m.forgotten(now, code)
		return
	case code != 0:
		m.requestFailed(now, code, nil)
		return
	case r.ProtocolType != nil && *r.ProtocolType != "consumer" || r.ProtocolName != nil && *r.ProtocolName != m.protocol:
		m.fail(&Error{Code: kafkawire.ErrInconsistentGroupProtocol, Text: "the assignment is by another assignor"})
		return
	}
	var a kafkawire.ConsumerProtocolAssignment
	if len(r.Assignment) > 0 {
		if err := readConsumerProtocol(r.Assignment, &a); err != nil {
			m.fail(&Error{Code: kafkawire.ErrUnknownServerError, Text: "the leader's assignment makes no sense: " + err.Error()})
			return
		}
	}
	var assigned []TopicPartition
	for _, t := range a.AssignedPartitions {
		for _, p := range t.Partitions {
			assigned = append(assigned, TopicPartition{t.Topic, p})
		}
	}
	slices.SortFunc(assigned, TopicPartition.Compare)
	m.failures, m.current = 0, 0
	m.state, m.reason, m.yielded = memberStable, "", false
	m.take(now, slices.Compact(assigned))
}

// take makes the assignment the member's.
func (m *Member) take(now time.Time, assigned []TopicPartition) {
	for _, p := range assigned {
		if _, ok := slices.BinarySearch(m.topics, string(p.Topic)); !ok && (m.o.Matches == nil || !m.o.Matches(string(p.Topic))) {
			m.wantRejoin("received assignment does not match the current subscription")
			m.step(now)
			return
		}
	}
	gone := missing(m.owned, assigned)
	added := missing(assigned, m.owned)
	if len(gone) > 0 {
		// Eager members have given everything back before. Others join once more, so that somebody else gets these.
		m.takeBack(gone, false, nil)
		m.wantRejoin("need to revoke partitions and re-join")
	}
	m.owned, m.last, m.lastGeneration = assigned, assigned, m.generation
	m.emit(MemberEvent{Kind: MemberAssigned, Partitions: added})
	m.waiting++
	if !slices.Equal(m.joined, m.topics) {
		m.wantRejoin("subscription has changed")
	}
	m.step(now)
}

// missing returns those of a that are not in b, both sorted.
func missing(a, b []TopicPartition) (list []TopicPartition) {
	for _, p := range a {
		if _, ok := slices.BinarySearchFunc(b, p, TopicPartition.Compare); !ok {
			list = append(list, p)
		}
	}
	return list
}
