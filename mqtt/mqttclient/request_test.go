package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/mqtt"
)

// respond answers a request with its payload in capitals.
func respond(q *mqtt.Publish) *mqtt.Publish {
	topic, _ := q.Properties.String(mqtt.PropResponseTopic)
	data, _ := q.Properties.Bytes(mqtt.PropCorrelationData)
	r := message(topic, strings.ToUpper(string(q.Payload)), 1, 0)
	r.Properties = r.Properties.AppendBytes(mqtt.PropCorrelationData, data).AppendUvarint(mqtt.PropSubscriptionIdentifier, 1)
	return r
}

// TestRequest: many requests at a time, answered in another order, over one subscription.
func TestRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		const total = 20
		var waits []func() string
		for i := range total {
			waits = append(waits, async(func() string {
				m := &Message{Topic: "service", Payload: fmt.Appendf(nil, "r%d", i), Properties: mqtt.Properties{}.AppendUser("k", "v")}
				r, err := c.Request(t.Context(), m)
				if err != nil {
					return err.Error()
				}
				return string(r.Payload)
			}))
		}
		q := p.grant()
		if q.Filters[0].Filter != "response/c" {
			t.Errorf("subscribes to %v", q)
		}
		var answers []*mqtt.Publish
		for range total {
			q := p.receive().(*mqtt.Publish)
			if k, v := firstUser(q.Properties); k != "k" || v != "v" {
				t.Errorf("got %v", q)
			}
			answers = append(answers, respond(q))
		}
		for i := total - 1; i >= 0; i-- {
			answers[i].ID = uint16(i + 1)
			p.send(answers[i])
			p.expect(fmt.Sprintf("PUBACK id=%d", i+1))
		}
		answers[0].ID = 99
		stray := message("response/c", "stray", 0, 0)
		p.send(answers[0], stray) // nobody waits any more
		p.expect("PUBACK id=99")
		for i, wait := range waits {
			if got := wait(); got != fmt.Sprintf("R%d", i) {
				t.Errorf("request %d got %q", i, got)
			}
		}
		if len(c.calls.waiting) != 0 {
			t.Errorf("%d calls left", len(c.calls.waiting))
		}
	})
}

func TestRequestFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{Properties: mqtt.Properties{}.AppendString(mqtt.PropResponseInformation, "mine")})
		wait := async(func() error {
			_, err := c.Request(t.Context(), &Message{Topic: "s", QoS: 1})
			return err
		})
		if q := p.grant(); q.Filters[0].Filter != "mine/c" {
			t.Errorf("subscribes to %v", q)
		}
		p.expect("PUBLISH")
		p.send(&mqtt.Puback{ID: 2, Reason: mqtt.ReasonNoMatchingSubscribers})
		e, _ := errors.AsType[*mqtt.Error](wait())
		if e == nil || e.Code != mqtt.ReasonNoMatchingSubscribers {
			t.Errorf("nobody there: %v", e)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait = async(func() error {
			_, err := c.Request(ctx, &Message{Topic: "s", QoS: 1})
			return err
		})
		p.expect("PUBLISH")
		cancel()
		if err := wait(); err != context.Canceled || SafeToRetry(err) {
			t.Errorf("canceled: %v", err)
		}
		for qos := range mqtt.QoS(2) { // the request is complete, the response does not come
			ctx, cancel := context.WithCancel(t.Context())
			wait = async(func() error {
				_, err := c.Request(ctx, &Message{Topic: "s", QoS: qos})
				return err
			})
			if q := p.receive().(*mqtt.Publish); qos > 0 {
				p.send(&mqtt.Puback{ID: q.ID})
			}
			synctest.Wait()
			cancel()
			if err := wait(); err != context.Canceled {
				t.Errorf("canceled after QoS %d: %v", qos, err)
			}
		}
		wait = async(func() error {
			_, err := c.Request(t.Context(), &Message{Topic: "s"})
			return err
		})
		p.expect("PUBLISH")
		synctest.Wait()
		c.Close()
		if err := wait(); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: mqtt.Version311}, "a")
		n.connect("a", mqtt.Connack{})
		if _, err := c.Request(t.Context(), &Message{Topic: "s"}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("3.1.1: %v", err)
		}
	})
}
