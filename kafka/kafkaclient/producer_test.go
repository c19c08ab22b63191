package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func newTestProducer(t *testing.T, cl *Client, o *ProducerOptions) *Producer {
	t.Helper()
	p, err := cl.NewProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProduce(t *testing.T) {
	for _, o := range []*ProducerOptions{nil, {Acks: LeaderOnly}, {Acks: NoAcks}, {Compression: compress.Zstd}, {NoIdempotence: true}, {Linger: 5 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeCluster(t, 2)
			c.topic("a", 0, 1, 0)
			p := newTestProducer(t, c.client(nil), o)
			r := &Record{Topic: "a", Key: []byte("key"), Value: []byte("one"), Headers: []kafka.Header{{Key: []byte("h"), Value: []byte("v")}}}
			if err := p.Produce(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if o == nil && r.Offset != 0 || r.Partition != kafka.JavaPartition(r.Key, 3) {
				t.Errorf("offset %d of %d", r.Offset, r.Partition)
			}
			more := make([]*Record, 1000)
			for i := range more {
				more[i] = &Record{Topic: "a", Value: []byte(fmt.Sprint(i))}
			}
			if err := p.Produce(t.Context(), more...); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			n := 0
			for i := range int32(3) {
				n += len(c.log("a", i))
			}
			if n != 1001 {
				t.Errorf("%d records", n)
			}
			if s := p.Stats(); s.BufferedRecords != 0 || s.BufferedBytes != 0 || s.Callbacks != 0 || s.Records != 1001 || s.Failed != 0 || s.Attempts < s.Batches {
				t.Errorf("%+v", s)
			}
			p.Close()
			if err := p.Produce(t.Context(), r); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// Every version of the request can be read.
func TestProduceVersions(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeCluster(t, 1)
			c.topic("a", 0, 0)
			c.topic("b", 0)
			c.brokers[0].ranges[kafkawire.KeyProduce] = [2]int16{0, version}
			p := newTestProducer(t, c.client(nil), &ProducerOptions{Partitioner: ManualPartitioner})
			large := make([]byte, 10_000)
			err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}, &Record{Topic: "b", Value: large},
				&Record{Topic: "a", Partition: 1, Value: large})
			if err != nil {
				t.Error(err)
			}
			if len(c.log("a", 0)) != 1 || len(c.log("a", 1)) != 1 || len(c.log("b", 0)) != 1 {
				t.Error("records are missing")
			}
		})
	}
}

// Records that are produced while requests are under way go out together.
func TestBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		p := newTestProducer(t, c.client(nil), nil)
		for i := range 10_000 {
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: []byte(fmt.Sprint(i))}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, v := range c.log("a", 0) {
			if v != fmt.Sprint(i) {
				t.Fatalf("record %d is %s", i, v)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.topics["a"].logs[0].values); n != 10_000 || c.requests > 1000 {
			t.Errorf("%d records in %d requests", n, c.requests)
		}
	})
}

