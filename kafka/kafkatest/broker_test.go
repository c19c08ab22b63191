package kafkatest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestProduceAndReadBack(t *testing.T) {
	for range 2 { // nothing of a bubble is left for the next
		synctest.Test(t, func(t *testing.T) {
			b := NewBroker(t, &BrokerOptions{Nodes: 3, Topics: map[string]int{"orders": 4}})
			b.Produce(t, Numbered("orders", 2, 0, 5)...)
			b.Produce(t, &kafkaclient.Record{Topic: "orders", Key: []byte("k"), Headers: []kafka.Header{{Key: []byte("h")}}})
			var w kafka.BatchWriter
			w.Add(1, nil, []byte("old"))
			batch, err := w.Append(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if at := b.ProduceBatch(t, "orders", 3, batch); at != 0 {
				t.Errorf("offset %d", at)
			}
			list := b.Records(t, "orders")
			if len(list) != 7 || list[0].Value != nil || len(list[0].Headers) != 1 || list[5].Offset != 4 || !list[6].Timestamp.Equal(time.UnixMilli(1)) {
				t.Errorf("%d records, the first is %+v", len(list), list[0])
			}
		})
	}
}

func TestLoopback(t *testing.T) {
	b := NewBroker(t, &BrokerOptions{Nodes: 2, Loopback: true, Topics: map[string]int{"a": 2}, Faults: new(Faults)})
	c, err := kafkaclient.New(&kafkaclient.Options{Addrs: b.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewProducer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range 10 {
		if err := p.Produce(t.Context(), Record("a", 0, string(rune('a'+i)), "v")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.Records(t, "a")); n != 10 {
		t.Errorf("%d records", n)
	}
}

func TestNobodyComesInUnlessOptionsSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker(t, &BrokerOptions{Broker: new(kafkabroker.Options)})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req := new(kafkawire.MetadataRequest)
		req.Reset()
		if _, err := b.Client(t, nil).Request(ctx, req); err == nil {
			t.Error("a client came in")
		}
	})
}

// request asks for an offset and returns how long it took.
func request(t *testing.T, c *kafkaclient.Client) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req := new(kafkawire.ListOffsetsRequest)
	req.ReplicaID = -1
	req.Topics = []kafkawire.ListOffsetsRequestTopic{{Name: "a", Partitions: []kafkawire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: -1, Timestamp: -2}}}}
	begin := time.Now()
	resp, err := c.RequestBroker(ctx, 1, req)
	if err == nil {
		err = resp.(*kafkawire.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode.Err()
	}
	return time.Since(begin), err
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(Faults)
		b := NewBroker(t, &BrokerOptions{Faults: f, Topics: map[string]int{"a": 1}})
		c := b.Client(t, &kafkaclient.Options{RequestTimeout: 5 * time.Second})
		for _, err := request(t, c); errors.Is(err, kafkaclient.ErrNoBroker); _, err = request(t, c) {
			time.Sleep(time.Second) // until the client knows its brokers
		}
		keys := []kafkawire.APIKey{kafkawire.KeyListOffsets}
		answer := &kafkawire.ListOffsetsResponse{Topics: []kafkawire.ListOffsetsResponseTopic{{Name: "a",
			Partitions: []kafkawire.ListOffsetsResponsePartition{{ErrorCode: kafkawire.ErrCoordinatorNotAvailable}}}}}
		for name, x := range map[string]struct {
			do   Effect
			took time.Duration
			err  func(error) bool
		}{
			"delay": {Delay(2 * time.Second), 2 * time.Second, func(err error) bool { return err == nil }},
			"cut":   {Cut, 0, func(err error) bool { var e *kafkaclient.ConnError; return errors.As(err, &e) }},
			"reply": {CutReply, 0, func(err error) bool { var e *kafkaclient.ConnError; return errors.As(err, &e) }},
			"lose":  {Lose, 5 * time.Second, func(err error) bool { return errors.Is(err, kafkaclient.ErrTimeout) }},
			"answer": {Reply(answer), 0,
				func(err error) bool { return errors.Is(err, kafkawire.ErrCoordinatorNotAvailable) }},
			"fail": {Fail(kafkawire.ErrNotCoordinator), 0, func(err error) bool { return errors.Is(err, kafkawire.ErrNotCoordinator) }},
			"change": {ChangeReply(func(m kafkawire.Response) {
				m.(*kafkawire.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode = kafkawire.ErrGroupAuthorizationFailed
			}), 0, func(err error) bool { return errors.Is(err, kafkawire.ErrGroupAuthorizationFailed) }},
		} {
			hits := f.Add(Rule{Keys: keys, Skip: 1, Times: 1, Do: x.do})
			if _, err := request(t, c); err != nil {
				t.Errorf("%s: skipped: %v", name, err)
			}
			if took, err := request(t, c); !x.err(err) || took != x.took {
				t.Errorf("%s: %v after %v", name, err, took)
			}
			if _, err := request(t, c); err != nil {
				t.Errorf("%s: once more: %v", name, err)
			}
			if hits() != 1 {
				t.Errorf("%s: %d hits", name, hits())
			}
			f.Clear()
		}
		f.Refuse(1, -1)
		f.CutAll(1)
		synctest.Wait()
		if _, err := request(t, c); err == nil {
			t.Error("the connection was not refused")
		}
		f.Clear()
		if _, err := request(t, c); err != nil {
			if _, err = request(t, c); err != nil { // an attempt may have been under way
				t.Error(err)
			}
		}
		var topic kafkawire.TopicName
		f.Watch(func(r *Request) {
			if q, ok := r.Message.(*kafkawire.ListOffsetsRequest); ok {
				topic = q.Topics[0].Name
			}
		})
		f.Add(Rule{Keys: keys, Match: func(r *Request) bool { return r.Version > 0 }, Do: Change(func(m kafkawire.Request) {
			m.(*kafkawire.ListOffsetsRequest).Topics[0].Name = "other"
		})})
		if _, err := request(t, c); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) || topic != "a" {
			t.Errorf("%v, %q", err, topic)
		}
	})
}

