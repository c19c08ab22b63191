package mqttbroker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// lasting runs a test in a bubble with a broker whose directory is in memory.
func lasting(t *testing.T, name string, opts Options, test func(w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opts.fs, opts.Dir = vfs.NewMem(), "data"
			if opts.SegmentSize == 0 {
				opts.SegmentSize = 64 << 10
			}
			w := newWorld(t, &opts, nil)
			defer func() { w.close() }()
			test(w)
		})
	})
}

// crash gives the world the broker that is there after power loss: what was not synced is gone.
func (w *world) crash() {
	w.t.Helper()
	synctest.Wait()
	w.reopen(w.opts.fs.(*vfs.Mem).DropClone())
}

// restart closes the broker and opens it again.
func (w *world) restart() {
	w.t.Helper()
	synctest.Wait()
	w.server.Close()
	synctest.Wait()
	if err := w.Broker.Close(); err != nil {
		w.t.Error(err)
	}
	w.reopen(w.opts.fs.(*vfs.Mem))
}

func (w *world) reopen(fs *vfs.Mem) {
	w.t.Helper()
	opts := w.opts
	w.close()
	opts.fs, opts.Journal = fs, nil
	fresh := newWorld(w.t, &opts, nil)
	w.Broker, w.server, w.net, w.peers = fresh.Broker, fresh.server, fresh.net, nil
}

// both runs a test with a power loss and with a restart in the place of again.
func both(t *testing.T, name string, opts Options, test func(w *world, again func())) {
	t.Helper()
	lasting(t, name+", power loss", opts, func(w *world) { test(w, w.crash) })
	lasting(t, name+", restart", opts, func(w *world) { test(w, w.restart) })
}