// Leaders move, brokers refuse, connections break: each record is in its partition once and in order.
func TestProduceThroughTrouble(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			c := newFakeCluster(t, 3)
			c.topic("a", 0, 1, 2, 0)
			var mu sync.Mutex
			c.refuse = func(tp kafka.TopicPartition, b kafka.Batch) *kafkawire.ProduceResponsePartition {
				mu.Lock()
				defer mu.Unlock()
				if rnd.IntN(10) > 0 {
					return nil
				}
				code := []kafkawire.ErrorCode{kafkawire.ErrNotEnoughReplicas, kafkawire.ErrNotLeaderOrFollower, kafkawire.ErrCorruptMessage, kafkawire.ErrLeaderNotAvailable}[rnd.IntN(4)]
				return &kafkawire.ProduceResponsePartition{ErrorCode: code, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1}
			}
			p := newTestProducer(t, c.client(nil), &ProducerOptions{Partitioner: ManualPartitioner, BatchSize: 200, Acks: AllReplicas})
			stop := make(chan struct{})
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					mu.Lock()
					what, part, to := rnd.IntN(3), int32(rnd.IntN(4)), kafkawire.BrokerID(rnd.IntN(3))
					mu.Unlock()
					switch what {
					case 0:
						c.move("a", part, to)
					case 1:
						c.brokers[to].cut()
					}
				}
			}()
			var failed atomic.Int32
			next := make([]int64, 4)
			for i := range 2000 {
				r := &Record{Topic: "a", Partition: int32(i % 4), Value: []byte(fmt.Sprint(i))}
				err := p.ProduceAsync(t.Context(), r, func(r *Record, err error) {
					if err != nil || r.Offset >= 0 && r.Offset < next[r.Partition] {
						t.Logf("offset %d: %v", r.Offset, err)
						failed.Add(1)
					}
					next[r.Partition] = r.Offset
				})
				if err != nil {
					t.Fatal(err)
				}
				if i%50 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			close(stop)
			synctest.Wait()
			if failed.Load() > 0 {
				t.Errorf("seed %d: %d failed", seed, failed.Load())
			}
			for i := range 4 {
				var want []string
				for k := i; k < 2000; k += 4 {
					want = append(want, fmt.Sprint(k))
				}
				if got := c.log("a", int32(i)); !slices.Equal(got, want) {
					t.Errorf("seed %d: partition %d has %d records: %v", seed, i, len(got), got)
				}
			}
			p.Close()
		})
	}
}

func refuseWith(code kafkawire.ErrorCode) *kafkawire.ProduceResponsePartition {
	return &kafkawire.ProduceResponsePartition{ErrorCode: code, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1}
}

// A batch that is too large for the topic is split until it is not.
func TestProduceTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		c.refuse = func(tp kafka.TopicPartition, b kafka.Batch) *kafkawire.ProduceResponsePartition {
			if len(b) > 1000 {
				return refuseWith(kafkawire.ErrMessageTooLarge)
			}
			return nil
		}
		p := newTestProducer(t, c.client(nil), nil)
		var records []*Record
		for i := range 100 {
			records = append(records, &Record{Topic: "a", Value: fmt.Append(nil, i, "                                                ")})
		}
		if err := p.Produce(t.Context(), records...); err != nil {
			t.Fatal(err)
		}
		for i, r := range records {
			if r.Offset != int64(i) {
				t.Errorf("record %d has offset %d", i, r.Offset)
			}
		}
		large := &Record{Topic: "a", Value: make([]byte, 2000)}
		err := p.Produce(t.Context(), large, &Record{Topic: "a", Value: []byte("small")})
		if e, ok := errors.AsType[*ProduceError](err); !ok || e.Doubt || !errors.Is(err, kafkawire.ErrMessageTooLarge) || e.Partition != 0 {
			t.Error(err)
		}
		if n := len(c.log("a", 0)); n != 101 {
			t.Errorf("%d records", n)
		}
		// What comes later is not affected.
		if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("small")}); err != nil {
			t.Error(err)
		}
	})
}

