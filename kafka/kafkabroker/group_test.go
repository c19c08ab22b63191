package kafkabroker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestGroupLife(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 4)
		p := g.dial()
		p.find("g")
		id, generation := p.join("g", "")
		if !strings.HasPrefix(id, "test-") || len(id) != len("test-")+36 || generation != 1 {
			t.Errorf("id %q, generation %d", id, generation)
		}
		if code := p.heartbeat("g", id, generation); code != 0 {
			t.Error(code)
		}
		if code := p.commit("g", id, generation, "topic", 2, 100); code != 0 {
			t.Error(code)
		}
		if offset, code := p.committed("g", "topic", 2, false); offset != 100 || code != 0 {
			t.Error(offset, code)
		}
		d := p.describe("g")
		if d.GroupState != "Stable" || d.ProtocolType != "consumer" || d.ProtocolData != "range" || len(d.Members) != 1 {
			t.Errorf("%+v", d)
		}
		if m := d.Members[0]; m.ClientID != "test" || m.ClientHost[0] != '/' || string(m.MemberAssignment) != "all" {
			t.Errorf("%+v", m)
		}
		// Everything is there after a restart, and the member goes on.
		g.restart()
		p = g.dial()
		if code := p.heartbeat("g", id, generation); code != 0 {
			t.Error(code)
		}
		if offset, code := p.committed("g", "topic", 2, false); offset != 100 || code != 0 {
			t.Error(offset, code)
		}
		// So it is after a loss of power.
		g.crash()
		p = g.dial()
		if offset, code := p.committed("g", "topic", 2, false); offset != 100 || code != 0 {
			t.Error(offset, code)
		}
		time.Sleep(11 * time.Second) // the session, which nobody has kept alive
		if code := p.heartbeat("g", id, generation); code != kafkawire.ErrUnknownMemberID {
			t.Error(code)
		}
		if d := p.describe("g"); d.GroupState != "Empty" || d.ProtocolType != "consumer" {
			t.Errorf("%+v", d)
		}
		g.restart()
		p = g.dial()
		if d := p.describe("g"); d.GroupState != "Empty" || len(d.Members) != 0 {
			t.Errorf("%+v", d)
		}
		if _, generation := p.join("g", ""); generation != 3 {
			t.Errorf("generation %d", generation)
		}
	})
}

func TestGroupRebalance(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		p, q := g.dial(), g.dial()
		p.find("g")
		id, generation := p.join("g", "")
		// q joins, p hears of it, joins again, and both get their part.
		r := ask[*kafkawire.JoinGroupResponse](q.peer, joinRequest("g", ""), 9)
		if r.ErrorCode != kafkawire.ErrMemberIDRequired || r.MemberID == "" || r.GenerationID != -1 {
			t.Fatalf("%+v", r)
		}
		qid := r.MemberID
		q.send(joinRequest("g", qid), 9)
		synctest.Wait()
		if code := p.heartbeat("g", id, generation); code != kafkawire.ErrRebalanceInProgress {
			t.Error(code)
		}
		r = ask[*kafkawire.JoinGroupResponse](p.peer, joinRequest("g", id), 9)
		if r.ErrorCode != 0 || r.GenerationID != 2 || len(r.Members) != 2 || r.Leader != id || *r.ProtocolName != "range" || *r.ProtocolType != "consumer" {
			t.Fatalf("%+v", r)
		}
		var follower kafkawire.JoinGroupResponse
		q.next(&follower, 9)
		if follower.ErrorCode != 0 || follower.GenerationID != 2 || len(follower.Members) != 0 || follower.Leader != id || follower.MemberID != qid {
			t.Fatalf("%+v", follower)
		}
		sync := kafkawire.SyncGroupRequest{ProtocolType: new("consumer"), ProtocolName: new("range"), GroupID: "g", GenerationID: 2, MemberID: qid}
		q.send(&sync, 5)
		synctest.Wait()
		a := ask[*kafkawire.SyncGroupResponse](p.peer, &kafkawire.SyncGroupRequest{ProtocolType: new("consumer"), ProtocolName: new("range"), GroupID: "g", GenerationID: 2, MemberID: id,
			Assignments: []kafkawire.SyncGroupRequestAssignment{{MemberID: id, Assignment: []byte("p")}, {MemberID: qid, Assignment: []byte("q")}}}, 5)
		var b kafkawire.SyncGroupResponse
		q.next(&b, 5)
		if string(a.Assignment) != "p" || string(b.Assignment) != "q" || *b.ProtocolName != "range" {
			t.Errorf("%+v %+v", a, b)
		}
		// The versions differ in what they leave out; each has an answer.
		for version := int16(0); version <= 9; version++ {
			req := joinRequest("g", "nobody")
			if version == 0 {
				req.RebalanceTimeoutMs = -1
			}
			if r := ask[*kafkawire.JoinGroupResponse](p.peer, req, version); r.ErrorCode != kafkawire.ErrUnknownMemberID || r.MemberID != "nobody" {
				t.Errorf("version %d: %+v", version, r)
			}
		}
		for version := int16(0); version <= 5; version++ {
			r := ask[*kafkawire.SyncGroupResponse](p.peer, &sync, version)
			if r.ErrorCode != 0 || string(r.Assignment) != "q" {
				t.Errorf("version %d: %+v", version, r)
			}
		}
		// q leaves in the way of old versions, p with others.
		if r := ask[*kafkawire.LeaveGroupResponse](q.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", MemberID: "nobody"}, 2); r.ErrorCode != kafkawire.ErrUnknownMemberID {
			t.Errorf("%+v", r)
		}
		if r := ask[*kafkawire.LeaveGroupResponse](q.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", MemberID: qid}, 0); r.ErrorCode != 0 {
			t.Errorf("%+v", r)
		}
		l := ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{
			{MemberID: qid}, {MemberID: id}, {GroupInstanceID: new("static")}}}, 5)
		if l.ErrorCode != 0 || l.Members[0].ErrorCode != kafkawire.ErrUnknownMemberID || l.Members[1].ErrorCode != 0 ||
			l.Members[2].ErrorCode != kafkawire.ErrUnknownMemberID || *l.Members[2].GroupInstanceID != "static" {
			t.Errorf("%+v", l)
		}
		if d := p.describe("g"); d.GroupState != "Empty" {
			t.Errorf("%+v", d)
		}
	})
}

