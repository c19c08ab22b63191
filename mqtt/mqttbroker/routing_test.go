package mqttbroker

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// versions runs a test with clients of version 3.1.1 and 5.
func versions(t *testing.T, name5, name311 string, opts *Options, test func(w *world, v mqtt.Version)) {
	t.Helper()
	run(t, name5, opts, func(w *world) { test(w, mqtt.Version5) })
	run(t, name311, opts, func(w *world) { test(w, mqtt.Version311) })
}

func TestRouting(t *testing.T) {
	versions(t, "MQTT-4.5.0-1", "MQTT311-4.5.0-1", nil, func(w *world, v mqtt.Version) {
		a, b, c := w.connectVersion(v, "a"), w.connectVersion(v, "b"), w.connectVersion(v, "c")
		a.sub(2, "x/+")
		b.sub(1, "x/#")
		c.sub(0, "y")
		for qos := range mqtt.QoS(3) {
			c.automatic().publish(fmt.Sprint("x/1=", qos), qos)
		}
		a.automatic()
		b.automatic()
		w.wait()
		a.want("x/1=0 x/1=1 x/1=2")
		b.want("x/1=0 x/1=1 x/1=2")
		c.want("")
	})
	versions(t, "MQTT-3.8.4-8", "MQTT311-3.8.4-6", nil, func(w *world, v mqtt.Version) {
		p := w.connectVersion(v, "pub").automatic()
		for granted := range mqtt.QoS(3) {
			s := w.connectVersion(v, fmt.Sprint("sub", granted))
			s.sub(granted, "t")
			for qos := range mqtt.QoS(3) {
				p.publish("t=x", qos)
				m := expect[*mqtt.Publish](s)
				if m.QoS != min(qos, granted) {
					t.Errorf("published %d, granted %d, got %d", qos, granted, m.QoS)
				}
				s.answer(m)
				w.wait()
				s.mu.Lock()
				s.got = nil
				s.mu.Unlock()
			}
			s.drop()
		}
	})
	versions(t, "MQTT-4.7.2-1", "MQTT311-4.7.2-1", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(0, "#", "+/x", "+/#")
		p.pub("$x/x=1", 0)
		p.pub("x/x=2", 0)
		s.want("x/x=2")
		s.sub(0, "$x/#")
		p.pub("$x/x=3", 0)
		s.want("$x/x=3")
	})
	versions(t, "MQTT-4.7.3-4", "MQTT311-4.7.3-4", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(0, "A/é", "/a", "b//c")
		for _, text := range []string{"a/é", "A/e\u0301", "a", "b/c", "b///c", "A/é/"} {
			p.pub(text, 0)
		}
		s.want("")
		for _, text := range []string{"A/é=1", "/a=2", "b//c=3"} {
			p.pub(text, 0)
		}
		s.want("A/é=1 /a=2 b//c=3")
	})
}

func TestRoutedMessages(t *testing.T) {
	versions(t, "MQTT-3.3.2-3", "MQTT311-3.3.2-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(0, "a/+/c")
		for _, text := range []string{"a/b/c=1", "a/b=2", "a/b/c/d=3", "b/b/c=4"} {
			p.pub(text, 0)
		}
		s.want("a/b/c=1")
	})
	versions(t, "MQTT-3.3.1-3", "MQTT311-3.3.1-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(1, "t")
		p.pub("t=x", 1, func(m *mqtt.Publish) { m.Dup = true })
		if m := expect[*mqtt.Publish](s); m.Dup {
			t.Error("DUP was propagated")
		}
	})
	versions(t, "MQTT-2.2.1-4", "MQTT311-2.3.1-4", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p").automatic()
		s.sub(2, "t")
		seen := make(map[uint16]bool)
		for i := range 20 {
			p.publish("t=x", mqtt.QoS(1+i%2))
		}
		for range 20 {
			m := expect[*mqtt.Publish](s)
			if m.ID == 0 || seen[m.ID] {
				t.Fatalf("packet identifier %d", m.ID)
			}
			seen[m.ID] = true
		}
	})
}

