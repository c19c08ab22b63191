package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Records are given up in the middle, by their time and by their contexts, while requests fail, brokers forget the producer,
// leaders move and the producer forgets topics: what was acknowledged is in the log once, what failed without a doubt is
// not, what is in doubt is at most once, and everything is in order. Half of it goes over streams.
func TestChaosGiveUp(t *testing.T) {
	for seed := range uint64(16) {
		synctest.Test(t, func(t *testing.T) {
			const partitions, n = 3, 1200
			rnd := rand.New(rand.NewPCG(seed, 11))
			faults := chaos(seed, 0.25, kafkawire.KeyProduce, kafkawire.KeyInitProducerID, kafkawire.KeyMetadata)
			b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 3, Streams: seed%2 == 1, Topics: map[string]int{"chaos": partitions}, Faults: faults})
			c := b.Client(t, &kafkaclient.Options{RequestTimeout: 2 * time.Second})
			if seed%2 == 1 {
				c = streamClient(t, b, &kafkaclient.Options{RequestTimeout: 2 * time.Second})
			}
			o := &kafkaclient.ProducerOptions{Partitioner: kafkaclient.ManualPartitioner, BatchSize: 300, DeliveryTimeout: 1500 * time.Millisecond}
			if seed%4 >= 2 {
				o.Compression = compress.LZ4
			}
			p, err := c.NewProducer(o)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			result := make([]error, n)
			told := make([]int, n)
			for i := range n {
				ctx := t.Context()
				if rnd.IntN(3) == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(300))*time.Millisecond)
					defer cancel()
				}
				done := func(_ *kafkaclient.Record, err error) {
					mu.Lock()
					defer mu.Unlock()
					result[i] = err
					told[i]++
				}
				r := &kafkaclient.Record{Topic: "chaos", Partition: int32(i % partitions), Value: fmt.Append(nil, i)}
				if err := p.ProduceAsync(ctx, r, done); err != nil {
					done(r, &kafkaclient.ProduceError{Err: err})
				}
				switch rnd.IntN(60) {
				case 0, 1, 2, 3, 4, 5:
					time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
				case 6:
					b.MoveLeader(t, "chaos", int32(rnd.IntN(partitions)), int32(1+rnd.IntN(3)))
				case 7: // both take long without records
					if rnd.IntN(3) > 0 {
						break
					}
					if err := p.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(20 * time.Minute)
					if rnd.IntN(2) == 0 {
						b.ForgetProducers(t, "chaos", int32(rnd.IntN(partitions)))
					}
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			faults.Clear()
			time.Sleep(10 * time.Second)
			count := make([]int, n)
			last := [partitions]int{-1, -1, -1}
			for _, r := range b.Records(t, "chaos") {
				i, _ := strconv.Atoi(string(r.Value))
				count[i]++
				if i <= last[r.Partition] {
					t.Errorf("seed %d: partition %d: %d after %d", seed, r.Partition, i, last[r.Partition])
				}
				last[r.Partition] = i
			}
			failed, doubts := 0, 0
			mu.Lock()
			defer mu.Unlock()
			for i := range n {
				e, _ := errors.AsType[*kafkaclient.ProduceError](result[i])
				switch {
				case told[i] != 1:
					t.Errorf("seed %d: record %d: told %d times", seed, i, told[i])
				case result[i] == nil && count[i] != 1, count[i] > 1, result[i] != nil && e == nil:
					t.Errorf("seed %d: record %d is there %d times: %v", seed, i, count[i], result[i])
				case e != nil && !e.Doubt && count[i] != 0:
					t.Errorf("seed %d: record %d is there and failed without a doubt: %v", seed, i, e)
				case e != nil && e.Doubt:
					doubts++
				case e != nil:
					failed++
				}
			}
			if failed == 0 || failed+doubts == n {
				t.Errorf("seed %d: %d failed, %d in doubt", seed, failed, doubts)
			}
			c.Close()
		})
	}
}
