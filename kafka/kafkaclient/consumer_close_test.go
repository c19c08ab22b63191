package kafkaclient_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestConsumerCloses: whoever closes, and when, Poll ends and no goroutine is left (else the bubble would complain).
func TestConsumerCloses(t *testing.T) {
	for name, end := range map[string]func(t *consumerTest, c *kafkaclient.Consumer){
		"close":    func(_ *consumerTest, c *kafkaclient.Consumer) { _ = c.Close() },
		"client":   func(t *consumerTest, _ *kafkaclient.Consumer) { _ = t.c.Close() },
		"shutdown": func(t *consumerTest, c *kafkaclient.Consumer) { t.shutdown(c) },
	} {
		for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Second} {
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
					t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
					c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest})
					done := make(chan error)
					go func() {
						for {
							if _, err := c.Poll(context.Background()); err != nil {
								done <- err
								return
							}
						}
					}()
					time.Sleep(after)
					end(t, c)
					if err := <-done; !errors.Is(err, kafkaclient.ErrClosed) || !errors.Is(err, net.ErrClosed) {
						t.Errorf("%v", err)
					}
					if _, err := c.Poll(t.Context()); !errors.Is(err, kafkaclient.ErrClosed) {
						t.Errorf("afterwards: %v", err)
					}
					if err := c.Commit(t.Context()); !errors.Is(err, kafkaclient.ErrClosed) {
						t.Errorf("%v", err)
					}
				})
			})
		}
	}
}

// TestConsumerWithoutBroker: nothing hangs when nobody answers.
func TestConsumerWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{"nowhere"}, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no network")
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, late := range []bool{false, true} {
			c, err := client.NewConsumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := c.Poll(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			if !late { // otherwise ctx may have an end before the consumer's goroutines have
				ctx = t.Context()
			}
			begin := time.Now()
			if err := c.Shutdown(ctx); err != nil && (!late || !errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("late %v: %v", late, err)
			}
			if d := time.Since(begin); d > 0 {
				t.Errorf("late %v: after %v", late, d)
			}
		}
	})
}

func TestConsumerOptionErrors(t *testing.T) {
	consumerBubble(t, nil, func(t *consumerTest) {
		for _, o := range []kafkaclient.ConsumerOptions{
			{Topics: []string{"a"}},
			{Group: "g", Topics: []string{"a"}, Assign: map[kafka.TopicPartition]kafkaclient.Start{{Topic: "a"}: {}}},
			{Assign: map[kafka.TopicPartition]kafkaclient.Start{{Topic: "a", Partition: -1}: {}}},
		} {
			if _, err := t.c.NewConsumer(&o); err == nil {
				t.Errorf("%+v is accepted", o)
			}
		}
		c := t.consumer(nil)
		if err := c.Subscribe("a"); err == nil {
			t.Error("a subscription without a group")
		}
		if err := c.CommitOffsets(t.Context(), nil); err == nil {
			t.Error("a commit without a group")
		}
	})
}

// TestConsumerIsNotAllowed: topics and groups that the client must not use are errors of Poll.
func TestConsumerIsNotAllowed(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyJoinGroup}, Times: 1, Do: kafkatest.Fail(kafkawire.ErrGroupAuthorizationFailed)})
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest})
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 1)...)
		if _, err := c.Poll(t.Context()); !errors.Is(err, kafkawire.ErrGroupAuthorizationFailed) {
			t.Errorf("%v", err)
		}
		t.equal(t.values(c, 1), []string{"0"}) // the next call tries again
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyMetadata}, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			r := m.(*kafkawire.MetadataResponse)
			for i := range r.Topics {
				r.Topics[i].ErrorCode, r.Topics[i].Partitions = kafkawire.ErrTopicAuthorizationFailed, nil
			}
		})})
		c = t.consumer(&kafkaclient.ConsumerOptions{Group: "h", Topics: []string{"a"}})
		if _, err := c.Poll(t.Context()); !errors.Is(err, kafkawire.ErrTopicAuthorizationFailed) {
			t.Errorf("%v", err)
		}
	})
}

// TestConsumerFollowsRack: a consumer fetches from the replica that the leader names, and from the leader again when that
// has nothing.
func TestConsumerFollowsRack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(kafkatest.Faults)
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 2, Racks: []string{"x", "y"}, Topics: map[string]int{"a": 1}, Faults: faults})
		x := &consumerTest{T: t, b: b, c: b.Client(t, &kafkaclient.Options{Rack: "y"}), faults: faults}
		b.MoveLeader(t, "a", 0, 1)
		faults.Add(kafkatest.Rule{Node: 1, Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Times: 1, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			for _, t := range m.(*kafkawire.FetchResponse).Responses {
				for i := range t.Partitions {
					t.Partitions[i].PreferredReadReplica, t.Partitions[i].Records = 2, []byte{}
				}
			}
		})})
		var mu sync.Mutex
		racks := make(map[int32]string)
		faults.Watch(func(r *kafkatest.Request) {
			mu.Lock()
			defer mu.Unlock()
			if q, ok := r.Message.(*kafkawire.FetchRequest); ok && len(q.Topics) > 0 {
				racks[r.Node] = q.RackID
			}
		})
		b.Produce(t, kafkatest.Numbered("a", 0, 0, 3)...)
		c := x.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
		x.equal(x.values(c, 3), numbers(0, 3))
		mu.Lock()
		defer mu.Unlock()
		if racks[1] != "y" || racks[2] != "y" {
			t.Errorf("%v", racks)
		}
	})
}

// TestShutdownWhilePartitionsAreGivenBack: what was consumed of those that stay is committed, too.
func TestShutdownWhilePartitionsAreGivenBack(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 4}}, func(t *consumerTest) {
		for p := range int32(4) {
			t.b.Produce(t, kafkatest.Numbered("a", p, 0, 5)...)
		}
		o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, CommitInterval: time.Hour,
			Assignors: []kafka.Assignor{kafka.CooperativeStickyAssignor{}}}
		m := t.member(o)
		time.Sleep(10 * time.Second)
		commits := t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyOffsetCommit}, Times: 1, Do: kafkatest.Delay(5 * time.Second)})
		second := t.member(o)
		for i := 0; commits() == 0; i++ {
			if i == 10_000 {
				t.Fatal("no partition is given back")
			}
			time.Sleep(time.Millisecond)
		}
		t.shutdown(m.c) // Poll waits for the commit
		<-m.done
		for p := range int32(4) {
			if at := t.committed("g", tp("a", p)); at != 5 {
				t.Errorf("committed %d of partition %d", at, p)
			}
		}
		time.Sleep(20 * time.Second)
		if len(m.values) != 20 || len(second.values) != 0 {
			t.Errorf("%d and %d records", len(m.values), len(second.values))
		}
		second.leave(t)
	})
}
