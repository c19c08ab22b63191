package codecbench

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The Kafka messages that matter: metadata of 1,000 partitions in 100 topics, a fetch request of 100 partitions, a
// produce request of 10 partitions with 16 KiB each.

func metadataResponse() *kafkawire.MetadataResponse {
	m := new(kafkawire.MetadataResponse)
	m.Reset()
	m.ClusterID = new("cluster")
	for i := range 3 {
		m.Brokers = append(m.Brokers, kafkawire.MetadataResponseBroker{NodeID: kafkawire.BrokerID(i), Host: fmt.Sprintf("broker-%d.example.com", i), Port: 9092, Rack: new("a")})
	}
	for i := range 100 {
		t := kafkawire.MetadataResponseTopic{Name: new(kafkawire.TopicName(fmt.Sprintf("topic-%d", i))), TopicID: kafkawire.UUID{byte(i)}}
		for j := range 10 {
			t.Partitions = append(t.Partitions, kafkawire.MetadataResponsePartition{
				PartitionIndex: int32(j), LeaderID: kafkawire.BrokerID(j % 3), LeaderEpoch: 4,
				ReplicaNodes: []kafkawire.BrokerID{0, 1, 2}, ISRNodes: []kafkawire.BrokerID{0, 1, 2},
			})
		}
		m.Topics = append(m.Topics, t)
	}
	return m
}

func fetchRequest() *kafkawire.FetchRequest {
	m := new(kafkawire.FetchRequest)
	m.Reset()
	m.MaxWaitMs, m.MinBytes = 500, 1
	t := kafkawire.FetchRequestTopic{Topic: "topic"}
	for i := range 100 {
		var p kafkawire.FetchRequestPartition
		p.Reset()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = int32(i), 1000, 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	m.Topics = []kafkawire.FetchRequestTopic{t}
	return m
}

func produceRequest() *kafkawire.ProduceRequest {
	m := &kafkawire.ProduceRequest{Acks: -1, TimeoutMs: 30_000}
	t := kafkawire.ProduceRequestTopic{Name: "topic"}
	for i := range 10 {
		t.PartitionData = append(t.PartitionData, kafkawire.ProduceRequestPartition{Index: int32(i), Records: make([]byte, 16<<10)})
	}
	m.TopicData = []kafkawire.ProduceRequestTopic{t}
	return m
}

// kmsgMessage is what requests and responses of kmsg have in common.
type kmsgMessage interface {
	SetVersion(int16)
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

func BenchmarkKafka(b *testing.B) {
	for _, c := range []struct {
		name    string
		version int16
		ours    kafkawire.Message
		theirs  kmsgMessage
	}{
		{"metadata", 12, metadataResponse(), kmsg.NewPtrMetadataResponse()},
		{"fetch", 12, fetchRequest(), kmsg.NewPtrFetchRequest()},
		{"produce", 9, produceRequest(), kmsg.NewPtrProduceRequest()},
	} {
		wire, err := c.ours.Append(nil, c.version)
		if err != nil {
			b.Fatal(err)
		}
		c.theirs.SetVersion(c.version)
		if err := c.theirs.ReadFrom(wire); err != nil {
			b.Fatal(err)
		}
		run := func(name string, f func()) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(wire)))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		dst := make([]byte, 0, 2*len(wire))
		run("decode/quartet", func() { c.ours.Decode(wire, c.version) })
		run("decode/kmsg", func() { c.theirs.ReadFrom(wire) })
		run("encode/quartet", func() { c.ours.Append(dst, c.version) })
		run("encode/kmsg", func() { c.theirs.AppendTo(dst) })
	}
}

// BenchmarkKafkaViews reads the requests of a broker's hot paths in place.
func BenchmarkKafkaViews(b *testing.B) {
	produce, err := produceRequest().Append(nil, 9)
	if err != nil {
		b.Fatal(err)
	}
	fetch, err := fetchRequest().Append(nil, 12)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("produce", func(b *testing.B) {
		b.ReportAllocs()
		var v kafkawire.ProduceView
		for b.Loop() {
			for v.Decode(produce, 9); v.Next(); {
			}
		}
	})
	b.Run("fetch", func(b *testing.B) {
		b.ReportAllocs()
		var v kafkawire.FetchView
		for b.Loop() {
			for v.Decode(fetch, 12); v.Next(); {
			}
		}
	})
}
