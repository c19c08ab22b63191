package amqpbroker

import (
	"context"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// open opens a broker for a test.
func open(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestLocal(t *testing.T) {
	b := open(t, Options{})
	ctx := context.Background()
	name, err := b.DeclareQueue(ctx, "/", Queue{Name: "q", Durable: true})
	if err != nil || name != "q" {
		t.Fatal(name, err)
	}
	if err := b.Bind(ctx, "/", Binding{Source: "amq.topic", Destination: "q", RoutingKey: "a.#"}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		m := Message{Exchange: "amq.topic", RoutingKey: "a.b", Body: []byte(text), Mandatory: true, Properties: amqp091.Properties{DeliveryMode: 2}}
		if err := b.Publish(ctx, "/", &m); err != nil {
			t.Fatal(err)
		}
	}
	d, ok, err := b.Get("/", "q", false)
	if !ok || err != nil || string(d.Body) != "one" {
		t.Fatal(d, ok, err)
	}
	d.Requeue()
	sub, err := b.Consume("/", "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two", "three"} {
		d, err := sub.Next(ctx)
		if err != nil || string(d.Body) != want || d.Redelivered != (i == 0) {
			t.Fatal(d, err)
		}
		d.Ack()
	}
	sub.Close()
	if s := b.Stats(); s.Ready != 0 || s.Unacked != 0 || s.Acked != 3 {
		t.Errorf("%+v", s)
	}
}

func TestLocalDurable(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	b := open(t, Options{Dir: dir})
	if _, err := b.DeclareQueue(ctx, "/", Queue{Name: "q", Durable: true}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		m := Message{RoutingKey: "q", Body: []byte(text), Mandatory: true, Properties: amqp091.Properties{DeliveryMode: 2}}
		if err := b.Publish(ctx, "/", &m); err != nil {
			t.Fatal(err)
		}
	}
	d, ok, err := b.Get("/", "q", false)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	d.Ack()
	if d, ok, err = b.Get("/", "q", false); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, Options{Dir: dir})
	for i, want := range []string{"two", "three"} {
		d, ok, err := b.Get("/", "q", true)
		if !ok || err != nil || string(d.Body) != want || d.Redelivered != (i == 0) {
			t.Fatal(d, ok, err)
		}
	}
}
