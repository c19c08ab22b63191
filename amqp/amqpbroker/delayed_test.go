package amqpbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// delayedExchange makes a delayed exchange with a queue.
func delayedExchange(t *testing.T, b *Broker) *queue {
	t.Helper()
	ctx := context.Background()
	x := Exchange{Name: "x", Type: "x-delayed-message", Durable: true, Arguments: args("x-delayed-type", "direct")}
	if err := b.DeclareExchange(ctx, "/", x); err != nil {
		t.Fatal(err)
	}
	q := declare(t, b, Queue{Name: "q", Durable: true})
	if err := b.Bind(ctx, "/", Binding{Source: "x", Destination: "q", RoutingKey: "k"}); err != nil {
		t.Fatal(err)
	}
	return q
}

// later publishes a message that is to be delayed.
func later(t *testing.T, b *Broker, delay any, mode uint8, body string) {
	t.Helper()
	m := Message{
		Exchange: "x", RoutingKey: "k", Body: []byte(body), Properties: amqp091.Properties{DeliveryMode: mode, Headers: args("x-delay", delay)},
	}
	if err := b.Publish(context.Background(), "/", &m); err != nil {
		t.Fatal(err)
	}
}

func TestDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		q := delayedExchange(t, b)
		later(t, b, int32(200), 1, "second")
		later(t, b, int32(100), 1, "first")
		later(t, b, int32(0), 1, "now")
		later(t, b, int32(-5), 1, "past")
		equal(t, "queue", drain(t, q), "now past")
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		d, _, _ := b.Get("/", "q", true)
		equal(t, "queue", string(d.Body), "first")
		header, _ := d.Properties.Headers().Get("x-delay")
		equal(t, "x-delay", header.Value(), any(int64(-100)))
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "queue", drain(t, q), "second")
	})
}

// TestDelayedLong delays beyond 2^32 milliseconds, and beyond restarts.
func TestDelayedLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), MemoryLimit: -1}
		b := open(t, o)
		delayedExchange(t, b)
		rnd := rand.New(rand.NewPCG(1, 2))
		type item struct {
			at   int64
			body string
		}
		var all []item
		for i := range 300 {
			at := rnd.Int64N(1 << (10 + i%26))
			all = append(all, item{at, fmt.Sprint(at)})
			later(t, b, at+1, amqp091.Persistent, fmt.Sprint(at))
		}
		begin := time.Now()
		slices.SortFunc(all, func(a, b item) int { return int(a.at - b.at) })
		for len(all) > 0 {
			b.Close()
			b = open(t, o)
			q := b.vhost("/").queue("q")
			n := min(50, len(all))
			time.Sleep(time.Until(begin.Add(time.Duration(all[n-1].at+1) * time.Millisecond)))
			synctest.Wait()
			var want []string
			for _, it := range all[:n] {
				want = append(want, it.body)
			}
			got := strings.Fields(drain(t, q))
			for i := range got {
				got[i] = strings.TrimSuffix(got[i], "r")
			}
			slices.SortFunc(got, func(a, b string) int { return cmpNumbers(a, b) })
			equal(t, "queue", strings.Join(got, " "), strings.Join(want, " "))
			all = all[n:]
		}
		b.Close()
	})
}

func cmpNumbers(a, b string) int {
	var x, y int64
	fmt.Sscan(a, &x)
	fmt.Sscan(b, &y)
	return int(x - y)
}

func TestDelayedDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), MemoryLimit: -1}
		b := open(t, o)
		delayedExchange(t, b)
		later(t, b, int32(100), amqp091.Persistent, "lost")
		if err := b.DeleteExchange(context.Background(), "/", "x"); err != nil {
			t.Fatal(err)
		}
		b.Close()
		b = open(t, o)
		defer b.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "queue", drain(t, b.vhost("/").queue("q")), "")
	})
}
