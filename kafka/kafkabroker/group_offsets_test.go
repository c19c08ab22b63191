package kafkabroker

import (
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestCommitForADeletedTopic: a commit that comes while its topic is deleted leaves nothing to a topic of the same name.
func TestCommitForADeletedTopic(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		topic := g.topic("topic", 1)
		p := g.dial()
		p.find("g")
		s := &session{b: g.b, node: g.b.nodes[0]}
		s.access.super = true
		sh, code := s.groupShard("g")
		if code != noError {
			t.Fatal(code)
		}
		w := &commitWork{s: s, group: "g"}
		w.resp.Topics = make([]kafkawire.OffsetCommitResponseTopic, 1)
		w.begin(0, "topic", kafkawire.UUID{}, false)
		w.add(0, 5, -1, nil)
		if err := g.b.deleteTopic(topic); err != nil {
			t.Fatal(err)
		}
		g.topic("topic", 1)
		sh.mu.Lock()
		sh.batch.Reset()
		any := sh.addCommit(time.Now(), w, -1)
		sh.mu.Unlock()
		if code := w.resp.Topics[0].Partitions[0].ErrorCode; any || code != kafkawire.ErrUnknownTopicOrPartition {
			t.Error(any, code)
		}
	})
}

func TestOffsetsOfAGroupWithoutMembers(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		topic := g.topic("topic", 2)
		p := g.dial()
		p.find("g")
		if code := p.commit("g", "", -1, "topic", 0, 5); code != 0 {
			t.Error(code)
		}
		r := ask[*kafkawire.ListGroupsResponse](p.peer, new(kafkawire.ListGroupsRequest), 5)
		if len(r.Groups) != 1 || r.Groups[0].GroupID != "g" || r.Groups[0].ProtocolType+r.Groups[0].GroupState+r.Groups[0].GroupType != "Emptyclassic" {
			t.Errorf("%+v", r)
		}
		// The empty group is one, too.
		if code := p.commit("", "", -1, "topic", 0, 6); code != 0 {
			t.Error(code)
		}
		if offset, code := p.committed("", "topic", 0, false); offset != 6 || code != 0 {
			t.Error(offset, code)
		}
		// What there is not.
		if code := p.commit("g", "", -1, "nothing", 0, 5); code != kafkawire.ErrUnknownTopicOrPartition {
			t.Error(code)
		}
		if code := p.commit("g", "", -1, "topic", 2, 5); code != kafkawire.ErrUnknownTopicOrPartition {
			t.Error(code)
		}
		req := commitRequest("g", "", -1, "topic", 1, 5)
		req.Topics[0].Partitions[0].CommittedMetadata = new(strings.Repeat("ä", 4096))
		c := ask[*kafkawire.OffsetCommitResponse](p.peer, req, 9)
		if code := c.Topics[0].Partitions[0].ErrorCode; code != 0 {
			t.Error(code)
		}
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, kafkawire.OffsetCommitRequestPartition{PartitionIndex: 0, CommittedOffset: 8})
		req.Topics[0].Partitions[0].CommittedMetadata = new(strings.Repeat("ä", 4097))
		c = ask[*kafkawire.OffsetCommitResponse](p.peer, req, 9)
		if a := c.Topics[0].Partitions; a[0].ErrorCode != kafkawire.ErrOffsetMetadataTooLarge || a[1].ErrorCode != 0 {
			t.Errorf("%+v", a)
		}
		if offset, _ := p.committed("g", "topic", 0, false); offset != 8 {
			t.Error(offset)
		}
		// By topic ids.
		req = commitRequest("g", "", -1, "", 1, 77)
		req.Topics[0].TopicID = topic.id
		unknown := req.Topics[0]
		unknown.TopicID = kafkawire.UUID{1}
		req.Topics = append(req.Topics, unknown)
		c = ask[*kafkawire.OffsetCommitResponse](p.peer, req, 10)
		if c.Topics[0].TopicID != topic.id || c.Topics[0].Partitions[0].ErrorCode != 0 || c.Topics[1].Partitions[0].ErrorCode != kafkawire.ErrUnknownTopicID {
			t.Errorf("%+v", c)
		}
		f := ask[*kafkawire.OffsetFetchResponse](p.peer, &kafkawire.OffsetFetchRequest{Groups: []kafkawire.OffsetFetchRequestGroup{
			{GroupID: "g", MemberEpoch: -1, Topics: []kafkawire.OffsetFetchRequestGroupTopic{
				{TopicID: topic.id, PartitionIndexes: []int32{1, 0}}, {TopicID: kafkawire.UUID{1}, PartitionIndexes: []int32{0}}}},
			{GroupID: "g", MemberEpoch: -1},
			{GroupID: "other", MemberEpoch: -1},
		}}, 10)
		a := f.Groups[0].Topics
		if a[0].Partitions[0].CommittedOffset != 77 || a[0].Partitions[0].CommittedLeaderEpoch != 3 || *a[0].Partitions[0].Metadata != "m" ||
			a[0].Partitions[1].CommittedOffset != 8 || a[1].Partitions[0].ErrorCode != kafkawire.ErrUnknownTopicID {
			t.Errorf("%+v", f.Groups[0])
		}
		if all := f.Groups[1].Topics; len(all) != 1 || all[0].TopicID != topic.id || len(all[0].Partitions) != 2 || all[0].Partitions[1].CommittedOffset != 77 {
			t.Errorf("%+v", f.Groups[1])
		}
		if f.Groups[2].ErrorCode != 0 || len(f.Groups[2].Topics) != 0 {
			t.Errorf("%+v", f.Groups[2])
		}
		// Everything is there after a crash.
		g.crash()
		p = g.dial()
		if offset, _ := p.committed("g", "topic", 1, false); offset != 77 {
			t.Error(offset)
		}
		// A topic that begins anew has none.
		if err := g.b.deleteTopic(g.b.topic("topic")); err != nil {
			t.Fatal(err)
		}
		g.topic("topic", 2)
		for range 2 {
			if offset, code := p.committed("g", "topic", 1, false); offset != -1 || code != 0 {
				t.Error(offset, code)
			}
			g.crash()
			p = g.dial()
		}
	})
}

