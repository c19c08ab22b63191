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
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// link is a consumer with credit, as a link of AMQP 1.0 is one.
type link struct {
	t      testing.TB
	q      *queue
	c      *consumer
	credit int
	held   []*held
	got    []string
	ended  bool
}

// attach starts a consumer.
func attach(t testing.TB, q *queue, credit int, c *consumer) *link {
	t.Helper()
	l := &link{t: t, q: q, c: c, credit: credit}
	c.sink, c.keeps = l, true
	bt := amqpserver.NewBatch()
	if err := q.add(bt, c); err != nil {
		t.Fatal(err)
	}
	q.begin(bt, c)
	q.b.done(bt)
	return l
}

func (l *link) deliver(_ *amqpserver.Batch, _ *consumer, m *message, e *entry, h *held) bool {
	if l.credit == 0 {
		return false
	}
	l.credit--
	text := string(m.body)
	if e.redelivered() {
		text += "r"
	}
	l.got = append(l.got, text)
	if h != nil {
		l.held = append(l.held, h)
	}
	return true
}

func (l *link) canceled(*amqpserver.Batch, *consumer) { l.ended = true }

// flow gives the link credit.
func (l *link) flow(n int) {
	bt := amqpserver.NewBatch()
	l.q.mu.Lock()
	l.credit += n
	l.q.mu.Unlock()
	l.q.resume(bt, l.c)
	l.q.b.done(bt)
}

// detach ends the link, and gives back what it has.
func (l *link) detach() {
	bt := amqpserver.NewBatch()
	var refs []any
	for _, h := range l.held {
		refs = append(refs, h)
	}
	l.held = nil
	leave(bt, []*consumer{l.c}, refs)
	l.q.b.done(bt)
}

// settle settles the first n deliveries.
func (l *link) settle(how amqpserver.Settlement, n int) {
	refs := make([]any, n)
	for i, h := range l.held[:n] {
		refs[i] = h
	}
	l.held = l.held[n:]
	bt := amqpserver.NewBatch()
	settle(bt, refs, how)
	l.q.b.done(bt)
}

// take returns what has come since the last call.
func (l *link) take() string {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	s := strings.Join(l.got, " ")
	l.got = nil
	return s
}

func (l *link) expect(want string) {
	l.t.Helper()
	if got := l.take(); got != want {
		l.t.Errorf("got %q, want %q", got, want)
	}
}

// declare makes a queue in the virtual host "/".
func declare(t testing.TB, b *Broker, q Queue) *queue {
	t.Helper()
	name, err := b.DeclareQueue(context.Background(), "/", q)
	if err != nil {
		t.Fatal(err)
	}
	return b.vhost("/").queue(name)
}

// put publishes messages to a queue, with the properties p.
func put(t testing.TB, q *queue, p amqp091.Properties, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := Message{RoutingKey: q.name, Mandatory: true, Properties: p, Body: []byte(body)}
		if err := q.b.Publish(context.Background(), "/", &m); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes everything that is ready out of a queue.
func drain(t testing.TB, q *queue) string {
	t.Helper()
	var out []string
	for {
		d, ok, err := q.b.Get("/", q.name, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(out, " ")
		}
		text := string(d.Body)
		if d.Redelivered {
			text += "r"
		}
		out = append(out, text)
	}
}

func args(pairs ...any) (t amqp091.Table) {
	for i := 0; i < len(pairs); i += 2 {
		t.Set(pairs[i].(string), pairs[i+1])
	}
	return t
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestCreditAndReturn(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	l := attach(t, q, 2, &consumer{})
	put(t, q, amqp091.Properties{}, "1", "2", "3", "4")
	l.expect("1 2")
	l.settle(amqpserver.Requeued, 2)
	other := attach(t, q, 10, &consumer{})
	other.expect("1r 2r 3 4")
	other.settle(amqpserver.Acked, 3)
	other.detach()
	l.flow(5)
	l.expect("4r")
	l.settle(amqpserver.Acked, 1)
	equal(t, "left", drain(t, q), "")
}

// TestQueueModel compares a queue with a list, through all that takes entries out and puts them back, with few entries in
// memory.
func TestQueueModel(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for _, levels := range []int{1, 4} {
			t.Run(fmt.Sprintf("durable=%t levels=%d", durable, levels), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { queueModel(t, durable, levels, rand.Uint64()) })
			})
		}
	}
}

