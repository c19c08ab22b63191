package kafkaclient_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestConsumerShutdownDuringPoll: what Poll took when Shutdown came, and did not return, is not committed.
func TestConsumerShutdownDuringPoll(t *testing.T) {
	for i := range 10 {
		consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
			t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 5000)...)
			c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, MaxPollRecords: 5000})
			start := make(chan struct{})
			returned := make(chan int64)
			go func() {
				<-start
				n := int64(0)
				for {
					list, err := c.Poll(t.Context())
					if err != nil {
						break
					}
					n += int64(len(list))
				}
				returned <- n
			}()
			synctest.Wait()
			close(start)
			if i%2 == 0 {
				time.Sleep(100 * time.Millisecond) // until it has joined
			}
			for range i * 50 {
				_ = c.Assignment()
			}
			t.shutdown(c)
			if n, committed := <-returned, t.committed("g", tp("a", 0)); committed > n {
				t.Errorf("%d records were returned, and %d committed", n, committed)
			}
		})
	}
}

// TestConsumerCommitsInOrder: commits come to the broker in the order of the calls.
func TestConsumerCommitsInOrder(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		var mu sync.Mutex
		var offsets []int64
		t.faults.Watch(func(r *kafkatest.Request) {
			if m, ok := r.Message.(*kafkawire.OffsetCommitRequest); ok {
				mu.Lock()
				offsets = append(offsets, m.Topics[0].Partitions[0].CommittedOffset)
				mu.Unlock()
			}
		})
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 100)...)
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, MaxPollRecords: 1,
			Commit: kafkaclient.CommitManual})
		for range 99 {
			t.values(c, 1)
			c.CommitAsync(nil)
		}
		t.values(c, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Commit(ctx); !errors.Is(err, context.Canceled) { // it does not come to its turn, and keeps nobody up
			t.Errorf("%v", err)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.IsSorted(offsets) || offsets[len(offsets)-1] != 100 {
			t.Errorf("%v", offsets)
		}
	})
}

// TestConsumerRevokesWithShortPolls: calls of Poll that are shorter than a commit do not prevent it when partitions are
// given back, and functions of the application are called once.
func TestConsumerRevokesWithShortPolls(t *testing.T) {
	for _, mode := range []kafkaclient.CommitMode{kafkaclient.CommitPolled, kafkaclient.CommitDone} {
		consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
			for p := range int32(2) {
				t.b.Produce(t, kafkatest.Numbered("a", p, 0, 10)...)
			}
			hits := t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyOffsetCommit}, Do: kafkatest.Delay(time.Second)})
			revoked := 0
			o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, Commit: mode, CommitInterval: time.Hour,
				OnRevoked: func(*kafkaclient.Consumer, []kafka.TopicPartition) { revoked++ }}
			c := t.consumer(&o)
			n := 0
			poll := func() {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				list, err := c.Poll(ctx)
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				n += len(list)
				for _, r := range list {
					r.Done()
				}
			}
			for range 40 {
				poll()
			}
			o.OnRevoked = nil
			m := t.member(o)
			for range 200 {
				poll()
			}
			t.shutdown(c)
			m.leave(t)
			if n != 20 || len(m.values) > 0 {
				t.Errorf("%d records, then %v", n, m.values)
			}
			if revoked != 2 || hits() == 0 { // once for the rebalance, once for Shutdown
				t.Errorf("revoked %d times, %d commits", revoked, hits())
			}
		})
	}
}

// TestConsumerGarbage: records that make no sense are fetched once, however long nobody polls.
func TestConsumerGarbage(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		hits := t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			for i := range m.(*kafkawire.FetchResponse).Responses {
				for j := range m.(*kafkawire.FetchResponse).Responses[i].Partitions {
					m.(*kafkawire.FetchResponse).Responses[i].Partitions[j].Records = slices.Repeat([]byte{0xaa, 0}, 100)
				}
			}
		})})
		c := t.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
		time.Sleep(10 * time.Second)
		if hits() != 1 {
			t.Errorf("fetched %d times", hits())
		}
		var p *kafkaclient.PartitionError
		if _, err := c.Poll(t.Context()); !errors.As(err, &p) || p.Offset != 0 {
			t.Errorf("%v", err)
		}
		t.faults.Clear()
		_ = c.Seek(tp("a", 0), kafkaclient.StartAt(3))
		t.equal(t.values(c, 7), numbers(3, 7))
	})
}

// TestConsumerOutOfRangeBehindRecords: what was fetched comes before a reset.
func TestConsumerOutOfRangeBehindRecords(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Skip: 1, Do: kafkatest.Fail(kafkawire.ErrOffsetOutOfRange)})
		c := t.consumer(&kafkaclient.ConsumerOptions{MaxPollRecords: 2, Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
		list := t.values(c, 2)
		time.Sleep(10 * time.Second)
		t.equal(append(list, t.values(c, 8)...), numbers(0, 10))
	})
}

// TestConsumerTopicMadeAnew: a topic that is deleted and made again is consumed from its first record.
func TestConsumerTopicMadeAnew(t *testing.T) {
	for _, reset := range []kafkaclient.Reset{kafkaclient.ResetLatest, kafkaclient.ResetNone} {
		consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
			t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
			c := t.consumer(&kafkaclient.ConsumerOptions{Reset: reset, Group: "g",
				Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartAt(0)}})
			t.equal(t.values(c, 10), numbers(0, 10))
			if err := t.c.Admin().DeleteTopics(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			t.b.CreateTopic(t, "a", 1, nil)
			t.b.Produce(t, kafkatest.Numbered("a", 0, 100, 20)...)
			if reset == kafkaclient.ResetNone {
				_, err := c.Poll(t.Context())
				var p *kafkaclient.PartitionError
				if !errors.As(err, &p) || !errors.Is(err, kafkaclient.ErrTruncated) || p.Offset != 0 {
					t.Errorf("%v", err)
				}
				return
			}
			t.equal(t.values(c, 20), numbers(100, 20))
			if err := c.Commit(t.Context()); err != nil || t.committed("g", tp("a", 0)) != 20 {
				t.Errorf("%v, committed %d", err, t.committed("g", tp("a", 0)))
			}
		})
	}
}

// TestConsumerNoOffset: a broker that has no offset for the end of a partition is asked now and then, not all the time.
func TestConsumerNoOffset(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		hits := t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyListOffsets}, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			m.(*kafkawire.ListOffsetsResponse).Topics[0].Partitions[0].Offset = -1
		})})
		c := t.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartLatest()}})
		time.Sleep(10 * time.Second)
		if hits() > 30 {
			t.Errorf("asked %d times", hits())
		}
		if _, err := c.Poll(t.Context()); !errors.Is(err, kafkaclient.ErrProtocol) {
			t.Errorf("%v", err)
		}
	})
}
