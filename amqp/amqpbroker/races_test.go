package amqpbroker

import (
	"context"
	"fmt"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestVhostMadeWhileDeleted makes a virtual host anew while one of that name is being deleted, and restarts: it is the new one.
func TestVhostMadeWhileDeleted(t *testing.T) {
	j := newMemJournal(nil)
	ctx := context.Background()
	var b *Broker
	var again sync.WaitGroup
	o := Options{Journal: j, Definitions: Guest()}
	o.Events.QueueDeleted = func(_, name string) {
		if name != "old" {
			return
		}
		done := make(chan struct{})
		again.Go(func() {
			defer close(done)
			must(t, b.SetVhost(VhostDefinition{Name: "v", Description: "new"}))
			must(t, b.SetPermission(Permission{User: "guest", Vhost: "v", Read: "new"}))
			_, err := b.DeclareQueue(ctx, "v", Queue{Name: "q", Durable: true})
			must(t, err)
		})
		select {
		case <-done:
		case <-time.After(20 * time.Millisecond): // it waits until the old one has gone
		}
	}
	b = open(t, o)
	must(t, b.AddVhost("v"))
	must(t, b.SetPermission(Permission{User: "guest", Vhost: "v", Read: "old"}))
	for _, name := range []string{"q", "old"} {
		_, err := b.DeclareQueue(ctx, "v", Queue{Name: name, Durable: true})
		must(t, err)
	}
	must(t, b.DeleteVhost("v"))
	again.Wait()
	check := func(when string) {
		t.Helper()
		v := b.vhost("v")
		if v == nil {
			t.Fatalf("%s: there is no virtual host", when)
		}
		d := b.Definitions()
		got := fmt.Sprint(v.definition.Description, " q:", v.queue("q") != nil, " old:", v.queue("old") != nil)
		for _, p := range d.Permissions {
			if p.Vhost == "v" {
				got += " permission:" + p.Read
			}
		}
		equal(t, when, got, "new q:true old:false permission:new")
	}
	check("at once")
	must(t, b.Close())
	b = open(t, Options{Journal: newMemJournal(j.log())})
	check("after a restart")
}

// TestOpenWhileUserIsDeleted deletes the user of a connection between the moment when it may open the virtual host and the one when
// it is known, so that DeleteUser closes it: it does not open.
func TestOpenWhileUserIsDeleted(t *testing.T) {
	b := open(t, Options{})
	c := new(amqpserver.Conn) // of the user without a name
	must(t, b.SetPermission(Permission{Vhost: "/", Read: ".*"}))
	b.mu.RLock()
	opened := make(chan error, 1)
	go func() {
		_, err := b.Open(context.Background(), c, "/")
		opened <- err
	}()
	for b.mu.TryRLock() { // until somebody waits for the lock
		b.mu.RUnlock()
		runtime.Gosched()
	}
	must(t, b.change(b.reg.ofUser("")...))
	b.mu.RUnlock()
	if err := <-opened; err == nil {
		t.Error("it has opened")
	}
}

// TestUsedQueueIsKept uses a queue between the moment when it seems to be unused and its end.
func TestUsedQueueIsKept(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q", Arguments: args("x-expires", int32(100_000))})
	v := q.v
	q.mu.Lock()
	now := q.used + 100_000
	q.mu.Unlock()
	v.mu.RLock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.deleteUnused(amqpserver.NewBatch(), q, now)
	}()
	for v.mu.TryRLock() { // until somebody waits for the lock
		v.mu.RUnlock()
		runtime.Gosched()
	}
	q.mu.Lock()
	q.touch(now)
	q.mu.Unlock()
	v.mu.RUnlock()
	<-done
	if v.queue("q") != q {
		t.Error("the queue is deleted")
	}
}

// TestRefusedGet gets a message without acknowledgement whose properties do not fit into a frame: the channel closes, and the
// message stays in the queue.
func TestRefusedGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, durable := range []bool{false, true} {
			w := newWorld(t, &Options{Journal: newMemJournal(nil)}, nil)
			q := declare(t, w.Broker, Queue{Name: "q", Durable: durable})
			must(t, w.Publish(context.Background(), "/", &Message{RoutingKey: "q", Body: []byte("m"), Properties: amqp091.Properties{
				DeliveryMode: amqp091.Persistent, Headers: args("large", strings.Repeat("x", 5000)),
			}}))
			p := w.dial("p").start()
			w.wait()
			p.taken()
			p.send(1, &amqp091.BasicGet{Queue: "q", NoAck: true})
			w.wait()
			got := p.taken()
			if cl, ok := got[0].method.(*amqp091.ChannelClose); len(got) != 1 || !ok || cl.ReplyCode != amqp091.ContentTooLarge {
				t.Errorf("got %v", got)
			}
			equal(t, "queue", drain(t, q), "mr")
			p.drop()
			w.close()
		}
	})
}

