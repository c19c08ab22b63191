package kafkawire

import (
	"fmt"
	"runtime"
	"testing"
)

// metadata returns a response of many partitions.
func metadata(topics, partitions int) *MetadataResponse {
	m := new(MetadataResponse)
	m.Reset()
	m.ClusterID = new("cluster-of-three")
	for i := range 3 {
		m.Brokers = append(m.Brokers, MetadataResponseBroker{NodeID: BrokerID(i), Host: fmt.Sprintf("broker-%d.example.com", i), Port: 9092, Rack: new("rack-a")})
	}
	for i := range topics {
		t := MetadataResponseTopic{Name: new(TopicName(fmt.Sprintf("topic-%d", i))), TopicID: UUID{byte(i)}}
		for j := range partitions {
			t.Partitions = append(t.Partitions, MetadataResponsePartition{
				PartitionIndex: int32(j), LeaderID: BrokerID(j % 3), LeaderEpoch: 4,
				ReplicaNodes: []BrokerID{0, 1, 2}, ISRNodes: []BrokerID{0, 1, 2}, OfflineReplicas: []BrokerID{},
			})
		}
		m.Topics = append(m.Topics, t)
	}
	return m
}

func TestAllocations(t *testing.T) {
	for _, tt := range []struct {
		name    string
		message Message
		version int16
		most    float64
	}{
		{"metadata of 100 topics with 10 partitions", metadata(100, 10), 12, 9},
		{"metadata of a topic with 1,000 partitions", metadata(1, 1000), 12, 9},
		{"metadata of 1,000 topics with a partition", metadata(1000, 1), 9, 9},
		{"produce of 10 topics with 10 partitions", produce(10, 10), 9, 3},
		{"produce of 1,000 topics", produce(1000, 1), 9, 5},
		{"1,000 members of a group", members(1000), 5, 7},
		{"a heartbeat", &HeartbeatRequest{GroupID: "group", MemberID: "member", GroupInstanceID: new("instance")}, 4, 2},
	} {
		b, err := tt.message.Append(nil, tt.version)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 0, len(b))
		if n := testing.AllocsPerRun(100, func() { tt.message.Append(dst, tt.version) }); n != 0 {
			t.Errorf("%s: %v allocations to encode", tt.name, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := tt.message.Decode(b, tt.version); err != nil {
				t.Fatal(err)
			}
		}); n > tt.most {
			t.Errorf("%s: %v allocations to decode, want at most %v", tt.name, n, tt.most)
		}
	}
}

func produce(topics, partitions int) *ProduceRequest {
	m := &ProduceRequest{Acks: -1, TimeoutMs: 30_000}
	for i := range topics {
		t := ProduceRequestTopic{Name: TopicName(fmt.Sprintf("topic-%d", i))}
		for j := range partitions {
			t.PartitionData = append(t.PartitionData, ProduceRequestPartition{Index: int32(j), Records: make([]byte, 100)})
		}
		m.TopicData = append(m.TopicData, t)
	}
	return m
}

func members(n int) *JoinGroupResponse {
	m := &JoinGroupResponse{ProtocolName: new("range"), Leader: "leader", MemberID: "leader"}
	for i := range n {
		m.Members = append(m.Members, JoinGroupResponseMember{
			MemberID: fmt.Sprintf("member-%d", i), GroupInstanceID: new(fmt.Sprintf("instance-%d", i)), Metadata: make([]byte, 100),
		})
	}
	return m
}

// TestSlabsStayBounded: memory is not allocated for what the input cannot hold, however the first topic misleads.
func TestSlabsStayBounded(t *testing.T) {
	m := metadata(1, 1000)
	more := metadata(1000, 1)
	m.Topics = append(m.Topics, more.Topics...)
	b, err := m.Append(nil, 12)
	if err != nil {
		t.Fatal(err)
	}
	var got MetadataResponse
	if n := testing.AllocsPerRun(10, func() { got.Decode(b, 12) }); n > 12 {
		t.Errorf("%v allocations", n)
	}
	total := 0
	for _, topic := range got.Topics {
		total += cap(topic.Partitions)
	}
	if total != 2000 {
		t.Errorf("%d partitions can be reached", total)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// TestManySmallArrays: memory grows with the input, not with its square.
func TestManySmallArrays(t *testing.T) {
	const n = 5000
	m := &ShareFetchRequest{Topics: []ShareFetchRequestTopic{{Partitions: make([]ShareFetchRequestPartition, 1)}}}
	for range n {
		p := &m.Topics[0].Partitions[0]
		p.AcknowledgementBatches = append(p.AcknowledgementBatches, ShareFetchRequestAcknowledgementBatche{AcknowledgeTypes: []int8{1}})
	}
	b, err := m.Append(nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	if size := allocated(func() { err = m.Decode(b, 1) }); err != nil || size > 1<<20 {
		t.Errorf("%v, %d bytes for %d of input", err, size, len(b))
	}
}
