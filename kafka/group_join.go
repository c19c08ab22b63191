package kafka

import (
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// GroupJoin is a JoinGroup request.
type GroupJoin struct {
	// Token names the request in its reply.
	Token uint64

	// MemberID is empty for a client that is not a member yet. It becomes NewMemberID, which nobody ever had: Kafka takes
	// the client id, or the instance id, a dash and a random UUID.
	MemberID, NewMemberID string

	// InstanceID is the name of a static member, empty for others.
	InstanceID string

	ClientID, ClientHost string

	// RebalanceTimeout is the session timeout when it is negative.
	SessionTimeout, RebalanceTimeout time.Duration

	// ProtocolType must not be empty.
	ProtocolType string
	Protocols    []kafkawire.JoinGroupRequestProtocol

	// KnowsIDRequired tells that the client knows MEMBER_ID_REQUIRED: it comes back with the id that it is given. That is
	// so since version 4.
	KnowsIDRequired bool

	// KnowsSkip tells that the client knows SkipAssignment. That is so since version 9.
	KnowsSkip bool
}

// Join takes a client into the next generation of the group. It is answered when that has its members, which may be at once.
func (g *Group) Join(now time.Time, r *GroupJoin) {
	refuse := func(code kafkawire.ErrorCode, memberID string) {
		g.emit(GroupEvent{Kind: GroupJoinReply, Token: r.Token, Error: code, Generation: -1, MemberID: strings.Clone(memberID)})
	}
	if r.SessionTimeout < g.opt.MinSessionTimeout || r.SessionTimeout > g.opt.MaxSessionTimeout {
		refuse(kafkawire.ErrInvalidSessionTimeout, r.MemberID)
		return
	}
	g.join(now, r, refuse)
	if g.fresh && g.state != GroupDead {
		g.persist(groupBarrier{}) // so that the group is known after a restart
	}
}

func (g *Group) join(now time.Time, r *GroupJoin, refuse func(kafkawire.ErrorCode, string)) {
	if !g.accepts(r) {
		delete(g.pending, r.MemberID)
		if m := g.members[r.MemberID]; m != nil {
			g.drop(m)
		}
		refuse(kafkawire.ErrGroupMaxSizeReached, "")
		g.completeIfJoined(now)
		return
	}
	protocols := newProtocols(r.Protocols)
	_, isPending := g.pending[r.MemberID]
	switch {
	case g.state == GroupDead:
		refuse(kafkawire.ErrCoordinatorNotAvailable, r.MemberID)
	case !g.supports(r.ProtocolType, protocols):
		refuse(kafkawire.ErrInconsistentGroupProtocol, r.MemberID)
	case r.MemberID == "":
		g.joinNew(now, r, protocols, refuse)
	case isPending && r.InstanceID == "":
		g.enter(now, r, r.MemberID, protocols)
	default:
		if code := g.check(r.MemberID, r.InstanceID); code != 0 {
			refuse(code, r.MemberID)
			return
		}
		g.rejoin(now, r, g.members[r.MemberID], protocols)
	}
}

// accepts reports whether there is room for a client. A static member that begins anew takes its own place.
func (g *Group) accepts(r *GroupJoin) bool {
	if g.opt.MaxSize <= 0 {
		return true
	}
	m := g.members[r.MemberID]
	if r.MemberID == "" && r.InstanceID != "" {
		m = g.instances[r.InstanceID]
	}
	switch g.state {
	case GroupPreparingRebalance:
		// The members that wait count, and not all: so the last to come leave when the bound is lower than it was.
		return m != nil && m.joining || g.joining < g.opt.MaxSize
	case GroupCompletingRebalance, GroupStable:
		return m != nil || len(g.members) < g.opt.MaxSize
	}
	return true
}

// joinNew handles a client without a member id.
func (g *Group) joinNew(now time.Time, r *GroupJoin, protocols []groupProtocol, refuse func(kafkawire.ErrorCode, string)) {
	if r.InstanceID != "" {
		if m := g.instances[r.InstanceID]; m != nil {
			g.replace(now, r, m, protocols)
			return
		}
		g.enter(now, r, r.NewMemberID, protocols)
		return
	}
	if !r.KnowsIDRequired {
		g.enter(now, r, r.NewMemberID, protocols)
		return
	}
	if len(g.pending) >= g.opt.MaxPending {
		refuse(kafkawire.ErrGroupMaxSizeReached, "")
		return
	}
	until := now.Add(r.SessionTimeout)
	g.pending[strings.Clone(r.NewMemberID)] = until
	g.due(until)
	refuse(kafkawire.ErrMemberIDRequired, r.NewMemberID)
}

// rebalanceOf returns the rebalance timeout of a request.
func rebalanceOf(r *GroupJoin) time.Duration {
	if r.RebalanceTimeout < 0 {
		return r.SessionTimeout
	}
	return r.RebalanceTimeout
}

// enter makes a client a member.
func (g *Group) enter(now time.Time, r *GroupJoin, id string, protocols []groupProtocol) {
	m := &groupMember{
		id: strings.Clone(id), instance: strings.Clone(r.InstanceID), client: strings.Clone(r.ClientID),
		host: strings.Clone(r.ClientHost), session: r.SessionTimeout, rebalance: rebalanceOf(r), protocols: protocols, isNew: true,
	}
	if len(g.members) == 0 {
		g.protocolType = strings.Clone(r.ProtocolType)
	}
	if g.initial {
		g.joined = true
	}
	g.add(m)
	g.wait(m, r.Token, r.KnowsSkip)
	g.expect(now, m, g.opt.NewMemberTimeout)
	g.rebalanceOrComplete(now)
}

// update notes what a member that joins again can do, and has it wait.
func (g *Group) update(now time.Time, r *GroupJoin, m *groupMember, protocols []groupProtocol) {
	g.setProtocols(m, protocols)
	m.session, m.rebalance = r.SessionTimeout, rebalanceOf(r)
	g.wait(m, r.Token, r.KnowsSkip)
}

// rejoin handles JoinGroup of a member.
func (g *Group) rejoin(now time.Time, r *GroupJoin, m *groupMember, protocols []groupProtocol) {
	current := false // the member gets the generation that there is
	switch g.state {
	case GroupCompletingRebalance:
		// It may have missed the reply.
		current = m.sameProtocols(protocols)
	case GroupStable:
		// A leader that joins again wants another assignment.
		current = m.id != g.leader && m.sameProtocols(protocols)
	}
	if !current {
		g.update(now, r, m, protocols)
		g.rebalanceOrComplete(now)
		return
	}
	e := g.generationReply(m)
	e.Kind, e.Token = GroupJoinReply, r.Token
	if g.state == GroupStable {
		e.Members = nil
	}
	g.emit(e)
}

// generationReply returns what a member is told about the generation.
func (g *Group) generationReply(m *groupMember) GroupEvent {
	e := GroupEvent{
		Generation: g.generation, MemberID: m.id, Leader: g.leader, ProtocolType: g.protocolType, Protocol: g.protocol,
	}
	if m.id == g.leader {
		e.Members = g.memberList()
	}
	return e
}

// replace gives the place of a static member to a client that has its name and begins anew.
func (g *Group) replace(now time.Time, r *GroupJoin, m *groupMember, protocols []groupProtocol) {
	fenced := GroupEvent{Error: kafkawire.ErrFencedInstanceID, Generation: -1, MemberID: m.id}
	g.answerJoin(m, fenced)
	g.answerSync(m, fenced)
	leader := g.leader
	old := *m
	g.rename(m, strings.Clone(r.NewMemberID))
	m.isNew = false
	g.alive(now, m)
	g.update(now, r, m, protocols)
	switch g.state {
	case GroupStable:
		if g.selectProtocol() == g.protocol {
			g.persist(groupBarrier{kind: barrierReplaced, member: m, old: old, leader: leader, token: r.Token})
			return
		}
		g.rebalanceOrComplete(now)
	case GroupCompletingRebalance:
		// The leader computes an assignment for the former id.
		g.prepare(now)
	default:
		g.completeIfJoined(now)
	}
}

// rename changes the id of a member.
func (g *Group) rename(m *groupMember, id string) {
	delete(g.members, m.id)
	if g.leader == m.id {
		g.leader = id
	}
	m.id = id
	g.members[id] = m
}
