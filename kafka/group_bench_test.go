package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// largeGroup returns a stable group.
func largeGroup(tb testing.TB, n int) (*Group, time.Time) {
	tb.Helper()
	now := time.Unix(1_700_000_000, 0)
	g := NewGroup(now, "g", nil)
	for i := range n {
		g.Join(now, &GroupJoin{
			Token: uint64(i + 1), NewMemberID: fmt.Sprint("m", i), SessionTimeout: 45 * time.Second, RebalanceTimeout: 5 * time.Minute,
			ProtocolType: "consumer", Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 100)}},
		})
	}
	next := func() {
		for e, ok := g.Next(); ok; e, ok = g.Next() {
			if e.Kind == GroupPersist {
				g.Persisted(now, e.Token, 0)
			}
		}
	}
	for g.State() == GroupPreparingRebalance || g.State() == GroupEmpty {
		now = g.Timeout()
		g.Advance(now)
		next()
	}
	g.Sync(now, &GroupSync{Token: 1, MemberID: g.Leader(), Generation: g.Generation()})
	next()
	for i := range n {
		g.Sync(now, &GroupSync{Token: 1, MemberID: fmt.Sprint("m", i), Generation: g.Generation()})
	}
	next()
	if g.State() != GroupStable || g.Len() != n {
		tb.Fatalf("%v with %d members", g.State(), g.Len())
	}
	return g, now
}

func TestGroupHeartbeatAllocatesNothing(t *testing.T) {
	g, now := largeGroup(t, 100)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		if g.Heartbeat(now, "m7", "", 1) != 0 || g.CheckCommit(now, "m8", "", 1, false) != 0 {
			t.Fatal("refused")
		}
		g.Next()
		g.Timeout()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGroupHeartbeat(b *testing.B) {
	g, now := largeGroup(b, 1000)
	b.ReportAllocs()
	id := ""
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint("m", i)
	}
	for i := 0; b.Loop(); i++ {
		now = now.Add(3 * time.Millisecond) // each every 3 seconds
		id = ids[i%len(ids)]
		if g.Heartbeat(now, id, "", 1) != 0 {
			b.Fatal("refused")
		}
		g.Advance(now)
	}
}

func BenchmarkGroupJoin1000(b *testing.B) {
	for b.Loop() {
		largeGroup(b, 1000)
	}
}
