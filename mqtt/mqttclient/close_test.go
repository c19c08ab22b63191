package mqttclient

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestCloseOnceConnected: a client that is closed as soon as it is connected says DISCONNECT.
func TestCloseOnceConnected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		var c *Client
		c = n.client(&Options{Trace: &Trace{Connected: func(Info) {
			c.Close()
			time.Sleep(time.Millisecond)
		}}}, "a")
		n.connect("a", mqtt.Connack{}).expect("DISCONNECT", "end")
	})
}

// TestDisconnect: what the server is told at the end.
func TestDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		sub := subscribe(p, c, nil, mqtt.Subscription{Filter: "t"})
		q, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Disconnect(t.Context(), &mqtt.Disconnect{Properties: mqtt.Properties{0x77, 1}}); err == nil {
			t.Error("disconnects with a property that does not exist")
		}
		d := &mqtt.Disconnect{Reason: mqtt.ReasonDisconnectWithWill, Properties: mqtt.Properties{}.AppendUint32(mqtt.PropSessionExpiryInterval, 5)}
		if err := c.Disconnect(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		p.expect("PUBLISH", "DISCONNECT reason=0x04 props={session-expiry-interval=5", "end")
		if err := q.Wait(t.Context()); err != ErrClosed || SafeToRetry(err) {
			t.Errorf("publication: %v", err)
		}
		for _, err := range sub.Messages(t.Context()) {
			if err != ErrClosed {
				t.Errorf("subscription: %v", err)
			}
		}
		if err := c.Disconnect(t.Context(), nil); err != ErrClosed {
			t.Errorf("again: %v", err)
		}
		if _, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "t"}); err != ErrClosed {
			t.Errorf("subscribe: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		if err := n.client(nil, "a").Disconnect(t.Context(), nil); err != ErrNotConnected {
			t.Errorf("without a connection: %v", err)
		}
	})
}

// TestNothingAfterDisconnect: DISCONNECT is the last packet, and the connection is closed behind it.
func TestNothingAfterDisconnect(t *testing.T) {
	both(t, "MQTT-3.14.4-1 MQTT-3.14.4-2", "MQTT311-3.14.4-1 MQTT311-3.14.4-2", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, &SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "t", QoS: 1})
		p.send(message("t", "", 1, 1))
		m := next(t, s)
		if err := c.Disconnect(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		m.Ack()
		s.Close()
		c.PublishAsync(t.Context(), &Message{Topic: "t"})
		p.expect("DISCONNECT", "end")
	})
}

// TestCloseStalled: a server that does not read cannot hold up Close, and ctx bounds Disconnect.
func TestCloseStalled(t *testing.T) {
	for _, name := range []string{"Close", "Disconnect"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				n.hosts["a"].OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Capacity: 100}, nil })
				c := n.client(nil, "a")
				p := n.connect("a", mqtt.Connack{})
				synctest.Wait()
				c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: make([]byte, 5000)})
				start := time.Now()
				if name == "Close" {
					c.Close()
				} else {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					if err := c.Disconnect(ctx, nil); err != context.DeadlineExceeded {
						t.Errorf("disconnect: %v", err)
					}
				}
				if d := time.Since(start); d > 100*time.Millisecond {
					t.Errorf("took %v", d)
				}
				time.Sleep(2 * closeTimeout)
				if _, err := io.Copy(io.Discard, p.nc); err != nil && !errors.Is(err, io.EOF) {
					t.Logf("peer: %v", err)
				}
			})
		})
	}
}

// TestCloseRaces closes a client at each point of its life, from several goroutines.
func TestCloseRaces(t *testing.T) {
	for delay := range 40 {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			n.hosts["a"].OnDial(func(int) (*memnet.Options, error) {
				l := memnet.Link{Latency: 3 * time.Millisecond}
				return &memnet.Options{ToServer: l, ToClient: l}, nil
			})
			serve(t, n.hosts["a"])
			c := n.client(nil, "a")
			var wg sync.WaitGroup
			wg.Go(func() { c.Publish(t.Context(), &Message{Topic: "t", QoS: 2}) })
			wg.Go(func() {
				s, err := c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "t"})
				if err == nil {
					s.Unsubscribe(t.Context())
				}
			})
			wg.Go(func() { c.Request(t.Context(), &Message{Topic: "t"}) })
			time.Sleep(time.Duration(delay) * time.Millisecond)
			wg.Go(func() { c.Disconnect(t.Context(), nil) })
			wg.Go(func() { c.Close() })
			wg.Wait()
			<-c.Done()
		})
	}
}

// TestSessionOfNobody: the session of a client identifier that nobody knows ends with the client, any other is kept.
func TestSessionOfNobody(t *testing.T) {
	for id, want := range map[string]string{"": "DISCONNECT reason=0x00 props={session-expiry-interval=0", "c": "DISCONNECT reason=0x00"} {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c, err := New(&Options{Servers: []string{"mem://a"}, ClientID: id, Dialers: map[string]DialFunc{"mem": n.dial}})
			if err != nil {
				t.Fatal(err)
			}
			p := n.connect("a", mqtt.Connack{})
			synctest.Wait()
			c.Close()
			p.expect(want, "end")
		})
	}
}
