package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// local is an in-process subscription whose messages a goroutine collects.
type local struct {
	*Subscription
	got []*Delivery
	err error
}

func (w *world) local(opts *SubscribeOptions, filters ...mqtt.Subscription) *local {
	w.t.Helper()
	s, err := w.Subscribe(filters, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	l := &local{Subscription: s}
	go func() {
		for d, err := range s.Messages(w.t.Context()) {
			if l.err = err; err == nil {
				l.got = append(l.got, d)
			}
		}
	}()
	w.wait()
	return l
}

// take returns what came as text.
func (l *local) take(w *world) string {
	w.wait()
	var words []string
	for _, d := range l.got {
		words = append(words, fmt.Sprintf("%s=%s", d.Message.Topic(), d.Message.Payload()))
	}
	l.got = nil
	return strings.Join(words, " ")
}

func (w *world) publish(text string, qos mqtt.QoS, retain bool) {
	w.t.Helper()
	name, payload, _ := strings.Cut(text, "=")
	p := &mqtt.Publish{Topic: []byte(name), Payload: []byte(payload), QoS: qos, Retain: retain}
	if err := w.Publish(w.t.Context(), p); err != nil {
		w.t.Error(err)
	}
}

func TestLocal(t *testing.T) {
	run(t, "publish and subscribe", nil, func(w *world) {
		l := w.local(nil, mqtt.Subscription{Filter: "a/+", QoS: 1}, mqtt.Subscription{Filter: "a/#", QoS: 2})
		s := w.connect("s")
		s.sub(1, "a/b")
		w.publish("a/b=1", 2, false)
		s.publish("a/c=2", 1)
		m := expect[*mqtt.Publish](s)
		if string(m.Payload) != "1" || m.QoS != 1 {
			t.Errorf("got %v", m)
		}
		if got := l.take(w); got != "a/b=1 a/c=2" {
			t.Error(got)
		}
	})
	run(t, "what a delivery tells", nil, func(w *world) {
		l := w.local(nil, mqtt.Subscription{Filter: "t", QoS: 1, RetainAsPublished: true})
		props := mqtt.Properties(nil).AppendUser("k", "v").AppendUint32(mqtt.PropMessageExpiryInterval, 60)
		p := w.connect("p")
		p.publish("t=x", 2, retain, func(m *mqtt.Publish) { m.Properties = props })
		w.wait()
		d := l.got[0]
		for k, v := range d.Message.Properties().UserProperties() {
			if k != "k" || v != "v" {
				t.Errorf("%s=%s", k, v)
			}
		}
		if d.QoS != 1 || !d.Retain || d.Message.QoS() != 2 || !d.Message.Retain() || d.Message.Sequence() == 0 ||
			time.Until(d.Message.Expires()) != time.Minute {
			t.Errorf("got %+v %+v", d, d.Message)
		}
	})
	run(t, "retained messages first", nil, func(w *world) {
		for i := range 2000 { // more than the queue holds
			w.publish(fmt.Sprint("t/", i, "=x"), 1, true)
		}
		l := w.local(&SubscribeOptions{Queue: 10}, mqtt.Subscription{Filter: "t/#", QoS: 1})
		w.wait()
		if len(l.got) != 2000 || !l.got[0].Retain || l.Dropped() != 0 {
			t.Errorf("%d messages, %d dropped", len(l.got), l.Dropped())
		}
		if none := w.local(nil, mqtt.Subscription{Filter: "t/#", RetainHandling: mqtt.RetainDontSend}); len(none.got) > 0 {
			t.Error("retained messages that nobody asked for")
		}
	})
	lasting(t, "retained messages that only the journal has", Options{}, func(w *world) {
		w.publish("t/1=x", 1, true)
		w.publish("t/2=y", 1, true)
		w.restart()
		l := w.local(nil, mqtt.Subscription{Filter: "t/1", QoS: 1}, mqtt.Subscription{Filter: "t/2", QoS: 1})
		if got := l.take(w); got != "t/1=x t/2=y" {
			t.Error(got)
		}
	})
	run(t, "a full queue", nil, func(w *world) {
		s, err := w.Subscribe([]mqtt.Subscription{{Filter: "t"}}, &SubscribeOptions{Queue: 3})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			w.publish(fmt.Sprint("t=", i), 0, false)
		}
		if s.Dropped() != 2 || w.Stats().DroppedQueueFull != 2 {
			t.Errorf("%d dropped", s.Dropped())
		}
		got := 0
		for d, err := range s.Messages(w.t.Context()) {
			if err != nil || string(d.Message.Payload()) != fmt.Sprint(got) {
				t.Fatal(d, err)
			}
			if got++; got == 3 {
				break
			}
		}
		s.Close()
	})
}

