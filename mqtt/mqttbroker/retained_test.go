package mqttbroker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestRetained(t *testing.T) {
	versions(t, "MQTT-3.3.1-5", "MQTT311-3.3.1-5", nil, func(w *world, v mqtt.Version) {
		p := w.connectVersion(v, "p").automatic()
		p.publish("t=1", 2, retain)
		p.publish("t=2", 1, retain)
		s := w.connectVersion(v, "s")
		s.sub(2, "t")
		m := expect[*mqtt.Publish](s)
		if !m.Retain || m.QoS != 1 || string(m.Payload) != "2" || m.Dup {
			t.Errorf("got %v", m)
		}
	})
	for _, name := range [][2]string{{"MQTT-3.3.1-6", "MQTT311-3.3.1-10"}, {"MQTT-3.3.1-7", "MQTT311-3.3.1-11"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			p, live := w.connectVersion(v, "p"), w.connectVersion(v, "live")
			live.sub(0, "t")
			p.pub("t=1", 0, retain)
			p.pub("t=", 0, retain)
			live.want("t=1 t=")
			s := w.connectVersion(v, "s")
			s.sub(0, "t")
			s.want("")
			if n := w.Stats().Retained; n != 0 || w.Stats().RetainedBytes != 0 {
				t.Errorf("%+v", w.Stats())
			}
		})
	}
	versions(t, "MQTT-3.3.1-8", "MQTT311-3.3.1-12", nil, func(w *world, v mqtt.Version) {
		p := w.connectVersion(v, "p")
		p.pub("t=1", 0, retain)
		p.pub("t=2", 0)
		p.pub("t=", 0)
		p.pub("u=3", 0)
		s := w.connectVersion(v, "s")
		s.sub(0, "t", "u")
		s.want("t=1")
	})
	versions(t, "MQTT-3.3.1-9", "MQTT311-3.3.1-6", nil, func(w *world, v mqtt.Version) {
		p := w.connectVersion(v, "p")
		for i := range 20 {
			p.pub(fmt.Sprint("t/", i, "=x"), 0, retain)
		}
		s := w.connectVersion(v, "s")
		s.sub(0, "t/+")
		if n := len(s.all()); n != 20 {
			t.Errorf("%d retained messages", n)
		}
		s.sub(0, "t/+")
		if n := len(s.all()); n != 20 {
			t.Errorf("%d retained messages again", n)
		}
	})
	versions(t, "MQTT-3.3.1-8 set", "MQTT311-3.3.1-8", nil, func(w *world, v mqtt.Version) {
		w.connectVersion(v, "p").pub("t=1", 0, retain)
		s := w.connectVersion(v, "s")
		s.sub(0, "t")
		if !expect[*mqtt.Publish](s).Retain {
			t.Error("RETAIN is not set")
		}
	})
	run(t, "MQTT311-3.3.1-7", nil, func(w *world) {
		p := w.connectVersion(mqtt.Version311, "p").automatic()
		p.publish("t=1", 1, retain)
		p.publish("t=2", 0, retain)
		s := w.connect("s")
		s.sub(1, "t")
		s.want("t=2")
	})
}

func TestRetainHandling(t *testing.T) {
	run(t, "MQTT-3.3.1-10", nil, func(w *world) {
		p, s := w.connect("p"), w.connect("s")
		p.pub("t=1", 0, retain)
		ask := mqtt.Subscription{Filter: "t", RetainHandling: mqtt.RetainSendIfNew}
		s.subscribe(0, ask)
		s.want("t=1")
		s.subscribe(0, ask)
		s.want("")
		s.unsub("t")
		s.subscribe(0, ask)
		s.want("t=1")
	})
	run(t, "MQTT-3.3.1-11", nil, func(w *world) {
		p, s := w.connect("p"), w.connect("s")
		p.pub("t=1", 0, retain)
		s.subscribe(0, mqtt.Subscription{Filter: "t", RetainHandling: mqtt.RetainDontSend})
		s.want("")
	})
	run(t, "MQTT311-3.1.2-6", nil, func(w *world) {
		p := w.connectVersion(mqtt.Version311, "p")
		p.pub("t=1", 0, retain)
		p.drop()
		s := w.connectVersion(mqtt.Version311, "s")
		s.sub(0, "t")
		s.want("t=1")
	})
	run(t, "with the identifier of the subscription", nil, func(w *world) {
		w.connect("p").pub("t=1", 0, retain)
		s := w.connect("s")
		s.subscribe(5, mqtt.Subscription{Filter: "#"})
		if ids := slices.Collect(expect[*mqtt.Publish](s).Properties.SubscriptionIDs()); !slices.Equal(ids, []uint32{5}) {
			t.Errorf("identifiers %v", ids)
		}
	})
	run(t, "not by shared subscriptions", nil, func(w *world) {
		w.connect("p").pub("t=1", 0, retain)
		s := w.connect("s")
		s.sub(0, "$share/g/t")
		s.want("")
	})
	run(t, "after a reconnect in the middle", nil, func(w *world) {
		p := w.connect("p")
		for i := range 10 {
			p.pub(fmt.Sprint("t/", i, "=x"), 1, retain)
		}
		s := w.connect("s", expiry(60), receiveMaximum(3))
		s.sub(1, "t/+")
		first := s.all()
		if len(first) != 3 {
			t.Fatalf("%d messages within a receive maximum of 3", len(first))
		}
		s.drop()
		s = w.connect("s", resume, expiry(60), receiveMaximum(100))
		if n := len(s.all()); n != 10 {
			t.Errorf("%d messages after the reconnect", n)
		}
	})
}

