package amqpbroker

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestLongNames gives names and keys that no client could be sent.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("k", 300)
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "dead"}, &amqp091.QueueBind{Queue: "dead", Exchange: "amq.fanout"})
		p.send(1, &amqp091.QueueDeclare{Queue: "q", Arguments: args("x-dead-letter-exchange", "amq.fanout", "x-dead-letter-routing-key", long)})
		p.expect("queue.declare-ok, queue.bind-ok, close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': {too_long,300}")
		ctx := context.Background()
		if err := w.Publish(ctx, "/", &Message{Exchange: "amq.fanout", RoutingKey: long}); err == nil {
			t.Error("published with a long key")
		}
		if _, err := w.DeclareQueue(ctx, "/", Queue{Name: long}); err == nil {
			t.Error("declared a queue with a long name")
		}
		if err := w.DeclareExchange(ctx, "/", Exchange{Name: long, Type: "fanout"}); err == nil {
			t.Error("declared an exchange with a long name")
		}
		if err := w.Bind(ctx, "/", Binding{Source: "amq.fanout", Destination: "dead", RoutingKey: long}); err == nil {
			t.Error("bound with a long key")
		}
		if err := w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: "", Definition: Arguments(args("dead-letter-exchange", "amq.fanout", "dead-letter-routing-key", long))}); err == nil {
			t.Error("set a policy with a long key")
		}
	})
}

// TestHugeNumbers gives times that end after the end of time.
func TestHugeNumbers(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q", Arguments: args("x-message-ttl", int64(math.MaxInt64), "x-expires", int64(math.MaxInt64),
			"x-max-length", int64(math.MaxInt64), "x-max-length-bytes", int64(math.MaxInt64), "x-consumer-timeout", int64(math.MaxInt64))})
		p.publish(1, "", "q", &amqp091.Properties{Expiration: "99999999999999999"}, "1")
		p.publish(1, "", "q", &amqp091.Properties{}, "2")
		time.Sleep(time.Minute)
		p.send(1, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", Arguments: args("x-priority", int64(1)<<32-1)})
		time.Sleep(time.Minute)
		p.expect("queue.declare-ok, basic.consume-ok, deliver c \"1\", deliver c \"2\"")
		q := w.vhost("/").queue("q")
		if got := q.cs.list[0].priority; got != math.MaxInt32 {
			t.Errorf("priority %d", got)
		}
		p.send(1, &amqp091.BasicCancel{ConsumerTag: "c"})
		time.Sleep(time.Minute)
		if w.vhost("/").queue("q") == nil {
			t.Error("the queue has expired")
		}
	})
}

// TestExclusiveQueuesAreForgotten makes many queues on one connection.
func TestExclusiveQueuesAreForgotten(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		for range 100 {
			p.send(1, &amqp091.QueueDeclare{Queue: "q", Exclusive: true, AutoDelete: true, NoWait: true},
				&amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", NoWait: true}, &amqp091.BasicCancel{ConsumerTag: "c", NoWait: true})
		}
		w.wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		for s := range w.sessions {
			s.mu.Lock()
			if n := len(s.exclusive); n > 0 {
				t.Errorf("%d queues are remembered", n)
			}
			s.mu.Unlock()
		}
	})
}

// TestGetAfterClose gets from a durable queue of a broker that is closed.
func TestGetAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, vfs.NewMem())
		_, err := b.DeclareQueue(context.Background(), "/", Queue{Name: "q", Durable: true})
		must(t, err)
		b.put(t, "/", "q", "1")
		must(t, b.Close())
		done := make(chan error, 1)
		go func() {
			_, _, err := b.Get("/", "q", true)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(time.Minute):
			t.Fatal("it waits for ever")
		}
	})
}

// TestSuccessorHasBegun ends the single active consumer while the next one has not been told yet that it consumes.
func TestSuccessorHasBegun(t *testing.T) {
	b, err := New(nil)
	must(t, err)
	defer b.Close()
	must(t, b.AddVhost("/"))
	q := declare(t, b, Queue{Name: "q", Arguments: args("x-single-active-consumer", true)})
	first := attach(t, q, 10, &consumer{})
	next := &link{t: t, q: q, c: &consumer{keeps: true}, credit: 10}
	next.c.sink = next
	bt := amqpserver.NewBatch()
	must(t, q.add(bt, next.c))
	first.detach()
	put(t, q, amqp091.Properties{}, "1")
	next.expect("")
	q.begin(bt, next.c)
	b.done(bt)
	next.expect("1")
}

