package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// withID returns p with subscription identifiers.
func withID(p *mqtt.Publish, ids ...uint32) *mqtt.Publish {
	for _, id := range ids {
		p.Properties = p.Properties.AppendUvarint(mqtt.PropSubscriptionIdentifier, id)
	}
	return p
}

// drain returns the payloads that a subscription holds.
func drain(t *testing.T, s *Subscription) string {
	t.Helper()
	synctest.Wait()
	var all []string
	for range s.Len() {
		all = append(all, string(next(t, s).Payload))
	}
	return strings.Join(all, " ")
}

func TestRouting(t *testing.T) {
	t.Run("identifiers", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			a := subscribe(p, c, nil, mqtt.Subscription{Filter: "a/#"})
			ab := subscribe(p, c, nil, mqtt.Subscription{Filter: "a/b"}, mqtt.Subscription{Filter: "x"})
			shared := subscribe(p, c, nil, mqtt.Subscription{Filter: "$share/g/a/+"})
			// a server that sends a copy for each match, then one that merges, then one that forgets identifiers
			p.send(
				withID(message("a/b", "1", 0, 0), 1), withID(message("a/b", "2", 0, 0), 2), withID(message("a/b", "3", 0, 0), 3),
				withID(message("a/b", "4", 0, 0), 1, 2), message("a/b", "5", 0, 0), withID(message("a/b", "6", 0, 0), 99),
				message("x", "7", 0, 0), message("nobody", "8", 0, 0),
			)
			for _, w := range []struct {
				s    *Subscription
				want string
			}{{a, "1 4 5 6"}, {ab, "2 4 5 6 7"}, {shared, "3 5 6"}} {
				if got := drain(t, w.s); got != w.want {
					t.Errorf("%v got %q, want %q", w.s.Filters(), got, w.want)
				}
			}
			if s := c.Stats(); s.Unrouted != 1 || s.MessagesReceived != 7 {
				t.Errorf("stats are %+v", s)
			}
		})
	})
	t.Run("same filter twice", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			first := subscribe(p, c, nil, mqtt.Subscription{Filter: "a", QoS: 1}, mqtt.Subscription{Filter: "c"})
			second := subscribe(p, c, nil, mqtt.Subscription{Filter: "a", QoS: 2}, mqtt.Subscription{Filter: "b"})
			p.send(withID(message("a", "1", 0, 0), 2), withID(message("b", "2", 0, 0), 2), withID(message("c", "3", 0, 0), 1))
			if got := drain(t, first); got != "1 3" {
				t.Errorf("first got %q", got)
			}
			if got := drain(t, second); got != "1 2" {
				t.Errorf("second got %q", got)
			}
			wait := async(func() error { return second.Unsubscribe(t.Context()) })
			p.expect(`SUBSCRIBE id=`)
			q := p.receive().(*mqtt.Unsubscribe)
			if len(q.Filters) != 1 || q.Filters[0] != "b" {
				t.Errorf("unsubscribes %q", q.Filters)
			}
			p.send(&mqtt.Suback{ID: 3, Reasons: []mqtt.ReasonCode{1}}, &mqtt.Unsuback{ID: q.ID, Reasons: []mqtt.ReasonCode{0}})
			if err := wait(); err != nil {
				t.Error(err)
			}
			p.send(withID(message("a", "4", 0, 0), 1), withID(message("a", "5", 0, 0), 2))
			if got := drain(t, first); got != "4 5" {
				t.Errorf("first got %q", got)
			}
		})
	})
	t.Run("identifiers not available", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{Properties: mqtt.Properties{}.AppendByte(mqtt.PropSubscriptionIdentifierAvailable, 0)})
			go c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "a"})
			if q := p.grant(); len(q.Properties) > 0 {
				t.Errorf("got %v", q)
			}
		})
	})
	t.Run("many topics", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#"})
			long := strings.Repeat("x", cacheLength+1)
			for i := range 3 * cacheTopics {
				p.send(message(fmt.Sprintf("t/%d", i), "", 0, 0))
				if m := next(t, s); m.Topic != fmt.Sprintf("t/%d", i) {
					t.Fatalf("topic is %q", m.Topic)
				}
			}
			p.send(message(long, "", 0, 0))
			if m := next(t, s); m.Topic != long {
				t.Fatalf("topic is %q", m.Topic)
			}
			if len(c.routes.cache) > cacheTopics {
				t.Errorf("%d topics in the cache", len(c.routes.cache))
			}
		})
	})
}

