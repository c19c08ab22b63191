package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// chaos returns faults that hit requests by chance.
func chaos(seed uint64, rate float64, keys ...kafkawire.APIKey) *kafkatest.Faults {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 7))
	f := new(kafkatest.Faults)
	f.Add(kafkatest.Rule{Keys: keys, Do: func(r *kafkatest.Request) kafkatest.Result {
		mu.Lock()
		defer mu.Unlock()
		if rnd.Float64() >= rate {
			return kafkatest.Result{}
		}
		switch rnd.IntN(6) {
		case 0:
			return kafkatest.Result{Cut: true}
		case 1, 2:
			return kafkatest.Result{CutReply: true}
		case 3:
			return kafkatest.Result{Lose: true}
		case 4:
			return kafkatest.Result{Delay: time.Duration(rnd.IntN(3000)) * time.Millisecond}
		}
		codes := []kafkawire.ErrorCode{kafkawire.ErrNotEnoughReplicas, kafkawire.ErrUnknownTopicOrPartition, kafkawire.ErrNotLeaderOrFollower}
		switch r.Key {
		case kafkawire.KeyEndTxn, kafkawire.KeyInitProducerID, kafkawire.KeyAddPartitionsToTxn:
			codes = []kafkawire.ErrorCode{kafkawire.ErrNotCoordinator, kafkawire.ErrCoordinatorLoadInProgress, kafkawire.ErrCoordinatorNotAvailable}
		case kafkawire.KeyMetadata, kafkawire.KeyFindCoordinator:
			return kafkatest.Result{Cut: true}
		}
		return kafkatest.Fail(codes[rnd.IntN(len(codes))])(r)
	}})
	return f
}

// Requests are cut, lost, delayed and refused, answers get lost and leaders move: an idempotent producer writes each record
// once and in order.
func TestChaosProduce(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 8))
			faults := chaos(seed, 0.1, kafkawire.KeyProduce, kafkawire.KeyInitProducerID, kafkawire.KeyMetadata)
			b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 3, Topics: map[string]int{"chaos": 3}, Faults: faults})
			c := b.Client(t, &kafkaclient.Options{RequestTimeout: 2 * time.Second})
			p, err := c.NewProducer(&kafkaclient.ProducerOptions{Partitioner: kafkaclient.ManualPartitioner, BatchSize: 500, DeliveryTimeout: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			const n = 1500
			for i := range n {
				err := p.ProduceAsync(t.Context(), &kafkaclient.Record{Topic: "chaos", Partition: int32(i % 3), Value: fmt.Append(nil, i)}, func(_ *kafkaclient.Record, err error) {
					if err != nil {
						t.Error(err)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(20) == 0 {
					time.Sleep(time.Duration(rnd.IntN(50)) * time.Millisecond)
				}
				if rnd.IntN(200) == 0 {
					b.MoveLeader(t, "chaos", int32(rnd.IntN(3)), int32(1+rnd.IntN(3)))
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			faults.Clear()
			next := []int{0, 1, 2}
			for _, r := range b.Records(t, "chaos") {
				if string(r.Value) != fmt.Sprint(next[r.Partition]) {
					t.Fatalf("seed %d: partition %d has %s, not %d", seed, r.Partition, r.Value, next[r.Partition])
				}
				next[r.Partition] += 3
			}
			if next[0] != n || next[1] != n+1 || next[2] != n+2 {
				t.Errorf("seed %d: %d", seed, next)
			}
			c.Close()
		})
	}
}

// The same with transactions: what was committed is there completely and once, and what was aborted is not.
func TestChaosTransactions(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			faults := chaos(seed, 0.08, kafkawire.KeyProduce, kafkawire.KeyInitProducerID, kafkawire.KeyEndTxn, kafkawire.KeyAddPartitionsToTxn, kafkawire.KeyFindCoordinator)
			if seed%2 == 1 { // as before Kafka 4.0
				faults.LimitVersions(map[kafkawire.APIKey]int16{kafkawire.KeyProduce: 11, kafkawire.KeyEndTxn: 4, kafkawire.KeyTxnOffsetCommit: 4, kafkawire.KeyAddPartitionsToTxn: 3})
			}
			b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 3, Topics: map[string]int{"chaos": 2}, Faults: faults})
			c := b.Client(t, &kafkaclient.Options{RequestTimeout: 2 * time.Second, APITimeout: time.Hour})
			o := &kafkaclient.ProducerOptions{TransactionalID: "chaos", TransactionTimeout: 10 * time.Minute, Partitioner: kafkaclient.ManualPartitioner, DeliveryTimeout: time.Hour}
			p, err := c.NewProducer(o)
			if err != nil {
				t.Fatal(err)
			}
			want := make(map[string]int)
			ctx := t.Context()
			giveUp := errors.New("given up")
			for i := range 60 {
				abort := rnd.IntN(3) == 0
				err := p.Transact(ctx, func(ctx context.Context) error {
					for k := range 4 {
						r := &kafkaclient.Record{Topic: "chaos", Partition: int32(k % 2), Value: fmt.Append(nil, i, " ", k)}
						if err := p.ProduceAsync(ctx, r, nil); err != nil {
							return err
						}
						if rnd.IntN(3) == 0 {
							time.Sleep(10 * time.Millisecond)
						}
					}
					if abort {
						return giveUp
					}
					return nil
				})
				if abort != errors.Is(err, giveUp) || !abort && err != nil {
					t.Fatalf("seed %d: transaction %d: %v (%v)", seed, i, err, p.Err())
				}
				if !abort {
					for k := range 4 {
						want[fmt.Sprint(i, " ", k)] = 1
					}
				}
				if rnd.IntN(10) == 0 {
					b.MoveLeader(t, "chaos", int32(rnd.IntN(2)), int32(1+rnd.IntN(3)))
				}
			}
			faults.Clear()
			time.Sleep(time.Second)
			for _, r := range b.Records(t, "chaos") {
				want[string(r.Value)]--
			}
			for v, n := range want {
				if n != 0 {
					t.Errorf("seed %d: %q: %d", seed, v, n)
				}
			}
			c.Close()
		})
	}
}
