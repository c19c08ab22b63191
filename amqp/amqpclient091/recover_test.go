package amqpclient091

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Everything is put in its place after a reconnection: server-named and exclusive queues with their bindings and consumers,
// prefetch, modes; in the order exchanges, queues, bindings, consumers.
func TestRecovery(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var events []string
		var mu sync.Mutex
		tell := func(format string, args ...any) {
			mu.Lock()
			events = append(events, fmt.Sprintf(format, args...))
			mu.Unlock()
		}
		c := s.client(&Options{Trace: &Trace{
			Renamed:        func(from, to string) { tell("%s to %s", from, to) },
			Recovered:      func() { tell("recovered") },
			RecoveryFailed: func(err error) { tell("%v", err) },
			Disconnected:   func(err error) { tell("disconnected") },
		}})
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "x", Kind: "topic", Durable: true}, {Name: "y"}},
			Queues: []Queue{
				{Alias: "mine", Exclusive: true},
				{Name: "named", Exclusive: true},
				{Name: "durable", Durable: true, Arguments: amqp091.Table{{Key: "x-max-length", Value: int32(5)}}},
			},
			Bindings: []Binding{
				{Source: "x", Queue: "mine", Key: "m"}, {Source: "x", Queue: "named", Key: "n"}, {Source: "y", Exchange: "x"},
			},
		}))
		if name := c.QueueName("mine"); name != "amq.gen-1" {
			t.Fatal(name)
		}
		mine, err := c.Consume(t.Context(), "mine", &ConsumeOptions{Prefetch: 5, Tag: "mine"})
		check(t, err)
		ch, err := c.Channel(t.Context(), &ChannelOptions{Prefetch: 20})
		check(t, err)
		named, err := ch.Consume(t.Context(), "amq.gen-1", &ConsumeOptions{Prefetch: 7, Tag: "by name"})
		check(t, err)
		durable, err := ch.Consume(t.Context(), "durable", &ConsumeOptions{Tag: "durable"})
		check(t, err)
		s.put("durable", "1")
		s.put("durable", "2")
		held := take(t, durable, 1)[0]
		s.took()
		s.drop()
		later()
		want := `2/1 exchange.declare(exchange="x", type="topic", durable)
2/1 exchange.declare(exchange="y", type="direct")
2/1 queue.declare(exclusive)
2/1 queue.declare(queue="named", exclusive)
2/1 queue.declare(queue="durable", durable, arguments={x-max-length: 5})
2/1 queue.bind(queue="amq.gen-2", exchange="x", routing-key="m")
2/1 queue.bind(queue="named", exchange="x", routing-key="n")
2/1 exchange.bind(destination="x", source="y")
2/2 basic.consume(queue="amq.gen-2", consumer-tag="mine")
2/3 basic.consume(queue="amq.gen-2", consumer-tag="by name")
2/3 basic.consume(queue="durable", consumer-tag="durable")`
		got := s.took()
		if *streams { // there is no order between channels
			got = sorted(got)
		}
		if plain(got) != plain(want) {
			t.Fatalf("the server got\n%s\nwant\n%s", got, want)
		}
		s.do(func() {
			var limits []string
			for id := uint16(2); id <= 3; id++ {
				ch := s.last().m.Channel(id)
				a, _ := ch.Limits()
				for _, tag := range []string{"mine", "by name", "durable"} {
					if k := ch.Consumer(tag); k != nil {
						b, _ := k.Prefetch()
						limits = append(limits, fmt.Sprint(a, " ", b))
					}
				}
			}
			if got := fmt.Sprint(limits); got != "[0 5 20 7 20 256]" {
				t.Error(got)
			}
		})
		if got := fmt.Sprint(events); got != "[disconnected amq.gen-1 to amq.gen-2 recovered]" {
			t.Fatal(got)
		}
		// What was delivered comes again, once; what was held is stale.
		if err := held.Ack(); err != ErrStale || !errors.Is(err, ErrStale) {
			t.Fatal(err)
		}
		for i, d := range take(t, durable, 2) {
			if string(d.Body) != fmt.Sprint(i+1) || !d.Redelivered {
				t.Fatalf("%+v", d)
			}
			check(t, d.Ack())
		}
		// Old names stand for the new one.
		for _, key := range []string{"m"} {
			check(t, c.Publish(t.Context(), &Message{Exchange: "x", RoutingKey: key, Mandatory: true}))
			check(t, c.Publish(t.Context(), &Message{Exchange: "x", RoutingKey: key, Mandatory: true}))
		}
		take(t, mine, 1)
		take(t, named, 1)
		for _, name := range []string{"mine", "amq.gen-1", "amq.gen-2"} {
			i, err := c.LookupQueue(t.Context(), name)
			if err != nil || i.Name != "amq.gen-2" {
				t.Fatal(i, err)
			}
		}
		check(t, c.Unbind(t.Context(), Binding{Source: "x", Queue: "amq.gen-1", Key: "m"}))
		_, err = c.DeleteQueue(t.Context(), "mine", nil)
		check(t, err)
		synctest.Wait() // the consumers of the queue are told on streams of their own
		s.took()
		s.drop()
		later()
		if got := s.took(); strings.Contains(got, "queue.declare(exclusive)") || strings.Contains(got, `"m"`) ||
			strings.Contains(got, "by name") || !strings.Contains(got, `"durable"`) {
			t.Fatal(got) // what was taken back stays away
		}
	})
}

