//go:build !race

package amqpclient091

import (
	"context"
	"runtime"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/alloctest"
)

// message is what is published: 256 bytes with a few properties.
var message = &Message{
	Exchange: "exchange", RoutingKey: "routing.key", Mandatory: true, Body: make([]byte, 256),
	Properties: amqp091.Properties{ContentType: "text/plain", DeliveryMode: amqp091.Persistent, MessageID: "0123456789"},
}

// A message is published and confirmed with at most one allocation, its Publication, and one more when somebody waits.
func TestPublishAllocations(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     ChannelOptions
		wait  bool
		limit float64
	}{
		{"asynchronous", ChannelOptions{}, false, 1},
		{"asynchronous, waited for", ChannelOptions{}, true, 2},
		{"asynchronous, with its message kept", ChannelOptions{Republish: true}, true, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, ch, _ := connected(t, &test.o)
			ack := amqp091.AppendAck(nil, 1, 0, true) // all
			if n := alloctest.PerRun(5000, test.limit+0.5, func() {
				p, err := ch.PublishAsync(t.Context(), message)
				if err != nil {
					t.Fatal(err)
				}
				if test.wait {
					p.Done()
				}
				for done := false; !done; runtime.Gosched() {
					c.feed(t, ack)
					c.mu.Lock()
					done = p.stage == stageDone
					c.mu.Unlock()
				}
			}); n > test.limit+0.5 { // the writer's goroutine is started now and then
				t.Errorf("%v allocations", n)
			}
		})
	}
	t.Run("synchronous", func(t *testing.T) {
		c, ch, _ := connected(t, nil)
		ack := amqp091.AppendAck(nil, 1, 0, true)
		done := make(chan error, 1)
		start := make(chan struct{})
		go func() {
			for range start {
				done <- ch.Publish(context.Background(), message)
			}
		}()
		defer close(start)
		if n := alloctest.PerRun(5000, 0.5, func() {
			start <- struct{}{}
			for {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					return
				default:
					runtime.Gosched()
					c.feed(t, ack)
				}
			}
		}); n > 0.5 {
			t.Errorf("%v allocations", n)
		}
	})
}

// A delivery is received, read and acknowledged with one allocation.
func TestConsumeAllocations(t *testing.T) {
	c, ch, d := connected(t, nil)
	d.answer(1, &amqp091.BasicQosOK{}, &amqp091.BasicConsumeOK{ConsumerTag: "tag"})
	s, err := ch.Consume(t.Context(), "q", &ConsumeOptions{Tag: "tag"})
	if err != nil {
		t.Fatal(err)
	}
	props, err := message.appendProperties(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	tag := uint64(0)
	if n := alloctest.PerRun(5000, 1.5, func() {
		tag++
		b, _ = amqp091.AppendDeliver(b[:0], 1, "tag", tag, false, message.Exchange, message.RoutingKey)
		b = amqp091.AppendContentHeader(b, 1, 256, props)
		b = amqp091.AppendBody(b, 1, message.Body, 4096)
		c.feed(t, b)
		d, err := s.next(t.Context())
		if err != nil || len(d.Body) != 256 {
			t.Fatal(d, err)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}); n > 1.5 {
		t.Errorf("%v allocations", n)
	}
}
