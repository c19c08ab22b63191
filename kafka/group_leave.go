package kafka

import (
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Heartbeat keeps a member alive and returns what it is told. REBALANCE_IN_PROGRESS asks it to join again.
func (g *Group) Heartbeat(now time.Time, memberID, instanceID string, generation int32) kafkawire.ErrorCode {
	if g.state == GroupDead {
		return kafkawire.ErrCoordinatorNotAvailable
	}
	if code := g.check(memberID, instanceID); code != 0 {
		return code
	}
	if generation != g.generation {
		return kafkawire.ErrIllegalGeneration
	}
	g.alive(now, g.members[memberID])
	if g.state == GroupPreparingRebalance {
		return kafkawire.ErrRebalanceInProgress
	}
	return 0
}

// Leave takes members out of the group and returns a code for each, in order. Without a member id it is the static member
// with the instance id, which is how an administrator removes one.
func (g *Group) Leave(now time.Time, list []kafkawire.LeaveGroupRequestMember) []kafkawire.ErrorCode {
	codes := make([]kafkawire.ErrorCode, len(list))
	left := false
	for i := range list {
		codes[i] = g.leave(&list[i])
		left = left || codes[i] == 0
	}
	if left && g.state != GroupEmpty {
		g.rebalanceOrComplete(now)
	}
	return codes
}

func (g *Group) leave(r *kafkawire.LeaveGroupRequestMember) kafkawire.ErrorCode {
	id, instance := r.MemberID, ""
	if r.GroupInstanceID != nil {
		instance = *r.GroupInstanceID
	}
	if g.state == GroupDead {
		return kafkawire.ErrCoordinatorNotAvailable
	}
	if id == "" {
		m := g.instances[instance]
		if instance == "" || m == nil {
			return kafkawire.ErrUnknownMemberID
		}
		g.drop(m)
		return 0
	}
	if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		return 0
	}
	if code := g.check(id, instance); code != 0 {
		return code
	}
	g.drop(g.members[id])
	return 0
}

// drop removes a member and answers what it waits for, so that the client joins anew if it is still there.
func (g *Group) drop(m *groupMember) {
	g.answerJoin(m, GroupEvent{Error: kafkawire.ErrUnknownMemberID, Generation: -1})
	g.answerSync(m, GroupEvent{Error: kafkawire.ErrUnknownMemberID})
	g.remove(m)
}

// expel removes a member that was not heard of.
func (g *Group) expel(now time.Time, m *groupMember) {
	g.drop(m)
	switch {
	case g.state == GroupStable, g.state == GroupCompletingRebalance:
		g.prepare(now)
	default:
		g.completeIfJoined(now)
	}
}
