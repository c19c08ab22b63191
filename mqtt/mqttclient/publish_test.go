package mqttclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

func TestPublishQoS(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		t.Run(v.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&Options{Version: v}, "a")
				p := n.connect("a", mqtt.Connack{})
				publish := func(qos mqtt.QoS) func() error {
					return async(func() error {
						return c.Publish(t.Context(), &Message{Topic: "t", Payload: []byte("x"), QoS: qos})
					})
				}
				wait := publish(0)
				p.expect("PUBLISH")
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				wait = publish(1)
				p.expect("PUBLISH")
				p.send(&mqtt.Puback{ID: 1})
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				wait = publish(2)
				p.expect("PUBLISH")
				p.send(&mqtt.Pubrec{ID: 2})
				p.expect("PUBREL id=2")
				p.send(&mqtt.Pubcomp{ID: 2})
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				p.nc.Close()
			})
		})
	}
}

// TestPublishRefused: what the server answers is the error.
func TestPublishRefused(t *testing.T) {
	for _, w := range []struct {
		name   string
		qos    mqtt.QoS
		answer mqtt.Packet
		code   mqtt.ReasonCode
	}{
		{"PUBACK", 1, &mqtt.Puback{ID: 1, Reason: mqtt.ReasonQuotaExceeded}, mqtt.ReasonQuotaExceeded},
		{"PUBREC", 2, &mqtt.Pubrec{ID: 1, Reason: mqtt.ReasonNotAuthorized}, mqtt.ReasonNotAuthorized},
		{"no matching subscribers", 1, &mqtt.Puback{ID: 1, Reason: mqtt.ReasonNoMatchingSubscribers}, 0},
	} {
		t.Run(w.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				p := n.connect("a", mqtt.Connack{})
				q, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: w.qos})
				if err != nil {
					t.Fatal(err)
				}
				p.expect("PUBLISH")
				p.send(w.answer)
				err = q.Wait(t.Context())
				e, _ := errors.AsType[*mqtt.Error](err)
				switch {
				case w.code == 0:
					if err != nil || q.Reason() != mqtt.ReasonNoMatchingSubscribers {
						t.Errorf("error %v, reason %v", err, q.Reason())
					}
				case e == nil || e.Code != w.code || !e.Remote || !SafeToRetry(err):
					t.Errorf("error is %v", err)
				}
			})
		})
	}
}

// TestPublishNotAllowed: what cannot be sent fails at once and is not sent.
func TestPublishNotAllowed(t *testing.T) {
	limits := mqtt.Properties{}.AppendByte(mqtt.PropMaximumQoS, 1).AppendByte(mqtt.PropRetainAvailable, 0).
		AppendUint32(mqtt.PropMaximumPacketSize, 100)
	for name, w := range map[string]struct {
		m    Message
		want error
	}{
		"MQTT-3.2.2-11":   {Message{Topic: "t", QoS: 2}, &mqtt.Error{Code: mqtt.ReasonQoSNotSupported}},
		"MQTT-3.2.2-14":   {Message{Topic: "t", Retain: true}, &mqtt.Error{Code: mqtt.ReasonRetainNotSupported}},
		"MQTT-3.2.2-15":   {Message{Topic: "t", Payload: make([]byte, 100), QoS: 1}, mqtt.ErrTooLarge},
		"at QoS 0":        {Message{Topic: "t", Payload: make([]byte, 100)}, mqtt.ErrTooLarge},
		"MQTT-3.3.2-2":    {Message{Topic: "a/#"}, nil},
		"MQTT-4.7.3-1":    {Message{}, nil},
		"QoS 3":           {Message{Topic: "t", QoS: 3}, &mqtt.Error{Code: mqtt.ReasonQoSNotSupported, Reason: "no such QoS"}},
		"MQTT-3.3.4-6":    {Message{Topic: "t", Properties: mqtt.Properties{}.AppendUvarint(mqtt.PropSubscriptionIdentifier, 1)}, nil},
		"topic alias":     {Message{Topic: "t", Properties: mqtt.Properties{}.AppendUint16(mqtt.PropTopicAlias, 1)}, nil},
		"no property":     {Message{Topic: "t", QoS: 1, Properties: mqtt.Properties{0x77, 1}}, nil},
		"not well formed": {Message{Topic: "t", QoS: 1, Properties: mqtt.Properties{0x02, 1}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				p := n.connect("a", mqtt.Connack{Properties: limits})
				synctest.Wait()
				err := c.Publish(t.Context(), &w.m)
				if err == nil || !SafeToRetry(err) || w.want != nil && !errors.Is(err, w.want) {
					e, _ := errors.AsType[*mqtt.Error](err)
					want, _ := errors.AsType[*mqtt.Error](w.want)
					if e == nil || want == nil || e.Code != want.Code {
						t.Errorf("error is %v, want %v", err, w.want)
					}
				}
				go c.Publish(t.Context(), &Message{Topic: "t", QoS: 1})
				p.expect("PUBLISH id=1 qos=1")
			})
		})
	}
}