func TestOverlappingSubscriptions(t *testing.T) {
	versions(t, "MQTT-3.3.4-2", "MQTT311-3.3.5-1", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p").automatic()
		s.sub(0, "a/#")
		s.sub(2, "a/+")
		s.sub(1, "a/b")
		p.publish("a/b=x", 2)
		if m := expect[*mqtt.Publish](s); m.QoS != 2 {
			t.Errorf("QoS %d", m.QoS)
		}
		s.want("")
	})
	for _, name := range []string{"MQTT-3.3.4-3", "MQTT-3.3.4-4"} {
		run(t, name, nil, func(w *world) {
			s, p := w.connect("s"), w.connect("p")
			s.subscribe(7, mqtt.Subscription{Filter: "a/#"})
			s.subscribe(300, mqtt.Subscription{Filter: "a/+"})
			s.subscribe(0, mqtt.Subscription{Filter: "+/b"})
			s.subscribe(9, mqtt.Subscription{Filter: "c"})
			p.pub("a/b=x", 0)
			ids := slices.Sorted(expect[*mqtt.Publish](s).Properties.SubscriptionIDs())
			if !slices.Equal(ids, []uint32{7, 300}) {
				t.Errorf("identifiers %v", ids)
			}
			s.want("")
			p.pub("c=x", 0)
			ids = slices.Sorted(expect[*mqtt.Publish](s).Properties.SubscriptionIDs())
			if !slices.Equal(ids, []uint32{9}) {
				t.Errorf("identifiers %v", ids)
			}
		})
	}
	run(t, "identifiers survive the queue", nil, func(w *world) {
		s, p := w.connect("s", expiry(60)), w.connect("p")
		s.subscribe(7, mqtt.Subscription{Filter: "a/#", QoS: 1})
		s.subscribe(8, mqtt.Subscription{Filter: "a/b", QoS: 1})
		s.drop()
		p.pub("a/b=x", 1)
		s = w.connect("s", resume, expiry(60))
		ids := slices.Sorted(expect[*mqtt.Publish](s).Properties.SubscriptionIDs())
		if !slices.Equal(ids, []uint32{7, 8}) {
			t.Errorf("identifiers %v", ids)
		}
	})
	run(t, "many receivers with several subscriptions each", nil, func(w *world) {
		p := w.connect("p")
		var all []*peer
		for i := range 40 {
			s := w.connect(fmt.Sprint("s", i))
			s.sub(0, "a/#", "a/+", "+/b")
			all = append(all, s)
		}
		p.pub("a/b=x", 0)
		for _, s := range all {
			s.want("a/b=x")
		}
	})
}

func TestSubscriptionOptions(t *testing.T) {
	run(t, "MQTT-3.8.3-3", nil, func(w *world) {
		a, b := w.connect("a"), w.connect("b")
		a.subscribe(0, mqtt.Subscription{Filter: "t", NoLocal: true})
		b.subscribe(0, mqtt.Subscription{Filter: "t"})
		a.pub("t=1", 0)
		b.pub("t=2", 0)
		a.want("t=2")
		b.want("t=1 t=2")
	})
	run(t, "MQTT-3.8.3-3 overlapping", nil, func(w *world) {
		a := w.connect("a")
		a.subscribe(0, mqtt.Subscription{Filter: "t/#", NoLocal: true, QoS: 1})
		a.subscribe(0, mqtt.Subscription{Filter: "t/+"})
		a.publish("t/1=1", 1)
		a.automatic()
		if m := expect[*mqtt.Publish](a); m.QoS != 0 {
			t.Errorf("got QoS %d of the subscription that does not concern it", m.QoS)
		}
	})
	run(t, "MQTT-3.3.1-12", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.sub(0, "t")
		p.pub("t=x", 0, retain)
		if expect[*mqtt.Publish](s).Retain {
			t.Error("RETAIN is set")
		}
	})
	run(t, "MQTT-3.3.1-13", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.subscribe(0, mqtt.Subscription{Filter: "t", RetainAsPublished: true})
		p.pub("t=x", 0, retain)
		if !expect[*mqtt.Publish](s).Retain {
			t.Error("RETAIN is not set")
		}
		p.pub("t=x", 0)
		if expect[*mqtt.Publish](s).Retain {
			t.Error("RETAIN is set")
		}
	})
	run(t, "MQTT311-3.3.1-9", nil, func(w *world) {
		s, p := w.connectVersion(mqtt.Version311, "s"), w.connect("p")
		s.sub(0, "t")
		p.pub("t=x", 0, retain)
		if expect[*mqtt.Publish](s).Retain {
			t.Error("RETAIN is set")
		}
	})
}

