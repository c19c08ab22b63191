package kafka

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupRecordVersion is the version in which a record of [GroupPersist] has everything. Kafka writes the same.
const GroupRecordVersion = 3

// groupBarrier is what waits for a record.
type groupBarrier struct {
	number uint64
	kind   barrierKind

	generation  int32 // of an assignment
	assignments map[string][]byte

	member *groupMember // a static member that was replaced
	old    groupMember  // as it was
	leader string       // before
	token  uint64       // of its JoinGroup
}

type barrierKind uint8

const (
	barrierNone     barrierKind = iota // nobody waits
	barrierAssigned                    // the members wait for their assignments
	barrierReplaced                    // a static member waits for its place
)

// persist asks for a record. One that somebody waits for has the members, others are of a group without any.
func (g *Group) persist(b groupBarrier) {
	g.fresh = false
	g.barrier++
	b.number = g.barrier
	g.barriers = append(g.barriers, b)
	e := GroupEvent{Kind: GroupPersist, Token: b.number, Generation: g.generation}
	if b.kind == barrierNone {
		e.Record = g.emptyRecord()
	} else {
		e.Record = g.record(b.assignments)
	}
	g.emit(e)
}

// emptyRecord returns a record without members.
func (g *Group) emptyRecord() *kafkawire.GroupMetadataValue {
	v := new(kafkawire.GroupMetadataValue)
	v.Reset()
	v.Members = []kafkawire.GroupMetadataValueMemberMetadata{}
	if g.state == GroupEmpty && g.generation > 0 {
		v.ProtocolType, v.Generation, v.CurrentStateTimestamp = g.protocolType, g.generation, g.since.UnixMilli()
	}
	return v
}

// record returns the group. assignments take the place of those of the members unless they are nil.
func (g *Group) record(assignments map[string][]byte) *kafkawire.GroupMetadataValue {
	v := new(kafkawire.GroupMetadataValue)
	v.Reset()
	v.ProtocolType, v.Generation, v.CurrentStateTimestamp = g.protocolType, g.generation, g.since.UnixMilli()
	v.Protocol, v.Leader = new(g.protocol), new(g.leader)
	v.Members = make([]kafkawire.GroupMetadataValueMemberMetadata, 0, len(g.order))
	for _, m := range g.order {
		r := kafkawire.GroupMetadataValueMemberMetadata{
			MemberID: m.id, ClientID: m.client, ClientHost: m.host, SessionTimeout: int32(m.session.Milliseconds()),
			RebalanceTimeout: int32(min(m.rebalance.Milliseconds(), math.MaxInt32)),
			GroupInstanceID:  m.instanceID(), Subscription: m.metadata(g.protocol), Assignment: m.assignment,
		}
		if assignments != nil {
			r.Assignment = assignments[m.id]
		}
		v.Members = append(v.Members, r)
	}
	return v
}

// Persisted tells that the record of a token is durable, or with a code that it never will be. Records are durable in order,
// so those before it are too.
func (g *Group) Persisted(now time.Time, token uint64, code kafkawire.ErrorCode) {
	i := slices.IndexFunc(g.barriers, func(b groupBarrier) bool { return b.number == token })
	if i < 0 {
		return
	}
	b := g.barriers[i]
	g.barriers = slices.Delete(g.barriers, i, i+1)
	switch b.kind {
	case barrierAssigned:
		g.assigned(now, &b, code)
	case barrierReplaced:
		g.replaced(now, &b, code)
	}
}

// assigned gives the members their assignments.
func (g *Group) assigned(now time.Time, b *groupBarrier, code kafkawire.ErrorCode) {
	if g.state != GroupCompletingRebalance || g.generation != b.generation {
		return // there is another rebalance meanwhile
	}
	if code != 0 {
		g.cancelSync(now, code)
		g.prepare(now)
		return
	}
	for _, m := range g.order {
		m.assignment = b.assignments[m.id]
	}
	g.become(now, GroupStable)
	for _, m := range g.order {
		if g.answerSync(m, g.assignmentReply(m)) {
			g.alive(now, m)
		}
	}
}

// replaced gives a static member its place, or back to who had it.
func (g *Group) replaced(now time.Time, b *groupBarrier, code kafkawire.ErrorCode) {
	m := b.member
	if g.members[m.id] != m || !m.joining || m.join != b.token {
		return // it was answered
	}
	if code != 0 {
		g.answerJoin(m, GroupEvent{Error: code, Generation: -1})
		g.setProtocols(m, b.old.protocols)
		m.session, m.rebalance = b.old.session, b.old.rebalance
		g.rename(m, b.old.id)
		g.alive(now, m)
		g.completeIfJoined(now)
		return
	}
	if g.state != GroupStable {
		return // it waits for the rebalance
	}
	e := g.generationReply(m)
	if m.skip {
		e.SkipAssignment = m.id == g.leader
	} else {
		// The former leader's id keeps the client from assigning.
		e.Members, e.Leader = nil, b.leader
	}
	g.answerJoin(m, e)
}

// RestoreGroup returns the group of a record. Each member has its session timeout from now on to be
// heard of.
func RestoreGroup(now time.Time, id string, v *kafkawire.GroupMetadataValue, o *GroupOptions) *Group {
	g := NewGroup(now, id, o)
	g.fresh = false
	g.generation, g.protocolType = v.Generation, v.ProtocolType
	if g.since = (time.Time{}); v.CurrentStateTimestamp >= 0 {
		g.since = time.UnixMilli(v.CurrentStateTimestamp)
	}
	if len(v.Members) == 0 {
		g.subscribe()
		return g
	}
	g.state = GroupStable
	if v.Protocol != nil {
		g.protocol = *v.Protocol
	}
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	for i := range v.Members {
		r := &v.Members[i]
		if g.members[r.MemberID] != nil {
			continue
		}
		m := &groupMember{
			id: r.MemberID, client: r.ClientID, host: r.ClientHost,
			session: time.Duration(r.SessionTimeout) * time.Millisecond, rebalance: time.Duration(r.RebalanceTimeout) * time.Millisecond,
			protocols: []groupProtocol{{g.protocol, bytes.Clone(r.Subscription)}}, assignment: bytes.Clone(r.Assignment),
		}
		if r.RebalanceTimeout < 0 {
			m.rebalance = m.session
		}
		if r.GroupInstanceID != nil {
			m.instance = *r.GroupInstanceID
		}
		g.add(m)
		g.alive(now, m)
	}
	if g.members[g.leader] == nil {
		g.leader = g.order[0].id
	}
	g.subscribe()
	if g.opt.MaxSize > 0 && len(g.members) > g.opt.MaxSize {
		g.prepare(now)
	}
	return g
}
