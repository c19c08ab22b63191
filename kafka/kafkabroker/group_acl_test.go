package kafkabroker

import (
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// What a client may not do with groups is answered as Kafka does it.
func TestGroupsRefused(t *testing.T) {
	b := secured(t, &Options{OffsetsPartitions: 1, TransactionPartitions: 1, Config: map[string]string{"group.initial.rebalance.delay.ms": "0"}}, "alice", "eve")
	for _, name := range []string{"topic", "secret"} {
		if err := b.CreateTopic(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.AddACLs(
		allow("alice", kafka.OperationRead, kafka.ResourceGroup, "g"), allow("alice", kafka.OperationDescribe, kafka.ResourceGroup, "g"),
		allow("alice", kafka.OperationRead, kafka.ResourceTopic, "topic"),
		allow("eve", kafka.OperationDescribe, kafka.ResourceGroup, "described"),
	); err != nil {
		t.Fatal(err)
	}
	admin, alice, eve := login(t, b, "admin"), login(t, b, "alice"), login(t, b, "eve")
	find := func(p *peer, key string, kind int8) kafkawire.ErrorCode {
		return ask[*kafkawire.FindCoordinatorResponse](p, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{key}, KeyType: kind}, 4).Coordinators[0].ErrorCode
	}
	want := func(what string, got, want kafkawire.ErrorCode) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	const group, topic = kafkawire.ErrGroupAuthorizationFailed, kafkawire.ErrTopicAuthorizationFailed
	want("coordinator", find(alice, "g", 0), 0)
	want("coordinator", find(eve, "g", 0), group)
	want("coordinator of a transaction", find(eve, "x", 1), kafkawire.ErrTransactionalIDAuthorizationFailed)
	old := ask[*kafkawire.FindCoordinatorResponse](eve, &kafkawire.FindCoordinatorRequest{CoordinatorKey: "g"}, 2)
	want("coordinator", old.ErrorCode, group)

	a, e := groupPeer{peer: alice}, groupPeer{peer: eve}
	id, generation := a.join("g", "")
	want("join", ask[*kafkawire.JoinGroupResponse](eve, joinRequest("g", ""), 9).ErrorCode, group)
	want("heartbeat", e.heartbeat("g", id, generation), group)
	s := &kafkawire.SyncGroupRequest{GroupID: "g", MemberID: id, GenerationID: generation}
	want("sync", ask[*kafkawire.SyncGroupResponse](eve, s, 4).ErrorCode, group)
	l := &kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{{MemberID: id}}}
	want("leave", ask[*kafkawire.LeaveGroupResponse](eve, l, 5).ErrorCode, group)
	want("leave", ask[*kafkawire.LeaveGroupResponse](eve, &kafkawire.LeaveGroupRequest{GroupID: "g", MemberID: id}, 1).ErrorCode, group)

	want("commit", a.commit("g", id, generation, "topic", 0, 5), 0)
	want("commit", a.commit("g", id, generation, "secret", 0, 5), topic)
	want("commit", e.commit("g", id, generation, "topic", 0, 5), group)
	ad := groupPeer{peer: admin}
	want("commit", ad.commit("described", "", -1, "secret", 0, 6), 0)

	f := &kafkawire.OffsetFetchRequest{Groups: []kafkawire.OffsetFetchRequestGroup{
		{GroupID: "g", MemberEpoch: -1, Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: "topic", PartitionIndexes: []int32{0}}, {Name: "secret", PartitionIndexes: []int32{0}}}},
		{GroupID: "described", MemberEpoch: -1}}}
	r := ask[*kafkawire.OffsetFetchResponse](alice, f, 9)
	want("fetch", r.Groups[0].Topics[0].Partitions[0].ErrorCode, 0)
	want("fetch", r.Groups[0].Topics[1].Partitions[0].ErrorCode, topic)
	want("fetch", r.Groups[1].ErrorCode, group)
	r = ask[*kafkawire.OffsetFetchResponse](eve, f, 9)
	want("fetch", r.Groups[0].ErrorCode, group)
	want("fetch", r.Groups[1].ErrorCode, 0)
	if len(r.Groups[1].Topics) != 0 {
		t.Errorf("eve sees %+v", r.Groups[1])
	}
	for version := int16(1); version <= 7; version++ {
		r := ask[*kafkawire.OffsetFetchResponse](eve, &kafkawire.OffsetFetchRequest{GroupID: "g", Topics: []kafkawire.OffsetFetchRequestTopic{{Name: "topic", PartitionIndexes: []int32{0}}}}, version)
		code := r.ErrorCode
		if version < 2 {
			code = r.Topics[0].Partitions[0].ErrorCode
		}
		want("fetch", code, group)
	}

	d := &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{"g"}, IncludeAuthorizedOperations: true}
	want("describe", ask[*kafkawire.DescribeGroupsResponse](eve, d, 5).Groups[0].ErrorCode, group)
	if g := ask[*kafkawire.DescribeGroupsResponse](alice, d, 5).Groups[0]; g.ErrorCode != 0 || g.AuthorizedOperations != 1<<kafka.OperationRead|1<<kafka.OperationDescribe {
		t.Errorf("%+v", g)
	}
	for p, n := range map[*peer]int{admin: 2, alice: 1, eve: 1} {
		if list := ask[*kafkawire.ListGroupsResponse](p, new(kafkawire.ListGroupsRequest), 5).Groups; len(list) != n {
			t.Errorf("%+v, want %d", list, n)
		}
	}
	want("delete", ask[*kafkawire.DeleteGroupsResponse](alice, &kafkawire.DeleteGroupsRequest{GroupsNames: []kafkawire.GroupID{"g"}}, 2).Results[0].ErrorCode, group)
	want("delete offsets", ask[*kafkawire.OffsetDeleteResponse](alice, &kafkawire.OffsetDeleteRequest{GroupID: "g"}, 0).ErrorCode, group)

	x := &kafkawire.TxnOffsetCommitRequest{TransactionalID: "x", GroupID: "g", GenerationIDOrMemberEpoch: -1, Topics: []kafkawire.TxnOffsetCommitRequestTopic{
		{Name: "topic", Partitions: []kafkawire.TxnOffsetCommitRequestPartition{{}}}}}
	want("transaction", ask[*kafkawire.TxnOffsetCommitResponse](alice, x, 3).Topics[0].Partitions[0].ErrorCode, kafkawire.ErrTransactionalIDAuthorizationFailed)
}