func TestForwardedProperties(t *testing.T) {
	var props mqtt.Properties
	props = props.AppendByte(mqtt.PropPayloadFormatIndicator, 1).AppendUser("k", "1").
		AppendString(mqtt.PropContentType, "text/plain").AppendUser("a", "2").
		AppendString(mqtt.PropResponseTopic, "answers").AppendBytes(mqtt.PropCorrelationData, []byte{0, 1, 255}).
		AppendUser("k", "3")
	check := func(t *testing.T, m *mqtt.Publish) {
		if !bytes.Equal(m.Properties, props) {
			t.Errorf("got %v", m)
		}
	}
	for _, name := range []string{
		"MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20", "MQTT-3.1.3-10",
	} {
		run(t, name, nil, func(w *world) {
			s, p := w.connect("s", expiry(60)), w.connect("p").automatic()
			s.sub(1, "t")
			with := func(m *mqtt.Publish) { m.Properties = props }
			p.publish("t=live", 0, with)
			check(t, expect[*mqtt.Publish](s))
			p.publish("t=counted", 1, with)
			m := expect[*mqtt.Publish](s)
			check(t, m)
			s.answer(m)
			p.publish("t=retained", 0, with, retain)
			check(t, expect[*mqtt.Publish](s))
			s.sub(0, "t")
			check(t, expect[*mqtt.Publish](s))
			s.subscribe(0, mqtt.Subscription{Filter: "t", QoS: 1, RetainHandling: mqtt.RetainDontSend})
			s.drop()
			p.publish("t=queued", 1, with)
			w.wait()
			check(t, expect[*mqtt.Publish](w.connect("s", resume)))
		})
	}
	run(t, "a will's properties", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "t")
		w.connect("p", withWill(mqtt.Will{Topic: "t", Properties: props})).drop()
		check(t, expect[*mqtt.Publish](s))
	})
}

func TestNoMatchingSubscribers(t *testing.T) {
	in(t, nil, func(w *world) {
		p := w.connect("p")
		if r := p.pub("t=x", 1); r != mqtt.ReasonNoMatchingSubscribers {
			t.Error(r)
		}
		if r := p.pub("t=x", 2); r != mqtt.ReasonNoMatchingSubscribers {
			t.Error(r)
		}
		w.connect("s").sub(0, "t")
		if r := p.pub("t=x", 1); r != mqtt.ReasonSuccess {
			t.Error(r)
		}
		old := w.connectVersion(mqtt.Version311, "old")
		if r := old.pub("u=x", 1); r != mqtt.ReasonSuccess {
			t.Error(r)
		}
	})
}

func TestTooLargeMessages(t *testing.T) {
	run(t, "MQTT-3.1.2-25", nil, func(w *world) {
		small := func(c *mqtt.Connect) { c.Properties = c.Properties.AppendUint32(mqtt.PropMaximumPacketSize, 100) }
		s, p := w.connect("s", small, receiveMaximum(1)), w.connect("p").automatic()
		s.automatic().sub(2, "t")
		for i := range 5 {
			p.publish(fmt.Sprint("t=", i), 1)
			p.publish(fmt.Sprint("t=", i, string(make([]byte, 200))), mqtt.QoS(i%3))
		}
		w.wait()
		s.want("t=0 t=1 t=2 t=3 t=4")
		if n := w.Stats().DroppedTooLarge; n != 5 {
			t.Errorf("%d were counted", n)
		}
	})
}