func TestRetainedLimits(t *testing.T) {
	run(t, "count", &Options{MaxRetained: 2}, func(w *world) {
		p := w.connect("p")
		p.pub("a=1", 1, retain)
		p.pub("b=1", 1, retain)
		if r := p.pub("c=1", 1, retain); r != mqtt.ReasonQuotaExceeded {
			t.Error(r)
		}
		if r := p.pub("b=2", 1, retain); r.IsError() {
			t.Error("a message that replaces another is refused:", r)
		}
		p.pub("a=", 1, retain)
		if r := p.pub("c=1", 1, retain); r.IsError() {
			t.Error(r)
		}
	})
	run(t, "bytes", &Options{MaxRetainedBytes: 1000}, func(w *world) {
		p := w.connect("p")
		big := strings.Repeat("x", 500)
		p.pub("a="+big, 1, retain)
		if r := p.pub("b="+big, 1, retain); r != mqtt.ReasonQuotaExceeded {
			t.Error(r)
		}
		if r := p.pub("a="+big+"y", 1, retain); r.IsError() {
			t.Error(r)
		}
	})
}

func TestMessageExpiry(t *testing.T) {
	for _, name := range []string{"MQTT-3.3.2-5", "MQTT-3.3.2-6"} {
		run(t, name, nil, func(w *world) {
			s, p := w.connect("s", expiry(600)), w.connect("p")
			s.sub(1, "t")
			p.pub("t=live", 0, messageExpiry(10))
			if left, _ := expect[*mqtt.Publish](s).Properties.Uint32(mqtt.PropMessageExpiryInterval); left != 10 {
				t.Errorf("live: %d", left)
			}
			s.drop()
			p.pub("t=short", 1, messageExpiry(10))
			p.pub("t=long", 1, messageExpiry(100))
			p.pub("t=ever", 1)
			w.pass(30 * time.Second)
			s = w.connect("s", resume, expiry(600))
			m := expect[*mqtt.Publish](s)
			if left, _ := m.Properties.Uint32(mqtt.PropMessageExpiryInterval); left != 70 || string(m.Payload) != "long" {
				t.Errorf("got %v", m)
			}
			if m = expect[*mqtt.Publish](s); m.Properties.Has(mqtt.PropMessageExpiryInterval) || string(m.Payload) != "ever" {
				t.Errorf("got %v", m)
			}
			s.want("")
			if n := w.Stats().DroppedExpired; n != 1 {
				t.Errorf("%d expired", n)
			}
		})
	}
}

func TestRetainedExpiry(t *testing.T) {
	run(t, "retained", nil, func(w *world) {
		p := w.connect("p")
		p.pub("t=1", 0, messageExpiry(10), retain)
		w.pass(4 * time.Second)
		s := w.connect("s")
		s.sub(0, "t")
		if left, _ := expect[*mqtt.Publish](s).Properties.Uint32(mqtt.PropMessageExpiryInterval); left != 6 {
			t.Errorf("%d seconds are left", left)
		}
		w.pass(7 * time.Second)
		s.sub(0, "t")
		s.want("")
		if n := w.Stats().Retained; n != 0 {
			t.Error("it is still there")
		}
	})
	run(t, "a retained message that was replaced", nil, func(w *world) {
		p := w.connect("p")
		p.pub("t=1", 0, messageExpiry(10), retain)
		p.pub("t=2", 0, retain)
		w.pass(time.Minute)
		s := w.connect("s")
		s.sub(0, "t")
		s.want("t=2")
	})
	run(t, "deadlines of messages that were replaced do not pile up", nil, func(w *world) {
		p := w.connect("p")
		for i := range 5000 {
			p.publish(fmt.Sprint("t=", i), 0, messageExpiry(uint32(1000+i)), retain)
			p.publish("u=x", 0, messageExpiry(1000), retain)
			p.publish("u=", 0, retain)
		}
		s := w.connect("s", expiry(2000))
		s.drop()
		if n := w.deadlineCount(); n > 2*minStale+2 {
			t.Errorf("%d deadlines", n)
		}
		w.pass(6000 * time.Second)
		if st := w.Stats(); st.Retained != 0 || st.Sessions != 1 {
			t.Errorf("%+v", st)
		}
	})
	run(t, "MQTT-4.3.3-7", nil, func(w *world) {
		s, p := w.connect("s", expiry(600)), w.connect("p")
		s.sub(2, "t")
		p.pub("t=1", 2, messageExpiry(10))
		first := expect[*mqtt.Publish](s)
		s.drop()
		w.pass(time.Minute)
		s = w.connect("s", resume, expiry(600))
		if again := expect[*mqtt.Publish](s); again.ID != first.ID || !again.Dup {
			t.Errorf("got %v", again)
		}
	})
	run(t, "no expiry of its own", nil, func(w *world) {
		s, p := w.connect("s", expiry(forever)), w.connect("p")
		s.sub(1, "t")
		s.drop()
		p.pub("t=1", 1)
		w.pass(1000 * time.Hour)
		w.connect("s", resume).want("t=1")
	})
}
