package kafkaclient_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestCommitWithoutAllRecords: when a record fails while Commit waits for it, because the producer is closed or for good,
// the others are not committed.
func TestCommitWithoutAllRecords(t *testing.T) {
	for name, do := range map[string]kafkatest.Effect{
		"closed": kafkatest.Lose,
		"fatal": func(r *kafkatest.Request) kafkatest.Result {
			x := kafkatest.Fail(kafkawire.ErrUnsupportedForMessageFormat)(r)
			x.Delay = time.Second
			return x
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := new(kafkatest.Faults)
				var committed atomic.Bool
				faults.Watch(func(r *kafkatest.Request) {
					if m, ok := r.Message.(*kafkawire.EndTxnRequest); ok && m.Committed {
						committed.Store(true)
					}
				})
				b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1, "b": 1}, Faults: faults})
				p, err := b.Client(t, nil).NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "t"})
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := p.Produce(t.Context(), &kafkaclient.Record{Topic: "a", Value: []byte("1")}); err != nil {
					t.Fatal(err)
				}
				faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyProduce}, Do: do})
				var failed error
				if err := p.ProduceAsync(t.Context(), &kafkaclient.Record{Topic: "b", Value: []byte("2")}, func(_ *kafkaclient.Record, err error) { failed = err }); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- p.Commit(t.Context()) }()
				synctest.Wait()
				if name == "closed" {
					_ = p.Close()
				}
				err = <-done
				synctest.Wait()
				if failed == nil || err == nil || committed.Load() {
					t.Errorf("record: %v, Commit: %v, sent: %v", failed, err, committed.Load())
				}
				if name == "closed" && !errors.Is(err, kafkaclient.ErrClosed) || name == "fatal" && !kafkaclient.Fatal(err) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestTransactionFailsBeforePartitionJoins: once a record of a transaction has failed, those of partitions that are not a part
// of it yet fail, too, instead of waiting for what does not come.
func TestTransactionFailsBeforePartitionJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(kafkatest.Faults)
		faults.LimitVersions(map[kafkawire.APIKey]int16{kafkawire.KeyEndTxn: 4}) // partitions do not join by themselves
		faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyProduce}, Do: kafkatest.Fail(kafkawire.ErrInvalidRecord)})
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1, "b": 1}, Faults: faults})
		p, err := b.Client(t, nil).NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "t", Linger: time.Second, BatchSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		failed := make(chan error, 2)
		for _, r := range []*kafkaclient.Record{{Topic: "b", Value: []byte("2")}, {Topic: "a", Value: make([]byte, 1000)}} { // a full batch does not linger
			if err := p.ProduceAsync(t.Context(), r, func(_ *kafkaclient.Record, err error) { failed <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := <-failed; !kafkaclient.Abortable(err) || !errors.Is(err, kafkawire.ErrInvalidRecord) {
				t.Errorf("%v", err)
			}
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
		if err := p.Commit(t.Context()); !kafkaclient.Abortable(err) {
			t.Errorf("%v", err)
		}
		faults.Clear()
		if err := p.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Transact(t.Context(), func(ctx context.Context) error {
			return p.Produce(ctx, &kafkaclient.Record{Topic: "b", Value: []byte("3")})
		}); err != nil {
			t.Error(err)
		}
	})
}
