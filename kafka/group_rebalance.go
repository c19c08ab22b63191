package kafka

import (
	"math"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// allJoined reports whether nobody is waited for.
func (g *Group) allJoined() bool { return g.joining == len(g.members) && len(g.pending) == 0 }

// Rebalance has the members of a generation join again, as if the leader had asked for it. It reports whether there is
// such a generation.
func (g *Group) Rebalance(now time.Time) bool {
	if g.state != GroupStable && g.state != GroupCompletingRebalance {
		return false
	}
	g.prepare(now)
	return true
}

// rebalanceOrComplete begins a rebalance, or ends the one that there is if everybody has come.
func (g *Group) rebalanceOrComplete(now time.Time) {
	switch g.state {
	case GroupEmpty, GroupStable, GroupCompletingRebalance:
		g.prepare(now)
	default:
		g.completeIfJoined(now)
	}
}

// completeIfJoined ends the rebalance if everybody has come. The initial one takes its time.
func (g *Group) completeIfJoined(now time.Time) {
	if g.state == GroupPreparingRebalance && g.previous != GroupEmpty && g.allJoined() {
		g.completeJoin(now)
	}
}

// prepare begins a rebalance.
func (g *Group) prepare(now time.Time) {
	if g.state == GroupCompletingRebalance {
		g.cancelSync(now, kafkawire.ErrRebalanceInProgress)
	}
	g.forgetUnsynced()
	if g.state == GroupEmpty {
		g.become(now, GroupPreparingRebalance)
		g.initial, g.joined = true, false
		g.joinDelay = g.opt.InitialRebalanceDelay
		g.joinLeft = max(g.rebalanceTimeout()-g.joinDelay, 0)
		if g.joinDelay == 0 {
			g.joinExpired(now)
			return
		}
		g.waitJoin(now.Add(g.joinDelay))
		return
	}
	g.become(now, GroupPreparingRebalance)
	if g.allJoined() {
		g.completeJoin(now)
		return
	}
	g.waitJoin(now.Add(g.rebalanceTimeout()))
}

// cancelSync answers everybody who waits for an assignment, and forgets those that there are.
func (g *Group) cancelSync(now time.Time, code kafkawire.ErrorCode) {
	for _, m := range g.order {
		m.assignment = nil
		if g.answerSync(m, GroupEvent{Error: code}) {
			g.alive(now, m)
		}
	}
}

func (g *Group) forgetUnsynced() {
	for _, m := range g.order {
		m.unsynced = false
	}
	g.unsynced, g.syncAt = 0, time.Time{}
}

func (g *Group) waitJoin(t time.Time) {
	g.joinAt = t
	g.due(t)
}

// joinExpired ends the time for joining.
func (g *Group) joinExpired(now time.Time) {
	g.joinAt = time.Time{}
	if g.initial && g.joined && g.joinLeft > 0 {
		// Others came; more may.
		g.joined = false
		delay := min(g.opt.InitialRebalanceDelay, g.joinLeft)
		g.joinLeft = max(g.joinLeft-g.joinDelay, 0)
		g.joinDelay = delay
		g.waitJoin(now.Add(delay))
		return
	}
	if g.state == GroupPreparingRebalance {
		g.completeJoin(now)
	}
}

// completeJoin ends the joining: those who have not come are removed, unless they are static, and the others are the next
// generation.
func (g *Group) completeJoin(now time.Time) {
	g.joinAt, g.initial = time.Time{}, false
	for i := 0; i < len(g.order); {
		if m := g.order[i]; !m.joining && m.instance == "" {
			g.remove(m)
			continue
		}
		i++
	}
	if len(g.members) > 0 && !g.electLeader() {
		// Only static members are left, and none has come. They have their sessions.
		g.waitJoin(now.Add(max(g.rebalanceTimeout(), time.Second)))
		return
	}
	if g.generation++; g.generation == math.MaxInt32 {
		g.generation = 1
	}
	g.forgetUnsynced()
	if len(g.members) == 0 {
		g.protocol = ""
		g.subscribe()
		g.become(now, GroupEmpty)
		g.persist(groupBarrier{})
		return
	}
	g.protocol = g.selectProtocol()
	g.subscribe()
	g.become(now, GroupCompletingRebalance)
	for _, m := range g.order {
		g.answerJoin(m, g.generationReply(m))
		g.alive(now, m)
		m.isNew = false
		m.unsynced = true
	}
	g.unsynced = len(g.order)
	g.syncAt = now.Add(g.rebalanceTimeout())
	g.due(g.syncAt)
}

// electLeader makes a member that has come the leader, and reports whether there is one.
func (g *Group) electLeader() bool {
	if m := g.members[g.leader]; m != nil && m.joining {
		return true
	}
	for _, m := range g.order {
		if m.joining {
			g.leader = m.id
			return true
		}
	}
	return false
}

// syncExpired removes the members that did not ask for their assignment.
func (g *Group) syncExpired(now time.Time) {
	g.syncAt = time.Time{}
	if g.unsynced == 0 || g.state != GroupCompletingRebalance && g.state != GroupStable {
		return
	}
	for i := 0; i < len(g.order); {
		if m := g.order[i]; m.unsynced {
			g.drop(m)
			continue
		}
		i++
	}
	g.prepare(now)
}