// later lets everything happen that happens by itself.
func later() {
	synctest.Wait()
	time.Sleep(time.Second)
	synctest.Wait()
}

// plain makes texts comparable whatever the text form of tables is.
func plain(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i], _, _ = strings.Cut(l, ", arguments=")
		lines[i] = strings.TrimSuffix(lines[i], ")")
	}
	return strings.Join(lines, "\n")
}

// What cannot be put in its place is told, and the rest is.
func TestRecoveryFails(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var failed []string
		c := s.client(&Options{Trace: &Trace{RecoveryFailed: func(err error) {
			e, ok := errors.AsType[*RecoveryError](err)
			if !ok {
				t.Error(err)
				return
			}
			failed = append(failed, e.What+" "+e.Name)
		}}})
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "a"}, {Name: "b"}, {Name: "c"}},
			Queues:    []Queue{{Name: "1"}, {Name: "2"}, {Name: "3"}},
			Bindings:  []Binding{{Source: "b", Queue: "2"}, {Source: "c", Queue: "3"}},
		}))
		s.queue("gone")
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		var all []*Consumer
		for _, q := range []string{"1", "gone", "3"} {
			k, err := ch.Consume(t.Context(), q, &ConsumeOptions{Tag: q})
			check(t, err)
			all = append(all, k)
		}
		owned, err := c.Consume(t.Context(), "gone", nil)
		check(t, err)
		s.do(func() {
			s.exchanges["b"] = "topic"
			s.queues["2"].declare.Durable = true
			s.exchanges["c"] = "direct"
			delete(s.queues, "gone")
		})
		s.drop()
		later()
		if *streams { // there is no order between channels
			slices.Sort(failed[2:])
			slices.Reverse(failed[2:])
		}
		if got := fmt.Sprint(failed); got != "[exchange b queue 2 consumer gone channel ]" {
			t.Fatal(got)
		}
		for _, k := range []*Consumer{all[1], owned} {
			if _, err := rest(t, k); !isCode(err, amqp091.NotFound) {
				t.Fatal(err)
			}
		}
		for i, q := range []string{"1", "", "3"} {
			if i != 1 {
				s.put(q, q)
				check(t, take(t, all[i], 1)[0].Ack())
			}
		}
		check(t, ch.Publish(t.Context(), &Message{Exchange: "c", Mandatory: true}))
	})
}

// An exclusive queue that the server has not given free is tried again.
func TestRecoveryLocked(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(&Options{Trace: &Trace{RecoveryFailed: func(err error) { t.Error(err) }}})
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "x"}},
			Queues:    []Queue{{Name: "mine", Exclusive: true}, {Name: "other"}},
			Bindings:  []Binding{{Source: "x", Queue: "mine"}},
		}))
		k, err := c.Consume(t.Context(), "mine", nil)
		check(t, err)
		s.do(func() { s.sticky = true })
		s.drop()
		time.Sleep(5 * time.Second)
		if _, ok := c.Info(); ok {
			t.Fatal("connected")
		}
		s.do(func() { delete(s.queues, "mine") })
		check(t, c.Publish(t.Context(), &Message{Exchange: "x", Mandatory: true}))
		check(t, take(t, k, 1)[0].Ack())
	})
}

