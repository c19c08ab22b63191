package kafkabroker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// BenchmarkOffsetCommit commits one offset per request. Each of the clients waits for the answer before it sends the next
// one; their groups are spread over the partitions of the offsets topic.
func BenchmarkOffsetCommit(b *testing.B) {
	for _, o := range []struct {
		name    string
		clients int
		sync    Sync
	}{{"1", 1, SyncNever}, {"16", 16, SyncNever}, {"1,sync", 1, SyncAcks}, {"16,sync", 16, SyncAcks}} {
		b.Run(o.name, func(b *testing.B) {
			broker := openBroker(b, &Options{Dir: b.TempDir(), Sync: o.sync, OffsetsPartitions: 8})
			if err := broker.CreateTopic("topic", nil); err != nil {
				b.Fatal(err)
			}
			if _, err := broker.internalTopic(offsetsTopic); err != nil {
				b.Fatal(err)
			}
			dial := serve(b, broker, "mem", nil)
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range o.clients {
				p := groupPeer{peer: dial()}
				wg.Go(func() {
					req := commitRequest(fmt.Sprint("group", i), "", -1, "topic", 0, 0)
					for n := 0; n < b.N/o.clients; n++ {
						req.Topics[0].Partitions[0].CommittedOffset = int64(n)
						if r := ask[*kafkawire.OffsetCommitResponse](p.peer, req, 8); r.Topics[0].Partitions[0].ErrorCode != 0 {
							b.Error(r.Topics[0].Partitions[0].ErrorCode)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkGroupsLoad opens a broker with a million committed offsets of 1,000 groups.
func BenchmarkGroupsLoad(b *testing.B) {
	dir := b.TempDir()
	o := &Options{Dir: dir, Sync: SyncNever, OffsetsPartitions: 8, Authenticate: AllowAll}
	broker, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	if err := broker.CreateTopic("topic", &TopicOptions{Partitions: 100}); err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		var list []GroupOffset
		for p := range int32(100) {
			list = append(list, GroupOffset{Topic: "topic", Partition: p, Offset: int64(i)})
		}
		if err := broker.CommitGroupOffsets(context.Background(), fmt.Sprint("group", i%1000), list...); err != nil {
			b.Fatal(err)
		}
	}
	if err := broker.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start := time.Now()
		if broker, err = Open(o); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/open")
		if err := broker.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