// TestRefusedAmongOthers publishes to several queues of a headers exchange, of which the first refuses the message and dead-letters
// it: the others get it.
func TestRefusedAmongOthers(t *testing.T) {
	inWorld(t, Options{}, func(w *world, p *peer) {
		var queues []*queue
		for i := range 4 {
			q := declare(t, w.Broker, Queue{Name: fmt.Sprint("q", i), Arguments: args("x-dead-letter-exchange", "",
				"x-dead-letter-routing-key", "dead", "x-max-length", i, "x-overflow", "reject-publish-dlx")})
			must(t, w.Bind(context.Background(), "/", Binding{Source: "amq.headers", Destination: q.name, Arguments: args("a", 1)}))
			queues = append(queues, q)
		}
		queues[0] = declare(t, w.Broker, Queue{Name: "dead"})
		p.send(1, &amqp091.ConfirmSelect{})
		p.publish(1, "amq.headers", "", &amqp091.Properties{Headers: args("a", 1)}, "m")
		p.expect("confirm.select-ok, nack 1")
		for _, q := range queues {
			equal(t, q.name, drain(t, q), "m")
		}
	})
}

// TestDefinitionsWhileChanged gives a virtual host another description after somebody has read the definitions, in no order but that
// of time, which the race detector does not know.
func TestDefinitionsWhileChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		var other sync.WaitGroup
		other.Go(func() {
			time.Sleep(time.Second)
			must(t, b.SetVhost(VhostDefinition{Name: "/", Description: "another"}))
		})
		b.Definitions()
		other.Wait()
		equal(t, "description", b.Definitions().Vhosts[0].Description, "another")
	})
}

// checkpointJournal makes checkpoints whenever something is read.
type checkpointJournal struct{ *memJournal }

func (j checkpointJournal) Reader() JournalReader { return j }

func (j checkpointJournal) Read(seq uint64) ([]byte, error) {
	j.h.Checkpoint(math.MaxUint64)
	return j.memJournal.Read(seq)
}

// TestCheckpointWhileRestored makes checkpoints of a queue while what is deferred, scheduled and rejected in it is read back, and
// loses the power then.
func TestCheckpointWhileRestored(t *testing.T) {
	j := newMemJournal(nil)
	b := open(t, Options{Journal: j, Definitions: Guest()})
	q := declare(t, b, Queue{Name: "q", Durable: true, Arguments: args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead")})
	put(t, q, amqp091.Properties{DeliveryMode: amqp091.Persistent}, "1", "2", "3", "4")
	due := time.Now().Add(time.Hour).UnixMilli()
	for i := range 3 {
		d, ok, err := b.Get("/", "q", false)
		if !ok {
			t.Fatal(err)
		}
		q.mu.Lock()
		if i == 1 {
			e := q.unhold(d.h)
			q.postpone(&e, due)
		} else {
			q.deferEntry(d.h)
		}
		q.unlock()
	}
	log := j.log()
	for i := range 3 {
		j := newMemJournal(log)
		var use Journal = j
		if i < 2 {
			use = checkpointJournal{j}
		}
		b := open(t, Options{Journal: use})
		log = j.log()
		var got []string
		q := b.vhost("/").queue("q")
		q.mu.Lock()
		for _, h := range q.held {
			got = append(got, fmt.Sprint(string(h.m.body), " ", h.state, " ", h.state == stateScheduled && h.at == due))
		}
		q.mu.Unlock()
		slices.Sort(got)
		equal(t, "held", strings.Join(got, ", "), fmt.Sprintf("1 %d false, 2 %d true, 3 %[1]d false", stateDeferred, stateScheduled))
		equal(t, "queue", drain(t, q), "4r")
	}
}

// TestConsumeAfterClose: a subscription to a broker that is closed has ended.
func TestConsumeAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		declare(t, b, Queue{Name: "q"})
		must(t, b.Close())
		s, err := b.Consume("/", "q", nil)
		must(t, err)
		if _, err := s.Next(t.Context()); err != net.ErrClosed {
			t.Error(err)
		}
	})
}

// TestManyExchanges routes through more exchanges than are compared one by one, each of which is reached on several ways.
func TestManyExchanges(t *testing.T) {
	b := open(t, Options{})
	ctx := context.Background()
	const n = 100
	name := func(i int) string { return fmt.Sprintf("x%d", i) }
	for i := range n {
		must(t, b.DeclareExchange(ctx, "/", Exchange{Name: name(i), Type: "fanout"}))
		declare(t, b, Queue{Name: name(i)})
	}
	for i := range n {
		must(t, b.Bind(ctx, "/", Binding{Source: name(i), Destination: name(i)}))
		for _, to := range []int{i + 1, i + 2, i / 2, 0} { // cycles, too
			must(t, b.Bind(ctx, "/", Binding{Source: name(i), Destination: name(to % n), ToExchange: true}))
		}
	}
	for range 2 {
		must(t, b.Publish(ctx, "/", &Message{Exchange: name(0), Mandatory: true}))
		for i := range n {
			q := b.vhost("/").queue(name(i))
			q.mu.Lock()
			equal(t, q.name, q.ready, 1)
			q.mu.Unlock()
			drain(t, q)
		}
	}
}

// BenchmarkExchanges routes to exchanges that are bound to one.
func BenchmarkExchanges(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			br := open(b, Options{})
			ctx := context.Background()
			for i := range n {
				name := fmt.Sprint("x", i)
				if err := br.DeclareExchange(ctx, "/", Exchange{Name: name, Type: "fanout"}); err != nil {
					b.Fatal(err)
				}
				if err := br.Bind(ctx, "/", Binding{Source: "amq.fanout", Destination: name, ToExchange: true}); err != nil {
					b.Fatal(err)
				}
			}
			v := br.vhost("/")
			x := v.exchange("amq.fanout")
			sc := scratchOf(amqpserver.NewBatch())
			for b.Loop() {
				v.route(sc, x, nil, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/exchange")
		})
	}
}