func TestDeleteGroupsAndOffsets(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 2)
		g.topic("other", 1)
		p := g.dial()
		p.find("g")
		id, generation := p.join("g", "")
		for _, topic := range []string{"topic", "other"} {
			if code := p.commit("g", id, generation, topic, 0, 5); code != 0 {
				t.Error(code)
			}
		}
		del := func(groups ...kafkawire.GroupID) (codes []kafkawire.ErrorCode) {
			r := ask[*kafkawire.DeleteGroupsResponse](p.peer, &kafkawire.DeleteGroupsRequest{GroupsNames: groups}, 3)
			for _, a := range r.Results {
				codes = append(codes, a.ErrorCode)
			}
			return codes
		}
		if codes := del("g", "h"); codes[0] != kafkawire.ErrNonEmptyGroup || codes[1] != kafkawire.ErrGroupIDNotFound {
			t.Error(codes)
		}
		// The member subscribes to one of the topics.
		req := &kafkawire.OffsetDeleteRequest{GroupID: "g"}
		for _, topic := range []kafkawire.TopicName{"topic", "other", "nothing"} {
			req.Topics = append(req.Topics, kafkawire.OffsetDeleteRequestTopic{Name: topic, Partitions: []kafkawire.OffsetDeleteRequestPartition{{PartitionIndex: 0}}})
		}
		r := ask[*kafkawire.OffsetDeleteResponse](p.peer, req, 0)
		if r.ErrorCode != 0 || r.Topics[0].Partitions[0].ErrorCode != kafkawire.ErrGroupSubscribedToTopic || r.Topics[1].Partitions[0].ErrorCode != 0 ||
			r.Topics[2].Partitions[0].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
			t.Errorf("%+v", r)
		}
		if offset, _ := p.committed("g", "topic", 0, false); offset != 5 {
			t.Error(offset)
		}
		g.crash()
		p = g.dial()
		if offset, _ := p.committed("g", "other", 0, false); offset != -1 {
			t.Error(offset)
		}
		ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{{MemberID: id}}}, 5)
		if r := ask[*kafkawire.OffsetDeleteResponse](p.peer, req, 0); r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("%+v", r)
		}
		if code := p.commit("g", "", -1, "topic", 1, 9); code != 0 {
			t.Error(code)
		}
		if codes := del("g"); codes[0] != 0 {
			t.Error(codes)
		}
		for range 2 {
			if d := p.describe("g"); d.GroupState != "Dead" {
				t.Errorf("%+v", d)
			}
			if offset, _ := p.committed("g", "topic", 1, false); offset != -1 {
				t.Error(offset)
			}
			g.crash()
			p = g.dial()
		}
	})
}