func TestDirKeeps(t *testing.T) {
	both(t, "subscriptions", Options{}, func(w *world, again func()) {
		s := w.connect("s", expiry(3600))
		s.subscribe(9, mqtt.Subscription{Filter: "a/+", QoS: 1, RetainAsPublished: true})
		s.sub(2, "b", "c")
		s.unsub("c")
		again()
		if _, ok := w.Session("s"); !ok {
			t.Fatal("no session")
		}
		p := w.connect("p")
		p.pub("a/1=x", 1, retain)
		p.pub("b=y", 2)
		p.pub("c=z", 2)
		s = w.connect("s", resume, expiry(3600))
		if !s.ack.SessionPresent {
			t.Fatal("session not present")
		}
		m := expect[*mqtt.Publish](s)
		if id, _ := m.Properties.Uvarint(mqtt.PropSubscriptionIdentifier); id != 9 || !m.Retain || m.QoS != 1 {
			t.Errorf("got %v", m)
		}
		m = expect[*mqtt.Publish](s)
		if string(m.Topic) != "b" || m.QoS != 2 {
			t.Errorf("got %v", m)
		}
		s.want("")
	})
	for _, qos := range []mqtt.QoS{1, 2} {
		both(t, fmt.Sprint("what waits at QoS ", qos), Options{}, waits(qos))
	}
	both(t, "what is in flight", Options{}, func(w *world, again func()) {
		s := w.connect("s", expiry(3600))
		s.sub(2, "t")
		p := w.connect("p")
		p.pub("t=1", 1)
		p.pub("t=2", 2)
		p.pub("t=3", 2)
		one, two, three := expect[*mqtt.Publish](s), expect[*mqtt.Publish](s), expect[*mqtt.Publish](s)
		s.send(&mqtt.Pubrec{ID: three.ID})
		s.want("PUBREL")
		again()
		s = w.connect("s", resume, expiry(3600))
		if rel := expect[*mqtt.Pubrel](s); rel.ID != three.ID {
			t.Errorf("got %v", rel)
		}
		for _, want := range []*mqtt.Publish{one, two} {
			m := expect[*mqtt.Publish](s)
			if m.ID != want.ID || !m.Dup || m.QoS != want.QoS || string(m.Payload) != string(want.Payload) {
				t.Errorf("got %v, want %v again", m, want)
			}
			s.answer(m)
		}
		s.automatic()
		s.send(&mqtt.Pubcomp{ID: three.ID})
		for _, q := range s.all() {
			s.answer(q)
		}
		w.pass(10 * time.Millisecond) // nobody waits for that to be durable
		again()
		s = w.connect("s", resume, expiry(3600))
		s.want("")
	})
	both(t, "identifiers of a publisher", Options{}, func(w *world, again func()) {
		w.connect("s", expiry(3600)).sub(2, "t")
		p := w.connect("p", expiry(3600))
		id := p.publish("t=1", 2)
		p.want("PUBREC")
		again()
		p = w.connect("p", resume, expiry(3600))
		p.last = id
		p.publish("t=1", 2, func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
		p.want("PUBREC")
		p.send(&mqtt.Pubrel{ID: id})
		p.want("PUBCOMP")
		s := w.back("s")
		s.want("t=1")
	})
	both(t, "retained messages", Options{}, func(w *world, again func()) {
		p := w.connect("p")
		p.pub("a=1", 1, retain)
		p.pub("a=2", 1, retain)
		p.pub("b=1", 1, retain)
		p.pub("b=", 1, retain)
		p.pub("c=x", 0, retain)
		p.pub("d=short", 1, retain, messageExpiry(10))
		p.pub("e=long", 1, retain, messageExpiry(1000))
		p.pub("sync=", 1, retain)
		w.connect("x", expiry(10)) // waits for the journal
		again()
		w.pass(20 * time.Second)
		s := w.connect("s")
		s.sub(1, "#")
		got := s.all()
		text := ""
		for _, q := range got {
			m := q.(*mqtt.Publish)
			left, _ := m.Properties.Uint32(mqtt.PropMessageExpiryInterval)
			text += fmt.Sprintf("%s=%s %d %t %d;", m.Topic, m.Payload, m.QoS, m.Retain, left)
			s.answer(m)
		}
		for _, want := range []string{"a=2 1 true 0;", "c=x 0 true 0;", "e=long 1 true 980;"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %q", want, text)
			}
		}
		if len(got) != 3 {
			t.Error(text)
		}
	})
	both(t, "wills", Options{}, func(w *world, again func()) {
		s := w.connect("s", expiry(3600))
		s.sub(1, "w/#")
		w.connect("now", withWill(mqtt.Will{Topic: "w/now", QoS: 1}))
		w.connect("late", expiry(3600), withWill(mqtt.Will{Topic: "w/late", QoS: 1, Properties: willDelay(60)}))
		w.connect("bye", expiry(3600), withWill(mqtt.Will{Topic: "w/bye", QoS: 1})).leave()
		away := w.connect("away", expiry(3600), withWill(mqtt.Will{Topic: "w/away", QoS: 1, Properties: willDelay(30)}))
		away.drop()
		w.pass(10 * time.Second)
		w.connect("x", expiry(10))
		again()
		w.wait()
		s = w.back("s")
		s.want("w/now=")
		w.pass(21 * time.Second)
		s.want("w/away=")
		w.pass(60 * time.Second)
		s.want("w/late=")
		again()
		s = w.back("s")
		w.pass(time.Hour)
		s.want("")
	})
	both(t, "a will whose client comes back at once", Options{}, func(w *world, again func()) {
		w.connect("s", expiry(3600)).sub(1, "w")
		w.connect("c", expiry(3600), withWill(mqtt.Will{Topic: "w", QoS: 1, Payload: []byte("first")}))
		again()
		w.connect("c", resume, expiry(3600), withWill(mqtt.Will{Topic: "w", QoS: 1, Payload: []byte("second")}))
		w.back("s").want("w=first")
	})
	both(t, "ends of sessions", Options{}, func(w *world, again func()) {
		w.connect("short", expiry(10)).sub(1, "t")
		w.connect("clean", expiry(3600)).sub(1, "t")
		w.connect("none").sub(1, "t")
		for _, p := range w.peers {
			p.drop()
		}
		w.connect("clean", expiry(3600)).drop()
		w.pass(5 * time.Second)
		w.connect("x", expiry(3600))
		again()
		for id, want := range map[string]bool{"short": true, "clean": true, "none": false} {
			if _, ok := w.Session(id); ok != want {
				t.Errorf("session %s: %t", id, ok)
			}
		}
		if got, _ := w.Session("clean"); len(got.Subscriptions) != 0 {
			t.Errorf("%+v", got)
		}
		w.pass(6 * time.Second)
		if _, ok := w.Session("short"); ok {
			t.Error("the session has not ended")
		}
	})
}

// waits fills the queue of a session that lasts longer than the process, beyond what is kept in memory.
func waits(qos mqtt.QoS) func(w *world, again func()) {
	return func(w *world, again func()) {
		w.connect("s", expiry(3600)).sub(2, "t")
		w.peers[0].drop()
		p := w.connect("p").automatic()
		for i := range 3000 {
			p.publish(fmt.Sprint("t=", i), qos)
			if i%500 == 0 {
				w.wait()
			}
		}
		again()
		s := w.back("s")
		checkOrder(w.t, s, 3000)
		w.pass(10 * time.Millisecond) // nobody waits for the end of a message to be durable
		if n := w.rec.refs.Len(); n != 0 {
			w.t.Errorf("%d chunks of references are left", n)
		}
		again()
		s = w.connect("s", resume, expiry(3600))
		s.want("")
	}
}

// back resumes a session with a client that answers by itself from the begin.
func (w *world) back(id string) *peer {
	p := w.dial(mqtt.Version5)
	p.id = id
	p.automatic()
	p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: id, Properties: mqtt.Properties(nil).AppendUint32(mqtt.PropSessionExpiryInterval, 3600)})
	w.wait()
	return p
}