// TestOverlapAck: a message of two subscriptions is acknowledged when both have.
func TestOverlapAck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		manual := &SubscribeOptions{ManualAck: true}
		s1 := subscribe(p, c, manual, mqtt.Subscription{Filter: "#", QoS: 1})
		s2 := subscribe(p, c, manual, mqtt.Subscription{Filter: "t", QoS: 1})
		p.send(withID(message("t", "x", 1, 5), 1, 2))
		m1, m2 := next(t, s1), next(t, s2)
		m1.Ack()
		m1.Ack()
		p.quiet()
		m2.Nack(mqtt.ReasonQuotaExceeded)
		p.expect("PUBACK id=5 reason=0x97")
	})
}

// TestResubscribe: subscriptions are made again before anything is published.
func TestResubscribe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		s1 := subscribe(p, c, nil, mqtt.Subscription{Filter: "a", QoS: 1})
		s2 := subscribe(p, c, nil, mqtt.Subscription{Filter: "b", NoLocal: true}, mqtt.Subscription{Filter: "c"})
		p.nc.Close()
		synctest.Wait()
		third := async(func() *Subscription {
			s, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "d"})
			if err != nil {
				t.Error(err)
			}
			return s
		})
		synctest.Wait()
		go c.Publish(t.Context(), &Message{Topic: "t"})
		synctest.Wait()
		p = n.connect("a", mqtt.Connack{})
		for _, want := range []string{"[a]", "[b c]", "[d]"} {
			q := p.grant()
			var fs []string
			for _, f := range q.Filters {
				fs = append(fs, f.Filter)
				if f.Filter == "b" && !f.NoLocal || f.Filter == "a" && f.QoS != 1 {
					t.Errorf("got %v", q)
				}
			}
			if fmt.Sprint(fs) != want {
				t.Errorf("subscribes to %v, want %s", fs, want)
			}
		}
		p.expect("PUBLISH")
		third()
		p.nc.Close()
		p = n.connect("a", mqtt.Connack{SessionPresent: true})
		p.quiet()
		p.nc.Close()
		p = n.connect("a", mqtt.Connack{})
		q := p.receive().(*mqtt.Subscribe)
		p.send(&mqtt.Suback{ID: q.ID, Reasons: []mqtt.ReasonCode{mqtt.ReasonNotAuthorized}})
		p.grant()
		p.grant()
		for _, err := range s1.Messages(t.Context()) {
			if !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) {
				e, _ := errors.AsType[*mqtt.Error](err)
				if e == nil || e.Code != mqtt.ReasonNotAuthorized || !e.Remote {
					t.Errorf("subscription ends with %v", err)
				}
			}
		}
		p.expect("UNSUBSCRIBE")
		p.send(withID(message("c", "x", 0, 0), 2))
		if m := next(t, s2); m.Topic != "c" {
			t.Errorf("got %v", m)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version311, mqtt.Version5} {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Version: v}, "a")
			p := n.connect("a", mqtt.Connack{})
			wait := async(func() error {
				_, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "a"}, mqtt.Subscription{Filter: "b"})
				return err
			})
			q := p.receive().(*mqtt.Subscribe)
			p.send(&mqtt.Suback{ID: q.ID, Reasons: []mqtt.ReasonCode{0, mqtt.ReasonUnspecifiedError}})
			e, ok := errors.AsType[*mqtt.Error](wait())
			if !ok || e.Code != mqtt.ReasonUnspecifiedError || e.Reason != "b" || !e.Remote {
				t.Errorf("%v: error is %v", v, e)
			}
			p.expect("UNSUBSCRIBE")
		})
	}
}

