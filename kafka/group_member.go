package kafka

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// check returns what is wrong with who a request says it is from.
func (g *Group) check(memberID, instanceID string) kafkawire.ErrorCode {
	if instanceID != "" {
		switch m := g.instances[instanceID]; {
		case m == nil:
			return kafkawire.ErrUnknownMemberID
		case m.id != memberID:
			return kafkawire.ErrFencedInstanceID
		}
	}
	if g.members[memberID] == nil {
		return kafkawire.ErrUnknownMemberID
	}
	return 0
}

// add makes a client a member. Its protocols are set already.
func (g *Group) add(m *groupMember) {
	g.members[m.id] = m
	g.order = append(g.order, m)
	if m.instance != "" {
		g.instances[m.instance] = m
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.count(m, 1)
	delete(g.pending, m.id)
}

// remove takes a member out. Who waits was answered before.
func (g *Group) remove(m *groupMember) {
	delete(g.members, m.id)
	g.order = slices.DeleteFunc(g.order, func(o *groupMember) bool { return o == m })
	if g.instances[m.instance] == m {
		delete(g.instances, m.instance)
	}
	g.count(m, -1)
	if m.joining {
		g.joining--
	}
	g.synced(m)
	if g.leader == m.id {
		g.leader = ""
		if len(g.order) > 0 {
			g.leader = g.order[0].id
		}
	}
}

// count adds to how many members know the protocols of one.
func (g *Group) count(m *groupMember, n int) {
	for i := range m.protocols {
		name := m.protocols[i].name
		if g.support[name] += n; g.support[name] == 0 {
			delete(g.support, name)
		}
	}
}

// setProtocols changes what a member can do. The member counts already.
func (g *Group) setProtocols(m *groupMember, list []groupProtocol) {
	g.count(m, -1)
	m.protocols = list
	g.count(m, 1)
}

// newProtocols copies what a client can do. Of protocols with the same name only the first counts.
func newProtocols(list []kafkawire.JoinGroupRequestProtocol) []groupProtocol {
	size := 0
	for i := range list {
		size += len(list[i].Metadata)
	}
	all := make([]byte, 0, size)
	out := make([]groupProtocol, 0, len(list))
	seen := make(map[string]struct{}, len(list))
	for i := range list {
		if _, ok := seen[list[i].Name]; ok {
			continue
		}
		at := len(all)
		all = append(all, list[i].Metadata...)
		name := strings.Clone(list[i].Name)
		seen[name] = struct{}{}
		out = append(out, groupProtocol{name, all[at:len(all):len(all)]})
	}
	return out
}

// sameProtocols reports whether a member can do just that, in the same order.
func (m *groupMember) sameProtocols(list []groupProtocol) bool {
	return slices.EqualFunc(m.protocols, list, func(a, b groupProtocol) bool {
		return a.name == b.name && bytes.Equal(a.metadata, b.metadata)
	})
}

// metadata returns what a member says about a protocol.
func (m *groupMember) metadata(protocol string) []byte {
	for i := range m.protocols {
		if m.protocols[i].name == protocol {
			return m.protocols[i].metadata
		}
	}
	return nil
}

// supports reports whether there is a protocol that all members know, a client that comes included.
func (g *Group) supports(protocolType string, list []groupProtocol) bool {
	if g.state == GroupEmpty {
		return protocolType != "" && len(list) > 0
	}
	if g.protocolType != protocolType {
		return false
	}
	return slices.ContainsFunc(list, func(p groupProtocol) bool { return g.support[p.name] == len(g.members) })
}

// selectProtocol returns the protocol that most members prefer among those that all know.
func (g *Group) selectProtocol() string {
	votes := make(map[string]int)
	for _, m := range g.order {
		for i := range m.protocols {
			if name := m.protocols[i].name; g.support[name] == len(g.members) {
				votes[name]++
				break
			}
		}
	}
	best := ""
	for i := range g.order[0].protocols { // of those with as many votes, the one that the oldest member prefers
		if name := g.order[0].protocols[i].name; votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// rebalanceTimeout returns the longest of the members.
func (g *Group) rebalanceTimeout() (d time.Duration) {
	for _, m := range g.order {
		d = max(d, m.rebalance)
	}
	return d
}

// alive notes that a member was heard of.
func (g *Group) alive(now time.Time, m *groupMember) { g.expect(now, m, m.session) }

// expect gives a member some time.
func (g *Group) expect(now time.Time, m *groupMember, d time.Duration) {
	m.deadline = now.Add(d)
	g.due(m.deadline)
}

// wait has a member wait for the reply to JoinGroup.
func (g *Group) wait(m *groupMember, token uint64, skip bool) {
	g.answerJoin(m, GroupEvent{Error: kafkawire.ErrRebalanceInProgress, Generation: -1, MemberID: m.id}) // it asked again
	m.join, m.joining, m.skip = token, true, skip
	g.joining++
}

// answerJoin answers the JoinGroup of a member, if there is one that waits.
func (g *Group) answerJoin(m *groupMember, e GroupEvent) {
	if !m.joining {
		return
	}
	m.joining = false
	g.joining--
	e.Kind, e.Token = GroupJoinReply, m.join
	g.emit(e)
}

// answerSync answers the SyncGroup of a member, if there is one that waits, and reports whether there was.
func (g *Group) answerSync(m *groupMember, e GroupEvent) bool {
	if !m.syncing {
		return false
	}
	m.syncing = false
	e.Kind, e.Token = GroupSyncReply, m.sync
	g.emit(e)
	return true
}

// synced notes that a member of the generation need not be waited for any more.
func (g *Group) synced(m *groupMember) {
	if m.unsynced {
		m.unsynced = false
		g.unsynced--
	}
	if g.unsynced == 0 {
		g.syncAt = time.Time{}
	}
}

// memberList returns the members as the leader is told of them.
func (g *Group) memberList() []kafkawire.JoinGroupResponseMember {
	list := make([]kafkawire.JoinGroupResponseMember, len(g.order))
	for i, m := range g.order {
		list[i] = kafkawire.JoinGroupResponseMember{MemberID: m.id, GroupInstanceID: m.instanceID(), Metadata: m.metadata(g.protocol)}
		if list[i].Metadata == nil {
			list[i].Metadata = []byte{}
		}
	}
	return list
}

// instanceID returns the name of a static member, nil of others.
func (m *groupMember) instanceID() *string {
	if m.instance == "" {
		return nil
	}
	return &m.instance
}

// Members returns what DescribeGroups tells about the members. Their metadata are there while the group is stable; their
// assignments are the last ones that they got. The slices within must not be changed.
func (g *Group) Members() []kafkawire.DescribeGroupsResponseMember {
	list := make([]kafkawire.DescribeGroupsResponseMember, len(g.order))
	for i, m := range g.order {
		list[i] = kafkawire.DescribeGroupsResponseMember{
			MemberID: m.id, GroupInstanceID: m.instanceID(), ClientID: m.client, ClientHost: m.host,
			MemberMetadata: []byte{}, MemberAssignment: []byte{},
		}
		if b := m.metadata(g.protocol); b != nil && g.state == GroupStable {
			list[i].MemberMetadata = b
		}
		if m.assignment != nil {
			list[i].MemberAssignment = m.assignment
		}
	}
	return list
}
