package mqttbroker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestSubscribe(t *testing.T) {
	for _, name := range []string{"MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2"} {
		v311 := map[string]string{
			"MQTT-3.8.4-1": "MQTT311-3.8.4-1", "MQTT-3.8.4-2": "MQTT311-3.8.4-2", "MQTT-3.8.4-5": "MQTT311-3.8.4-4",
			"MQTT-3.8.4-6": "MQTT311-3.8.4-5", "MQTT-3.8.4-7": "MQTT311-3.8.4-5 granted", "MQTT-3.9.3-1": "MQTT311-3.9.3-1",
			"MQTT-3.9.3-2": "MQTT311-3.9.3-2",
		}[name]
		denyB := &Options{Authorize: func(*Client) Permissions {
			return func(a Action, topic string) Decision {
				if topic == "b" {
					return Deny
				}
				return Allow
			}
		}}
		versions(t, name, v311, denyB, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			got := s.subscribe(0, mqtt.Subscription{Filter: "a", QoS: 2}, mqtt.Subscription{Filter: "b", QoS: 2},
				mqtt.Subscription{Filter: "c", QoS: 0}, mqtt.Subscription{Filter: "d", QoS: 1})
			denied := mqtt.ReasonNotAuthorized
			if v < mqtt.Version5 {
				denied = mqtt.ReasonUnspecifiedError
			}
			want := []mqtt.ReasonCode{mqtt.ReasonGrantedQoS2, denied, mqtt.ReasonGrantedQoS0, mqtt.ReasonGrantedQoS1}
			if !slices.Equal(got, want) {
				t.Errorf("got %v", got)
			}
			p := w.connectVersion(v, "p")
			for _, topic := range []string{"a", "b", "c", "d"} {
				p.pub(topic+"=x", 0)
			}
			s.want("a=x c=x d=x")
		})
	}
	versions(t, "MQTT-3.8.4-3", "MQTT311-3.8.4-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p").automatic()
		s.sub(0, "t")
		s.sub(1, "t")
		p.publish("t=x", 1)
		if m := expect[*mqtt.Publish](s); m.QoS != 1 {
			t.Errorf("QoS %d", m.QoS)
		}
		s.want("")
		if n := w.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
	})
	run(t, "MQTT-3.8.4-4", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.sub(0, "t/#")
		p.pub("t/1=retained", 0, retain)
		s.want("t/1=retained")
		s.sub(0, "t/#")
		s.want("t/1=retained")
	})
	run(t, "a replaced identifier", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.subscribe(1, mqtt.Subscription{Filter: "t"})
		s.subscribe(2, mqtt.Subscription{Filter: "t"})
		p.pub("t=x", 0)
		if ids := slices.Collect(expect[*mqtt.Publish](s).Properties.SubscriptionIDs()); !slices.Equal(ids, []uint32{2}) {
			t.Errorf("identifiers %v", ids)
		}
	})
	run(t, "many subscriptions", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		for i := range 100 {
			s.sub(0, fmt.Sprint("t/", i), fmt.Sprint("u/", i, "/+"))
		}
		for i := 0; i < 100; i += 3 {
			s.unsub(fmt.Sprint("t/", i))
		}
		for i := range 100 {
			p.pub(fmt.Sprint("t/", i, "=x"), 0)
		}
		if got := len(s.all()); got != 66 {
			t.Errorf("%d messages", got)
		}
		if n := w.Stats().Subscriptions; n != 166 {
			t.Errorf("%d subscriptions", n)
		}
		s.drop()
		if n := w.Stats().Subscriptions; n != 0 || w.subs.Len() != 0 {
			t.Errorf("%d subscriptions, %d in the index after the session ended", n, w.subs.Len())
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	for _, name := range [][2]string{
		{"MQTT-3.10.4-1", "MQTT311-3.10.4-1"}, {"MQTT-3.10.4-2", "MQTT311-3.10.4-2"}, {"MQTT-3.10.4-4", "MQTT311-3.10.4-4"},
		{"MQTT-3.10.4-5", "MQTT311-3.10.4-5"}, {"MQTT-3.10.4-6", "MQTT311-3.10.4-6"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
			s.sub(0, "a/+", "a/b", "c")
			got := s.unsub("a/+", "a/#", "C")
			want := []mqtt.ReasonCode{mqtt.ReasonSuccess, mqtt.ReasonNoSubscriptionExisted, mqtt.ReasonNoSubscriptionExisted}
			if v == mqtt.Version5 && !slices.Equal(got, want) {
				t.Errorf("got %v", got)
			}
			p.pub("a/x=1", 0)
			p.pub("a/b=2", 0)
			p.pub("c=3", 0)
			s.want("a/b=2 c=3")
		})
	}
	for _, name := range []string{"MQTT-3.11.3-1", "MQTT-3.11.3-2"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s")
			s.sub(0, "a", "c")
			got := s.unsub("a", "b", "c", "a")
			want := []mqtt.ReasonCode{0, mqtt.ReasonNoSubscriptionExisted, 0, mqtt.ReasonNoSubscriptionExisted}
			if !slices.Equal(got, want) {
				t.Errorf("got %v", got)
			}
		})
	}
	versions(t, "MQTT-3.10.4-3", "MQTT311-3.10.4-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s", resume), w.connectVersion(v, "p").automatic()
		if v == mqtt.Version5 {
			s.drop()
			s = w.connect("s", expiry(60))
		}
		s.sub(2, "t")
		p.publish("t=1", 1)
		p.publish("t=2", 2)
		one, two := expect[*mqtt.Publish](s), expect[*mqtt.Publish](s)
		s.unsub("t")
		s.send(&mqtt.Pubrec{ID: two.ID})
		if rel := expect[*mqtt.Pubrel](s); rel.ID != two.ID {
			t.Errorf("PUBREL %d", rel.ID)
		}
		s.drop()
		s = w.connectVersion(v, "s", resume, expiryIf(v, 60))
		var again []string
		for _, q := range s.all() {
			switch q := q.(type) {
			case *mqtt.Publish:
				again = append(again, fmt.Sprintf("PUBLISH %d dup=%t", q.ID-one.ID, q.Dup))
			case *mqtt.Pubrel:
				again = append(again, fmt.Sprintf("PUBREL %d", q.ID-one.ID))
			}
		}
		slices.Sort(again)
		if got := fmt.Sprint(again); got != "[PUBLISH 0 dup=true PUBREL 1]" {
			t.Error(got)
		}
	})
}

// expiryIf sets the session expiry interval for version 5.
func expiryIf(v mqtt.Version, seconds uint32) func(*mqtt.Connect) {
	if v < mqtt.Version5 {
		return func(*mqtt.Connect) {}
	}
	return expiry(seconds)
}
