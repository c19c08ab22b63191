package kafkaclient_test

import (
	"context"
	"errors"
	"regexp"
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

// TestAdminBrokerIsGone: a broker that does not answer keeps those that do from nobody.
func TestAdminBrokerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(kafkatest.Faults)
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Nodes: 3, Faults: faults})
		c := b.Client(t, &kafkaclient.Options{APITimeout: 5 * time.Second})
		if _, err := c.Admin().Cluster(t.Context()); err != nil {
			t.Fatal(err)
		}
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyDescribeLogDirs}, Node: 1, Do: kafkatest.Lose})
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyDescribeLogDirs}, Node: 2, Do: kafkatest.Cut})
		begin := time.Now()
		dirs, err := c.Admin().LogDirs(t.Context())
		var items kafkaclient.ItemErrors
		if !errors.As(err, &items) || len(items) != 2 || items[0].Item != "broker 1" || items[1].Item != "broker 2" || len(dirs) != 1 || dirs[0].Broker != 3 {
			t.Errorf("%v: %v", dirs, err)
		}
		if d := time.Since(begin); d > 6*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// TestAdminQuota: what a quota refuses is asked for again, and nothing else.
func TestAdminQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(kafkatest.Faults)
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Faults: faults})
		c := b.Client(t, nil)
		var mu sync.Mutex
		var asked [][]string
		faults.Watch(func(r *kafkatest.Request) {
			mu.Lock()
			defer mu.Unlock()
			if m, ok := r.Message.(*kafkawire.CreateTopicsRequest); ok {
				var names []string
				for _, x := range m.Topics {
					names = append(names, string(x.Name))
				}
				asked = append(asked, names)
			}
		})
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyCreateTopics}, Times: 2,
			Do: func(r *kafkatest.Request) kafkatest.Result {
				m := r.Message.(*kafkawire.CreateTopicsRequest)
				kept := *m
				kept.Topics = slices.DeleteFunc(slices.Clone(m.Topics), func(x kafkawire.CreateTopicsRequestTopic) bool { return x.Name == "b" })
				return kafkatest.Result{Changed: &kept, ChangeReply: func(r kafkawire.Response) {
					resp := r.(*kafkawire.CreateTopicsResponse)
					refused := kafkawire.CreateTopicsResponseTopic{}
					refused.Reset()
					refused.Name, refused.ErrorCode = "b", kafkawire.ErrThrottlingQuotaExceeded
					resp.Topics = append(resp.Topics, refused)
				}}
			}})
		if err := c.Admin().CreateTopics(t.Context(), kafkaclient.NewTopic{Name: "a"}, kafkaclient.NewTopic{Name: "b"}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		if len(asked) != 3 || len(asked[0]) != 2 || !slices.Equal(asked[1], []string{"b"}) || !slices.Equal(asked[2], []string{"b"}) {
			t.Errorf("asked for %v", asked)
		}
		mu.Unlock()
		list, err := c.Admin().Topics(t.Context(), "a", "b")
		if err != nil || len(list) != 2 {
			t.Errorf("%v %v", list, err)
		}
	})
}

// TestAdminDelaysNoHeartbeat: a request of the application that takes long does not cost a consumer of the same client its
// place in the group.
func TestAdminDelaysNoHeartbeat(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		lost := 0
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, SessionTimeout: 10 * time.Second,
			OnLost: func(*kafkaclient.Consumer, []kafka.TopicPartition) { lost++ }})
		t.nothing(c, time.Second)
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyDeleteRecords}, Do: kafkatest.Delay(25 * time.Second)})
		go t.c.Admin().DeleteRecords(t.Context(), map[kafka.TopicPartition]int64{tp("a", 0): 0})
		t.nothing(c, 40*time.Second)
		if lost > 0 || len(c.Assignment()) != 1 {
			t.Errorf("lost %d times", lost)
		}
	})
}

// TestAutoCreateBesidePattern: a topic is made when it is used, also while a consumer of the client wants to know all topics.
func TestAutoCreateBesidePattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}})
		c := b.Client(t, &kafkaclient.Options{AutoCreateTopics: true})
		k, err := c.NewConsumer(&kafkaclient.ConsumerOptions{Group: "g", Pattern: regexp.MustCompile("^n"), Reset: kafkaclient.ResetEarliest})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		time.Sleep(time.Second)
		p, err := c.NewProducer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Produce(ctx, &kafkaclient.Record{Topic: "new", Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		t.Log(k.Subscription(), time.Now())
		list, err := k.Poll(ctx)
		t.Log(k.Assignment(), k.Subscription(), time.Now())
		if err != nil || len(list) != 1 || list[0].Topic != "new" {
			t.Errorf("%v %v", list, err)
		}
	})
}
