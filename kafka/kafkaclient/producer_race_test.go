package kafkaclient

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestRoomBesideFailedTry: what a call takes for a moment, until it sees that there is no room for it, is in the way of others
// for no longer than that.
func TestRoomBesideFailedTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(Producer)
		r := &p.room
		r.maxRecords, r.maxBytes = 10, 100
		if err := r.take(t.Context(), p, 100); err != nil {
			t.Fatal(err)
		}
		r.records.Add(1) // as try does
		r.bytes.Add(50)
		r.give(1, 100)
		took := make(chan error, 2)
		go func() { took <- r.take(t.Context(), p, 60) }()
		synctest.Wait()
		r.records.Add(-1) // as try does when it has failed
		r.bytes.Add(-50)
		go func() { took <- r.wait(t.Context(), 50) }()
		for _, size := range []int{60, 50} {
			select {
			case err := <-took:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Hour):
				t.Fatal("nobody gets the room")
			}
			r.give(1, size)
		}
		if r.records.Load() != 0 || r.bytes.Load() != 0 || r.waiting.Load() != 0 {
			t.Errorf("%d records, %d bytes", r.records.Load(), r.bytes.Load())
		}
	})
}

// TestNewProducerBesideClose: a producer that is made while the client is closed, or after that, ends with it.
func TestNewProducerBesideClose(t *testing.T) {
	for i := range 100 {
		cl, err := New(&Options{Addrs: []string{"nowhere:1"}, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }})
		if err != nil {
			t.Fatal(err)
		}
		var closing sync.WaitGroup
		closing.Go(func() { cl.Close() })
		if i == 0 {
			closing.Wait()
		}
		p, err := cl.NewProducer(nil)
		closing.Wait()
		if err != nil || !errors.Is(p.Err(), ErrClosed) {
			t.Fatalf("%v, %v", err, p.Err())
		}
		cl.meta.mu.Lock()
		if n := len(cl.meta.watchers); n != 0 {
			t.Errorf("%d who want to know of metadata", n)
		}
		cl.meta.mu.Unlock()
	}
}

// TestFetchOfFormerSource: the response of a broker from which a partition moved does not count when it is back, after it
// was asked for elsewhere.
func TestFetchOfFormerSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, err := newFakeCluster(t, 1).client(nil).NewConsumer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		k.mu.Lock()
		p := k.newPartition(kafka.TopicPartition{Topic: "a"})
		p.at(0, -1)
		k.mu.Unlock()
		var sources [2]*source
		for i := range sources {
			sources[i] = &source{c: k, id: kafkawire.BrokerID(i), wake: make(chan struct{}, 1), parts: make(map[*consumerPartition]struct{})}
			k.mu.Lock()
			p.setSource(sources[i])
			k.mu.Unlock()
			if todo, _ := sources[i].plan(); len(todo) != 1 {
				t.Fatalf("%v", todo)
			}
		}
		if p.asked == sources[0].round {
			t.Error("it counts")
		}
	})
}
