//go:build !race

package kafkabroker

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestAllocations bounds what a request costs, with the client and the network in memory of the test, which allocate a few
// times themselves. Nothing is allocated for each partition.
func TestAllocations(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	const parts = 32
	p.mustCreate("t", parts)
	produce := produceTo("t", 0, batch("a"))
	fetch := fetchOf("t", 0, 0)
	for i := int32(1); i < parts; i++ {
		produce.TopicData[0].PartitionData = append(produce.TopicData[0].PartitionData, kafkawire.ProduceRequestPartition{Index: i, Records: batch("a")})
		fetch.Topics[0].Partitions = append(fetch.Topics[0].Partitions, fetchOf("t", i, 0).Topics[0].Partitions...)
	}
	buf := make([]byte, 1<<20)
	cost := func(m kafkawire.Request, version int16, limit float64) float64 {
		frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version}, m)
		if err != nil {
			t.Fatal(err)
		}
		ask := func() {
			if _, err := p.nc.Write(frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.nc, buf[:4]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.nc, buf[:binary.BigEndian.Uint32(buf)]); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			ask()
		}
		return alloctest.PerRun(200, limit, ask)
	}
	if n := cost(produce, 9, 30); n > 30 {
		t.Errorf("a produce request with %d partitions takes %.0f allocations", parts, n)
	}
	if n := cost(fetch, 12, 3*parts); n > 3*parts {
		t.Errorf("a fetch request with %d partitions takes %.0f allocations", parts, n)
	}
}
