package kafkabroker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestGroupsInProcess(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		var events []string
		g.opt.Events.GroupChanged = func(group string, state kafka.GroupState, generation int32, members int) {
			events = append(events, fmt.Sprintf("%s %v %d %d", group, state, generation, members))
		}
		g.open()
		g.topic("topic", 2)
		ctx := g.t.Context()
		if list := g.b.Groups(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		if err := g.b.DeleteGroup(ctx, "g"); !errors.Is(err, kafkawire.ErrGroupIDNotFound) {
			t.Error(err)
		}
		if list, err := g.b.GroupOffsets("g"); err != nil || list != nil {
			t.Error(list, err)
		}
		if err := g.b.CommitGroupOffsets(ctx, "g", GroupOffset{Topic: "topic", Partition: 1, Offset: 5, LeaderEpoch: -1, Metadata: "x"},
			GroupOffset{Topic: "topic", Offset: 4}); err != nil {
			t.Fatal(err)
		}
		if err := g.b.CommitGroupOffsets(ctx, "g", GroupOffset{Topic: "nothing"}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
		p := g.dial()
		if offset, _ := p.committed("g", "topic", 1, false); offset != 5 {
			t.Error(offset)
		}
		id, generation := p.join("g", "one")
		if err := g.b.CommitGroupOffsets(ctx, "g", GroupOffset{Topic: "topic"}); !errors.Is(err, kafkawire.ErrUnknownMemberID) {
			t.Error(err)
		}
		v, ok := g.b.Group("g")
		if !ok || v.State != kafka.GroupStable || v.Generation != 1 || v.Leader != id || v.Protocol != "range" || v.ProtocolType != "consumer" ||
			len(v.Members) != 1 || v.Members[0].InstanceID != "one" || string(v.Members[0].Assignment) != "all" || v.Members[0].ClientID != "test" {
			t.Errorf("%+v", v)
		}
		if err := g.b.RebalanceGroup("g"); err != nil {
			t.Error(err)
		}
		hb := &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: id, GenerationID: generation, GroupInstanceID: new("one")}
		if r := ask[*kafkawire.HeartbeatResponse](p.peer, hb, 4); r.ErrorCode != kafkawire.ErrRebalanceInProgress {
			t.Errorf("%+v", r)
		}
		if err := g.b.DeleteGroup(ctx, "g"); !errors.Is(err, kafkawire.ErrNonEmptyGroup) {
			t.Error(err)
		}
		if err := g.b.RemoveGroupMember(ctx, "g", "nobody"); !errors.Is(err, kafkawire.ErrUnknownMemberID) {
			t.Error(err)
		}
		if err := g.b.RemoveGroupMember(ctx, "g", id); err != nil {
			t.Error(err)
		}
		st := g.b.GroupStats()
		if st.Groups != 1 || st.States[kafka.GroupEmpty] != 1 || st.Offsets != 2 || st.Rebalances != 1 || st.Commits != 2 || st.Members != 0 {
			t.Errorf("%+v", st)
		}
		list, err := g.b.GroupOffsets("g")
		if err != nil || len(list) != 2 || list[0].Offset != 4 || list[1].Metadata != "x" || list[1].LeaderEpoch != -1 || list[1].Committed.IsZero() {
			t.Errorf("%+v %v", list, err)
		}
		g.crash()
		if list := g.b.Groups(); len(list) != 1 || list[0].ID != "g" || list[0].Generation != 2 {
			t.Errorf("%+v", list)
		}
		if err := g.b.DeleteGroup(ctx, "g"); err != nil {
			t.Error(err)
		}
		g.crash()
		if list := g.b.Groups(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		want := []string{"g CompletingRebalance 1 1", "g Stable 1 1", "g PreparingRebalance 1 1", "g Empty 2 0"}
		for _, e := range want {
			if !slices.Contains(events, e) {
				t.Errorf("no event %q in\n%s", e, strings.Join(events, "\n"))
			}
		}
	})
}

// A broker that is closed answers those who wait, and can be closed while they come.
func TestGroupsOfABrokerThatIsClosed(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.opt.Config["group.initial.rebalance.delay.ms"] = "3000"
		g.open()
		p := g.dial()
		p.find("g")
		p.send(joinRequest("g", ""), 3)
		synctest.Wait()
		if st := g.b.GroupStats(); st.Waiting != 1 || st.States[kafka.GroupPreparingRebalance] != 1 {
			t.Errorf("%+v", st)
		}
		b := g.b
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		var r kafkawire.JoinGroupResponse
		p.next(&r, 3)
		if r.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Hour) // no timer is left that finds nothing
	})
}