func queueModel(t *testing.T, durable bool, levels int, seed uint64) {
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	o := Options{hotMessages: 8, MemoryLimit: -1}
	if durable {
		o.Dir, o.fs = "data", vfs.NewMem()
	}
	b := open(t, o)
	defer b.Close()
	q := declare(t, b, Queue{Name: "q", Durable: true, Arguments: args("x-max-priority", levels-1)})
	type item struct{ level, n int }
	order := func(a, b item) int {
		if a.level != b.level {
			return b.level - a.level
		}
		return a.n - b.n
	}
	var ready, out []item
	var held []Delivery
	n := 0
	for range 2000 {
		switch what := rnd.IntN(10); {
		case what < 4:
			for range rnd.IntN(10) {
				it := item{rnd.IntN(levels), n}
				n++
				p := amqp091.Properties{Priority: uint8(it.level)}
				if rnd.IntN(3) > 0 {
					p.DeliveryMode = amqp091.Persistent
				}
				put(t, q, p, fmt.Sprint(it.level, "-", it.n))
				ready = append(ready, it)
			}
			slices.SortFunc(ready, order)
		case what < 8:
			for range rnd.IntN(12) {
				d, ok, err := b.Get("/", "q", false)
				if err != nil || ok != (len(ready) > 0) {
					t.Fatalf("get: %t, %v; %d are ready", ok, err, len(ready))
				}
				if !ok {
					break
				}
				if want := fmt.Sprint(ready[0].level, "-", ready[0].n); string(d.Body) != want {
					t.Fatalf("got %s, want %s", d.Body, want)
				}
				held, out, ready = append(held, d), append(out, ready[0]), ready[1:]
			}
		default:
			for range rnd.IntN(8) {
				if len(held) == 0 {
					break
				}
				i := rnd.IntN(len(held))
				if rnd.IntN(2) == 0 {
					held[i].Ack()
				} else {
					held[i].Requeue()
					ready = append(ready, out[i])
					slices.SortFunc(ready, order)
				}
				held, out = slices.Delete(held, i, i+1), slices.Delete(out, i, i+1)
			}
		}
		s := b.Stats()
		if s.Ready != int64(len(ready)) || s.Unacked != int64(len(held)) {
			t.Fatalf("%d are ready and %d held, want %d and %d", s.Ready, s.Unacked, len(ready), len(held))
		}
	}
	for i := range held {
		held[i].Requeue()
	}
	ready = append(ready, out...)
	slices.SortFunc(ready, order)
	for _, it := range ready {
		d, ok, err := b.Get("/", "q", true)
		if want := fmt.Sprint(it.level, "-", it.n); !ok || err != nil || string(d.Body) != want {
			t.Fatalf("got %s, %t, %v, want %s", d.Body, ok, err, want)
		}
	}
}

func TestGiveBackMany(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	odd, even := attach(t, q, 0, &consumer{}), attach(t, q, 0, &consumer{})
	var all []string
	for i := range 100 {
		put(t, q, amqp091.Properties{}, fmt.Sprint(i))
		all = append(all, fmt.Sprint(i, "r"))
	}
	for range 50 {
		odd.flow(1)
		even.flow(1)
	}
	odd.detach()
	even.detach()
	equal(t, "queue", drain(t, q), strings.Join(all, " "))
}

func TestFilteredConsumers(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	put(t, q, amqp091.Properties{}, "a1", "b1", "a2", "b2")
	only := func(prefix string) func(*message) bool {
		return func(m *message) bool { return strings.HasPrefix(string(m.body), prefix) }
	}
	l := attach(t, q, 10, &consumer{match: only("b")})
	l.expect("b1 b2")
	put(t, q, amqp091.Properties{}, "a3", "b3")
	l.expect("b3")
	l.settle(amqpserver.Requeued, 1)
	l.expect("b1r")
	other := attach(t, q, 10, &consumer{})
	other.expect("a1 a2 a3")
	l.detach()
	other.expect("b1r b2r b3r")
	equal(t, "left", drain(t, q), "")
}

func TestBrowsing(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	put(t, q, amqp091.Properties{}, "1", "2", "3")
	l := attach(t, q, 2, &consumer{browses: true, noAck: true})
	l.expect("1 2")
	taker := attach(t, q, 1, &consumer{})
	taker.expect("1")
	l.flow(10)
	l.expect("3")
	put(t, q, amqp091.Properties{}, "4")
	l.expect("4")
	l.detach()
	taker.detach()
	equal(t, "queue", drain(t, q), "1r 2 3 4")
}

