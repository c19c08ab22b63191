package kafkaclient_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestConsumerStats(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		t.b.Produce(t, kafkatest.Numbered("a", 1, 0, 5)...)
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Times: 1, Do: kafkatest.Delay(200 * time.Millisecond)})
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, MaxPollRecords: 3, Commit: kafkaclient.CommitManual})
		if s := c.Stats(); len(s.Partitions) != 0 || s.Records != 0 {
			t.Errorf("%+v", s)
		}
		n := len(t.values(c, 1))
		synctest.Wait()
		if err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := c.Stats()
		if s.Records != uint64(n) || s.Fetches < 1 || s.FetchTime < 200*time.Millisecond || s.Bytes < 100 || s.Commits != 1 || s.Assigned != 1 || len(s.Partitions) != 2 {
			t.Errorf("%+v", s)
		}
		lag, records := int64(0), uint64(0)
		for i, p := range s.Partitions {
			if p.TopicPartition != tp("a", int32(i)) || p.Leader < 1 || p.Source != p.Leader || p.LogStart != 0 || p.HighWatermark != int64(10-5*i) ||
				p.Committed != p.Position || p.Position != int64(p.Records) {
				t.Errorf("%+v", p)
			}
			lag += p.Lag
			records += p.Records
		}
		if lag != int64(15-n) || records != uint64(n) {
			t.Errorf("%d behind, %d records", lag, records)
		}
		t.values(c, 15-n)
		c.Pause(tp("a", 1))
		if s := c.Stats(); s.Records != 15 || s.Buffered != 0 || s.Partitions[0].Lag != 0 || !s.Partitions[1].Paused {
			t.Errorf("%+v", s)
		}
	})
}

// TestConsumerForgetsTopics: metadata of topics that a consumer has no use for any more is not asked for.
func TestConsumerForgetsTopics(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1, "b": 1, "c": 1}}, func(t *consumerTest) {
		var mu sync.Mutex
		var last []string
		t.faults.Watch(func(r *kafkatest.Request) {
			mu.Lock()
			defer mu.Unlock()
			if m, ok := r.Message.(*kafkawire.MetadataRequest); ok {
				last = nil
				for _, x := range m.Topics {
					last = append(last, string(*x.Name))
				}
			}
		})
		c := t.consumer(&kafkaclient.ConsumerOptions{})
		for _, name := range []string{"a", "b", "a", "b"} {
			if err := c.Assign(map[kafka.TopicPartition]kafkaclient.Start{tp(name, 0): kafkaclient.StartEarliest()}); err != nil {
				t.Fatal(err)
			}
			t.nothing(c, time.Second)
		}
		if _, err := c.Offsets(t.Context(), map[kafka.TopicPartition]kafkaclient.Start{tp("c", 0): kafkaclient.StartLatest()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		mu.Lock()
		if len(last) != 1 || last[0] != "b" {
			t.Errorf("asked for %v", last)
		}
		mu.Unlock()
		t.b.Produce(t, kafkatest.Numbered("b", 0, 0, 1)...)
		t.values(c, 1)
	})
}
