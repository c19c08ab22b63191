package kafka

import (
	"bytes"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupSync is a SyncGroup request.
type GroupSync struct {
	// Token names the request in its reply.
	Token uint64

	MemberID   string
	InstanceID string // of a static member, empty for others
	Generation int32

	// ProtocolType and Protocol are those of the reply to JoinGroup. nil passes: clients before version 5
	// do not say.
	ProtocolType, Protocol *string

	// Assignments come from the leader. A member without one gets an empty one.
	Assignments []kafkawire.SyncGroupRequestAssignment
}

// Sync asks for the assignment of a member, and from the leader brings those of all. It is answered when they are durable,
// which may be at once.
func (g *Group) Sync(now time.Time, r *GroupSync) {
	reply := func(e GroupEvent) {
		e.Kind, e.Token = GroupSyncReply, r.Token
		g.emit(e)
	}
	code := g.checkSync(r)
	if code == 0 && g.state == GroupPreparingRebalance {
		code = kafkawire.ErrRebalanceInProgress
	}
	if code != 0 {
		reply(GroupEvent{Error: code})
		return
	}
	m := g.members[r.MemberID]
	if g.state == GroupStable {
		g.synced(m)
		reply(g.assignmentReply(m))
		return
	}
	g.answerSync(m, GroupEvent{Error: kafkawire.ErrRebalanceInProgress}) // it asked again
	m.sync, m.syncing = r.Token, true
	g.synced(m)
	if m.id == g.leader {
		g.assign(r.Assignments)
	}
}

// checkSync returns what is wrong with a request.
func (g *Group) checkSync(r *GroupSync) kafkawire.ErrorCode {
	if g.state == GroupDead {
		return kafkawire.ErrCoordinatorNotAvailable
	}
	if code := g.check(r.MemberID, r.InstanceID); code != 0 {
		return code
	}
	differ := func(is string, said *string) bool { return said != nil && is != "" && is != *said }
	switch {
	case r.Generation != g.generation:
		return kafkawire.ErrIllegalGeneration
	case differ(g.protocolType, r.ProtocolType), differ(g.protocol, r.Protocol):
		return kafkawire.ErrInconsistentGroupProtocol
	}
	return 0
}

// assign asks to make the leader's assignments durable. Members get them then. The first of a generation count.
func (g *Group) assign(list []kafkawire.SyncGroupRequestAssignment) {
	for i := range g.barriers {
		if b := &g.barriers[i]; b.kind == barrierAssigned && b.generation == g.generation {
			return
		}
	}
	assignments := make(map[string][]byte, len(g.members))
	for i := range list {
		if m := g.members[list[i].MemberID]; m != nil {
			assignments[m.id] = bytes.Clone(list[i].Assignment)
		}
	}
	g.persist(groupBarrier{kind: barrierAssigned, generation: g.generation, assignments: assignments})
}

// assignmentReply returns what a member is told about its assignment.
func (g *Group) assignmentReply(m *groupMember) GroupEvent {
	e := GroupEvent{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment, Generation: g.generation, MemberID: m.id}
	if e.Assignment == nil {
		e.Assignment = []byte{}
	}
	return e
}