// Groups of which the coordinator does not understand what the members say, such as those of Kafka Connect.
func TestGroupsOfOtherProtocols(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		p := g.dial()
		p.find("g")
		req := joinRequest("g", "")
		req.ProtocolType = "connect"
		req.Protocols[0].Metadata = nil
		req.Protocols[0].Metadata = []byte{}
		r := ask[*kafkawire.JoinGroupResponse](p.peer, req, 2)
		if r.ErrorCode != 0 {
			t.Fatalf("%+v", r)
		}
		s := ask[*kafkawire.SyncGroupResponse](p.peer, &kafkawire.SyncGroupRequest{ProtocolType: new("consumer"), ProtocolName: new("range"), GroupID: "g", MemberID: r.MemberID, GenerationID: 1}, 0)
		if s.ErrorCode != 0 || len(s.Assignment) != 0 {
			t.Fatalf("%+v", s)
		}
		if code := p.commit("g", r.MemberID, 1, "topic", 0, 1); code != 0 {
			t.Error(code)
		}
		d := ask[*kafkawire.OffsetDeleteResponse](p.peer, &kafkawire.OffsetDeleteRequest{GroupID: "g"}, 0)
		if d.ErrorCode != kafkawire.ErrNonEmptyGroup {
			t.Errorf("%+v", d)
		}
		g.crash()
		p = g.dial()
		if d := p.describe("g"); d.GroupState != "Stable" || d.ProtocolType != "connect" {
			t.Errorf("%+v", d)
		}
		list := func(states, types []string) int {
			return len(ask[*kafkawire.ListGroupsResponse](p.peer, &kafkawire.ListGroupsRequest{StatesFilter: states, TypesFilter: types}, 5).Groups)
		}
		for _, c := range []struct {
			states, types []string
			want          int
		}{
			{nil, nil, 1}, {[]string{"stable"}, nil, 1}, {[]string{"Empty", "STABLE"}, []string{"Classic"}, 1}, {[]string{"Empty"}, nil, 0},
			{nil, []string{"consumer"}, 0}, {[]string{"nonsense"}, []string{"nonsense"}, 0},
		} {
			if n := list(c.states, c.types); n != c.want {
				t.Errorf("%v %v: %d groups", c.states, c.types, n)
			}
		}
	})
}

func TestOffsetsExpire(t *testing.T) {
	const keep = 12 * time.Hour
	groupBubble(t, func(g *groupTest) {
		g.opt.Config["offsets.retention.minutes"] = "720"
		g.open()
		g.topic("topic", 2)
		g.topic("other", 1)
		p := g.dial()
		p.find("g")
		if code := p.commit("simple", "", -1, "topic", 0, 1); code != 0 {
			t.Error(code)
		}
		// One that says itself how long it is kept.
		req := commitRequest("short", "", -1, "topic", 0, 2)
		req.RetentionTimeMs = 3600_000
		if r := ask[*kafkawire.OffsetCommitResponse](p.peer, req, 4); r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("%+v", r)
		}
		p.session = 1800_000
		id, generation := p.join("g", "")
		for _, topic := range []string{"topic", "other"} {
			if code := p.commit("g", id, generation, topic, 0, 3); code != 0 {
				t.Error(code)
			}
		}
		alive := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); pass(9 * time.Minute) {
				p.heartbeat("g", id, generation)
			}
		}
		want := func(group, topic string, want int64) {
			t.Helper()
			if offset, code := p.committed(group, topic, 0, false); offset != want || code != 0 {
				t.Error(group, topic, offset, code)
			}
		}
		g.crash()
		p = g.dial()
		alive(50 * time.Minute)
		want("short", "topic", 2)
		alive(25 * time.Minute)
		want("short", "topic", -1)
		want("simple", "topic", 1)
		alive(keep - 2*time.Hour)
		want("simple", "topic", 1)
		want("g", "other", 3)
		alive(2 * time.Hour)
		want("simple", "topic", -1)
		want("g", "topic", 3) // which the member consumes
		want("g", "other", -1)
		for _, group := range []string{"simple", "short"} {
			if d := p.describe(group); d.GroupState != "Dead" {
				t.Errorf("%+v", d)
			}
		}
		// Without members the time counts from when the last one left.
		if code := p.commit("g", id, generation, "other", 0, 4); code != 0 {
			t.Error(code)
		}
		pass(keep - time.Hour)
		p = g.dial() // the connection was idle for too long
		want("g", "topic", 3)
		g.crash()
		p = g.dial()
		// That of a client without a member counts from when it was committed.
		if code := p.commit("g", "", -1, "topic", 1, 5); code != 0 {
			t.Error(code)
		}
		pass(2 * time.Hour)
		p = g.dial()
		want("g", "topic", -1)
		want("g", "other", -1)
		if offset, code := p.committed("g", "topic", 1, false); offset != 5 || code != 0 {
			t.Error(offset, code)
		}
		pass(keep)
		p = g.dial()
		g.crash()
		p = g.dial()
		if d := p.describe("g"); d.GroupState != "Dead" {
			t.Errorf("%+v", d)
		}
	})
}