// TestFarLook looks for messages in a queue of which most are on the disk.
func TestFarLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{Dir: "data", fs: vfs.NewMem(), hotMessages: 8})
		defer b.Close()
		q := declare(t, b, Queue{Name: "q", Durable: true})
		p := amqp091.Properties{DeliveryMode: amqp091.Persistent}
		var all []string
		for i := range 500 {
			put(t, q, p, fmt.Sprint(i))
			all = append(all, fmt.Sprint(i))
		}
		far := attach(t, q, 10, &consumer{match: func(m *message) bool { return string(m.body) == "400" }})
		synctest.Wait()
		far.expect("400")
		browser := attach(t, q, 1000, &consumer{browses: true, noAck: true})
		synctest.Wait()
		all = slices.Delete(all, 400, 401)
		browser.expect(strings.Join(all, " "))
		far.detach()
		browser.detach()
		synctest.Wait()
		equal(t, "count", strings.Count(drain(t, q), " "), 499)
	})
}

func TestGroups(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	q.grouping = &grouping{
		groupOf: func(m *message) string { g, _, _ := strings.Cut(string(m.body), "-"); return g }, owners: map[string]*consumer{},
	}
	one, two := attach(t, q, 1, &consumer{}), attach(t, q, 1, &consumer{})
	put(t, q, amqp091.Properties{}, "a-1", "b-1", "a-2", "b-2", "-3")
	one.expect("a-1")
	two.expect("b-1")
	two.flow(10)
	two.expect("b-2 -3")
	two.detach() // what it had is for anybody
	one.flow(10)
	one.expect("b-1r a-2 b-2r -3r")
	one.settle(amqpserver.Acked, 5)
	equal(t, "left", drain(t, q), "")
}

func TestDeferredAndScheduled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		o := Options{Dir: "data", fs: disk, MemoryLimit: -1}
		b := open(t, o)
		q := declare(t, b, Queue{Name: "q", Durable: true})
		p := amqp091.Properties{DeliveryMode: amqp091.Persistent}
		put(t, q, p, "1", "2", "3")
		l := attach(t, q, 3, &consumer{})
		synctest.Wait()
		l.expect("1 2 3")
		q.mu.Lock()
		pos := q.deferEntry(l.held[1])
		e := q.unhold(l.held[2])
		q.postpone(&e, time.Now().Add(time.Hour).UnixMilli())
		q.unlock()
		l.settle(amqpserver.Acked, 1)
		l.held = nil
		l.detach()
		equal(t, "ready", drain(t, q), "")
		b.Close()

		b = open(t, o)
		q = b.vhost("/").queue("q")
		equal(t, "ready", drain(t, q), "")
		q.mu.Lock()
		h := q.recall(pos, time.Now().UnixMilli())
		if h == nil || string(h.m.body) != "2" || !h.redelivered() {
			t.Errorf("recalled %v", h)
		}
		q.settle(amqpserver.NewBatch(), h, amqpserver.Acked)
		q.unlock()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		equal(t, "ready", drain(t, q), "3")
		b.Close()
		b = open(t, o)
		equal(t, "left", drain(t, b.vhost("/").queue("q")), "")
		b.Close()
	})
}

func TestConsumerOrder(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q"})
	low, high := attach(t, q, 10, &consumer{noAck: true}), attach(t, q, 3, &consumer{noAck: true, priority: 5})
	same := attach(t, q, 2, &consumer{noAck: true, priority: 5})
	put(t, q, amqp091.Properties{}, "1", "2", "3", "4", "5", "6", "7")
	high.expect("1 3 5")
	same.expect("2 4")
	low.expect("6 7")
}

func TestSingleActiveConsumer(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q", Arguments: args("x-single-active-consumer", true)})
	one, two := attach(t, q, 1, &consumer{}), attach(t, q, 5, &consumer{})
	put(t, q, amqp091.Properties{}, "1", "2")
	one.expect("1")
	two.expect("")
	one.detach()
	two.expect("1r 2")
}

