package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// cuts runs an exchange with the first connection cut after n bytes in one direction, for each n until the exchange ends
// before the cut.
func cuts(t *testing.T, exchange func(t *testing.T, n *network, s *server)) {
	for _, direction := range []string{"to server", "to client"} {
		t.Run(direction, func(t *testing.T) {
			for cut, done := 0, false; !done; cut++ {
				bubble(t, func(t *testing.T) {
					n := newNetwork(t, "a")
					fault := memnet.CutAfter(cut)
					reached := false
					watch := func(b []byte) memnet.Action {
						a := fault(b)
						reached = reached || a.Cut
						return a
					}
					n.hosts["a"].OnDial(func(i int) (*memnet.Options, error) {
						o := new(memnet.Options)
						if i == 0 && direction == "to server" {
							o.ToServer.Fault = watch
						} else if i == 0 {
							o.ToClient.Fault = watch
						}
						return o, nil
					})
					s := serve(t, n.hosts["a"])
					exchange(t, n, s)
					synctest.Wait()
					done = !reached
				})
				if t.Failed() {
					t.Fatalf("cut after %d bytes", cut)
				}
			}
		})
	}
}

// TestPublishExactlyOnce publishes at QoS 2 over a connection that is cut at each byte.
func TestPublishExactlyOnce(t *testing.T) {
	t.Run("MQTT-4.4.0-1", func(t *testing.T) {
		cuts(t, func(t *testing.T, n *network, s *server) {
			c := n.client(&Options{Version: mqtt.Version5, Resume: true}, "a")
			var want []string
			var ps []*Publication
			for i := range 3 {
				m := &Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: 2}
				want = append(want, "t "+string(m.Payload))
				p, err := c.PublishAsync(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				ps = append(ps, p)
			}
			for _, p := range ps {
				if err := p.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.got(); !slices.Equal(got, want) {
				t.Fatalf("server got %q, want %q", got, want)
			}
		})
	})
}

// TestReceiveExactlyOnce receives at QoS 2 over a connection that is cut at each byte.
func TestReceiveExactlyOnce(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			cuts(t, func(t *testing.T, n *network, s *server) {
				c := n.client(&Options{Version: mqtt.Version5, Resume: true}, "a")
				sub, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "t", QoS: qos})
				if err != nil {
					t.Fatal(err)
				}
				var want, got []string
				for i := range 3 {
					s.publish(message("t", fmt.Sprint(i), qos, 0))
					want = append(want, fmt.Sprint(i))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for m, err := range sub.Messages(ctx) {
					if err != nil {
						break
					}
					got = append(got, string(m.Payload))
				}
				if qos == 1 { // at least once: a lost PUBACK repeats a message
					slices.Sort(got)
					got = slices.Compact(got)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("got %q, want %q", got, want)
				}
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.settled != 3 {
					t.Fatalf("%d of 3 messages settled", s.settled)
				}
			})
		})
	}
}