// TestBindingsWithZeros binds with names that have a zero byte, which must not be taken for each other.
func TestBindingsWithZeros(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		b := opened(t, disk)
		ctx := context.Background()
		for _, name := range []string{"d", "d\x00k"} {
			_, err := b.DeclareQueue(ctx, "/", Queue{Name: name, Durable: true})
			must(t, err)
		}
		must(t, b.Bind(ctx, "/", Binding{Source: "amq.direct", Destination: "d", RoutingKey: "k\x00x"}))
		must(t, b.Bind(ctx, "/", Binding{Source: "amq.direct", Destination: "d\x00k", RoutingKey: "x"}))
		must(t, b.Close())
		b = opened(t, disk)
		if n := b.vhost("/").exchange("amq.direct").router.len(); n != 2 {
			t.Errorf("%d bindings", n)
		}
		must(t, b.Close())
	})
}

// TestPassiveDeclareNeedsPermission looks for queues and exchanges without any permission for them.
func TestPassiveDeclareNeedsPermission(t *testing.T) {
	d := Guest()
	d.Permissions = []Permission{{User: "guest", Vhost: "/", Configure: "^my", Write: "^my", Read: "^(my|seen)"}}
	inWorld(t, Options{Definitions: d}, func(w *world, p *peer) {
		ctx := context.Background()
		for _, name := range []string{"seen", "secret"} {
			_, err := w.DeclareQueue(ctx, "/", Queue{Name: name})
			must(t, err)
			must(t, w.DeclareExchange(ctx, "/", Exchange{Name: name, Type: "fanout"}))
		}
		p.send(1, &amqp091.QueueDeclare{Queue: "seen", Passive: true}, &amqp091.ExchangeDeclare{Exchange: "seen", Passive: true})
		p.expect("queue.declare-ok, exchange.declare-ok")
		p.send(1, &amqp091.QueueDeclare{Queue: "secret", Passive: true})
		p.expect("close 403 ACCESS_REFUSED - access to queue 'secret' in vhost '/' refused for user 'guest'")
		p.send(1, &amqp091.ChannelCloseOK{})
		p.send(2, &amqp091.ChannelOpen{}, &amqp091.ExchangeDeclare{Exchange: "secret", Passive: true})
		p.expect("channel.open-ok, close 403 ACCESS_REFUSED - access to exchange 'secret' in vhost '/' refused for user 'guest'")
	})
}

// TestExpiredWithoutJournal lets messages expire that must be loaded to be dead-lettered, when the journal has failed: nobody is to
// try again and again.
func TestExpiredWithoutJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, vfs.NewMem())
		_, err := b.DeclareQueue(context.Background(), "/", Queue{
			Name: "q", Durable: true, Arguments: args("x-dead-letter-exchange", "amq.fanout", "x-message-ttl", 1000),
		})
		must(t, err)
		for range 100 {
			b.put(t, "/", "q", "1")
		}
		q := b.vhost("/").queue("q")
		b.rec.failed.Store(true)
		q.mu.Lock()
		for q.levels[0].hot.n > 0 {
			q.shift()
		}
		q.unlock()
		time.Sleep(time.Minute) // which does not end while somebody is busy
		b.Close()
	})
}

// TestTimeoutByPolicy sets a policy with a timeout when a consumer has a message already.
func TestTimeoutByPolicy(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		p.publish(1, "", "q", &amqp091.Properties{}, "1")
		p.expect("queue.declare-ok, basic.consume-ok, deliver c \"1\"")
		time.Sleep(time.Second)
		must(t, w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: "q", Definition: Arguments(args("consumer-timeout", 3000))}))
		time.Sleep(1900 * time.Millisecond)
		p.expect("")
		time.Sleep(200 * time.Millisecond)
		w.wait()
		if got := p.lines(); !strings.HasPrefix(got, "close 406 PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out.") {
			t.Errorf("got %s", got)
		}
	})
}
