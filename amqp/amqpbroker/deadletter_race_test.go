package amqpbroker

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestDeleteWhileDeadLettering deletes a queue while one of its messages is on its way to the dead letter exchange: another queue
// that has the same message keeps it.
func TestDeleteWhileDeadLettering(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewMem()
			b := opened(t, disk)
			ctx := context.Background()
			dlx := args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead")
			for name, a := range map[string]amqp091.Table{"a": dlx, "b": nil, "dead": nil} {
				_, err := b.DeclareQueue(ctx, "/", Queue{Name: name, Durable: true, Arguments: a})
				must(t, err)
			}
			for _, name := range []string{"a", "b"} {
				must(t, b.Bind(ctx, "/", Binding{Source: "amq.fanout", Destination: name}))
			}
			must(t, b.Publish(ctx, "/", &Message{
				Exchange: "amq.fanout", Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent}, Body: []byte("1"),
			}))
			d, _, err := b.Get("/", "a", false)
			must(t, err)

			v, q := b.vhost("/"), b.vhost("/").queue("a")
			bt := amqpserver.NewBatch()
			q.mu.Lock()
			h, m := d.h, d.h.m
			q.settle(bt, h, amqpserver.Rejected)
			h.from = &origin{q: q, seq: m.seq, size: m.size()} // as bury does
			from, set := h.from, q.set
			q.unlock()
			remove := func() {
				_, err := v.deleteQueue(bt, q, false, false)
				must(t, err)
				synctest.Wait()
			}
			if !late {
				remove()
			}
			q.deadLetter(bt, m, deathRejected, &set, from)
			if late {
				remove()
			}
			b.bury(bt)
			b.rec.mu.Lock()
			if n := b.rec.refs.Get(m.seq); n != 1 {
				t.Errorf("%d queues need the message", n)
			}
			b.rec.mu.Unlock()
			b.churn(t, "churn", 100)
			must(t, b.Close())
			b = opened(t, disk)
			for _, name := range []string{"b", "dead"} {
				if d, ok, err := b.Get("/", name, true); !ok || string(d.Body) != "1" {
					t.Errorf("%s has %q, %t, %v", name, d.Body, ok, err)
				}
			}
			must(t, b.Close())
		})
	}
}

// TestRefusedDeadLetter dead-letters a message to a queue that refuses it and dead-letters it in its turn: there is one record that
// it has gone from the first queue to the last one.
func TestRefusedDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, vfs.NewMem())
		ctx := context.Background()
		for name, a := range map[string]amqp091.Table{
			"a": args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "full"),
			"full": args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "last", "x-max-length", 0,
				"x-overflow", "reject-publish-dlx"),
			"last": nil,
		} {
			_, err := b.DeclareQueue(ctx, "/", Queue{Name: name, Durable: true, Arguments: a})
			must(t, err)
		}
		b.put(t, "/", "a", "1")
		d, _, err := b.Get("/", "a", false)
		must(t, err)
		first := d.h.m.seq
		d.Reject()
		must(t, b.durable(ctx))
		q := b.vhost("/").queue("last")
		q.mu.Lock()
		e := q.front()
		q.mu.Unlock()
		raw, err := b.rec.j.Reader().Read(e.m.seq)
		must(t, err)
		var m messageRecord
		must(t, m.parse(raw[1:]))
		if m.from != b.vhost("/").queue("a").num || m.fromSeq != first {
			t.Errorf("it is from message %d of %d, not %d", m.fromSeq, m.from, first)
		}
		b.rec.mu.Lock()
		if n, k := b.rec.refs.Get(first), b.rec.refs.Get(e.m.seq); n != 0 || k != 1 {
			t.Errorf("%d need the first, %d the last", n, k)
		}
		b.rec.mu.Unlock()
		must(t, b.Close())
	})
}