// TestReceiveMaximum: the client respects what the server can take, and sends other packets meanwhile.
func TestReceiveMaximum(t *testing.T) {
	t.Run("MQTT-3.3.4-7 MQTT-3.3.4-8 MQTT-4.9.0-2 MQTT-4.9.0-3", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{Properties: mqtt.Properties{}.AppendUint16(mqtt.PropReceiveMaximum, 2)})
			for range 4 {
				if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 0}); err != nil {
				t.Fatal(err)
			}
			p.expect("PUBLISH id=1 qos=1", "PUBLISH id=2 qos=1")
			p.quiet()
			go c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "x"})
			p.grant()
			if s := c.Stats(); s.Inflight != 2 || s.Queued != 3 {
				t.Errorf("stats are %+v", s)
			}
			p.send(&mqtt.Puback{ID: 2})
			p.expect("PUBLISH id=4 qos=1")
			p.send(&mqtt.Puback{ID: 1})
			p.expect("PUBLISH id=5 qos=1", "PUBLISH qos=0")
		})
	})
	t.Run("MaxInflight", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Version: mqtt.Version311, Limits: Limits{MaxInflight: 1}}, "a")
			p := n.connect("a", mqtt.Connack{})
			for range 2 {
				if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 2}); err != nil {
					t.Fatal(err)
				}
			}
			p.expect("PUBLISH id=1 qos=2")
			p.quiet()
			p.send(&mqtt.Pubrec{ID: 1})
			p.expect("PUBREL id=1")
			p.send(&mqtt.Pubcomp{ID: 1})
			p.expect("PUBLISH id=2 qos=2")
		})
	})
}

// TestTopicAlias: aliases are assigned within what the server allows.
func TestTopicAlias(t *testing.T) {
	for _, allowed := range []uint16{0, 3} {
		t.Run("MQTT-3.2.2-17 MQTT-3.2.2-18 MQTT-3.3.2-9", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				var props mqtt.Properties
				if allowed > 0 {
					props = props.AppendUint16(mqtt.PropTopicAliasMaximum, allowed)
				}
				p := n.connect("a", mqtt.Connack{Properties: props})
				used := false
				for i := range 30 {
					go c.Publish(t.Context(), &Message{Topic: fmt.Sprintf("topic/%d", i%5)})
					q := p.receive().(*mqtt.Publish)
					alias, ok := q.Properties.Uint16(mqtt.PropTopicAlias)
					used = used || ok
					if ok && (alias == 0 || alias > allowed) {
						t.Errorf("alias %d of %d", alias, allowed)
					}
				}
				if used != (allowed > 0) {
					t.Errorf("%d allowed, used: %v", allowed, used)
				}
			})
		})
	}
	t.Run("MQTT-3.3.2-10", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#"})
			for i := range uint16(64) {
				m := message(fmt.Sprint(i), "", 0, 0)
				m.Properties = m.Properties.AppendUint16(mqtt.PropTopicAlias, i+1)
				again := &mqtt.Publish{Properties: m.Properties}
				p.send(m, again)
				for range 2 {
					if m := next(t, s); m.Topic != fmt.Sprint(i) || m.Properties.Has(mqtt.PropTopicAlias) {
						t.Errorf("got %+v", m)
					}
				}
			}
		})
	})
}

