package kafkabroker

import (
	"runtime"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestLongGroupCommits: the record of each offset has the name of its group, so that one request could be gigabytes of records.
func TestLongGroupCommits(t *testing.T) {
	b := openBroker(t, smallOptions())
	p := connect(t, b)
	p.mustCreate("t", 1)
	group := strings.Repeat("g", 30_000)
	ask[*kafkawire.FindCoordinatorResponse](p, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{group}}, 4)
	req := &kafkawire.OffsetCommitRequest{
		GroupID: kafkawire.GroupID(group), GenerationIDOrMemberEpoch: -1,
		Topics: []kafkawire.OffsetCommitRequestTopic{{Name: "t", Partitions: make([]kafkawire.OffsetCommitRequestPartition, 50_000)}},
	}
	n := allocated(func() {
		list := ask[*kafkawire.OffsetCommitResponse](p, req, 9).Topics[0].Partitions
		if a, z := list[0].ErrorCode, list[len(list)-1].ErrorCode; a != kafkawire.ErrInvalidCommitOffsetSize || z != a {
			t.Error(a, z)
		}
	})
	if n > 200<<20 {
		t.Errorf("%d MiB", n>>20)
	}
	req.Topics[0].Partitions = req.Topics[0].Partitions[:10]
	if code := ask[*kafkawire.OffsetCommitResponse](p, req, 9).Topics[0].Partitions[9].ErrorCode; code != noError {
		t.Error(code)
	}
}

// TestCrowdedRequests: requests with too many empty names, or numbers, end the connection.
func TestCrowdedRequests(t *testing.T) {
	b := openBroker(t, smallOptions())
	const n = 200_001
	names := make([]string, n)
	for _, c := range []struct {
		m       kafkawire.Request
		version int16
	}{
		{&kafkawire.FindCoordinatorRequest{CoordinatorKeys: names}, 6},
		{&kafkawire.DescribeGroupsRequest{Groups: make([]kafkawire.GroupID, n)}, 5},
		{&kafkawire.DeleteGroupsRequest{GroupsNames: make([]kafkawire.GroupID, n)}, 2},
		{&kafkawire.LeaveGroupRequest{GroupID: "g", Members: make([]kafkawire.LeaveGroupRequestMember, n)}, 5},
		{&kafkawire.OffsetFetchRequest{Groups: make([]kafkawire.OffsetFetchRequestGroup, n)}, 9},
		{&kafkawire.OffsetFetchRequest{Topics: []kafkawire.OffsetFetchRequestTopic{{PartitionIndexes: make([]int32, n)}}}, 1},
		{&kafkawire.OffsetDeleteRequest{Topics: []kafkawire.OffsetDeleteRequestTopic{{Partitions: make([]kafkawire.OffsetDeleteRequestPartition, n)}}}, 0},
		{&kafkawire.DescribeTransactionsRequest{TransactionalIDs: make([]kafkawire.TransactionalID, n)}, 0},
		{&kafkawire.ListTransactionsRequest{StateFilters: names}, 1},
		{&kafkawire.AddPartitionsToTxnRequest{V3AndBelowTopics: []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{{Partitions: make([]int32, n)}}}, 3},
		{&kafkawire.WriteTxnMarkersRequest{Markers: []kafkawire.WriteTxnMarkersRequestMarker{{
			Topics: []kafkawire.WriteTxnMarkersRequestTopic{{PartitionIndexes: make([]int32, n)}}}}}, 1},
		{&kafkawire.MetadataRequest{Topics: make([]kafkawire.MetadataRequestTopic, n)}, 12},
		{&kafkawire.DescribeConfigsRequest{Resources: []kafkawire.DescribeConfigsRequestResource{{ConfigurationKeys: names}}}, 4},
		{&kafkawire.IncrementalAlterConfigsRequest{Resources: []kafkawire.IncrementalAlterConfigsRequestResource{{
			Configs: make([]kafkawire.IncrementalAlterConfigsRequestConfig, n)}}}, 1},
		{&kafkawire.ElectLeadersRequest{TopicPartitions: []kafkawire.ElectLeadersRequestTopic{{Partitions: make([]int32, n)}}}, 2},
		{&kafkawire.ListOffsetsRequest{Topics: make([]kafkawire.ListOffsetsRequestTopic, n)}, 8},
	} {
		p := connect(t, b)
		if err := p.receive(c.m.NewResponse(), c.version, p.send(c.m, c.version)); err == nil {
			t.Errorf("%T was answered", c.m)
		}
	}
}

// TestCrowdedMemory: a request with as many empty names as have room in it is refused before there is memory for them.
func TestCrowdedMemory(t *testing.T) {
	p := connect(t, openBroker(t, smallOptions()))
	const size = maxRequestSize - 1<<10
	m := &kafkawire.FindCoordinatorRequest{CoordinatorKeys: make([]string, size)}
	frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: 4, CorrelationID: 1}, m)
	if err != nil {
		t.Fatal(err)
	}
	n := allocated(func() {
		if _, err := p.nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		if err := p.receive(m.NewResponse(), 4, 1); err == nil {
			t.Error("it was answered")
		}
	})
	if n > 64<<20 { // the request itself is read into memory that grows with it
		t.Errorf("%d MiB", n>>20)
	}
}

// TestMetadataTwice: who asks for a topic again and again is told of it once.
func TestMetadataTwice(t *testing.T) {
	p := connect(t, openBroker(t, smallOptions()))
	id := p.mustCreate("t", 3)
	req := &kafkawire.MetadataRequest{}
	for range 3 {
		req.Topics = append(req.Topics, kafkawire.MetadataRequestTopic{Name: new(kafkawire.TopicName("t"))},
			kafkawire.MetadataRequestTopic{TopicID: id}, kafkawire.MetadataRequestTopic{Name: new(kafkawire.TopicName("none"))})
	}
	list := ask[*kafkawire.MetadataResponse](p, req, 12).Topics
	if len(list) != 3 || *list[0].Name != "t" || *list[1].Name != "t" || list[2].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Errorf("%+v", list)
	}
}

// TestLongNames: what clients say of themselves at great length neither ends in a response that cannot be encoded nor in a
// record that cannot be read.
func TestLongNames(t *testing.T) {
	p := groupPeer{peer: connect(t, openBroker(t, &Options{
		OffsetsPartitions: 1, Config: map[string]string{"group.initial.rebalance.delay.ms": "0"}}))}
	p.mustCreate("t", 1)
	long := strings.Repeat("\x01", 32_767)
	ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"g"}}, 4)
	p.client = long
	p.join("g", long)
	p.join("h", "")
	p.client = "test"
	req := &kafkawire.IncrementalAlterConfigsRequest{Resources: []kafkawire.IncrementalAlterConfigsRequestResource{{
		ResourceType: 2, ResourceName: "t", Configs: []kafkawire.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: &long}},
	}}}
	a := ask[*kafkawire.IncrementalAlterConfigsResponse](p.peer, req, 0).Responses[0]
	if a.ErrorCode != kafkawire.ErrInvalidConfig || len(*a.ErrorMessage) > 2*maxErrorText {
		t.Error(a.ErrorCode, len(*a.ErrorMessage))
	}
}