// What is said of groups that nobody knows.
func TestGroupUnknown(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		p := g.dial()
		// Without a coordinator for anything.
		if code := p.heartbeat("g", "m", 1); code != kafkawire.ErrNotCoordinator {
			t.Error(code)
		}
		if r := ask[*kafkawire.ListGroupsResponse](p.peer, new(kafkawire.ListGroupsRequest), 5); r.ErrorCode != 0 || len(r.Groups) != 0 {
			t.Errorf("%+v", r)
		}
		p.find("g")
		if code := p.heartbeat("g", "m", 1); code != kafkawire.ErrUnknownMemberID {
			t.Error(code)
		}
		if code := p.heartbeat("", "m", 1); code != kafkawire.ErrInvalidGroupID {
			t.Error(code)
		}
		if r := ask[*kafkawire.JoinGroupResponse](p.peer, joinRequest("", ""), 9); r.ErrorCode != kafkawire.ErrInvalidGroupID {
			t.Errorf("%+v", r)
		}
		if r := ask[*kafkawire.SyncGroupResponse](p.peer, &kafkawire.SyncGroupRequest{ProtocolType: new("consumer"), ProtocolName: new("range"), GroupID: "g", MemberID: "m"}, 5); r.ErrorCode != kafkawire.ErrUnknownMemberID {
			t.Errorf("%+v", r)
		}
		if r := ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{{MemberID: "m"}}}, 5); r.ErrorCode != 0 || r.Members[0].ErrorCode != kafkawire.ErrUnknownMemberID {
			t.Errorf("%+v", r)
		}
		if code := p.commit("g", "m", 1, "topic", 0, 1); code != kafkawire.ErrGroupIDNotFound {
			t.Error(code)
		}
		r := ask[*kafkawire.OffsetCommitResponse](p.peer, commitRequest("g", "m", 1, "topic", 0, 1), 8)
		if code := r.Topics[0].Partitions[0].ErrorCode; code != kafkawire.ErrIllegalGeneration {
			t.Error(code)
		}
		for version := int16(0); version <= 6; version++ {
			r := ask[*kafkawire.DescribeGroupsResponse](p.peer, &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{"g"}}, version)
			want := kafkawire.ErrorCode(0)
			if version >= 6 {
				want = kafkawire.ErrGroupIDNotFound
			}
			if d := r.Groups[0]; d.GroupState != "Dead" || d.ErrorCode != want {
				t.Errorf("version %d: %+v", version, d)
			}
		}
		del := ask[*kafkawire.DeleteGroupsResponse](p.peer, &kafkawire.DeleteGroupsRequest{GroupsNames: []kafkawire.GroupID{"g"}}, 2)
		if del.Results[0].ErrorCode != kafkawire.ErrGroupIDNotFound {
			t.Errorf("%+v", del)
		}
		od := ask[*kafkawire.OffsetDeleteResponse](p.peer, &kafkawire.OffsetDeleteRequest{GroupID: "g"}, 0)
		if od.ErrorCode != kafkawire.ErrGroupIDNotFound {
			t.Errorf("%+v", od)
		}
		// The rule of OffsetFetch: no offset, and no error, in every version.
		for version := int16(1); version <= 9; version++ {
			req := &kafkawire.OffsetFetchRequest{GroupID: "g", Topics: []kafkawire.OffsetFetchRequestTopic{{Name: "topic", PartitionIndexes: []int32{0, 7}}}}
			if version >= 8 {
				req = &kafkawire.OffsetFetchRequest{Groups: []kafkawire.OffsetFetchRequestGroup{{GroupID: "g", MemberEpoch: -1,
					Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: "topic", PartitionIndexes: []int32{0, 7}}}}}}
			}
			r := ask[*kafkawire.OffsetFetchResponse](p.peer, req, version)
			if version >= 8 {
				for _, a := range r.Groups[0].Topics[0].Partitions {
					if r.Groups[0].ErrorCode != 0 || a.CommittedOffset != -1 || a.CommittedLeaderEpoch != -1 || a.ErrorCode != 0 || *a.Metadata != "" {
						t.Errorf("version %d: %+v", version, r)
					}
				}
				continue
			}
			for _, a := range r.Topics[0].Partitions {
				if r.ErrorCode != 0 || a.CommittedOffset != -1 || a.CommittedLeaderEpoch != -1 || a.ErrorCode != 0 || *a.Metadata != "" {
					t.Errorf("version %d: %+v", version, r)
				}
			}
		}
		if r := ask[*kafkawire.OffsetFetchResponse](p.peer, &kafkawire.OffsetFetchRequest{GroupID: "g"}, 5); r.ErrorCode != 0 || len(r.Topics) != 0 {
			t.Errorf("%+v", r)
		}
		if r := ask[*kafkawire.ListGroupsResponse](p.peer, new(kafkawire.ListGroupsRequest), 5); len(r.Groups) != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestGroupStaticMember(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		p := g.dial()
		p.find("g")
		id, generation := p.join("g", "one")
		if !strings.HasPrefix(id, "one-") {
			t.Error(id)
		}
		// A restarted broker knows it, and a restarted client takes its place without a rebalance.
		g.crash()
		p = g.dial()
		req := joinRequest("g", "")
		req.GroupInstanceID = new("one")
		r := ask[*kafkawire.JoinGroupResponse](p.peer, req, 9)
		if r.ErrorCode != 0 || r.GenerationID != generation || !r.SkipAssignment || r.Leader != r.MemberID || r.MemberID == id || len(r.Members) != 1 {
			t.Fatalf("%+v", r)
		}
		hb := &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: id, GenerationID: generation, GroupInstanceID: new("one")}
		if r := ask[*kafkawire.HeartbeatResponse](p.peer, hb, 4); r.ErrorCode != kafkawire.ErrFencedInstanceID {
			t.Errorf("%+v", r)
		}
		// That, too, is there after a crash.
		g.crash()
		p = g.dial()
		if r := ask[*kafkawire.HeartbeatResponse](p.peer, hb, 4); r.ErrorCode != kafkawire.ErrFencedInstanceID {
			t.Errorf("%+v", r)
		}
		hb.MemberID = r.MemberID
		if r := ask[*kafkawire.HeartbeatResponse](p.peer, hb, 4); r.ErrorCode != 0 {
			t.Errorf("%+v", r)
		}
		l := ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{
			{GroupInstanceID: new("one")}}}, 5)
		if l.Members[0].ErrorCode != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// TestGroupShutdown: members that wait for others do not hold up a server that shuts down.