func TestSubscribeArguments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		n.connect("a", mqtt.Connack{})
		for _, fs := range [][]mqtt.Subscription{
			nil,
			{{Filter: ""}},
			{{Filter: "a/#/b"}},
			{{Filter: "$share/g"}},
			{{Filter: "$share//a"}},
			{{Filter: "$share/g/a", NoLocal: true}},
			{{Filter: "a", QoS: 3}},
			{{Filter: "a", RetainHandling: 3}},
			{{Filter: "a"}, {Filter: "a"}},
		} {
			if _, err := c.Subscribe(t.Context(), nil, fs...); err == nil {
				t.Errorf("%v: no error", fs)
			}
		}
	})
}

// TestSubscribeCanceled: the subscription is taken back when nobody waits for the answer.
func TestSubscribeCanceled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: "offline"}); err != context.DeadlineExceeded {
			t.Errorf("offline: %v", err)
		}
		cancel()
		p := n.connect("a", mqtt.Connack{})
		p.quiet()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: "a"}); err != context.DeadlineExceeded {
			t.Errorf("no SUBACK: %v", err)
		}
		p.expect("SUBSCRIBE", "UNSUBSCRIBE")
	})
}

// TestSubscribeWhileClosing: a connection that is about to end leaves everything to the next one.
func TestSubscribeWhileClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		old := subscribe(p, c, nil, mqtt.Subscription{Filter: "old"})
		p.nc.Write([]byte{0xF3, 0})
		p.expect("DISCONNECT reason=0x81")
		synctest.Wait()
		published := async(func() error { return c.Publish(t.Context(), &Message{Topic: "t"}) })
		left := async(func() error { return old.Unsubscribe(t.Context()) })
		subscribed := async(func() error {
			_, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "new"})
			return err
		})
		p = n.connect("a", mqtt.Connack{SessionPresent: true})
		q := p.receive().(*mqtt.Unsubscribe)
		p.send(&mqtt.Unsuback{ID: q.ID, Reasons: []mqtt.ReasonCode{0}})
		p.grant()
		p.expect("PUBLISH")
		for i, wait := range []func() error{published, left, subscribed} {
			if err := wait(); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
	})
}

// TestUnsubscribe: what came before the answer is handed out, and the client insists over reconnections.
func TestUnsubscribe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, nil, mqtt.Subscription{Filter: "a", QoS: 1})
		wait := async(func() error { return s.Unsubscribe(t.Context()) })
		p.expect("UNSUBSCRIBE")
		p.nc.Close()
		p = n.connect("a", mqtt.Connack{SessionPresent: true})
		q := p.receive().(*mqtt.Unsubscribe)
		p.send(message("a", "1", 1, 1), message("a", "2", 0, 0), &mqtt.Unsuback{ID: q.ID, Reasons: []mqtt.ReasonCode{0}})
		if err := wait(); err != nil {
			t.Error(err)
		}
		var got []string
		for m, err := range s.Messages(t.Context()) {
			if err != nil {
				t.Error(err)
				break
			}
			got = append(got, string(m.Payload))
		}
		if fmt.Sprint(got) != "[1 2]" {
			t.Errorf("got %v", got)
		}
		p.expect("PUBACK id=1")
		p.send(message("a", "3", 1, 3))
		p.expect("PUBACK id=3") // nobody has subscribed: dropped
		s.Close()
		if err := s.Unsubscribe(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseSubscription: the buffer is acknowledged, so that it does not hold back others.
func TestCloseSubscription(t *testing.T) {
	t.Run("MQTT-4.5.0-2", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#", QoS: 2})
			p.send(message("a", "1", 1, 1), message("a", "2", 2, 2), message("a", "3", 0, 0))
			synctest.Wait()
			s.Close()
			p.expect("PUBACK id=1", "PUBREC id=2", "UNSUBSCRIBE")
			p.send(message("a", "4", 1, 4))
			p.expect("PUBACK id=4")
			for m := range s.Messages(t.Context()) {
				t.Errorf("got %v", m)
			}
		})
	})
}