// Connections are lost at each step of a recovery.
func TestRecoveryInterrupted(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(&Options{Publish: &ChannelOptions{Republish: true}})
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "x"}},
			Queues:    []Queue{{Alias: "mine", Exclusive: true}, {Name: "q"}},
			Bindings:  []Binding{{Source: "x", Queue: "mine"}, {Source: "x", Queue: "q"}},
		}))
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		mine, err := ch.Consume(t.Context(), "mine", nil)
		check(t, err)
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		for step := range 8 {
			n := step
			s.do(func() {
				s.method = func(p *peer, _ *amqp091.Channel, _ amqp091.Method) bool {
					if n--; n < 0 {
						s.method = nil
						p.drop()
						return true
					}
					return false
				}
			})
			s.drop()
			synctest.Wait()
			p, err := c.PublishAsync(t.Context(), &Message{Exchange: "x", Body: fmt.Append(nil, step)})
			check(t, err)
			for _, s := range []*Consumer{mine, k} {
				for got := ""; got != fmt.Sprint(step); {
					if s == mine && step >= 5 {
						break // it may have gone with an exclusive queue
					}
					d := take(t, s, 1)[0]
					got = string(d.Body) // there may be earlier ones again
					check(t, d.Ack())
				}
			}
			check(t, p.Wait(t.Context()))
			synctest.Wait() // the acknowledgements are there
		}
	})
}

// Calls for declarations are repeated when their answer is lost, and those behind one that the server refuses are, too.
func TestDeclareAgain(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		n := 0
		s.do(func() {
			s.method = func(p *peer, _ *amqp091.Channel, _ amqp091.Method) bool {
				if n++; n%2 == 1 && n < 6 {
					p.drop()
					return true
				}
				return false
			}
		})
		_, err := c.DeclareQueue(t.Context(), Queue{Name: "q"})
		check(t, err)
		check(t, c.DeclareExchange(t.Context(), Exchange{Name: "x"}))
		check(t, c.Bind(t.Context(), Binding{Source: "x", Queue: "q"}))
		s.do(func() { s.method = nil })
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if i%3 == 0 {
					if _, err := c.LookupQueue(t.Context(), "no"); !isCode(err, amqp091.NotFound) {
						t.Error(err)
					}
					return
				}
				if i, err := c.DeclareQueue(t.Context(), Queue{Name: fmt.Sprint(i)}); err != nil || i.Messages != 0 {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		err = c.DeclareExchange(t.Context(), Exchange{Name: "x", Kind: "fanout"})
		if !isCode(err, amqp091.PreconditionFailed) {
			t.Fatal(err)
		}
		if err := c.Bind(t.Context(), Binding{Source: "x"}); err == nil {
			t.Fatal("a binding to nothing")
		}
		if _, err := c.DeclareQueue(t.Context(), Queue{Name: strings.Repeat("x", 256)}); err == nil {
			t.Fatal("a name that is too long")
		}
	})
}

// Queues and exchanges that delete themselves are not declared again.
func TestAutoDelete(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "x", AutoDelete: true}, {Name: "y"}},
			Queues:    []Queue{{Name: "q", AutoDelete: true}, {Name: "r"}},
			Bindings:  []Binding{{Source: "x", Queue: "q"}, {Source: "y", Queue: "q"}, {Source: "y", Queue: "r"}},
		}))
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		check(t, k.Cancel(t.Context()))
		later()
		s.took()
		s.drop()
		later()
		got := strings.Split(s.took(), "\n")
		slices.Sort(got)
		if plain(strings.Join(got, "\n")) != plain(`2/1 exchange.declare(exchange="y", type="direct")
2/1 queue.bind(queue="r", exchange="y")
2/1 queue.declare(queue="r")`) {
			t.Fatal(got)
		}
		check(t, c.DeleteExchange(t.Context(), "y", nil))
		if n, err := c.PurgeQueue(t.Context(), "r"); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	})
}