// KIP-467: the broker says which records it does not like.
func TestProduceRecordErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		p := newTestProducer(t, c.client(nil), &ProducerOptions{Linger: time.Millisecond})
		c.refuse = func(tp kafka.TopicPartition, b kafka.Batch) *kafkawire.ProduceResponsePartition {
			r := refuseWith(kafkawire.ErrInvalidRecord)
			r.RecordErrors = []kafkawire.ProduceResponseRecordError{{BatchIndex: 1, BatchIndexErrorMessage: new("no key")}}
			return r
		}
		var got [3]error
		for i := range got {
			p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: []byte("x")}, func(r *Record, err error) { got[i] = err })
		}
		p.Flush(t.Context())
		for i, err := range got {
			e, ok := errors.AsType[*kafka.Error](err)
			if !ok || e.Code != kafkawire.ErrInvalidRecord || (e.Text == "no key") != (i == 1) {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

func TestDeliveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		c.refuse = func(kafka.TopicPartition, kafka.Batch) *kafkawire.ProduceResponsePartition {
			return refuseWith(kafkawire.ErrNotEnoughReplicas)
		}
		p := newTestProducer(t, c.client(nil), &ProducerOptions{DeliveryTimeout: 5 * time.Second})
		start := time.Now()
		err := p.Produce(t.Context(), &Record{Topic: "a"})
		e, ok := errors.AsType[*ProduceError](err)
		if !ok || e.Doubt || !errors.Is(err, ErrTimeout) || !errors.Is(err, kafkawire.ErrNotEnoughReplicas) {
			t.Error(err)
		}
		if d := time.Since(start); d < 5*time.Second || d > 7*time.Second {
			t.Error(d)
		}
		c.mu.Lock()
		c.refuse = nil
		c.mu.Unlock()
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
			t.Error(err)
		}
	})
}

// A record whose context ends before it is sent is dropped; others of its batch are not.
func TestRecordContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", -1)
		p := newTestProducer(t, c.client(nil), nil)
		ctx, cancel := context.WithCancel(t.Context())
		var errs [4]error
		for i := range errs {
			use := ctx
			if i%2 == 0 {
				use = t.Context()
			}
			if err := p.ProduceAsync(use, &Record{Topic: "a", Value: fmt.Append(nil, i)}, func(_ *Record, err error) { errs[i] = err }); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error)
		go func() { done <- p.Produce(ctx, &Record{Topic: "a"}) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		c.move("a", 0, 0)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if errs[0] != nil || errs[2] != nil || !errors.Is(errs[1], context.Canceled) || !errors.Is(errs[3], context.Canceled) {
			t.Error(errs)
		}
		if got := c.log("a", 0); !slices.Equal(got, []string{"0", "2"}) {
			t.Error(got)
		}
		if err := p.ProduceAsync(ctx, &Record{Topic: "a"}, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestUnknownTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		p := newTestProducer(t, c.client(nil), nil)
		start := time.Now()
		err := p.Produce(t.Context(), &Record{Topic: "nowhere"})
		if !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) || time.Since(start) > 15*time.Second {
			t.Error(err, time.Since(start))
		}
		// It may be created while records wait.
		go func() {
			time.Sleep(2 * time.Second)
			c.topic("late", 0)
		}()
		if err := p.Produce(t.Context(), &Record{Topic: "late"}); err != nil {
			t.Error(err)
		}
	})
}

func TestBufferBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", -1)
		p := newTestProducer(t, c.client(nil), &ProducerOptions{MaxBufferedRecords: 3})
		for range 3 {
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.ProduceAsync(ctx, &Record{Topic: "a"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		q := newTestProducer(t, c.client(nil), &ProducerOptions{MaxBufferedBytes: 1000, FailWhenFull: true})
		if err := q.ProduceAsync(t.Context(), &Record{Topic: "a", Value: make([]byte, 5000)}, nil); err != nil {
			t.Error(err)
		}
		if err := q.ProduceAsync(t.Context(), &Record{Topic: "a"}, nil); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		waiting := make(chan error)
		go func() { waiting <- p.ProduceAsync(t.Context(), &Record{Topic: "a"}, nil) }()
		synctest.Wait()
		p.Close()
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// A callback may produce, wait, flush and close.
func TestCallbacksDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		p := newTestProducer(t, c.client(nil), &ProducerOptions{MaxBufferedRecords: 4})
		var n atomic.Int32
		var again func(r *Record, err error)
		again = func(r *Record, err error) {
			if err != nil || n.Add(1) > 500 {
				return
			}
			if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
				t.Error(err)
			}
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a"}, again); err != nil {
				t.Error(err)
			}
		}
		for range 100 {
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a"}, again); err != nil {
				t.Fatal(err)
			}
		}
		for n.Load() <= 500 {
			time.Sleep(time.Second)
		}
		closed := make(chan struct{})
		p.ProduceAsync(t.Context(), &Record{Topic: "a"}, func(*Record, error) {
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			p.Close()
			close(closed)
		})
		<-closed
	})
}

