package kafkabroker

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// When nothing can be written members and committers are told to look for the coordinator again, and what was not written
// is not there. When there is room again everything goes on.
func TestGroupsOnAFullDisk(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		p := g.dial()
		p.find("g")
		id, generation := p.join("g", "")
		if code := p.commit("g", id, generation, "topic", 0, 1); code != 0 {
			t.Fatal(code)
		}
		g.fs.SetCapacity(0)
		if code := p.commit("g", id, generation, "topic", 0, 2); code != kafkawire.ErrNotCoordinator {
			t.Error(code)
		}
		if offset, _ := p.committed("g", "topic", 0, false); offset != 1 {
			t.Error(offset)
		}
		if r := ask[*kafkawire.JoinGroupResponse](p.peer, joinRequest("g", id), 9); r.ErrorCode != 0 || r.GenerationID != 2 {
			t.Errorf("%+v", r)
		}
		s := &kafkawire.SyncGroupRequest{GroupID: "g", MemberID: id, GenerationID: 2, ProtocolType: new("consumer"), ProtocolName: new("range"),
			Assignments: []kafkawire.SyncGroupRequestAssignment{{MemberID: id, Assignment: []byte("two")}}}
		if r := ask[*kafkawire.SyncGroupResponse](p.peer, s, 5); r.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", r)
		}
		del := &kafkawire.OffsetDeleteRequest{GroupID: "g", Topics: []kafkawire.OffsetDeleteRequestTopic{{Name: "topic", Partitions: []kafkawire.OffsetDeleteRequestPartition{{}}}}}
		if r := ask[*kafkawire.OffsetDeleteResponse](p.peer, del, 0); r.ErrorCode != 0 || r.Topics[0].Partitions[0].ErrorCode != kafkawire.ErrGroupSubscribedToTopic {
			t.Errorf("%+v", r)
		}
		g.fs.SetCapacity(math.MaxInt64)
		if r := ask[*kafkawire.JoinGroupResponse](p.peer, joinRequest("g", id), 9); r.ErrorCode != 0 || r.GenerationID != 3 {
			t.Errorf("%+v", r)
		}
		s.GenerationID = 3
		if r := ask[*kafkawire.SyncGroupResponse](p.peer, s, 5); r.ErrorCode != 0 || string(r.Assignment) != "two" {
			t.Errorf("%+v", r)
		}
		if code := p.commit("g", id, 3, "topic", 0, 3); code != 0 {
			t.Error(code)
		}
		g.crash()
		p = g.dial()
		if offset, _ := p.committed("g", "topic", 0, false); offset != 3 {
			t.Error(offset)
		}
		if code := p.heartbeat("g", id, 3); code != 0 {
			t.Error(code)
		}
	})
}

// When a sync fails nobody is told that something is durable.
func TestGroupsWithABrokenDisk(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		p, q := g.dial(), g.dial()
		p.find("g")
		id, generation := p.join("g", "")
		if r := ask[*kafkawire.JoinGroupResponse](q.peer, joinRequest("h", ""), 2); r.ErrorCode != 0 {
			t.Fatalf("%+v", r)
		} else {
			g.fs.SetFail(func(op vfs.Op, name string) error {
				if op == vfs.OpSync && strings.Contains(name, offsetsTopic) {
					return errors.New("broken")
				}
				return nil
			})
			s := &kafkawire.SyncGroupRequest{GroupID: "h", MemberID: r.MemberID, GenerationID: 1}
			if a := ask[*kafkawire.SyncGroupResponse](q.peer, s, 2); a.ErrorCode != kafkawire.ErrNotCoordinator {
				t.Errorf("%+v", a)
			}
		}
		if code := p.commit("g", id, generation, "topic", 0, 2); code != kafkawire.ErrNotCoordinator {
			t.Error(code)
		}
		r := ask[*kafkawire.OffsetFetchResponse](p.peer, &kafkawire.OffsetFetchRequest{GroupID: "g"}, 7)
		if r.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", r)
		}
		l := ask[*kafkawire.LeaveGroupResponse](p.peer, &kafkawire.LeaveGroupRequest{GroupID: "g", MemberID: id}, 1)
		if l.ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", l)
		}
		g.fs.SetFail(nil)
		g.fs = g.fs.DropClone()
		g.srv.Close()
		g.b.Close() // with an error
		g.open()
		p = g.dial()
		if code := p.heartbeat("g", id, generation); code != 0 {
			t.Error(code)
		}
	})
}