func TestGroupShutdown(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		one, two, three := g.dial(), g.dial(), g.dial()
		one.find("group")
		one.join("group", "")
		// The second waits in JoinGroup for the first, which says nothing for a minute.
		req := joinRequest("group", "")
		r := ask[*kafkawire.JoinGroupResponse](two.peer, req, 9)
		req.MemberID = r.MemberID
		two.send(req, 9)
		// The third one waits in SyncGroup for its leader.
		other := joinRequest("other", "")
		other.MemberID = ask[*kafkawire.JoinGroupResponse](three.peer, other, 9).MemberID
		ask[*kafkawire.JoinGroupResponse](three.peer, other, 9)
		late := g.dial()
		lateReq := joinRequest("other", "")
		lateReq.MemberID = ask[*kafkawire.JoinGroupResponse](late.peer, lateReq, 9).MemberID
		late.send(lateReq, 9)
		synctest.Wait()
		if n := g.b.GroupStats().Waiting; n != 2 {
			t.Errorf("%d wait", n)
		}
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- g.srv.Shutdown(context.Background()) }()
		var resp kafkawire.JoinGroupResponse
		two.next(&resp, 9)
		if resp.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", resp)
		}
		late.next(&resp, 9)
		if resp.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", resp)
		}
		for _, p := range []groupPeer{one, two, three, late} {
			p.nc.Close()
		}
		if err := <-done; err != nil || time.Since(begun) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