// What makes the server close the connection is not done again on the next one.
func TestPoison(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var failed []string
		c := s.client(&Options{
			Publish: &ChannelOptions{Republish: true},
			Trace:   &Trace{RecoveryFailed: func(err error) { failed = append(failed, err.Error()) }},
		})
		kill := func(code amqp091.Code) func(*peer, *amqp091.Channel, amqp091.Method) bool {
			return func(p *peer, _ *amqp091.Channel, m amqp091.Method) bool {
				if !strings.Contains(m.String(), "poison") {
					return false
				}
				p.m.Close(time.Now(), &amqp091.Error{Code: code, Hard: true, Text: "poison", Method: m.ID()})
				return true
			}
		}
		s.do(func() { s.method = kill(amqp091.CommandInvalid) })
		if err := c.DeclareExchange(t.Context(), Exchange{Name: "x", Kind: "poison"}); !isCode(err, amqp091.CommandInvalid) {
			t.Fatal(err)
		}
		check(t, c.DeclareExchange(t.Context(), Exchange{Name: "x"}))

		s.do(func() { s.method = nil })
		check(t, c.Declare(t.Context(), &Topology{
			Exchanges: []Exchange{{Name: "poison x"}},
			Queues:    []Queue{{Name: "poison q"}, {Name: "q"}},
			Bindings:  []Binding{{Source: "x", Queue: "q", Key: "poison"}},
		}))
		poisoned, err := c.Consume(t.Context(), "q", &ConsumeOptions{Tag: "poison"})
		check(t, err)
		var k *Consumer
		consume := func() {
			k, err = c.Consume(t.Context(), "q", nil)
			check(t, err)
		}
		if !*streams { // there is no order between channels: the server could mean the one or the other
			consume()
		}
		s.do(func() { s.method = kill(amqp091.NotImplemented) })
		s.drop()
		later()
		if *streams {
			consume()
		}
		if len(failed) != 3 {
			t.Fatal(failed)
		}
		if _, err := rest(t, poisoned); !isCode(err, amqp091.NotImplemented) {
			t.Fatal(err)
		}
		s.put("q", "1")
		check(t, take(t, k, 1)[0].Ack())

		s.do(func() {
			s.publish = func(p *peer, _ *amqp091.Channel, e *amqp091.Event) bool {
				if string(e.Content.Body) != "poison" {
					return false
				}
				p.m.Close(time.Now(), &amqp091.Error{Code: amqp091.InternalError, Hard: true, Method: amqp091.IDBasicPublish})
				return true
			}
		})
		if err := c.Publish(t.Context(), &Message{RoutingKey: "q", Body: []byte("poison")}); !isCode(err, amqp091.InternalError) {
			t.Fatal(err)
		}
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q", Body: []byte("poison")})
		check(t, err)
		_, err = c.PublishAsync(t.Context(), &Message{RoutingKey: "q"})
		check(t, err)
		if err := p.Wait(t.Context()); !isUnknown(err) {
			t.Fatal(err)
		}
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"}))
		big := amqp091.Table{{Key: "x", Value: strings.Repeat("x", 200_000)}}
		if _, err := c.DeclareQueue(t.Context(), Queue{Arguments: big}); !errors.Is(err, errMethodTooLarge) {
			t.Fatal(err)
		}
		if _, err := c.Consume(t.Context(), "q", &ConsumeOptions{Arguments: big}); !errors.Is(err, errMethodTooLarge) {
			t.Fatal(err)
		}
	})
}

// TestBlockedBeforeRecovery: that an earlier connection was blocked means nothing for the next one.
func TestBlockedBeforeRecovery(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		check(t, c.DeclareExchange(t.Context(), Exchange{Name: "x"}))
		s.method = func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool {
			if p.n == 2 { // in the middle of recovery
				p.m.Block(time.Now(), "low on memory")
				p.events()
				p.flush()
				go func() {
					time.Sleep(time.Second)
					s.drop()
				}()
				return true
			}
			return false
		}
		s.drop()
		time.Sleep(10 * time.Second)
		if reason, blocked := c.Blocked(); blocked {
			t.Errorf("blocked: %s", reason)
		}
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"}))
	})
}