// A topic whose deletion is not finished when the broker ends leaves no offsets to one of the same name.
func TestGroupsOfATopicThatIsHalfDeleted(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		topic := g.topic("topic", 1)
		p := g.dial()
		p.find("g")
		if code := p.commit("g", "", -1, "topic", 0, 7); code != 0 {
			t.Fatal(code)
		}
		g.fs.SetFail(func(op vfs.Op, name string) error {
			if op == vfs.OpWrite && strings.Contains(name, offsetsTopic) {
				return errors.New("broken")
			}
			return nil
		})
		g.b.deleteTopic(topic)
		g.fs.SetFail(nil)
		g.fs = g.fs.DropClone()
		g.srv.Close()
		g.b.Close() // with an error
		g.open()
		g.topic("topic", 1)
		for range 2 {
			p = g.dial()
			if offset, code := p.committed("g", "topic", 0, false); offset != -1 || code != 0 {
				t.Error(offset, code)
			}
			g.crash()
		}
	})
}

// Commits that are too large for a batch are refused, and tombstones of many offsets are in several.
func TestManyOffsets(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		const n = 300
		g.topic("topic", n)
		p := g.dial()
		group := strings.Repeat("g", 2000)
		p.find(group)
		req := commitRequest(group, "", -1, "topic", 0, 7)
		parts := &req.Topics[0].Partitions
		for i := int32(1); i < n; i++ {
			*parts = append(*parts, kafkawire.OffsetCommitRequestPartition{PartitionIndex: i, CommittedOffset: 7, CommittedMetadata: new(strings.Repeat("x", 4000))})
		}
		r := ask[*kafkawire.OffsetCommitResponse](p.peer, req, 9)
		for _, a := range r.Topics[0].Partitions {
			if a.ErrorCode != kafkawire.ErrInvalidCommitOffsetSize {
				t.Fatalf("%+v", a)
			}
		}
		if _, ok := g.b.Group(group); ok {
			t.Error("a group of which nothing was committed")
		}
		for i := range *parts {
			(*parts)[i].CommittedMetadata = nil
		}
		r = ask[*kafkawire.OffsetCommitResponse](p.peer, req, 9)
		for _, a := range r.Topics[0].Partitions {
			if a.ErrorCode != 0 {
				t.Fatalf("%+v", a)
			}
		}
		g.crash()
		if list, err := g.b.GroupOffsets(group); len(list) != n || err != nil {
			t.Error(len(list), err)
		}
		if err := g.b.DeleteGroup(g.t.Context(), group); err != nil {
			t.Error(err)
		}
		g.crash()
		if list, err := g.b.GroupOffsets(group); len(list) != 0 || err != nil {
			t.Error(len(list), err)
		}
		p = g.dial()
		join := joinRequest("g", "")
		join.Protocols[0].Metadata = make([]byte, maxJoin)
		if r := ask[*kafkawire.JoinGroupResponse](p.peer, join, 3); r.ErrorCode != kafkawire.ErrInvalidRequest {
			t.Errorf("%+v", r)
		}
		// One that is taken may be too much for the record even so, when all are in it.
		join.Protocols[0].Metadata = make([]byte, maxJoin-1000)
		r2 := ask[*kafkawire.JoinGroupResponse](p.peer, join, 3)
		sync := &kafkawire.SyncGroupRequest{GroupID: "g", MemberID: r2.MemberID, GenerationID: 1}
		if r := ask[*kafkawire.SyncGroupResponse](p.peer, sync, 3); r2.ErrorCode != 0 || r.ErrorCode != kafkawire.ErrUnknownServerError {
			t.Errorf("%v, %+v", r2.ErrorCode, r)
		}
	})
}

