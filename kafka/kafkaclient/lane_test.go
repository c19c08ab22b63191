package kafkaclient

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestLanesClose: connections of a consumer end with it, those too that were being made, and count as no failure.
func TestLanesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", 0)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			r.silence = r.header.Key == kafkawire.KeyFetch
			return nil
		})
		o := c.options()
		slow := true
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if slow {
				time.Sleep(time.Second)
			}
			return c.dial(ctx, network, address)
		}
		cl := c.client(o)
		assign := map[kafka.TopicPartition]Start{{Topic: "a"}: StartAt(0)}
		for range 5 {
			k, err := cl.NewConsumer(&ConsumerOptions{Assign: assign})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2500 * time.Millisecond) // the connection to fetch from is being made
			k.Close()
		}
		time.Sleep(5 * time.Second)
		slow = false
		k, err := cl.NewConsumer(&ConsumerOptions{Assign: assign})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		own := func() (n int) {
			cl.mu.Lock()
			defer cl.mu.Unlock()
			for k := range cl.conns {
				if k.lane > laneOwn {
					n++
				}
			}
			return n
		}
		if n := own(); n != 1 {
			t.Errorf("%d connections with a consumer", n)
		}
		k.Close()
		synctest.Wait()
		if n := own(); n > 0 {
			t.Errorf("%d connections without a consumer", n)
		}
		cl.mu.Lock()
		defer cl.mu.Unlock()
		if len(cl.lanes) != 0 {
			t.Errorf("lanes %v", cl.lanes)
		}
		for id, b := range cl.brokers {
			if b.failures > 0 || len(b.links) > 1 { // one for metadata
				t.Errorf("broker %v: %d failures, %d links", id, b.failures, len(b.links))
			}
		}
	})
}

// TestCoordinatorsAreBounded: who looks at many groups does not remember the coordinators of all.
func TestCoordinatorsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		cl := c.client(nil)
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			if m, ok := r.req.(*kafkawire.FindCoordinatorRequest); ok {
				return &kafkawire.FindCoordinatorResponse{Coordinators: []kafkawire.FindCoordinatorResponseCoordinator{
					{Key: m.CoordinatorKeys[0], Host: "broker-0", Port: 9092}}}
			}
			return nil
		})
		for i := range maxCoordinators + 100 {
			if _, err := cl.coordinator(t.Context(), GroupCoordinator, string(rune(i+0x4e00))); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(cl.coordinators.known); n != maxCoordinators {
			t.Errorf("%d coordinators", n)
		}
	})
}

// TestMetadataStorm: a partition without a leader is asked about about once a second, and somebody who waits for metadata
// does not wait for that.
func TestMetadataStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1)
		c.topic("a", -1)
		cl := c.client(nil)
		p := newTestProducer(t, cl, nil)
		go p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("x")})
		time.Sleep(time.Minute)
		if n := cl.Stats().Refreshes; n < 40 || n > 100 {
			t.Errorf("%d refreshes in a minute", n)
		}
		begin := time.Now()
		for range 5 {
			if err := cl.meta.await(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("waited %v", d)
		}
		c.move("a", 0, 0)
		time.Sleep(2 * time.Second)
		if got := c.log("a", 0); len(got) != 1 {
			t.Errorf("%v", got)
		}
	})
}

// TestCloseWithoutBroker: a producer that is closed while its broker cannot be reached tries no more.
func TestCloseWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2)
		c.topic("a", 1)
		c.brokers[1].close()
		cl := c.client(nil)
		p := newTestProducer(t, cl, &ProducerOptions{NoIdempotence: true})
		result := make(chan error, 1)
		if err := p.ProduceAsync(t.Context(), &Record{Topic: "a", Value: []byte("x")}, func(_ *Record, err error) { result <- err }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		p.Close()
		if err := <-result; err == nil {
			t.Error("no error")
		}
		time.Sleep(5 * time.Second)
		s := p.sink(1, 0)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.parts) > 0 || !s.alarmAt.IsZero() || s.running {
			t.Errorf("%d partitions, alarm %v, running %v", len(s.parts), s.alarmAt, s.running)
		}
	})
}
