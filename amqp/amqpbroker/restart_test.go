package amqpbroker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// opened opens a broker on a disk.
func opened(t *testing.T, disk *vfs.Mem) *Broker {
	t.Helper()
	o := crashOptions(disk)
	o.Definitions = Guest()
	b, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// must ends the test unless err is nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put publishes a persistent message to a queue.
func (b *Broker) put(t *testing.T, vhost, queue, body string) {
	t.Helper()
	must(t, b.Publish(context.Background(), vhost, &Message{
		RoutingKey: queue, Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent}, Body: []byte(body),
	}))
}

// churn lets segments be filled with what is dead soon, and be cleaned.
func (b *Broker) churn(t *testing.T, queue string, n int) {
	t.Helper()
	ctx := context.Background()
	_, err := b.DeclareQueue(ctx, "/", Queue{Name: queue, Durable: true})
	must(t, err)
	for range n {
		b.put(t, "/", queue, string(make([]byte, 200)))
		_, _, err := b.Get("/", queue, true)
		must(t, err)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

// TestRestartOfChangedVhost changes a virtual host: what is in it was defined before its last definition.
func TestRestartOfChangedVhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		b := opened(t, disk)
		ctx := context.Background()
		must(t, b.AddVhost("v"))
		b.churn(t, "churn", 100)
		_, err := b.DeclareQueue(ctx, "v", Queue{Name: "q", Durable: true})
		must(t, err)
		must(t, b.DeclareExchange(ctx, "v", Exchange{Name: "x", Type: "fanout", Durable: true}))
		must(t, b.Bind(ctx, "v", Binding{Source: "x", Destination: "q"}))
		b.put(t, "v", "q", "1")
		must(t, b.SetVhost(VhostDefinition{Name: "v", Description: "another"}))
		b.churn(t, "churn", 100)
		must(t, b.Close())

		b = opened(t, disk)
		d, ok, err := b.Get("v", "q", true)
		if err != nil || !ok || string(d.Body) != "1" {
			t.Errorf("got %q, %t, %v", d.Body, ok, err)
		}
		if v := b.vhost("v"); v == nil || v.definition.Description != "another" || v.exchange("x").router.len() != 1 {
			t.Error("the virtual host is not what it was")
		}
		must(t, b.DeleteVhost("v"))
		b.churn(t, "churn", 100)
		must(t, b.Close())
		b = opened(t, disk)
		if b.vhost("v") != nil {
			t.Error("the virtual host is there again")
		}
		must(t, b.Close())
	})
}

// TestRestartOfDeletedVhost cleans away the definition of a virtual host before that of what was in it.
func TestRestartOfDeletedVhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, vfs.NewMem())
		b.Close()
		r := &restoring{b: b, queues: map[uint64]*restored{}, delayed: map[uint64]*restoredDelayed{}, bindings: map[string]restoredBinding{}}
		x := (&exchange{kind: "fanout"}).definition()
		q := (&queue{num: 9}).definition()
		for seq, raw := range [][]byte{
			append(appendNames(nil, recordDefined, defExchange, []string{"gone", "x"}), x...),
			append(appendNames(nil, recordDefined, defQueue, []string{"gone", "q"}), q...),
			append(appendNames(nil, recordDefined, defQueue, []string{"torn", "q"}), q...),
			appendNames(nil, recordUndefined, defQueue, []string{"gone", "q"}),
			appendNames(nil, recordUndefined, defVhost, []string{"gone"}),
		} {
			if err := r.replay(uint64(1000+seq), raw); err != nil {
				t.Errorf("record %d: %v", seq, err)
			}
		}
		if err := r.keep(); err != nil {
			t.Error(err)
		}
		if b.vhosts["gone"] != nil || b.vhosts["torn"] != nil {
			t.Error("a virtual host is there that nobody has defined")
		}
	})
}

// TestRedeliveredAfterQuietLife loses power after a delivery; then the broker is opened and closed without anything happening.
func TestRedeliveredAfterQuietLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		b := opened(t, disk)
		_, err := b.DeclareQueue(context.Background(), "/", Queue{Name: "q", Durable: true})
		must(t, err)
		for i := range 3 {
			b.put(t, "/", "q", fmt.Sprint(i))
		}
		_, _, err = b.Get("/", "q", true)
		must(t, err)
		b.checkpoint(b.rec.last + 1)
		if d, _, err := b.Get("/", "q", false); err != nil || string(d.Body) != "1" {
			t.Fatalf("got %q, %v", d.Body, err)
		}
		must(t, b.durable(context.Background()))
		after := disk.DropClone()
		b.Close()

		must(t, opened(t, after).Close())
		b = opened(t, after)
		d, ok, err := b.Get("/", "q", true)
		if err != nil || !ok || string(d.Body) != "1" || !d.Redelivered {
			t.Errorf("got %q, %t, redelivered %t, %v", d.Body, ok, d.Redelivered, err)
		}
		must(t, b.Close())
	})
}

// TestCommittedStays cleans the record that ends a transaction: as long as its messages are there they must not be the last
// records, or they would look like those of a transaction that was cut off.
func TestCommittedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		o := crashOptions(disk)
		w := newWorld(t, &o, nil)
		p := w.dial("client").start()
		p.send(1, &amqp091.QueueDeclare{Queue: "q", Durable: true}, &amqp091.TxSelect{})
		w.wait()
		for i := range 2 {
			p.publish(1, "", "q", &amqp091.Properties{DeliveryMode: amqp091.Persistent}, fmt.Sprint(i))
		}
		p.send(1, &amqp091.TxCommit{})
		w.wait()
		last := w.rec.last
		raw, err := w.rec.j.Reader().Read(last)
		must(t, err)
		if recordKind(raw[0]) != recordCommitted || w.keep(last, raw) != Keep {
			t.Errorf("record %d of kind %d is not kept", last, raw[0])
		}
		for range 2 {
			_, _, err := w.Get("/", "q", true)
			must(t, err)
		}
		if w.keep(last, raw) != Discard {
			t.Error("the record is kept when the messages have gone")
		}
		p.drop()
		w.close()
	})
}
