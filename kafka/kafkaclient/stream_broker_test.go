package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// streamClient returns a client that reaches a broker with streams.
func streamClient(t *testing.T, b *kafkatest.Broker, o *kafkaclient.Options) *kafkaclient.Client {
	t.Helper()
	o.Dialers = map[string]kafkaclient.DialFunc{"kafka+quic": func(ctx context.Context, u *url.URL) (net.Conn, error) {
		return b.Dial(ctx, "", u.Host)
	}}
	for _, addr := range b.Addrs() {
		o.Addrs = append(o.Addrs, "kafka+quic://"+addr)
	}
	c, err := kafkaclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestStreamsWithBroker copies a topic in transactions over streams, while requests fail and connections are cut.
func TestStreamsWithBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, each = 6, 40
		faults := new(kafkatest.Faults)
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 2, Streams: true, Topics: map[string]int{"in": partitions, "out": partitions}, Faults: faults})
		c := streamClient(t, b, new(kafkaclient.Options))
		p, err := c.NewProducer(&kafkaclient.ProducerOptions{Partitioner: kafkaclient.ManualPartitioner})
		if err != nil {
			t.Fatal(err)
		}
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyProduce}, Skip: 3, Times: 3, Do: kafkatest.CutReply})
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Skip: 3, Times: 2, Do: kafkatest.Cut})
		var all sync.WaitGroup
		for i := range int32(partitions) {
			all.Go(func() {
				for n := range each {
					r := kafkatest.Record("in", i, fmt.Sprint(i), fmt.Sprint(n))
					if err := p.Produce(t.Context(), r); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Go(func() {
			for range 5 {
				time.Sleep(10 * time.Millisecond)
				faults.CutAll(0)
			}
		})
		copier, err := c.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "t", Partitioner: kafkaclient.ManualPartitioner})
		if err != nil {
			t.Fatal(err)
		}
		k, err := c.NewConsumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"in"}, Reset: kafkaclient.ResetEarliest,
			Commit: kafkaclient.CommitManual, ReadCommitted: true})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < partitions*each; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			list, err := k.Poll(ctx)
			cancel()
			if err != nil {
				t.Fatalf("after %d records: %v", n, err)
			}
			if err := copier.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if err := copier.ProduceAsync(t.Context(), &kafkaclient.Record{Topic: "out", Partition: r.Partition, Value: r.Value}, nil); err != nil {
					t.Fatal(err)
				}
			}
			id, err := k.GroupMetadata()
			if err != nil {
				t.Fatal(err)
			}
			if err := copier.SendOffsets(t.Context(), id, k.Consumed()); err != nil {
				t.Fatal(err)
			}
			if err := copier.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			n += len(list)
		}
		all.Wait()
		next := make(map[int32]int)
		for _, r := range b.Records(t, "out") {
			if string(r.Value) != fmt.Sprint(next[r.Partition]) {
				t.Fatalf("partition %d: %s, want %d", r.Partition, r.Value, next[r.Partition])
			}
			next[r.Partition]++
		}
		for i := range int32(partitions) {
			if next[i] != each {
				t.Errorf("partition %d has %d records", i, next[i])
			}
			if got := b.Committed(t, "g", "in", i); got != each {
				t.Errorf("partition %d is committed up to %d", i, got)
			}
		}
		if s := c.Stats(); s.Streams < 4 {
			t.Errorf("%+v", s)
		}
		k.Close()
		if _, err := k.Position(t.Context(), kafka.TopicPartition{Topic: "in"}); !errors.Is(err, kafkaclient.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
