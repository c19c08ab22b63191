package amqpbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestNothingIsLeft lets messages live and die in all ways, over several lives of a broker; at the end the journal is empty again.
func TestNothingIsLeft(t *testing.T) {
	for _, seed := range []uint64{1, 2, rand.Uint64()} {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingIsLeft(t, seed) })
		})
	}
}

func nothingIsLeft(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	disk := vfs.NewMem()
	ctx := context.Background()
	queues := map[string]amqp091.Table{
		"plain": nil,
		"prio":  args("x-max-priority", 3),
		"dlx":   args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"),
		"ttl":   args("x-dead-letter-exchange", "amq.fanout", "x-message-ttl", 700),
		"max":   args("x-dead-letter-exchange", "amq.fanout", "x-max-length", 20),
		"drop":  args("x-max-length-bytes", 3000),
		"rej":   args("x-max-length", 20, "x-overflow", "reject-publish-dlx", "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"),
		"limit": args("x-queue-type", "quorum", "x-delivery-limit", 2, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"),
		"cycle": args("x-message-ttl", 300, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "cycle"),
		"dead":  args("x-max-length", 50),
	}
	var names []string
	life := func(last bool) {
		o := crashOptions(disk)
		w := newWorld(t, &o, nil)
		for name, a := range queues {
			_, err := w.DeclareQueue(ctx, "/", Queue{Name: name, Durable: true, Arguments: a})
			must(t, err)
		}
		must(t, w.DeclareExchange(ctx, "/", Exchange{Name: "delay", Type: delayedKind, Durable: true, Arguments: args("x-delayed-type", "topic")}))
		must(t, w.DeclareExchange(ctx, "/", Exchange{Name: "all", Type: "fanout", Durable: true}))
		for _, name := range names {
			must(t, w.Bind(ctx, "/", Binding{Source: "delay", Destination: name, RoutingKey: name}))
			must(t, w.Bind(ctx, "/", Binding{Source: "delay", Destination: name, RoutingKey: "all"}))
		}
		for _, name := range []string{"plain", "prio", "dlx", "ttl"} {
			must(t, w.Bind(ctx, "/", Binding{Source: "all", Destination: name}))
		}
		must(t, w.Bind(ctx, "/", Binding{Source: "amq.fanout", Destination: "dead"}))
		tx := w.dial("tx").start()
		tx.send(1, &amqp091.TxSelect{})
		var held []Delivery
		for range 400 {
			p := amqp091.Properties{DeliveryMode: 1, Priority: uint8(rnd.IntN(5))}
			if rnd.IntN(4) > 0 {
				p.DeliveryMode = amqp091.Persistent
			}
			if rnd.IntN(4) == 0 {
				p.Expiration = fmt.Sprint(rnd.IntN(1000))
			}
			name := names[rnd.IntN(len(names))]
			body := make([]byte, rnd.IntN(300))
			switch what := rnd.IntN(20); {
			case what < 6:
				_ = w.Publish(ctx, "/", &Message{RoutingKey: name, Properties: p, Body: body})
			case what < 8:
				_ = w.Publish(ctx, "/", &Message{Exchange: "all", Properties: p, Body: body})
			case what < 10:
				p.Headers = args("x-delay", 1+rnd.IntN(1500))
				_ = w.Publish(ctx, "/", &Message{Exchange: "delay", RoutingKey: []string{name, "all"}[rnd.IntN(2)], Properties: p, Body: body})
			case what < 11:
				tx.publish(1, "all", "", &p, string(body))
				tx.publish(1, "", name, &p, string(body))
				tx.send(1, &amqp091.BasicGet{Queue: name})
			case what < 12:
				tx.send(1, &amqp091.BasicReject{DeliveryTag: 0, Requeue: rnd.IntN(2) == 0})
				w.wait()
				tx.drop()
				tx = w.dial("tx").start()
				tx.send(1, &amqp091.TxSelect{})
			case what < 13:
				tx.send(1, &amqp091.BasicAck{DeliveryTag: 0, Multiple: true}, []amqp091.Method{&amqp091.TxCommit{}, &amqp091.TxRollback{}}[rnd.IntN(2)])
			case what < 17:
				for range rnd.IntN(10) {
					if d, ok, err := w.Get("/", name, rnd.IntN(3) == 0); ok {
						held = append(held, d)
					} else if err != nil {
						t.Fatal(err)
					}
				}
			case what < 19:
				for ; len(held) > 20; held = held[1:] {
					[]func(){held[0].Ack, held[0].Reject, held[0].Requeue}[rnd.IntN(3)]()
				}
			default:
				time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
			}
			switch rnd.IntN(100) {
			case 0:
				_, err := w.DeleteQueue(ctx, "/", name)
				must(t, err)
				_, err = w.DeclareQueue(ctx, "/", Queue{Name: name, Durable: true, Arguments: queues[name]})
				must(t, err)
			case 1:
				_, err := w.PurgeQueue(ctx, "/", name)
				must(t, err)
			case 2:
				must(t, w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: name, Definition: Arguments(args("max-length", rnd.IntN(50)))}))
			case 3:
				must(t, w.DeleteExchange(ctx, "/", "delay"))
				must(t, w.DeclareExchange(ctx, "/", Exchange{Name: "delay", Type: delayedKind, Durable: true, Arguments: args("x-delayed-type", "fanout")}))
				must(t, w.Bind(ctx, "/", Binding{Source: "delay", Destination: name}))
				must(t, w.DeleteExchange(ctx, "/", "delay"))
				must(t, w.DeclareExchange(ctx, "/", Exchange{Name: "delay", Type: delayedKind, Durable: true, Arguments: args("x-delayed-type", "topic")}))
			case 4:
				for i := 0; i < len(names); i += 2 {
					must(t, w.Bind(ctx, "/", Binding{Source: "delay", Destination: names[i], RoutingKey: "all"}))
				}
			}
		}
		if !last {
			if rnd.IntN(2) == 0 {
				disk = disk.DropClone() // power is lost
			}
			tx.drop()
			w.close()
			return
		}
		tx.drop()
		w.wait()
		for _, d := range held {
			d.Ack()
		}
		time.Sleep(10 * time.Second)
		for _, name := range names {
			q := w.vhost("/").queue(name)
			for {
				_, ok, err := w.Get("/", name, true)
				must(t, err)
				if !ok {
					break
				}
			}
			w.wait() // for the loader, which may be burying some that have expired
			q.mu.Lock()
			if q.ready != 0 || q.bytes != 0 || q.hot != 0 || q.hotBytes != 0 || q.acquired != 0 || len(q.held) != 0 || q.filled != [4]uint64{} {
				t.Errorf("%s: ready %d, %d bytes; hot %d, %d bytes; acquired %d, held %d", name, q.ready, q.bytes, q.hot, q.hotBytes,
					q.acquired, len(q.held))
			}
			q.mu.Unlock()
			_, err := w.DeleteQueue(ctx, "/", name)
			must(t, err)
		}
		must(t, w.DeleteExchange(ctx, "/", "delay"))
		must(t, w.DeleteExchange(ctx, "/", "all"))
		must(t, w.DeletePolicy("/", "p"))
		w.churn(t, "churn", 100)
		_, err := w.DeleteQueue(ctx, "/", "churn")
		must(t, err)
		time.Sleep(10 * time.Second)
		w.rec.mu.Lock()
		n := w.rec.refs.Len()
		for seq, k := range w.rec.refs.All() {
			raw, err := w.rec.j.Reader().Read(seq)
			t.Logf("%d: %d, %.60q, %v", seq, k, raw, err)
		}
		w.rec.mu.Unlock()
		if n > 6 {
			t.Errorf("%d records are needed", n)
		}
		s := w.Broker.Stats().Journal
		if s.LiveBytes > 1000 || s.DiskBytes > 20<<10 {
			t.Errorf("%+v", s)
		}
		w.close()
	}
	for name := range queues {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range 4 {
		life(i == 3)
	}
}