// TestRedelivery looks at what is sent again, and in which order.
func TestRedelivery(t *testing.T) {
	const (
		ids    = "MQTT-3.3.1-1 MQTT-4.6.0-1 MQTT-4.4.0-1 MQTT-4.3.2-2 MQTT-4.3.3-6"
		ids311 = "MQTT311-3.3.1-1 MQTT311-2.3.1-3 MQTT311-4.4.0-1 MQTT311-4.6.0-1"
	)
	both(t, ids, ids311, func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		var ps []*Publication
		for i, qos := range []mqtt.QoS{1, 2, 1, 2} {
			q, err := c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: qos})
			if err != nil {
				t.Fatal(err)
			}
			ps = append(ps, q)
		}
		p.expect("PUBLISH", "PUBLISH", "PUBLISH", "PUBLISH")
		p.send(&mqtt.Pubrec{ID: 4})
		p.expect("PUBREL id=4")
		p.nc.Close()
		p = n.accept("a")
		if k := p.connect(); k.CleanStart {
			t.Error("clean start on a reconnection")
		}
		p.send(&mqtt.Connack{SessionPresent: true})
		p.expect("PUBREL id=4")
		for i := range 3 {
			q := p.receive().(*mqtt.Publish)
			if !q.Dup || q.ID != uint16(i+1) || string(q.Payload) != fmt.Sprint(i) {
				t.Errorf("redelivery %d is %v", i, q)
			}
		}
		p.send(&mqtt.Pubcomp{ID: 4}, &mqtt.Puback{ID: 1}, &mqtt.Puback{ID: 3}, &mqtt.Pubrec{ID: 2})
		p.expect("PUBREL id=2")
		p.send(&mqtt.Pubcomp{ID: 2})
		for _, q := range ps {
			if err := q.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSessionLost: the server has lost the session with messages in flight.
func TestSessionLost(t *testing.T) {
	t.Run("MQTT-3.2.2-5", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			sub := subscribe(p, c, nil, mqtt.Subscription{Filter: "s", QoS: 1})
			var ps []*Publication
			for i, qos := range []mqtt.QoS{1, 2, 2, 1} {
				q, err := c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: qos})
				if err != nil {
					t.Fatal(err)
				}
				ps = append(ps, q)
			}
			p.expect("PUBLISH", "PUBLISH", "PUBLISH", "PUBLISH")
			p.send(&mqtt.Pubrec{ID: 4})
			p.expect("PUBREL")
			p.send(message("s", "old", 1, 9))
			p.nc.Close()
			synctest.Wait()
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: []byte("4")}); err != nil {
				t.Fatal(err)
			}
			p = n.connect("a", mqtt.Connack{})
			p.grant() // before the messages
			for _, want := range []string{"0", "3", "4"} {
				q := p.receive().(*mqtt.Publish)
				if string(q.Payload) != want || q.Dup {
					t.Errorf("got %v, want payload %s without DUP", q, want)
				}
				if q.QoS == 1 {
					p.send(&mqtt.Puback{ID: q.ID})
				}
			}
			for i, want := range []error{nil, ErrSessionLost, nil, nil} {
				if err := ps[i].Wait(t.Context()); !errors.Is(err, want) || SafeToRetry(err) {
					t.Errorf("message %d: %v, want %v", i, err, want)
				}
			}
			p.send(message("s", "new", 1, 9))
			if m := next(t, sub); string(m.Payload) != "old" {
				t.Errorf("got %q", m.Payload)
			}
			p.quiet() // the acknowledgement of "old" must not go to the new session
			if m := next(t, sub); string(m.Payload) != "new" {
				t.Errorf("got %q", m.Payload)
			}
			p.expect("PUBACK id=9")
		})
	})
}

// TestInboundRedelivery: a message that a consumer has is not handed out again when the server repeats it.
func TestInboundRedelivery(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		ack := map[mqtt.QoS]string{1: "PUBACK", 2: "PUBREC"}[qos]
		t.Run(fmt.Sprintf("MQTT-4.5.0-2/QoS %d", qos), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				p := n.connect("a", mqtt.Connack{})
				sub := subscribe(p, c, &SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "#", QoS: 2})
				for i := range 3 {
					p.send(message("t", fmt.Sprint(i), qos, uint16(10+i)))
				}
				first, second := next(t, sub), next(t, sub)
				p.nc.Close()
				synctest.Wait()
				second.Ack()
				p = n.connect("a", mqtt.Connack{SessionPresent: true})
				for i := range 3 {
					m := message("t", fmt.Sprint(i), qos, uint16(10+i))
					m.Dup = true
					p.send(m)
				}
				p.quiet() // 11 is acknowledged, but not before 10
				first.Ack()
				p.expect(ack+" id=10", ack+" id=11")
				third := next(t, sub)
				if string(third.Payload) != "2" || sub.Len() != 0 {
					t.Errorf("got %q and %d more", third.Payload, sub.Len())
				}
				third.Ack()
				p.expect(ack + " id=12")
			})
		})
	}
}