// TestOfflineQueue: the queue is bounded, in the way that was asked for, and keeps the order.
func TestOfflineQueue(t *testing.T) {
	publish := func(t *testing.T, c *Client, s string) (*Publication, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return c.PublishAsync(ctx, &Message{Topic: "t", Payload: []byte(s), QoS: 1})
	}
	for _, w := range []struct {
		name string
		q    Queue
		want string // payloads that reach the server
		err  error  // of the last one
	}{
		{"block", Queue{Messages: 3}, "0 1 2", context.DeadlineExceeded},
		{"drop oldest", Queue{Messages: 3, Policy: QueueDropOldest}, "1 2 3", nil},
		{"error", Queue{Messages: 3, Policy: QueueError}, "0 1 2", ErrQueueFull},
		{"bytes", Queue{Bytes: 6, Policy: QueueError}, "0 1 2", ErrQueueFull},
		{"none", Queue{Messages: -1}, "", ErrNotConnected},
	} {
		t.Run(w.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&Options{Queue: w.q}, "a")
				var first *Publication
				for i := range 4 {
					p, err := publish(t, c, fmt.Sprint(i))
					if i == 0 {
						first = p
					}
					if i == 3 || w.err == ErrNotConnected {
						if err != w.err && !errors.Is(err, w.err) || err != nil && !SafeToRetry(err) {
							t.Errorf("error is %v, want %v", err, w.err)
						}
					} else if err != nil {
						t.Fatal(err)
					}
				}
				if w.q.Policy == QueueDropOldest {
					if err := first.Wait(t.Context()); !errors.Is(err, ErrQueueFull) || !SafeToRetry(err) {
						t.Errorf("oldest: %v", err)
					}
				}
				p := n.connect("a", mqtt.Connack{})
				for _, want := range strings.Fields(w.want) {
					if q := p.receive().(*mqtt.Publish); string(q.Payload) != want {
						t.Errorf("got %q, want %q", q.Payload, want)
					}
				}
				p.quiet()
			})
		})
	}
	t.Run("room again", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Queue: Queue{Messages: 4}}, "a")
			go func() {
				for i := range 20 {
					if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: fmt.Append(nil, i)}); err != nil {
						t.Error(err)
					}
				}
			}()
			synctest.Wait()
			if s := c.Stats(); s.Queued != 4 || s.QueuedBytes != 8 {
				t.Errorf("stats are %+v", s)
			}
			p := n.connect("a", mqtt.Connack{})
			for i := range 20 {
				if q := p.receive().(*mqtt.Publish); string(q.Payload) != fmt.Sprint(i) {
					t.Errorf("message %d is %q", i, q.Payload)
				}
			}
		})
	})
	t.Run("larger than the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Queue: Queue{Bytes: 10, Policy: QueueError}}, "a")
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", Payload: make([]byte, 100)}); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestExpiryInQueue: what is left of the expiry interval is sent, or nothing.
func TestExpiryInQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		publish := func(seconds uint32) *Publication {
			m := &Message{Topic: "t", QoS: 1, Properties: mqtt.Properties{}.
				AppendUint32(mqtt.PropMessageExpiryInterval, seconds).AppendUser("k", "v")}
			p, err := c.PublishAsync(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		short := publish(5)
		publish(60)
		p := n.accept("a")
		p.connect()
		time.Sleep(9500 * time.Millisecond)
		publish(7)
		p.send(&mqtt.Connack{})
		if err := short.Wait(t.Context()); !errors.Is(err, ErrExpired) || !SafeToRetry(err) {
			t.Errorf("expired: %v", err)
		}
		for _, want := range []uint32{51, 7} {
			q := p.receive().(*mqtt.Publish)
			got, _ := q.Properties.Uint32(mqtt.PropMessageExpiryInterval)
			if k, _ := firstUser(q.Properties); got != want || k != "k" {
				t.Errorf("got %v, want an interval of %d", q, want)
			}
		}
	})
}

