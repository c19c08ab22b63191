package kafkabroker

import (
	"fmt"
	"testing"
)

// BenchmarkTransaction is a transaction of a record in each of some partitions, begun, committed and complete, over the wire:
// what the coordinator and its log cost.
func BenchmarkTransaction(b *testing.B) {
	for _, sync := range []Sync{SyncNever, SyncAcks} {
		for _, partitions := range []int32{1, 8} {
			b.Run(fmt.Sprintf("sync=%v,partitions=%d", sync == SyncAcks, partitions), func(b *testing.B) {
				o := smallOptions()
				o.Dir, o.Sync = b.TempDir(), sync
				c := txnProducer(b, openBroker(b, o), "tx", 2)
				c.mustCreate("t", partitions)
				c.begin()
				for b.Loop() {
					for p := range partitions {
						if code := c.write("t", p, "value"); code != noError {
							b.Fatal(code)
						}
					}
					if code := c.end(true); code != noError {
						b.Fatal(code)
					}
				}
			})
		}
	}
}