// TestOverflow: a consumer that does not read costs nothing but its own QoS 0 messages.
func TestOverflow(t *testing.T) {
	for _, w := range []struct {
		name    string
		o       SubscribeOptions
		want    string
		dropped uint64
	}{
		{"drop oldest", SubscribeOptions{Buffer: 3}, "Q0 Q1 7 8 9", 7},
		{"drop newest", SubscribeOptions{Buffer: 3, Overflow: DropNewest}, "Q0 0 1 2 Q1", 7},
		{"bytes", SubscribeOptions{BufferBytes: 5}, "Q0 Q1 8 9", 8},
		{"one", SubscribeOptions{Buffer: -1}, "Q0 Q1 9", 9},
		{"larger than the buffer", SubscribeOptions{BufferBytes: 1}, "Q0 Q1 9", 9},
	} {
		t.Run(w.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				p := n.connect("a", mqtt.Connack{})
				s := subscribe(p, c, &w.o, mqtt.Subscription{Filter: "#", QoS: 1})
				p.send(message("t", "Q0", 1, 1))
				for i := range 10 {
					if i == 5 {
						p.send(message("t", "Q1", 1, 2))
					}
					p.send(message("t", fmt.Sprint(i), 0, 0))
				}
				if got := drain(t, s); got != w.want {
					t.Errorf("got %q, want %q", got, w.want)
				}
				if s.Dropped() != w.dropped || c.Stats().Dropped != w.dropped {
					t.Errorf("%d dropped, want %d", s.Dropped(), w.dropped)
				}
			})
		})
	}
}

// TestStalledConsumer: neither keep alive nor another subscription nor publishing needs the consumer.
func TestStalledConsumer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{KeepAlive: 10 * time.Second, Limits: Limits{ReceiveMaximum: 5}}, "a")
		p := n.connect("a", mqtt.Connack{})
		stalled := subscribe(p, c, &SubscribeOptions{Buffer: 1}, mqtt.Subscription{Filter: "a", QoS: 1})
		other := subscribe(p, c, nil, mqtt.Subscription{Filter: "b"})
		for i := range 5 {
			p.send(message("a", "", 1, uint16(i+1)), message("a", "", 0, 0))
		}
		for range 10 {
			p.expect("PINGREQ")
			p.send(&mqtt.Pingresp{}, message("b", "", 0, 0))
			next(t, other)
			wait := async(func() error { return c.Publish(t.Context(), &Message{Topic: "t", QoS: 1}) })
			q := p.receive().(*mqtt.Publish)
			p.send(&mqtt.Puback{ID: q.ID})
			if err := wait(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 { // acknowledged when asked for, in order, never before
			next(t, stalled)
			if i == 0 {
				continue // the QoS 0 message that was kept comes last
			}
		}
		p.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3", "PUBACK id=4", "PUBACK id=5")
		if stalled.Len() != 1 || stalled.Dropped() != 4 {
			t.Errorf("%d in the buffer, %d dropped", stalled.Len(), stalled.Dropped())
		}
	})
}

// TestAckOrder: acknowledgements go out in the order of the messages.
func TestAckOrder(t *testing.T) {
	const (
		ids    = "MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.3.3-8 MQTT-4.3.3-11"
		ids311 = "MQTT311-4.6.0-2 MQTT311-4.6.0-3"
	)
	both(t, ids, ids311, func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, &SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "#", QoS: 2})
		for i := range 3 {
			p.send(message("t", "", 1, uint16(i+1)), message("t", "", 2, uint16(i+11)))
		}
		var ms []*Message
		for range 6 {
			ms = append(ms, next(t, s))
		}
		for _, i := range []int{5, 4, 3, 2} {
			ms[i].Ack()
		}
		p.quiet()
		ms[0].Ack()
		p.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
		ms[1].Ack()
		p.expect("PUBREC id=11", "PUBREC id=12", "PUBREC id=13")
		p.send(&mqtt.Pubrel{ID: 12})
		p.expect("PUBCOMP id=12")
	})
}

