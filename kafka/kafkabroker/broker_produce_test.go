package kafkabroker

import (
	"slices"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestProduceAndFetch(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("one", 2)
	m := ask[*kafkawire.MetadataResponse](p, &kafkawire.MetadataRequest{}, 12)
	if len(m.Topics) != 1 || len(m.Topics[0].Partitions) != 2 || m.Topics[0].Partitions[1].LeaderID != 1 || len(m.Brokers) != 1 || m.Brokers[0].Host != "mem" {
		t.Fatalf("%+v", m)
	}
	a := p.produce("one", 1, batch("a", "b"))
	if a.ErrorCode != 0 || a.BaseOffset != 0 {
		t.Fatalf("%+v", a)
	}
	if a = p.produce("one", 1, batch("c")); a.ErrorCode != 0 || a.BaseOffset != 2 {
		t.Fatalf("%+v", a)
	}
	for version := int16(4); version <= 12; version++ {
		f := ask[*kafkawire.FetchResponse](p, fetchOf("one", 1, 0), version).Responses[0].Partitions[0]
		if got := valuesOf(t, f.Records); !slices.Equal(got, []string{"a", "b", "c"}) || f.HighWatermark != 3 || f.ErrorCode != 0 {
			t.Fatalf("version %d: %q %+v", version, got, f)
		}
	}
	o := ask[*kafkawire.ListOffsetsResponse](p, &kafkawire.ListOffsetsRequest{ReplicaID: -1, Topics: []kafkawire.ListOffsetsRequestTopic{{
		Name: "one", Partitions: []kafkawire.ListOffsetsRequestPartition{{PartitionIndex: 1, CurrentLeaderEpoch: -1, Timestamp: -1}},
	}}}, 7).Topics[0].Partitions[0]
	if o.Offset != 3 || o.ErrorCode != 0 {
		t.Errorf("%+v", o)
	}
}
