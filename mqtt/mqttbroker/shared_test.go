package mqttbroker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// spread connects members to a group, publishes n messages and returns how many each got.
func spread(w *world, members, n int, publishers ...*peer) (got []int) {
	var all []*peer
	for i := range members {
		s := w.connect(fmt.Sprint("member", i)).automatic()
		s.sub(1, "$share/g/t")
		all = append(all, s)
	}
	for i := range n {
		publishers[i%len(publishers)].publish(fmt.Sprint("t=", i), 1)
	}
	w.wait()
	for _, s := range all {
		got = append(got, len(s.all()))
	}
	return got
}

func TestSharedStrategies(t *testing.T) {
	run(t, "round robin", nil, func(w *world) {
		p := w.connect("p").automatic()
		if got := spread(w, 4, 40, p); !slices.Equal(got, []int{10, 10, 10, 10}) {
			t.Error(got)
		}
	})
	run(t, "random", &Options{Strategy: StrategyRandom, Seed: 1}, func(w *world) {
		p := w.connect("p").automatic()
		got := spread(w, 4, 400, p)
		if slices.Min(got) < 60 || got[0]+got[1]+got[2]+got[3] != 400 {
			t.Error(got)
		}
	})
	run(t, "sticky", &Options{Strategy: StrategySticky}, func(w *world) {
		p := w.connect("p").automatic()
		got := spread(w, 4, 40, p)
		if slices.Max(got) != 40 {
			t.Error(got)
		}
	})
	run(t, "hash", &Options{Strategy: StrategyHash}, func(w *world) {
		var all []*peer
		for i := range 8 {
			all = append(all, w.connect(fmt.Sprint("p", i)).automatic())
		}
		got := spread(w, 4, 80, all...)
		for _, n := range got {
			if n%10 != 0 {
				t.Error(got)
			}
		}
	})
}

func TestShared(t *testing.T) {
	run(t, "MQTT-4.8.2-3", nil, func(w *world) {
		s := w.connect("s")
		s.sub(1, "$share/g/t")
		p := w.connect("p").automatic()
		for qos := range mqtt.QoS(3) {
			p.publish("t=x", qos)
			if m := expect[*mqtt.Publish](s); m.QoS != min(qos, 1) {
				t.Errorf("QoS %d", m.QoS)
			}
		}
	})
	run(t, "with and without a group", nil, func(w *world) {
		s := w.connect("s")
		s.subscribe(1, mqtt.Subscription{Filter: "$share/g/t"})
		s.subscribe(2, mqtt.Subscription{Filter: "$share/h/t"})
		s.subscribe(3, mqtt.Subscription{Filter: "#"})
		w.connect("p").pub("t=x", 0)
		var ids []uint32
		for range 3 {
			ids = slices.AppendSeq(ids, expect[*mqtt.Publish](s).Properties.SubscriptionIDs())
		}
		slices.Sort(ids)
		if !slices.Equal(ids, []uint32{1, 2, 3}) {
			t.Errorf("identifiers %v", ids)
		}
	})
	run(t, "members that are away are skipped", nil, func(w *world) {
		away := w.connect("away", expiry(60))
		away.sub(1, "$share/g/t")
		away.drop()
		here := w.connect("here").automatic()
		here.sub(1, "$share/g/t")
		p := w.connect("p").automatic()
		for i := range 10 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		if n := len(here.all()); n != 10 {
			t.Errorf("%d messages", n)
		}
		w.connect("away", resume).want("")
	})
	run(t, "nobody is there", nil, func(w *world) {
		for _, id := range []string{"a", "b"} {
			s := w.connect(id, expiry(60))
			s.sub(1, "$share/g/t")
			s.drop()
		}
		p := w.connect("p").automatic()
		for i := range 10 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		p.publish("t=lost", 0)
		w.wait()
		a, b := w.connect("a", resume), w.connect("b", resume)
		if got := len(a.all()) + len(b.all()); got != 10 {
			t.Errorf("%d messages", got)
		}
	})
	run(t, "members with quota come first", nil, func(w *world) {
		slow, fast := w.connect("slow", receiveMaximum(1)), w.connect("fast").automatic()
		slow.sub(1, "$share/g/t")
		fast.sub(1, "$share/g/t")
		p := w.connect("p").automatic()
		for i := range 20 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		if n, m := len(slow.all()), len(fast.all()); n != 1 || m != 19 {
			t.Errorf("%d and %d messages", n, m)
		}
	})
	run(t, "the group ends with its last member", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "$share/g/t", "$share/g/u/+")
		s.unsub("$share/g/t")
		s.drop()
		if len(w.groups.m) != 0 || w.subs.Len() != 0 {
			t.Error("something is left")
		}
	})
}

