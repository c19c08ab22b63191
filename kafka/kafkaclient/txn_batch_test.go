package kafkaclient_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestTransactionIsOneBatch: records of a transaction go out together when nobody waits for the first of them, which costs a
// round trip less, and Commit sends them at once.
func TestTransactionIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(kafkatest.Faults)
		var produced atomic.Int32
		faults.Watch(func(r *kafkatest.Request) {
			if r.Key == kafkawire.KeyProduce {
				produced.Add(1)
			}
		})
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}, Faults: faults})
		p, err := b.Client(t, nil).NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "t"})
		if err != nil {
			t.Fatal(err)
		}
		transaction := func(f func()) time.Duration {
			t.Helper()
			if err := p.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			produced.Store(0)
			f()
			if err := p.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := produced.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			return time.Since(begin)
		}
		async := func() {
			for i := range 10 {
				if err := p.ProduceAsync(t.Context(), kafkatest.Numbered("a", 0, i, 1)[0], nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		transaction(async) // finds the topic
		time.Sleep(time.Second)
		if d := transaction(async); d >= time.Millisecond {
			t.Errorf("Commit waited %v", d)
		}
		time.Sleep(time.Second)
		if d := transaction(func() {
			if err := p.Produce(t.Context(), kafkatest.Numbered("a", 0, 0, 1)...); err != nil {
				t.Fatal(err)
			}
		}); d >= time.Millisecond {
			t.Errorf("Produce waited %v", d)
		}
		time.Sleep(time.Second)
		acknowledged := make(chan time.Time, 1)
		begin := time.Now()
		transaction(func() {
			if err := p.ProduceAsync(t.Context(), kafkatest.Numbered("a", 0, 0, 1)[0], func(*kafkaclient.Record, error) { acknowledged <- time.Now() }); err != nil {
				t.Fatal(err)
			}
			if d := (<-acknowledged).Sub(begin); d > 2*time.Millisecond {
				t.Errorf("without Commit it takes %v", d)
			}
		})
	})
}
