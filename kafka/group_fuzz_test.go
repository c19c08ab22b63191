package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// FuzzGroup gives a group any requests in any order, and crashes it. Every request must be answered once, and what the group
// counts must fit its members.
func FuzzGroup(f *testing.F) {
	f.Add([]byte{0, 0, 1, 8, 2, 9, 3, 9, 4, 9, 7, 0})
	f.Add([]byte{0x10, 0, 0x11, 1, 2, 9, 2, 1, 6, 0, 0x10, 0, 5, 1, 8, 3, 7, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		x := fuzzedGroup{t: t, now: time.Unix(1000, 0), waiting: make(map[uint64]bool)}
		x.opt.InitialRebalanceDelay = time.Second
		x.g = NewGroup(x.now, "g", &x.opt)
		script = script[:min(len(script), 1000)] // check looks at all members, each time
		for ; len(script) >= 2; script = script[2:] {
			x.step(script[0]&0x0f, script[0]>>4, script[1])
			x.check()
		}
		x.g.Close(x.now, kafkawire.ErrNotCoordinator)
		x.drain()
		if len(x.waiting) > 0 {
			t.Fatalf("%d requests were not answered", len(x.waiting))
		}
	})
}

type fuzzedGroup struct {
	t       *testing.T
	g       *Group
	opt     GroupOptions
	now     time.Time
	token   uint64
	ids     int
	known   []string // ids that were given out
	waiting map[uint64]bool
	writes  []GroupEvent
	last    *kafkawire.GroupMetadataValue
}

func (x *fuzzedGroup) drain() {
	for e, ok := x.g.Next(); ok; e, ok = x.g.Next() {
		if e.Kind == GroupPersist {
			x.writes = append(x.writes, e)
			continue
		}
		if !x.waiting[e.Token] {
			x.t.Fatalf("request %d was answered twice", e.Token)
		}
		delete(x.waiting, e.Token)
		if e.MemberID != "" && e.Kind == GroupJoinReply && len(x.known) < 64 {
			x.known = append(x.known, e.MemberID)
		}
	}
}

func (x *fuzzedGroup) next() uint64 {
	x.token++
	x.waiting[x.token] = true
	return x.token
}

// member returns an id, which may be one of nobody.
func (x *fuzzedGroup) member(n byte) string {
	if len(x.known) == 0 || n == 255 {
		return "nobody"
	}
	return x.known[int(n)%len(x.known)]
}

func (x *fuzzedGroup) step(op, how, n byte) {
	g, now := x.g, x.now
	instance := ""
	if how&1 != 0 {
		instance = fmt.Sprint("static", n%3)
	}
	switch op {
	case 0, 1:
		x.ids++
		j := &GroupJoin{
			Token: x.next(), NewMemberID: fmt.Sprint("m", x.ids), InstanceID: instance, SessionTimeout: time.Duration(6+n) * time.Second,
			RebalanceTimeout: time.Duration(int(n)-10) * time.Second, ProtocolType: "consumer", KnowsIDRequired: how&2 != 0, KnowsSkip: how&4 != 0,
		}
		if op == 1 {
			j.MemberID = x.member(n)
		}
		for i := range int(how>>1) + 1 {
			j.Protocols = append(j.Protocols, kafkawire.JoinGroupRequestProtocol{Name: fmt.Sprint("p", (i+int(n)/16)%4), Metadata: []byte{n}})
		}
		g.Join(now, j)
	case 2:
		s := &GroupSync{Token: x.next(), MemberID: x.member(n), InstanceID: instance, Generation: g.Generation() - int32(how>>3)}
		for _, id := range x.known {
			s.Assignments = append(s.Assignments, kafkawire.SyncGroupRequestAssignment{MemberID: id, Assignment: []byte(id)})
		}
		g.Sync(now, s)
	case 3:
		g.Heartbeat(now, x.member(n), instance, g.Generation())
	case 4:
		g.CheckCommit(now, x.member(n), instance, g.Generation(), how&2 != 0)
	case 5:
		g.Leave(now, []kafkawire.LeaveGroupRequestMember{{MemberID: x.member(n)}, {GroupInstanceID: &instance}})
	case 6:
		g.Rebalance(now)
	case 7:
		x.now = now.Add(time.Duration(n) * time.Second / 4)
		g.Advance(x.now)
	case 8: // records are durable, or not
		for _, e := range x.writes {
			code := kafkawire.ErrorCode(0)
			if how == 1 {
				code = kafkawire.ErrNotCoordinator
			} else {
				x.last = e.Record
			}
			g.Persisted(now, e.Token, code)
		}
		x.writes = nil
	case 9: // a crash
		if x.last != nil {
			clear(x.waiting)
			x.writes = nil
			x.g = RestoreGroup(now, "g", x.last, &x.opt)
		}
	}
	x.drain()
}

// check looks whether the group's counts are right.
func (x *fuzzedGroup) check() {
	g := x.g
	joining, unsynced := 0, 0
	support := make(map[string]int)
	for _, m := range g.order {
		if g.members[m.id] != m || m.instance != "" && g.instances[m.instance] != m {
			x.t.Fatalf("%s is not found", m.id)
		}
		if m.joining {
			joining++
		}
		if m.unsynced {
			unsynced++
		}
		for _, p := range m.protocols {
			support[p.name]++
		}
	}
	switch {
	case len(g.order) != len(g.members) || len(g.instances) > len(g.members):
		x.t.Fatalf("%d in order, %d members, %d instances", len(g.order), len(g.members), len(g.instances))
	case joining != g.joining || unsynced != g.unsynced:
		x.t.Fatalf("%d joining, %d unsynced, and counted are %d and %d", joining, unsynced, g.joining, g.unsynced)
	case fmt.Sprint(support) != fmt.Sprint(g.support):
		x.t.Fatalf("protocols %v, counted are %v", support, g.support)
	case len(g.members) > 0 && g.members[g.leader] == nil:
		x.t.Fatalf("the leader %q is no member", g.leader)
	case len(g.members) == 0 && (g.state == GroupStable || g.state == GroupCompletingRebalance):
		x.t.Fatalf("%v without members", g.state)
	case len(g.members) > 0 && g.state == GroupEmpty:
		x.t.Fatalf("empty with %d members", len(g.members))
	case (g.state == GroupStable || g.state == GroupCompletingRebalance) && g.protocol == "":
		x.t.Fatalf("%v without a protocol", g.state)
	case g.state == GroupPreparingRebalance && g.joinAt.IsZero():
		x.t.Fatal("a rebalance without an end")
	}
}