// TestFailEverywhere: a failure has the code in a place where clients look for it.
func TestFailEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(Faults)
		b := NewBroker(t, &BrokerOptions{Faults: f, Topics: map[string]int{"a": 1}})
		p, err := b.Client(t, nil).NewProducer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		f.Add(Rule{Keys: []kafkawire.APIKey{kafkawire.KeyProduce}, Do: Fail(kafkawire.ErrTopicAuthorizationFailed)})
		if err := p.Produce(t.Context(), Record("a", 0, "k", "v")); !errors.Is(err, kafkawire.ErrTopicAuthorizationFailed) {
			t.Errorf("%v", err)
		}
	})
}

func TestGroupsAndProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker(t, &BrokerOptions{Topics: map[string]int{"a": 1}})
		client := b.Client(t, nil)
		p, err := client.NewProducer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for range 3 {
			if err := p.Produce(t.Context(), Record("a", 0, "k", "v")); err != nil {
				t.Fatal(err)
			}
			b.ForgetProducers(t, "a", 0)
		}
		var events []string
		c, err := client.NewConsumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest,
			OnAssigned: func(*kafkaclient.Consumer, []kafka.TopicPartition) { events = append(events, "assigned") },
			OnRevoked:  func(*kafkaclient.Consumer, []kafka.TopicPartition) { events = append(events, "revoked") }})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if list, err := c.Poll(t.Context()); err != nil || len(list) != 3 {
			t.Errorf("%d records, %v", len(list), err)
		}
		b.Rebalance(t, "g")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, _ = c.Poll(ctx)
		if !slices.Equal(events, []string{"assigned", "revoked", "assigned"}) {
			t.Errorf("%v", events)
		}
		if at := b.Committed(t, "g", "a", 0); at != 3 {
			t.Errorf("committed %d", at)
		}
	})
}

func BenchmarkNewBroker(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		tb := &cleanups{TB: b}
		b.StartTimer()
		NewBroker(tb, &BrokerOptions{Nodes: 3, Topics: map[string]int{"a": 3}})
		tb.run()
	}
}

// cleanups is a test that ends within another.
type cleanups struct {
	testing.TB
	list []func()
}

func (c *cleanups) Cleanup(f func()) { c.list = append(c.list, f) }
func (c *cleanups) run() {
	for _, f := range slices.Backward(c.list) {
		f()
	}
}