// A small request cannot ask for a large response.
func TestGroupsAskedForAgainAndAgain(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		const parts = 64
		g.topic("topic", parts)
		p := g.dial()
		p.find("g")
		var many []GroupOffset
		for i := range int32(parts) {
			many = append(many, GroupOffset{Topic: "topic", Partition: i, Offset: 1})
		}
		if err := g.b.CommitGroupOffsets(g.t.Context(), "g", many...); err != nil {
			t.Fatal(err)
		}
		req := new(kafkawire.OffsetFetchRequest)
		for range maxFetchedOffsets/parts + 1 {
			req.Groups = append(req.Groups, kafkawire.OffsetFetchRequestGroup{GroupID: "g", MemberEpoch: -1})
		}
		r := ask[*kafkawire.OffsetFetchResponse](p.peer, req, 8)
		last := len(r.Groups) - 1
		if r.Groups[last].ErrorCode != kafkawire.ErrInvalidRequest || r.Groups[last-1].ErrorCode != 0 || len(r.Groups[last-1].Topics[0].Partitions) != parts {
			t.Error(r.Groups[last].ErrorCode, r.Groups[last-1].ErrorCode)
		}
	})
}

// The coordinators of groups are spread over the nodes, and each says so.
func TestCoordinatorsOfSeveralNodes(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.opt.Nodes = []Node{{ID: 7, Host: "seven", Port: 7}, {ID: 8, Host: "eight", Port: 8}}
		g.open()
		p := g.dial()
		var keys []string
		for c := 'a'; c <= 'z'; c++ {
			keys = append(keys, string(c))
		}
		r := ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: keys}, 4)
		count := make(map[string]int)
		for _, c := range r.Coordinators {
			count[c.Host]++
			one := ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKey: c.Key}, 3)
			if one.ErrorCode != 0 || one.NodeID != c.NodeID || one.Host != c.Host || one.Port != c.Port {
				t.Errorf("%+v and %+v", one, c)
			}
			want := kafkawire.ErrUnknownMemberID
			if c.NodeID != 7 { // that of the connection
				want = kafkawire.ErrNotCoordinator
			}
			if code := p.heartbeat(c.Key, "m", 1); code != want {
				t.Errorf("%s at %d: %v", c.Key, c.NodeID, code)
			}
		}
		if count["seven"] < 5 || count["eight"] < 5 || count["seven"]+count["eight"] != 26 {
			t.Error(count)
		}
		bad := ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: keys[:1], KeyType: 9}, 4)
		if bad.Coordinators[0].ErrorCode != kafkawire.ErrInvalidRequest {
			t.Errorf("%+v", bad)
		}
		txn := ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKey: "t", KeyType: 1}, 1)
		if txn.ErrorCode != 0 || txn.Port == 0 {
			t.Errorf("%+v", txn)
		}
	})
}