// TestPubrelOrder: PUBREL packets go out in the order of the PUBRECs.
func TestPubrelOrder(t *testing.T) {
	both(t, "MQTT-4.6.0-4 MQTT-4.3.3-4", "MQTT311-4.6.0-4", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		for range 3 {
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 2}); err != nil {
				t.Fatal(err)
			}
		}
		p.expect("PUBLISH id=1", "PUBLISH id=2", "PUBLISH id=3")
		p.send(&mqtt.Pubrec{ID: 3}, &mqtt.Pubrec{ID: 1}, &mqtt.Pubrec{ID: 2})
		p.expect("PUBREL id=3", "PUBREL id=1", "PUBREL id=2")
	})
}

// TestPanicLeavesUnacknowledged: a message whose loop body panics is not acknowledged.
func TestPanicLeavesUnacknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#", QoS: 1})
		p.send(message("t", "", 1, 1))
		func() {
			defer func() { recover() }()
			for range s.Messages(t.Context()) {
				panic("handler")
			}
		}()
		p.quiet()
	})
}

// TestLoopPublishes: a loop that publishes, subscribes and unsubscribes does not deadlock, with every buffer full.
func TestLoopPublishes(t *testing.T) {
	for _, qos := range []mqtt.QoS{0, 1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				s := serve(t, n.hosts["a"])
				c := n.client(&Options{
					Limits: Limits{OutputBuffer: 1, MaxInflight: 1, ReceiveMaximum: 1},
					Queue:  Queue{Messages: 1, Bytes: 1},
				}, "a")
				sub, err := c.Subscribe(t.Context(), &SubscribeOptions{Buffer: 100}, mqtt.Subscription{Filter: "#", QoS: qos})
				if err != nil {
					t.Fatal(err)
				}
				const total = 50
				for i := range total {
					s.publish(message("in", fmt.Sprint(i), qos, 0))
					go c.Publish(t.Context(), &Message{Topic: "noise", QoS: qos})
				}
				i := 0
				for m, err := range sub.Messages(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if string(m.Payload) != fmt.Sprint(i) {
						t.Errorf("message %d is %q", i, m.Payload)
					}
					if err := c.Publish(t.Context(), &Message{Topic: "out", Payload: m.Payload, QoS: qos}); err != nil {
						t.Fatal(err)
					}
					inner, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: fmt.Sprintf("in/%d", i)})
					if err != nil {
						t.Fatal(err)
					}
					if err := inner.Unsubscribe(t.Context()); err != nil {
						t.Fatal(err)
					}
					if i++; i == total {
						break
					}
				}
				synctest.Wait()
				if got := len(s.got()); got != 2*total {
					t.Errorf("server got %d messages", got)
				}
			})
		})
	}
}

// TestConsumers: several goroutines share a subscription, none is forgotten.
func TestConsumers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#", QoS: 1})
		got := make(chan string, 1000)
		ended := make(chan struct{}, 4)
		for range 4 {
			go func() {
				for m, err := range s.Messages(t.Context()) {
					if err != nil {
						t.Error(err)
						break
					}
					got <- string(m.Payload)
				}
				ended <- struct{}{}
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		other := async(func() error {
			for _, err := range s.Messages(ctx) {
				return err
			}
			return nil
		})
		synctest.Wait()
		cancel()
		if err := other(); err != context.Canceled {
			t.Errorf("canceled: %v", err)
		}
		seen := make(map[string]bool)
		for i := range 100 {
			p.send(message("t", fmt.Sprint(i), 0, 0))
		}
		for range 100 {
			seen[<-got] = true
		}
		if len(seen) != 100 {
			t.Errorf("%d different messages", len(seen))
		}
		s.Close()
		for range 4 {
			<-ended
		}
	})
}

// TestUnrouted collects what nobody has subscribed to.
func TestUnrouted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Unrouted: &SubscribeOptions{ManualAck: true}}, "a")
		p := n.connect("a", mqtt.Connack{})
		p.send(message("t", "x", 1, 1))
		u := c.Unrouted()
		m := next(t, u)
		m.Ack()
		p.expect("PUBACK id=1")
		u.Close()
		if c.Unrouted() != nil {
			t.Error("closed, but there")
		}
		p.send(message("t", "y", 1, 2))
		p.expect("PUBACK id=2")
	})
}