// TestPublishCanceled ends the ctx at each wait.
func TestPublishCanceled(t *testing.T) {
	canceled := func(t *testing.T, c *Client, qos mqtt.QoS) error {
		ctx, cancel := context.WithCancel(t.Context())
		wait := async(func() error { return c.Publish(ctx, &Message{Topic: "t", Payload: []byte("canceled"), QoS: qos}) })
		synctest.Wait()
		cancel()
		return wait()
	}
	t.Run("before", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("cause")
			cancel(cause)
			if err := n.client(nil, "a").Publish(ctx, &Message{Topic: "t"}); !errors.Is(err, cause) || !SafeToRetry(err) {
				t.Errorf("error is %v", err)
			}
		})
	})
	t.Run("in the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			for qos := range mqtt.QoS(3) {
				if err := canceled(t, c, qos); !errors.Is(err, context.Canceled) || !SafeToRetry(err) {
					t.Errorf("QoS %d: %v", qos, err)
				}
			}
			if s := c.Stats(); s.Queued != 0 || s.QueuedBytes != 0 {
				t.Errorf("stats are %+v", s)
			}
			n.connect("a", mqtt.Connack{}).quiet()
		})
	})
	t.Run("for room in the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Queue: Queue{Messages: 1}}, "a")
			c.PublishAsync(t.Context(), &Message{Topic: "t"})
			if err := canceled(t, c, 1); !errors.Is(err, context.Canceled) || !SafeToRetry(err) {
				t.Errorf("error is %v", err)
			}
		})
	})
	t.Run("in flight", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			if err := canceled(t, c, 1); !errors.Is(err, context.Canceled) || SafeToRetry(err) {
				t.Errorf("error is %v", err)
			}
			p.expect("PUBLISH")
			p.nc.Close()
			n.connect("a", mqtt.Connack{SessionPresent: true}).expect("PUBLISH id=1 qos=1 dup")
		})
	})
	t.Run("for space in the output buffer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			n.hosts["a"].OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Capacity: 100}, nil })
			c := n.client(&Options{Limits: Limits{OutputBuffer: 100}}, "a")
			p := n.connect("a", mqtt.Connack{})
			synctest.Wait()
			big := &Message{Topic: "t", Payload: make([]byte, 300)}
			for range 2 { // one is being written, one is in the buffer
				if err := c.Publish(t.Context(), big); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if err := canceled(t, c, 0); !errors.Is(err, context.Canceled) || !SafeToRetry(err) {
				t.Errorf("error is %v", err)
			}
			wait := async(func() error { return c.Publish(t.Context(), &Message{Topic: "t", Payload: []byte("after")}) })
			for _, want := range []int{300, 300, 5} {
				if q := p.receive().(*mqtt.Publish); len(q.Payload) != want {
					t.Errorf("payload is %q", q.Payload)
				}
			}
			if err := wait(); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestMessageIsCopied: the caller may reuse a message when PublishAsync returns.
func TestMessageIsCopied(t *testing.T) {
	for _, size := range []int{0, 10, 100, 300, 500, 1000, 5000} {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			m := &Message{Topic: "t", Payload: make([]byte, size), Properties: mqtt.Properties{}.AppendUser("k", "v"), QoS: 1}
			if _, err := c.PublishAsync(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			for i := range m.Payload {
				m.Payload[i] = 1
			}
			clear(m.Properties)
			p := n.connect("a", mqtt.Connack{})
			q := p.receive().(*mqtt.Publish)
			if len(q.Payload) != size || !bytes.Equal(q.Payload, make([]byte, size)) {
				t.Errorf("size %d: payload %q", size, q.Payload)
			}
			if k, v := firstUser(q.Properties); k != "k" || v != "v" {
				t.Errorf("size %d: properties %v", size, q.Properties)
			}
		})
	}
}

func firstUser(p mqtt.Properties) (key, value string) {
	for k, v := range p.UserProperties() {
		return k, v
	}
	return "", ""
}

// TestVersion311DropsProperties: they do not exist there.
func TestVersion311DropsProperties(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: mqtt.Version311}, "a")
		p := n.connect("a", mqtt.Connack{})
		props := mqtt.Properties{}.AppendUser("k", "v")
		for qos := range mqtt.QoS(2) {
			go c.Publish(t.Context(), &Message{Topic: "t", Properties: props, QoS: qos})
			p.expect("PUBLISH")
		}
		go c.Subscribe(t.Context(), &SubscribeOptions{Properties: props}, mqtt.Subscription{Filter: "t"})
		p.grant()
		p.nc.Close()
		p = n.connect("a", mqtt.Connack{SessionPresent: true})
		p.expect("PUBLISH id=1 qos=1 dup")
	})
}