// Close fails what is not acknowledged, and no goroutine is left.
func TestCloseProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		c.topic("b", -1)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			r.silence = r.header.Key == kafkawire.KeyProduce
			return nil
		})
		cl := c.client(nil)
		p := newTestProducer(t, cl, nil)
		var errs []error
		var mu sync.Mutex
		for _, topic := range []string{"a", "b", "c"} {
			p.ProduceAsync(t.Context(), &Record{Topic: topic}, func(_ *Record, err error) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			})
		}
		synctest.Wait()
		p.Close()
		synctest.Wait()
		cl.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(errs) != 3 {
			t.Fatal(errs)
		}
		for _, err := range errs {
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// KIP-951: a broker that does not lead says who does, and the client goes there without asking for metadata.
func TestProduceLeaderHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2)
		c.topic("a", 0)
		cl := c.client(nil)
		p := newTestProducer(t, cl, nil)
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
			t.Fatal(err)
		}
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			req, ok := r.req.(*kafkawire.ProduceRequest)
			if !ok || r.b.id != 0 {
				return nil
			}
			part := refuseWith(kafkawire.ErrNotLeaderOrFollower)
			part.CurrentLeader = &kafkawire.ProduceResponseCurrentLeader{LeaderID: 1, LeaderEpoch: 1}
			return &kafkawire.ProduceResponse{
				Responses:     []kafkawire.ProduceResponseTopic{{TopicID: req.TopicData[0].TopicID, PartitionResponses: []kafkawire.ProduceResponsePartition{*part}}},
				NodeEndpoints: []kafkawire.ProduceResponseNodeEndpoint{{NodeID: 1, Host: "broker-1", Port: 9092}},
			}
		})
		c.move("a", 0, 1)
		before := cl.Stats().Refreshes
		start := time.Now()
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 0 || cl.Stats().Refreshes > before {
			t.Errorf("%v, %d refreshes", d, cl.Stats().Refreshes-before)
		}
		if got := c.log("a", 0); len(got) != 2 {
			t.Error(got)
		}
	})
}

// A producer with a topic that is gone does not ask for it all the time when there is nothing to send.
func TestDeletedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0, 0)
		cl := c.client(nil)
		p := newTestProducer(t, cl, &ProducerOptions{DeliveryTimeout: 10 * time.Second, Partitioner: ManualPartitioner})
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		delete(c.topics, "a")
		c.mu.Unlock()
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		before := cl.Stats().Refreshes
		time.Sleep(time.Hour)
		if n := cl.Stats().Refreshes - before; n > 20 {
			t.Errorf("%d refreshes", n)
		}
		c.topic("b", 0)
		c.topic("a", 0) // with another id and fewer partitions
		if err := cl.meta.await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(t.Context(), &Record{Topic: "a"}); err != nil {
			t.Error(err)
		}
		if err := p.Produce(t.Context(), &Record{Topic: "a", Partition: 1}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
	})
}

// Records that have left when the producer is closed fail at once, in doubt.
func TestCloseWithRecordsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			r.silence = r.header.Key == kafkawire.KeyProduce
			return nil
		})
		p := newTestProducer(t, c.client(nil), nil)
		done := make(chan error)
		go func() { done <- p.Produce(t.Context(), &Record{Topic: "a"}) }()
		synctest.Wait()
		start := time.Now()
		p.Close()
		err := <-done
		if e, ok := errors.AsType[*ProduceError](err); !ok || !e.Doubt || !errors.Is(err, ErrClosed) || time.Since(start) > 0 {
			t.Error(err, time.Since(start))
		}
	})
}