func TestExclusiveConsumer(t *testing.T) {
	b := open(t, Options{})
	q := declare(t, b, Queue{Name: "q", AutoDelete: true})
	l := attach(t, q, 1, &consumer{exclusive: true})
	if err := q.add(amqpserver.NewBatch(), &consumer{}); err == nil {
		t.Error("a second one was added")
	}
	bt := amqpserver.NewBatch()
	if !q.drop(bt, l.c) {
		t.Error("the queue stays")
	}
	_, _ = q.v.deleteQueue(bt, q, true, false)
	if b.vhost("/").queue("q") != nil {
		t.Error("the queue is there")
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		dead := declare(t, b, Queue{Name: "dead"})
		q := declare(t, b, Queue{Name: "q", Arguments: args("x-message-ttl", 1000, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead")})
		put(t, q, amqp091.Properties{}, "long")
		put(t, q, amqp091.Properties{Expiration: "50"}, "short")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		equal(t, "dead", drain(t, dead), "") // only the first expires
		d, _, _ := b.Get("/", "q", false)
		synctest.Wait()
		equal(t, "dead", drain(t, dead), "short")
		d.Requeue()
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "dead", drain(t, dead), "long")
		put(t, q, amqp091.Properties{Expiration: "0"}, "none")
		equal(t, "dead", drain(t, dead), "none")
		l := attach(t, q, 1, &consumer{})
		put(t, q, amqp091.Properties{Expiration: "0"}, "now")
		l.expect("now")
	})
}

func TestQueueExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		q := declare(t, b, Queue{Name: "q", Arguments: args("x-expires", 1000)})
		time.Sleep(900 * time.Millisecond)
		drain(t, q)
		time.Sleep(900 * time.Millisecond)
		l := attach(t, q, 1, &consumer{})
		time.Sleep(time.Hour)
		l.detach()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if b.vhost("/").queue("q") == nil {
			t.Error("the queue has gone too early")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if b.vhost("/").queue("q") != nil {
			t.Error("the queue is there")
		}
	})
}

func TestMaxLength(t *testing.T) {
	b := open(t, Options{})
	dead := declare(t, b, Queue{Name: "dead"})
	dlx := []any{"x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"}
	q := declare(t, b, Queue{Name: "q", Arguments: args(append(dlx, "x-max-length", 2)...)})
	put(t, q, amqp091.Properties{}, "a", "b", "c")
	equal(t, "dead", drain(t, dead), "a")
	l := attach(t, q, 2, &consumer{})
	put(t, q, amqp091.Properties{}, "d", "e")
	l.settle(amqpserver.Requeued, 2) // the oldest go
	equal(t, "dead", drain(t, dead), "b c")
	l.detach()
	equal(t, "queue", drain(t, q), "d e")

	bytes := declare(t, b, Queue{Name: "bytes", Arguments: args("x-max-length-bytes", 5)})
	put(t, bytes, amqp091.Properties{}, "123", "45", "6")
	equal(t, "bytes", drain(t, bytes), "45 6")

	for _, policy := range []string{"reject-publish", "reject-publish-dlx"} {
		q := declare(t, b, Queue{Name: policy, Arguments: args(append(dlx, "x-max-length", 1, "x-overflow", policy)...)})
		put(t, q, amqp091.Properties{}, "1")
		if err := b.Publish(context.Background(), "/", &Message{RoutingKey: policy, Body: []byte("2")}); err != ErrNacked {
			t.Errorf("%s: %v", policy, err)
		}
		want := ""
		if policy == "reject-publish-dlx" {
			want = "2"
		}
		equal(t, policy, drain(t, dead), want)
		equal(t, policy, drain(t, q), "1")
	}
}

func TestDeliveryLimit(t *testing.T) {
	b := open(t, Options{})
	dead := declare(t, b, Queue{Name: "dead"})
	q := declare(t, b, Queue{
		Name:      "q",
		Arguments: args("x-delivery-limit", 2, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead"),
	})
	put(t, q, amqp091.Properties{}, "1")
	for range 3 {
		d, ok, _ := b.Get("/", "q", false)
		if !ok {
			t.Fatal("nothing there")
		}
		d.Requeue()
	}
	d, ok, _ := b.Get("/", "dead", true)
	if !ok {
		t.Fatal("nothing is dead")
	}
	reason, _ := d.Properties.Headers().Get("x-first-death-reason")
	equal(t, "reason", fmt.Sprint(reason.Value()), "delivery_limit")
	equal(t, "dead", drain(t, dead), "")
}