func TestSharedLeaving(t *testing.T) {
	// a holds one message at QoS 1 and one at QoS 2 in flight, two more wait; b comes then.
	prepare := func(w *world, limit uint16) (a, b *peer) {
		a = w.connect("a", expiry(60), receiveMaximum(limit))
		a.sub(2, "$share/g/t")
		p := w.connect("p").automatic()
		for i, qos := range []mqtt.QoS{1, 2, 1, 2} {
			p.publish(fmt.Sprint("t=", i), qos)
		}
		a.want("t=0 t=1")
		b = w.connect("b").automatic()
		b.sub(2, "$share/g/t")
		return a, b
	}
	run(t, "MQTT-4.8.2-4", nil, func(w *world) {
		a, b := prepare(w, 2)
		a.drop()
		b.want("")
		w.connect("a", resume).automatic().want("t=0 t=1 t=2 t=3")
		b.want("")
	})
	run(t, "MQTT-4.8.2-5", nil, func(w *world) {
		a, b := prepare(w, 2)
		a.drop()
		w.connect("a") // clean start
		b.want("t=0 t=2 t=3")
	})
	run(t, "the session expires", nil, func(w *world) {
		a, b := prepare(w, 2)
		a.drop()
		w.pass(61e9)
		b.want("t=0 t=2 t=3")
	})
	run(t, "unsubscribe", nil, func(w *world) {
		a, b := prepare(w, 2)
		a.unsub("$share/g/t")
		b.want("t=2 t=3")
		a.drop()
		w.connect("a", resume).automatic().want("t=0 t=1")
		b.want("")
	})
	for _, name := range []string{"MQTT-4.8.2-6"} {
		run(t, name, nil, func(w *world) {
			a := w.connect("a")
			a.sub(2, "$share/g/t")
			p := w.connect("p").automatic()
			p.publish("t=0", 1)
			p.publish("t=1", 2)
			one, two := expect[*mqtt.Publish](a), expect[*mqtt.Publish](a)
			b := w.connect("b")
			b.sub(2, "$share/g/t")
			a.send(&mqtt.Puback{ID: one.ID, Reason: mqtt.ReasonUnspecifiedError})
			a.send(&mqtt.Pubrec{ID: two.ID, Reason: mqtt.ReasonUnspecifiedError})
			w.wait()
			a.drop()
			b.want("")
		})
	}
	run(t, "acknowledged messages stay where they are", nil, func(w *world) {
		a := w.connect("a").automatic()
		a.sub(2, "$share/g/t")
		p := w.connect("p").automatic()
		for i := range 10 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		b := w.connect("b")
		b.sub(2, "$share/g/t")
		a.drop()
		b.want("")
	})
	run(t, "expiry is counted on", nil, func(w *world) {
		a := w.connect("a", expiry(60))
		a.sub(1, "$share/g/t")
		w.connect("p").pub("t=x", 1, messageExpiry(100))
		a.drop()
		b := w.connect("b")
		b.sub(1, "$share/g/t")
		w.pass(61e9)
		m := expect[*mqtt.Publish](b)
		if left, _ := m.Properties.Uint32(mqtt.PropMessageExpiryInterval); left < 38 || left > 40 {
			t.Errorf("%d seconds are left", left)
		}
	})
}

func TestSharedFilters(t *testing.T) {
	for _, filter := range []string{"$share/g/a/+", "$share/a/b"} {
		if rest, shared := sharedFilter(filter); !shared || !strings.HasSuffix(filter, rest) {
			t.Errorf("%q: %q %t", filter, rest, shared)
		}
	}
	if rest, shared := sharedFilter("a/b"); shared || rest != "a/b" {
		t.Error(rest, shared)
	}
}
