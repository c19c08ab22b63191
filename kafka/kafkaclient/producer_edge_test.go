package kafkaclient

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestRecordTooLarge: a record that no request has room for is refused at once.
func TestRecordTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		p := newTestProducer(t, c.client(nil), nil)
		value := make([]byte, 1<<20)
		err := p.Produce(t.Context(), &Record{Topic: "a", Headers: slices.Repeat([]kafka.Header{{Key: []byte("h"), Value: value}}, maxRecord>>20)})
		if !errors.Is(err, kafkawire.ErrMessageTooLarge) {
			t.Errorf("%v", err)
		}
		if s := p.Stats(); s.BufferedBytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestTopicMadeAnewWhileProducing: an answer counts for the topic that the request was about.
func TestTopicMadeAnewWhileProducing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		cl := c.client(nil)
		n := 0
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			if r.header.Key != kafkawire.KeyProduce {
				return nil
			}
			n++
			resp := r.b.answer(r)
			c.mu.Lock()
			c.topics["a"].id = kafkawire.UUID{15: 99}
			c.mu.Unlock()
			if err := cl.meta.await(context.Background()); err != nil {
				t.Error(err)
			}
			return resp
		})
		p := newTestProducer(t, cl, &ProducerOptions{NoIdempotence: true})
		if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}); err != nil || n != 1 || len(c.log("a", 0)) != 1 {
			t.Errorf("%v, %d requests, %v", err, n, c.log("a", 0))
		}
	})
}

// TestCommitGivenUp: after a commit whose context ended before it began, a transaction takes records again unless one has
// failed meanwhile.
func TestCommitGivenUp(t *testing.T) {
	for _, failed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			_, o := startBroker(t, 1, nil)
			cl := newTestClient(t, o)
			createTopic(t, cl, "a", 1)
			p := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "t"})
			if err := p.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: []byte("1")}, nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.Commit(ctx); !errors.Is(err, context.Canceled) {
				t.Fatalf("%v", err)
			}
			if failed {
				p.txn.failed(ErrTimeout)
				p.txn.takeAgain()
			}
			err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("2")})
			if failed != Abortable(err) || !failed && err != nil {
				t.Errorf("%v", err)
			}
			if failed {
				err = p.Abort(t.Context())
			} else {
				err = p.Commit(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloseWhileEncoding: records that are being encoded when the producer ends stay its own until that is done.
func TestCloseWhileEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		p := newTestProducer(t, c.client(nil), &ProducerOptions{NoIdempotence: true, Linger: time.Hour})
		var failed error
		if err := p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: []byte("x")}, func(_ *Record, err error) { failed = err }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		part := (*p.topic("a").partitions.Load())[0]
		part.mu.Lock()
		part.queue[0].closed = true // as if it were full
		b, x, _, _ := part.pick(time.Now(), true)
		part.mu.Unlock()
		p.Close()
		synctest.Wait()
		if b == nil || failed != nil {
			t.Fatalf("%v, %v", b, failed)
		}
		if part.encode(b, x) {
			t.Error("it is to be sent")
		}
		synctest.Wait()
		if e, ok := errors.AsType[*ProduceError](failed); !ok || !errors.Is(failed, ErrClosed) || e.Doubt {
			t.Errorf("%#v", failed)
		}
		if s := p.Stats(); s.BufferedRecords != 0 || s.BufferedBytes != 0 || len(c.log("a", 0)) != 0 {
			t.Errorf("%+v, %v", s, c.log("a", 0))
		}
	})
}
