package amqpclient091_test

import (
	"context"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// A broker that is low on memory blocks publishers; consumers go on, and the messages arrive afterwards.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		b, err := amqpbroker.New(&amqpbroker.Options{
			Authenticate: amqpbroker.AllowAll, Unregistered: amqpbroker.Everything(), MemoryLimit: 1000, MemoryUsed: used.Load,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		l := memnet.Listen("broker")
		s := amqpserver.New(b, nil)
		defer s.Close()
		go s.Serve(l, nil)
		dial := func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }
		c, err := amqpclient091.Dial(t.Context(), "mem://broker", &amqpclient091.Options{
			Dialers: map[string]amqpclient091.DialFunc{"mem": dial},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "q"}); err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), &amqpclient091.Message{RoutingKey: "q", Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		used.Store(2000)
		for _, blocked := c.Blocked(); !blocked; _, blocked = c.Blocked() {
			time.Sleep(time.Second)
			c.PublishAsync(t.Context(), &amqpclient091.Message{RoutingKey: "q", Body: []byte("2")})
		}
		done := make(chan error, 1)
		go func() {
			done <- c.Publish(t.Context(), &amqpclient091.Message{RoutingKey: "q", Body: []byte("last")})
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatal("not blocked", err)
		default:
		}
		k, err := c.Consume(t.Context(), "q", nil)
		if err != nil {
			t.Fatal(err)
		}
		for d, err := range k.Deliveries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Ack(); err != nil {
				t.Fatal(err)
			}
			if string(d.Body) == "last" {
				break
			}
			used.Store(0)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := c.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
