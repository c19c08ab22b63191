package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// startBroker starts our broker in memory, as several nodes, and returns options of a client.
func startBroker(t *testing.T, nodes int, o *kafkabroker.Options) (*kafkabroker.Broker, *Options) {
	t.Helper()
	var opts kafkabroker.Options
	if o != nil {
		opts = *o
	}
	if opts.Authenticate == nil {
		opts.Authenticate = kafkabroker.AllowAll
	}
	opts.OffsetsPartitions, opts.TransactionPartitions = 2, 2
	for i := range nodes {
		opts.Nodes = append(opts.Nodes, kafkabroker.Node{ID: int32(i + 1), Host: fmt.Sprintf("node-%d", i+1), Port: 9092})
	}
	b, err := kafkabroker.Open(&opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	listeners := make(map[string]*memnet.Listener)
	for i := range nodes {
		l := memnet.Listen(fmt.Sprintf("node-%d:9092", i+1))
		listeners[l.Addr().String()] = l
		s := kafkaserver.New(b.Node(int32(i+1)), nil)
		go s.Serve(l, nil)
		t.Cleanup(func() { s.Close() })
	}
	return b, &Options{Addrs: []string{"node-1"}, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
		l := listeners[addr]
		if l == nil {
			return nil, fmt.Errorf("no host %s", addr)
		}
		return l.Dial(ctx)
	}}
}

func newTestClient(t *testing.T, o *Options) *Client {
	t.Helper()
	cl, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

func createTopic(t *testing.T, cl *Client, name string, partitions int32) {
	t.Helper()
	req := &kafkawire.CreateTopicsRequest{TimeoutMs: 5000, Topics: []kafkawire.CreateTopicsRequestTopic{{Name: kafkawire.TopicName(name), NumPartitions: partitions, ReplicationFactor: 1}}}
	resp, err := cl.Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kafkawire.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Fatal(code)
	}
}

// readAll reads the values of committed records of a partition. A coordinator answers before the partitions know that a
// transaction has ended: readAll waits until none is open.
func readAll(t *testing.T, cl *Client, topic string, partition int32) (values []string) {
	t.Helper()
	name := kafkawire.TopicName(topic)
	m, err := cl.Request(t.Context(), &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: &name}}})
	if err != nil {
		t.Fatal(err)
	}
	info := m.(*kafkawire.MetadataResponse).Topics[0]
	req := new(kafkawire.FetchRequest)
	req.Reset()
	req.MaxWaitMs, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 100, 1, 1<<20, 1, -1
	for offset := int64(0); ; {
		p := kafkawire.FetchRequestPartition{}
		p.Reset()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
		req.Topics = []kafkawire.FetchRequestTopic{{Topic: name, TopicID: info.TopicID, Partitions: []kafkawire.FetchRequestPartition{p}}}
		if err := cl.meta.await(t.Context()); err != nil {
			t.Fatal(err)
		}
		resp, err := cl.RequestBroker(t.Context(), info.Partitions[partition].LeaderID, req)
		if err != nil {
			t.Fatal(err)
		}
		r := resp.(*kafkawire.FetchResponse).Responses[0].Partitions[0]
		if r.ErrorCode != 0 {
			t.Fatal(r.ErrorCode)
		}
		if len(r.Records) == 0 && r.LastStableOffset == r.HighWatermark {
			return values
		}
		aborted := make(map[kafkawire.ProducerID]bool)
		for b := r.Records; len(b) > 0; {
			entry, rest, err := kafka.Split(b)
			if err != nil {
				t.Fatal(err)
			}
			if entry == nil {
				break
			}
			b = rest
			batch := kafka.Batch(entry)
			for i, a := range r.AbortedTransactions { // in the order of their first offsets
				if a.FirstOffset <= batch.BaseOffset() && a.ProducerID >= 0 {
					aborted[a.ProducerID] = true
					r.AbortedTransactions[i].ProducerID = -1
				}
			}
			if batch.Attributes().Control() {
				delete(aborted, batch.ProducerID())
			} else if !batch.Attributes().Transactional() || !aborted[batch.ProducerID()] {
				recs, _ := kafka.Open(batch, nil, 1<<24)
				for rec := (kafka.Record{}); recs.Next(&rec); {
					values = append(values, string(rec.Value))
				}
			}
			offset = batch.LastOffset() + 1
		}
	}
}