// What others have put into the offsets topic does not keep the broker from opening.
func FuzzGroupRecords(f *testing.F) {
	add := func(key kafkawire.Message, kv int16, value kafkawire.Message, vv int16) {
		k, err := kafkawire.AppendVersioned(nil, key, kv)
		if err != nil {
			f.Fatal(err)
		}
		v, err := kafkawire.AppendVersioned(nil, value, vv)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(k, v)
	}
	for version := range int16(5) {
		c := &kafkawire.OffsetCommitValue{Offset: 1, LeaderEpoch: -1, ExpireTimestamp: -1}
		add(&kafkawire.OffsetCommitKey{Group: "g", Topic: "t"}, 1, c, version)
		m := &kafkawire.GroupMetadataValue{ProtocolType: "consumer", CurrentStateTimestamp: -1, Members: []kafkawire.GroupMetadataValueMemberMetadata{
			{MemberID: "m", RebalanceTimeout: -1, Subscription: []byte{0, 1, 0, 0, 0, 0}, Assignment: []byte{}}}}
		add(&kafkawire.GroupMetadataKey{Group: "g"}, 2, m, version)
	}
	f.Add([]byte{0, 3, 0}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var w kafka.BatchWriter
		w.Add(1, key, value)
		w.Add(1, binary.BigEndian.AppendUint16(nil, 99), nil)
		b, err := w.Append(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		g := &groupCoordinator{b: &Broker{}, maxMetadata: 100}
		s := newGroupShard(g, &partition{})
		l := groupLoader{s: s, states: make(map[string]*kafkawire.GroupMetadataValue), names: make(map[string]string)}
		if err := l.records(b, nil); err != nil {
			t.Fatal(err)
		}
		for id, v := range l.states {
			m := kafka.RestoreGroup(time.Unix(1, 0), id, v, &g.opt)
			for at := m.Timeout(); !at.IsZero(); at = m.Timeout() {
				m.Advance(at)
				for e, ok := m.Next(); ok; e, ok = m.Next() {
					if e.Kind == kafka.GroupPersist {
						if _, err := e.Record.Append(nil, kafka.GroupRecordVersion); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		for _, e := range s.groups {
			for k, c := range e.offsets {
				if err := s.addOffset(time.Unix(1, 0), e.id, k, &c); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// Members that ask all at once, from many connections, are each answered.
func TestGroupOfMany(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.opt.Config["group.initial.rebalance.delay.ms"] = "3000"
		g.open()
		g.dial().find("g")
		const n = 200
		peers := make([]groupPeer, n)
		for i := range peers {
			peers[i] = g.dial()
			peers[i].send(joinRequest("g", ""), 3)
		}
		synctest.Wait()
		ids := make([]string, n)
		leader := -1
		for i := range peers {
			var r kafkawire.JoinGroupResponse
			peers[i].next(&r, 3)
			if r.ErrorCode != 0 || r.GenerationID != 1 {
				t.Fatalf("%+v", r)
			}
			if ids[i] = r.MemberID; r.Leader == r.MemberID {
				if leader = i; len(r.Members) != n {
					t.Errorf("%d members", len(r.Members))
				}
			}
		}
		s := &kafkawire.SyncGroupRequest{GroupID: "g", GenerationID: 1}
		for i := range peers {
			s.MemberID = ids[i]
			if i == leader {
				continue
			}
			peers[i].send(s, 3)
		}
		for _, id := range ids {
			s.Assignments = append(s.Assignments, kafkawire.SyncGroupRequestAssignment{MemberID: id, Assignment: []byte(id)})
		}
		s.MemberID = ids[leader]
		peers[leader].send(s, 3)
		for i := range peers {
			var r kafkawire.SyncGroupResponse
			peers[i].next(&r, 3)
			if r.ErrorCode != 0 || string(r.Assignment) != ids[i] {
				t.Fatalf("%+v", r)
			}
		}
		g.crash()
		if v, _ := g.b.Group("g"); len(v.Members) != n || v.State != kafka.GroupStable {
			t.Errorf("%d members, %v", len(v.Members), v.State)
		}
	})
}
