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

// TestDelayedTransient has more messages wait that are not to be there after a restart than memory is to have.
func TestDelayedTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: "data", fs: vfs.NewMem(), MemoryLimit: -1}
		b := open(t, o)
		delayedExchange(t, b)
		d := b.vhost("/").exchange("x").delayed
		const n, size = 200, 64 << 10
		rest := strings.Repeat("x", size-4)
		fill := func() int {
			for i := range n {
				later(t, b, int32(10_000+i), 1, fmt.Sprintf("%04d", i)+rest)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.plain > plainBytes+2*size || d.len() != n {
				t.Errorf("%d messages wait, %d bytes are in memory", d.len(), d.plain)
			}
			return d.far.n
		}
		if fill() == 0 {
			t.Error("the journal has nothing")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for i := range n {
			m, ok, err := b.Get("/", "q", true)
			if err != nil || !ok {
				t.Fatalf("message %d: %v, %v", i, ok, err)
			}
			if got := string(m.Body[:4]); got != fmt.Sprintf("%04d", i) || m.Redelivered || m.Properties.DeliveryMode() != 1 {
				t.Errorf("message %d: %s, redelivered %v", i, got, m.Redelivered)
			}
		}
		equal(t, "bytes", d.plain+d.bytes, 0)

		fill()
		later(t, b, int32(10_000), amqp091.Persistent, "stays")
		b.Close()
		b = open(t, o)
		defer b.Close()
		q := b.vhost("/").queue("q")
		if live := b.opts.Journal.(fileJournal).Stats().LiveBytes; live > size {
			t.Errorf("%d bytes of the journal are live", live)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		equal(t, "queue", drain(t, q), "stays")
	})
}

// TestDelayedFar takes entries in the order of time, while others are added.
func TestDelayedFar(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var f delayedFar
		now := int64(1_700_000_000_000) + rnd.Int64N(1<<30)
		f.floor = now
		want := make(map[uint64]int64)
		pos := uint64(1 << 20)
		add := func() {
			e := delayedEntry{due: f.floor + rnd.Int64N(1<<rnd.IntN(46)), pos: pos, size: rnd.IntN(1 << 20)}
			if rnd.IntN(3) == 0 {
				e.due = f.floor + 100
			}
			pos += uint64(rnd.IntN(5) - 1)
			if _, ok := want[e.pos]; ok {
				return
			}
			want[e.pos] = e.due
			f.add(e)
		}
		for range 3000 {
			add()
		}
		for last := now; len(want) > 0; {
			at, _ := f.first()
			steps := 1 + rnd.IntN(500)
			limit := at + rnd.Int64N(1<<rnd.IntN(30))
			for e, ok := f.take(limit, &steps); ok; e, ok = f.take(limit, &steps) {
				if e.due != want[e.pos] || e.due < last || e.due > limit {
					t.Fatalf("%d is due at %d, want %d; the last one was at %d, the limit %d", e.pos, e.due, want[e.pos], last, limit)
				}
				last = e.due
				delete(want, e.pos)
			}
			if len(want)%7 == 0 && pos < 1<<20+10_000 {
				add()
			}
		}
		if f.n != 0 || len(f.spans) != 0 || len(f.order) != 0 {
			t.Fatalf("%d entries are left in %d spans", f.n, len(f.spans))
		}
	}
}

// TestDelayedRestored restores a delayed exchange of whose messages most have gone.
func TestDelayedRestored(t *testing.T) {
	b := open(t, Options{})
	b.rec = newRecorder(nil, b.opts.Logger)
	d := &restoredDelayed{d: newDelayed(&exchange{v: b.vhost("/")})}
	rnd := rand.New(rand.NewPCG(5, 6))
	const n = 3 * fewDead
	for i := range uint64(n) {
		d.add(delayedEntry{due: 1000 + rnd.Int64N(1<<40), pos: 100 + i, size: int(i)})
	}
	left := make(map[uint64]bool)
	for _, i := range rnd.Perm(n) {
		if left[uint64(100+i)] = i%50 == 0; i%50 != 0 {
			d.remove(uint64(100 + i))
			d.remove(uint64(100 + i))
		}
	}
	if d.entries.n > n/2 {
		t.Errorf("%d entries are in memory", d.entries.n)
	}
	d.take(func(e delayedEntry) {
		if !left[e.pos] || e.size != int(e.pos-100) || e.due < d.least {
			t.Errorf("entry %+v is there", e)
		}
		left[e.pos] = false
	})
	for pos, is := range left {
		if is {
			t.Errorf("entry %d is missing", pos)
		}
	}
	b.rec = nil
}

// TestDelayedNotEarly: no message comes before its delay is over, whatever part of a millisecond has gone when it is published.
func TestDelayedNotEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		q := delayedExchange(t, b)
		for range 10 {
			time.Sleep(7700 * time.Microsecond)
			later(t, b, int32(100), 1, "m")
			time.Sleep(100*time.Millisecond - 1)
			synctest.Wait()
			equal(t, "too early", drain(t, q), "")
			time.Sleep(time.Millisecond)
			synctest.Wait()
			equal(t, "due", drain(t, q), "m")
		}
	})
}