func TestBrokerProduce(t *testing.T) {
	_, o := startBroker(t, 3, nil)
	cl := newTestClient(t, o)
	createTopic(t, cl, "orders", 6)
	p := newTestProducer(t, cl, nil)
	for i := range 1000 {
		if err := p.ProduceAsync(t.Context(), &Record{Topic: "orders", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}, func(r *Record, err error) {
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range int32(6) {
		n += len(readAll(t, cl, "orders", i))
	}
	if n != 1000 {
		t.Errorf("%d records", n)
	}
}

func TestBrokerTransactions(t *testing.T) {
	_, o := startBroker(t, 2, nil)
	cl := newTestClient(t, o)
	createTopic(t, cl, "orders", 2)
	ctx := t.Context()
	p := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "shop", Partitioner: ManualPartitioner})
	if err := p.Produce(ctx, &Record{Topic: "orders"}); !errors.Is(err, ErrNoTransaction) {
		t.Error(err)
	}
	for i := range 10 {
		if err := p.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		err := p.Produce(ctx, &Record{Topic: "orders", Value: fmt.Append(nil, i)}, &Record{Topic: "orders", Partition: 1, Value: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			err = p.Commit(ctx)
		} else {
			err = p.Abort(ctx)
		}
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if !p.txn.second.Load() {
		t.Error("not the second protocol")
	}
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	group := GroupMetadata{Group: "readers"}
	if err := p.SendOffsets(ctx, group, map[kafka.TopicPartition]CommitOffset{{Topic: "orders", Partition: 1}: {Offset: 3, LeaderEpoch: -1}}); err != nil {
		t.Error(err)
	}
	if err := p.Commit(ctx); err != nil {
		t.Error(err)
	}
	want := []string{"0", "2", "4", "6", "8"}
	for i := range int32(2) {
		if got := readAll(t, cl, "orders", i); !slices.Equal(got, want) {
			t.Errorf("partition %d: %v", i, got)
		}
	}
	// Another producer of the name fences this one.
	q := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "shop"})
	if err := q.Init(ctx); err != nil {
		t.Fatal(err)
	}
	err := p.Transact(ctx, func(ctx context.Context) error { return p.Produce(ctx, &Record{Topic: "orders"}) })
	if err == nil || !Fatal(err) {
		t.Errorf("fenced: %v", err)
	}
	if err := p.Begin(ctx); !Fatal(err) {
		t.Error(err)
	}
	if err := q.Transact(ctx, func(ctx context.Context) error { return q.Produce(ctx, &Record{Topic: "orders", Value: []byte("q")}) }); err != nil {
		t.Error(err)
	}
}

func TestTransact(t *testing.T) {
	_, o := startBroker(t, 1, nil)
	cl := newTestClient(t, o)
	createTopic(t, cl, "orders", 1)
	ctx := t.Context()
	p := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "shop"})
	why := errors.New("no stock")
	for i := range 5 {
		err := p.Transact(ctx, func(ctx context.Context) error {
			if err := p.ProduceAsync(ctx, &Record{Topic: "orders", Value: fmt.Append(nil, i)}, nil); err != nil {
				return err
			}
			if i%2 == 0 {
				return why
			}
			return nil
		})
		if (i%2 == 0) != errors.Is(err, why) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got := strings.Join(readAll(t, cl, "orders", 0), " "); got != "1 3" {
		t.Error(got)
	}
}

// A record that the broker does not take makes the transaction one that can only be aborted.
func TestAbortableTransaction(t *testing.T) {
	_, o := startBroker(t, 1, nil)
	cl := newTestClient(t, o)
	createTopic(t, cl, "orders", 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "shop"})
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(ctx, &Record{Topic: "orders", Value: []byte("good")}); err != nil {
		t.Fatal(err)
	}
	err := p.Produce(ctx, &Record{Topic: "orders", Value: make([]byte, 3<<20)})
	if !errors.Is(err, kafkawire.ErrMessageTooLarge) || !Abortable(err) || Fatal(err) {
		t.Error(err)
	}
	if err := p.Commit(ctx); !Abortable(err) {
		t.Error(err)
	}
	if err := p.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Transact(ctx, func(ctx context.Context) error {
		return p.Produce(ctx, &Record{Topic: "orders", Value: []byte("next")})
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(readAll(t, cl, "orders", 0), " "); got != "next" {
		t.Error(got)
	}
}
