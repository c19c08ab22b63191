package amqpbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// TestChaos has publishers, consumers that give back at random, and somebody who changes the topology, all at once. Each
// queue gets each message, and it is acknowledged once.
func TestChaos(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%t", durable), func(t *testing.T) {
			o := Options{hotMessages: 64, MemoryLimit: -1}
			if durable {
				o.Dir, o.NoSync, o.SegmentSize = t.TempDir(), true, 256<<10
			}
			chaos(t, open(t, o))
		})
	}
}

func chaos(t *testing.T, b *Broker) {
	const publishers, queues, consumers, each = 4, 3, 2, 1000
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range queues {
		q := declare(t, b, Queue{Name: fmt.Sprint("q", i), Durable: true})
		if err := b.Bind(ctx, "/", Binding{Source: "amq.topic", Destination: q.name, RoutingKey: "k.*"}); err != nil {
			t.Fatal(err)
		}
	}
	var producers, others sync.WaitGroup
	for p := range publishers {
		producers.Go(func() {
			for i := range each {
				m := Message{Exchange: "amq.topic", RoutingKey: fmt.Sprint("k.", p), Mandatory: true, Body: fmt.Appendf(nil, "%d %d", p, i)}
				if i%3 > 0 {
					m.Properties.DeliveryMode = amqp091.Persistent
				}
				if err := b.Publish(ctx, "/", &m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprint("tmp", i%5)
			if _, err := b.DeclareQueue(ctx, "/", Queue{Name: name, Durable: i%2 == 0}); err != nil {
				t.Error(err)
			}
			if err := b.Bind(ctx, "/", Binding{Source: "amq.topic", Destination: name, RoutingKey: "k.#"}); err != nil {
				t.Error(err)
			}
			if i%3 == 0 {
				_, _ = b.PurgeQueue(ctx, "/", name)
			}
			if _, err := b.DeleteQueue(ctx, "/", name); err != nil {
				t.Error(err)
			}
			p := Policy{Vhost: "/", Name: "p", Pattern: "^tmp", ApplyTo: "queues", Definition: Arguments(args("max-length", int64(i%7)))}
			if err := b.SetPolicy(p); err != nil {
				t.Error(err)
			}
		}
	})
	var done sync.WaitGroup
	for q := range queues {
		var mu sync.Mutex
		acked := map[string]bool{}
		var subs []*Subscription
		for range consumers {
			sub, err := b.Consume("/", fmt.Sprint("q", q), &ConsumeOptions{Prefetch: 10})
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, sub)
		}
		all := make(chan struct{})
		for _, sub := range subs {
			done.Go(func() {
				for d, err := range sub.Messages(ctx) {
					if err != nil {
						return
					}
					id := string(d.Body)
					if rand.IntN(10) == 0 {
						d.Requeue()
						continue
					}
					mu.Lock()
					if acked[id] {
						t.Errorf("%s came again", id)
					}
					acked[id] = true
					n := len(acked)
					mu.Unlock()
					d.Ack()
					if n == publishers*each {
						close(all)
					}
				}
			})
		}
		done.Go(func() {
			select {
			case <-all:
			case <-ctx.Done():
				mu.Lock()
				t.Errorf("queue %d: %d of %d", q, len(acked), publishers*each)
				mu.Unlock()
			}
			for _, sub := range subs {
				sub.Close()
			}
		})
	}
	producers.Wait()
	done.Wait()
	close(stop)
	others.Wait()
	if s := b.Stats(); s.Ready != 0 || s.Unacked != 0 {
		t.Errorf("%d are ready, %d are held", s.Ready, s.Unacked)
	}
}
