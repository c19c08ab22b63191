package kafkaclient

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestProducerForgets: a topic that is not used for long is forgotten, with its metadata, and when it is used again brokers
// take nothing for what they have already.
func TestProducerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := startBroker(t, 1, nil)
		cl := newTestClient(t, o)
		createTopic(t, cl, "a", 1)
		createTopic(t, cl, "b", 1)
		p := newTestProducer(t, cl, nil)
		var want []string
		for round := range 3 {
			for i := range 2 {
				value := fmt.Sprint(round, i)
				if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte(value)}); err != nil {
					t.Fatal(err)
				}
				want = append(want, value)
			}
			for range 8 { // another topic goes on
				time.Sleep(2 * time.Minute)
				if err := p.Produce(t.Context(), &Record{Topic: "b", Value: []byte("b")}); err != nil {
					t.Fatal(err)
				}
			}
			if s := p.Stats(); s.Topics != 1 {
				t.Errorf("%d topics", s.Topics)
			}
			cl.meta.mu.Lock()
			if n := len(cl.meta.wanted); n != 1 {
				t.Errorf("metadata of %d topics", n)
			}
			cl.meta.mu.Unlock()
		}
		if got := readAll(t, cl, "a", 0); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := readAll(t, cl, "b", 0); len(got) != 24 {
			t.Errorf("%d records", len(got))
		}
		p.identity.current.Load().Epoch = 1<<15 - 2
		for range 3 { // until the epochs are used up, and another identity is needed
			if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Minute)
		}
		if got := readAll(t, cl, "a", 0); len(got) != len(want)+3 {
			t.Errorf("%v", got)
		}
	})
}

// TestProducerForgetsNothingInTransactions: numbers of a transactional producer are kept as long as its epoch.
func TestProducerForgetsNothingInTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, o := startBroker(t, 1, nil)
		cl := newTestClient(t, o)
		createTopic(t, cl, "a", 1)
		p := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "t"})
		for i := range 4 {
			if err := p.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
			if err := p.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Minute)
		}
		if got := readAll(t, cl, "a", 0); len(got) != 4 {
			t.Errorf("%v", got)
		}
	})
}

// TestForgetWhileProducing: topics are forgotten while others produce to them.
func TestForgetWhileProducing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0, 0)
		cl := c.client(nil)
		p := newTestProducer(t, cl, nil)
		var all, forgetter sync.WaitGroup
		now := make(chan struct{})
		const each = 200
		for w := range 4 {
			all.Go(func() {
				for range each {
					if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte(fmt.Sprint(w))}); err != nil {
						t.Error(err)
						return
					}
					now <- struct{}{}
				}
			})
		}
		forgotten := 0
		forgetter.Go(func() {
			for range now {
				for _, topic := range *p.topics.Load() {
					topic.mu.Lock()
					topic.idle = time.Time{}
					topic.mu.Unlock()
					topic.used.Store(false)
					topic.forget()
					topic.mu.Lock()
					if topic.err == errForgotten {
						forgotten++
					}
					topic.mu.Unlock()
				}
			}
		})
		all.Wait()
		close(now)
		forgetter.Wait()
		if forgotten < 10 {
			t.Errorf("forgotten %d times", forgotten)
		}
		if n := len(c.log("a", 0)) + len(c.log("a", 1)); n != 4*each {
			t.Errorf("%d records", n)
		}
	})
}

// TestStickyFollowsLoad: records without a key go to partitions whose brokers are fast.
func TestStickyFollowsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2)
		c.topic("a", 0, 1)
		cl := c.client(nil)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			if r.header.Key == kafkawire.KeyProduce {
				d := 5 * time.Millisecond
				if r.b.id == 1 {
					d *= 50
				}
				time.Sleep(d)
			}
			return nil
		})
		p := newTestProducer(t, cl, &ProducerOptions{BatchSize: 1000, MaxInFlight: 1})
		for range 3000 {
			if err := p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: make([]byte, 200)}, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		fast, slow := len(c.log("a", 0)), len(c.log("a", 1))
		if fast+slow != 3000 || fast < 3*slow {
			t.Errorf("%d records to the fast broker, %d to the slow one", fast, slow)
		}
	})
}