func TestLocalEnd(t *testing.T) {
	run(t, "the end", nil, func(w *world) {
		l := w.local(nil, mqtt.Subscription{Filter: "t"})
		l.Close()
		w.wait()
		if !errors.Is(l.err, net.ErrClosed) || w.subs.Len() != 0 {
			t.Error(l.err, w.subs.Len())
		}
		l = w.local(nil, mqtt.Subscription{Filter: "t"})
		w.Broker.Close()
		w.wait()
		if !errors.Is(l.err, net.ErrClosed) {
			t.Error(l.err)
		}
		if _, err := w.Subscribe(nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	run(t, "together with the broker", nil, func(w *world) {
		filters := make([]mqtt.Subscription, 100)
		for i := range filters {
			filters[i].Filter = fmt.Sprint("$share/g/t/", i)
		}
		go w.Broker.Close()
		for {
			l, err := w.Subscribe(filters, nil)
			if err != nil {
				break
			}
			defer l.Close()
		}
		if w.wait(); w.subs.Len() != 0 || len(w.groups.m) != 0 {
			t.Error(w.subs.Len(), len(w.groups.m))
		}
	})
	run(t, "context", nil, func(w *world) {
		s, _ := w.Subscribe([]mqtt.Subscription{{Filter: "t"}}, nil)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		for _, err := range s.Messages(ctx) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		s.Close()
	})
	run(t, "a loop that ends leaves the message to the others", nil, func(w *world) {
		s, _ := w.Subscribe([]mqtt.Subscription{{Filter: "t"}}, nil)
		got := make(chan *Delivery)
		loop := func(ctx context.Context) {
			for d, err := range s.Messages(ctx) {
				if err == nil {
					got <- d
				}
			}
		}
		for range 50 {
			ctx, cancel := context.WithCancel(w.t.Context())
			go loop(ctx)
			w.wait()
			other, stop := context.WithTimeout(w.t.Context(), time.Minute)
			go loop(other)
			w.wait()
			w.publish("t=x", 0, false) // wakes the first one
			cancel()
			select {
			case <-got:
			case <-other.Done():
				t.Error("nobody got the message")
			}
			stop()
			w.wait()
		}
		s.Close()
	})
	run(t, "errors", nil, func(w *world) {
		for _, f := range []mqtt.Subscription{{Filter: ""}, {Filter: "a/#/b"}, {Filter: "$share/g"}, {Filter: "a", QoS: 3}} {
			if _, err := w.Subscribe([]mqtt.Subscription{f}, nil); err == nil {
				t.Errorf("%v was taken", f)
			}
		}
		for _, p := range []mqtt.Publish{
			{Topic: []byte("a/+")}, {}, {Topic: []byte("a"), QoS: 3}, {Topic: []byte("a"), Properties: mqtt.Properties{1}},
		} {
			if err := w.Publish(w.t.Context(), &p); err == nil {
				t.Errorf("%v was taken", &p)
			}
		}
	})
}

func TestLocalShared(t *testing.T) {
	run(t, "together with clients", nil, func(w *world) {
		l := w.local(nil, mqtt.Subscription{Filter: "$share/g/t", QoS: 1})
		s := w.connect("s").automatic()
		s.sub(1, "$share/g/t")
		for i := range 10 {
			w.publish(fmt.Sprint("t=", i), 1, false)
		}
		w.wait()
		if n := len(s.all()); n != 5 || len(l.got) != 5 {
			t.Errorf("%d and %d messages", n, len(l.got))
		}
	})
	run(t, "unacknowledged messages go to another member", nil, func(w *world) {
		l := w.local(&SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "$share/g/t", QoS: 1})
		for i := range 3 {
			w.publish(fmt.Sprint("t=", i), 1, false)
		}
		w.wait()
		l.got[1].Ack()
		s := w.connect("s").automatic()
		s.sub(1, "$share/g/t")
		l.Close()
		s.want("t=0 t=2")
		l.got[0].Ack()
	})
	lasting(t, "acknowledged after the end", Options{}, func(w *world) {
		l := w.local(&SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "$share/g/t/+", QoS: 1})
		for i := range 3 {
			w.publish(fmt.Sprint("t/", i, "=x"), 1, true)
		}
		s := w.connect("s", expiry(60))
		s.sub(1, "$share/g/t/+")
		s.drop()
		l.Close()
		for _, d := range l.got {
			d.Ack()
		}
		for seq, n := range w.rec.refs.All() {
			if n != 2 { // it is retained, and waits for s
				t.Errorf("message %d counts %d", seq, n)
			}
		}
		if n := w.rec.refs.Len(); n != 3 || len(l.got) != 3 {
			t.Errorf("%d of %d messages", n, len(l.got))
		}
	})
	run(t, "a full member is skipped", nil, func(w *world) {
		full, _ := w.Subscribe([]mqtt.Subscription{{Filter: "$share/g/t"}}, &SubscribeOptions{Queue: 2})
		l := w.local(nil, mqtt.Subscription{Filter: "$share/g/t"})
		for i := range 10 {
			w.publish(fmt.Sprint("t=", i), 0, false)
		}
		w.wait()
		if len(l.got) != 8 || full.Dropped() != 0 {
			t.Errorf("%d messages, %d dropped", len(l.got), full.Dropped())
		}
		full.Close()
		if w.wait(); len(l.got) != 10 {
			t.Errorf("%d messages after the other has left", len(l.got))
		}
	})
}
