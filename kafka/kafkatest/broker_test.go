package kafkatest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
)

func TestProduceAndReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker(t, &BrokerOptions{Nodes: 3, Topics: map[string]int{"orders": 4}})
		b.Produce(t, Numbered("orders", 2, 0, 5)...)
		b.Produce(t, Record("orders", 0, "k", "v"))
		list := b.Records(t, "orders")
		if len(list) != 6 || string(list[0].Value) != "v" || string(list[5].Value) != "4" || list[5].Offset != 4 {
			t.Errorf("%d records", len(list))
		}
	})
}

func TestConsume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker(t, &BrokerOptions{Nodes: 2, Topics: map[string]int{"orders": 4}})
		for p := range int32(4) {
			b.Produce(t, Numbered("orders", p, 0, 10)...)
		}
		c, err := b.Client(t, nil).NewConsumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for r, err := range c.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			_ = r
			if n++; n == 40 {
				break
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		_ = kafka.TopicPartition{}
	})
}
