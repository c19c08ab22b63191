package amqpclient091

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Connections are lost at random while many goroutines publish, consume, declare, call for messages and cancel. Everything
// that was confirmed arrives, each publisher's messages in their order, and nobody hangs.
func TestChaos(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			run(t, func(t *testing.T, s *broker) { chaos(t, s, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func chaos(t *testing.T, s *broker, r *rand.Rand) {
	c := s.client(&Options{Publish: &ChannelOptions{Republish: true, Window: 1 + r.IntN(20)}, Limits: Limits{OutputBuffer: 500}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	check(t, c.Declare(ctx, &Topology{
		Exchanges: []Exchange{{Name: "x"}},
		Queues:    []Queue{{Name: "q"}, {Alias: "mine", Exclusive: true}},
		Bindings:  []Binding{{Source: "x", Queue: "q", Key: "k"}, {Source: "x", Queue: "mine", Key: "k"}},
	}))
	const publishers, n = 3, 60
	pauses := make([]time.Duration, 100)
	for i := range pauses {
		pauses[i] = time.Duration(r.IntN(20)) * time.Millisecond
	}
	stop := make(chan struct{})
	var background, wg sync.WaitGroup
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(pauses[i%len(pauses)] + time.Millisecond):
				s.drop()
			}
		}
	})
	for p := range publishers {
		wg.Go(func() {
			for i := range n {
				m := &Message{Exchange: "x", RoutingKey: "k", Mandatory: true, Body: fmt.Appendf(nil, "%d %d", p, i)}
				if i%3 == 0 {
					if err := c.Publish(ctx, m); err != nil {
						t.Errorf("publish: %v", err)
					}
				} else if _, err := c.PublishAsync(ctx, m); err != nil {
					t.Errorf("publish: %v", err)
				}
				time.Sleep(pauses[(i+p)%len(pauses)] / 4)
			}
		})
	}
	background.Go(func() { // declarations and messages that are asked for, as they come
		ch, err := c.Channel(ctx, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := c.LookupQueue(ctx, "mine"); err != nil {
				t.Error(err)
			}
			if err := c.Bind(ctx, Binding{Source: "x", Queue: "q", Key: "k"}); err != nil {
				t.Error(err)
			}
			d, ok, err := ch.Get(ctx, "mine", AckManual)
			if err != nil {
				t.Error(err)
			}
			if ok {
				d.Ack()
			}
			k, err := c.Consume(ctx, "mine", &ConsumeOptions{Prefetch: 2})
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				k.Close()
			} else if err := k.Cancel(ctx); err != nil {
				t.Error(err)
			}
			time.Sleep(pauses[i%len(pauses)])
		}
	})
	ch, err := c.Channel(ctx, nil)
	check(t, err)
	k, err := ch.Consume(ctx, "q", &ConsumeOptions{Prefetch: 1 + r.IntN(10)})
	check(t, err)
	var next [publishers]int
	left := publishers * n
	for d, err := range k.Deliveries(ctx) {
		check(t, err)
		var p, i int
		fmt.Sscanf(string(d.Body), "%d %d", &p, &i)
		switch {
		case i == next[p]:
			next[p]++
			left--
		case i > next[p]:
			t.Fatalf("message %d of publisher %d, want %d", i, p, next[p])
		}
		if err := d.Ack(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
	}
	wg.Wait()
	close(stop)
	background.Wait()
	check(t, c.Shutdown(ctx))
	synctest.Wait()
	if st := c.Stats(); st.Inflight != 0 || st.Queued != 0 || st.Channels != 0 || st.Consumers != 0 || st.Unknown != 0 {
		t.Fatalf("%+v", st)
	}
}
