package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestCleanStart(t *testing.T) {
	for _, name := range [][2]string{{"MQTT-3.1.2-4", "MQTT311-3.1.2-6"}, {"MQTT-3.2.2-2", "MQTT311-3.2.2-1"}, {"MQTT-3.1.4-4", "MQTT311-3.1.4-3"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s", resume, expiryIf(v, 600))
			s.sub(1, "t")
			s.drop()
			s = w.connectVersion(v, "s", expiryIf(v, 600))
			if s.ack.SessionPresent {
				t.Error("session present")
			}
			w.connect("p").pub("t=x", 1)
			s.want("")
		})
	}
	for _, name := range [][2]string{
		{"MQTT-3.1.2-5", "MQTT311-3.1.2-4"}, {"MQTT-3.2.2-3", "MQTT311-3.2.2-2"}, {"MQTT-3.1.2-23", "MQTT311-3.1.2-5"},
		{"MQTT-3.1.3-2", "MQTT311-3.1.3-2"}, {"MQTT-4.1.0-1", "MQTT311-4.1.0-1"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			p := w.connect("p").automatic()
			s := w.connectVersion(v, "s", resume, expiryIf(v, 600))
			s.sub(2, "t")
			s.drop()
			p.publish("t=1", 1)
			p.publish("t=2", 2)
			p.publish("t=0", 0)
			w.wait()
			s = w.connectVersion(v, "s", resume)
			if !s.ack.SessionPresent {
				t.Error("session not present")
			}
			s.automatic()
			s.want("t=1 t=2")
		})
	}
	for _, name := range [][2]string{{"MQTT-3.1.2-6", "MQTT311-3.2.2-3"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			if s := w.connectVersion(v, "s", resume); s.ack.SessionPresent {
				t.Error("session present")
			}
		})
	}
}

func TestSessionExpiry(t *testing.T) {
	run(t, "MQTT-4.1.0-2", nil, func(w *world) {
		s := w.connect("s", expiry(10))
		s.sub(1, "t")
		s.drop()
		w.pass(9 * time.Second)
		if s = w.connect("s", resume, expiry(10)); !s.ack.SessionPresent {
			t.Error("the session has ended too early")
		}
		w.pass(time.Minute) // connected
		s.drop()
		w.pass(11 * time.Second)
		if _, ok := w.Session("s"); ok {
			t.Error("the session is still there")
		}
		if s = w.connect("s", resume); s.ack.SessionPresent {
			t.Error("session present")
		}
		if n := w.Stats().SessionsExpired; n != 1 {
			t.Errorf("%d expired", n)
		}
	})
	run(t, "MQTT311-4.1.0-2", nil, func(w *world) {
		s := w.connectVersion(mqtt.Version311, "s", resume)
		s.drop()
		w.pass(10_000 * time.Hour)
		if _, ok := w.Session("s"); !ok {
			t.Error("the session has ended")
		}
	})
	run(t, "DISCONNECT changes it", nil, func(w *world) {
		s := w.connect("s", expiry(10))
		s.leave(func(d *mqtt.Disconnect) {
			d.Properties = d.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, 100)
		})
		w.pass(50 * time.Second)
		if _, ok := w.Session("s"); !ok {
			t.Fatal("the session has ended")
		}
		w.connect("s", resume, expiry(10)).leave(func(d *mqtt.Disconnect) {
			d.Properties = d.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, 0)
		})
		if _, ok := w.Session("s"); ok {
			t.Error("the session is still there")
		}
	})
	run(t, "cap", &Options{MaxSessionExpiry: time.Minute}, func(w *world) {
		s := w.connect("s", expiry(3600))
		if n, _ := s.ack.Properties.Uint32(mqtt.PropSessionExpiryInterval); n != 60 {
			t.Errorf("told %d", n)
		}
		old := w.connectVersion(mqtt.Version311, "old", resume)
		s.drop()
		old.drop()
		w.pass(59 * time.Second)
		if n := w.Stats().Sessions; n != 2 {
			t.Errorf("%d sessions", n)
		}
		w.pass(2 * time.Second)
		if n := w.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
		if short := w.connect("short", expiry(5)); short.ack.Properties.Has(mqtt.PropSessionExpiryInterval) {
			t.Error("told the interval that it asked for")
		}
	})
	run(t, "none", &Options{MaxSessionExpiry: -1}, func(w *world) {
		w.connect("s", expiry(3600)).drop()
		if n := w.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
	run(t, "limit", &Options{MaxSessions: 2}, func(w *world) {
		w.connect("a", expiry(10)).drop()
		w.connect("b")
		if r := w.refused(mqtt.Version5, "c"); r != mqtt.ReasonQuotaExceeded {
			t.Error(r)
		}
		w.connect("a", resume)
	})
}

func TestTakeover(t *testing.T) {
	for _, name := range []string{"MQTT-3.1.4-3", "MQTT-3.14.4-2"} {
		run(t, name, nil, func(w *world) {
			old := w.connect("s", expiry(60))
			old.sub(1, "t")
			s := w.connect("s", resume)
			if d := expect[*mqtt.Disconnect](old); d.Reason != mqtt.ReasonSessionTakenOver || !old.closed() {
				t.Errorf("got %v", d)
			}
			if !s.ack.SessionPresent {
				t.Error("session not present")
			}
			w.connect("p").pub("t=x", 1)
			s.want("t=x")
		})
	}
	run(t, "MQTT311-3.1.4-2", nil, func(w *world) {
		old := w.connectVersion(mqtt.Version311, "s")
		w.connectVersion(mqtt.Version311, "s")
		if !old.closed() {
			t.Error("the older connection is open")
		}
	})
	run(t, "messages in flight", nil, func(w *world) {
		old := w.connect("s", expiry(60))
		old.sub(2, "t")
		p := w.connect("p").automatic()
		p.publish("t=1", 1)
		p.publish("t=2", 2)
		old.want("t=1 t=2")
		s := w.connect("s", resume, expiry(60))
		one, two := expect[*mqtt.Publish](s), expect[*mqtt.Publish](s)
		if !one.Dup || !two.Dup || string(one.Payload) != "1" || string(two.Payload) != "2" {
			t.Errorf("got %v, %v", one, two)
		}
	})
	run(t, "a storm of connections", nil, func(w *world) {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		for range 100 {
			w.begin(mqtt.Version5, "s", expiry(60), func(c *mqtt.Connect) { c.CleanStart = rnd.IntN(3) == 0 })
			if rnd.IntN(4) == 0 {
				w.wait()
			}
		}
		w.wait()
		open := 0
		for _, p := range w.peers {
			if !p.closed() {
				open++
			}
		}
		if open != 1 || w.Stats().Connected != 1 || w.Stats().Sessions != 1 {
			t.Errorf("seed %d: %d open, %+v", seed, open, w.Stats())
		}
	})
	run(t, "another user does not get the session", nil, func(w *world) {
		s := w.connect("s", expiry(60), user("alice"))
		s.sub(1, "t")
		s.drop()
		w.connect("p").pub("t=secret", 1)
		if s = w.connect("s", resume, user("bob")); s.ack.SessionPresent {
			t.Error("session present")
		}
		s.want("")
	})
}

func TestClientIdentifier(t *testing.T) {
	for _, name := range []string{"MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16"} {
		run(t, name, nil, func(w *world) {
			a, b := w.connect(""), w.connect("")
			x, _ := a.ack.Properties.String(mqtt.PropAssignedClientIdentifier)
			y, _ := b.ack.Properties.String(mqtt.PropAssignedClientIdentifier)
			if len(x) < 20 || x == y {
				t.Errorf("assigned %q and %q", x, y)
			}
			if _, ok := w.Session(x); !ok {
				t.Error("no session with the assigned identifier")
			}
		})
	}
	run(t, "MQTT311-3.1.3-6", nil, func(w *world) { w.connectVersion(mqtt.Version311, "") })
	versions(t, "MQTT-3.1.3-5", "MQTT311-3.1.3-5", nil, func(w *world, v mqtt.Version) {
		for _, id := range []string{"0", "azAZ09", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW"} {
			w.connectVersion(v, id)
		}
	})
	run(t, "MQTT-3.2.2-22", nil, func(w *world) {
		if s := w.connect("s"); s.ack.Properties.Has(mqtt.PropAssignedClientIdentifier) {
			t.Error("an identifier was assigned to a client that has one")
		}
	})
}

func TestResponseInformation(t *testing.T) {
	opts := &Options{ResponseInformation: func(c *Client) string { return "replies/" + c.ID }}
	run(t, "MQTT-3.1.2-28", opts, func(w *world) {
		ask := func(v byte) func(*mqtt.Connect) {
			return func(c *mqtt.Connect) {
				c.Properties = c.Properties.AppendByte(mqtt.PropRequestResponseInformation, v)
			}
		}
		if s := w.connect("a", ask(0)); s.ack.Properties.Has(mqtt.PropResponseInformation) {
			t.Error("response information that nobody asked for")
		}
		if s := w.connect("b"); s.ack.Properties.Has(mqtt.PropResponseInformation) {
			t.Error("response information that nobody asked for")
		}
		s := w.connect("c", ask(1))
		if text, _ := s.ack.Properties.String(mqtt.PropResponseInformation); text != "replies/c" {
			t.Errorf("got %q", text)
		}
	})
}

// TestQueueOrder is what the popular broker fails at: queued messages come in order, to the last, without DUP.
func TestQueueOrder(t *testing.T) {
	for _, name := range []string{"MQTT-4.6.0-5", "MQTT-3.3.1-1"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s", expiry(60))
			s.sub(1, "t")
			s.drop()
			p := w.connect("p").automatic()
			for i := range 60 {
				p.publish(fmt.Sprint("t=", i), 1)
			}
			w.wait()
			s = w.beginAutomatic(mqtt.Version5, "s", resume, receiveMaximum(7))
			w.wait()
			checkOrder(t, s, 60)
		})
	}
}

func TestQuota(t *testing.T) {
	for _, name := range []string{"MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s", receiveMaximum(3))
			s.sub(2, "t")
			p := w.connect("p").automatic()
			for i := range 200 {
				p.publish(fmt.Sprint("t=", i), mqtt.QoS(1+i%2))
			}
			w.wait()
			var got []*mqtt.Publish
			for {
				round := s.all()
				if len(round) == 0 {
					break
				}
				var open []*mqtt.Publish
				for _, q := range round {
					switch q := q.(type) {
					case *mqtt.Publish:
						got, open = append(got, q), append(open, q)
					case *mqtt.Pubrel:
						s.answer(q)
					}
				}
				if len(open) > 3 {
					t.Fatalf("%d messages at once", len(open))
				}
				for _, m := range open {
					s.answer(m)
				}
			}
			if len(got) != 200 {
				t.Fatalf("%d of 200 messages", len(got))
			}
			for i, m := range got {
				if string(m.Payload) != fmt.Sprint(i) || m.QoS != mqtt.QoS(1+i%2) || m.Dup {
					t.Fatalf("message %d is %v", i, m)
				}
			}
		})
	}
	run(t, "MQTT-4.9.0-3", nil, func(w *world) {
		s := w.connect("s", receiveMaximum(1))
		s.sub(1, "t")
		p := w.connect("p").automatic()
		p.publish("t=1", 1)
		p.publish("t=2", 1)
		p.publish("t=0", 0)
		s.want("t=1 t=0")
		s.send(&mqtt.Pingreq{})
		s.want("PINGRESP")
		s.sub(0, "u")
	})
	run(t, "MQTT311-4.6.0-6", nil, func(w *world) {
		s := w.connectVersion(mqtt.Version311, "s", resume)
		s.sub(2, "t")
		s.drop()
		p := w.connectVersion(mqtt.Version311, "p").automatic()
		for i := range 300 {
			p.publish(fmt.Sprint("t=", i), 2)
		}
		w.wait()
		s = w.beginAutomatic(mqtt.Version311, "s", resume)
		w.wait()
		checkOrder(t, s, 300)
	})
}

// checkOrder wants the payloads 0 to n-1 in order, none of them a duplicate.
func checkOrder(t *testing.T, s *peer, n int) {
	t.Helper()
	i := 0
	for _, q := range s.all() {
		m, ok := q.(*mqtt.Publish)
		if !ok {
			continue
		}
		if string(m.Payload) != fmt.Sprint(i) || m.Dup {
			t.Fatalf("message %d is %v", i, m)
		}
		i++
	}
	if i != n {
		t.Fatalf("%d of %d messages", i, n)
	}
}

func TestQueueBounds(t *testing.T) {
	fill := func(w *world) (p *peer) {
		s := w.connect("s", expiry(60))
		s.sub(1, "t")
		s.drop()
		p = w.connect("p")
		for i := range 5 {
			p.pub(fmt.Sprint("t=", i), 1)
		}
		return p
	}
	run(t, "drop newest", &Options{QueueMessages: 3}, func(w *world) {
		fill(w)
		w.connect("s", resume).want("t=0 t=1 t=2")
		if n := w.Stats().DroppedQueueFull; n != 2 {
			t.Errorf("%d were counted", n)
		}
	})
	run(t, "drop oldest", &Options{QueueMessages: 3, QueuePolicy: DropOldest}, func(w *world) {
		fill(w)
		w.connect("s", resume).want("t=2 t=3 t=4")
	})
	run(t, "bytes", &Options{QueueBytes: 2 * (messageOverhead + 2), QueuePolicy: DropOldest}, func(w *world) {
		fill(w)
		w.connect("s", resume).want("t=3 t=4")
	})
	run(t, "reject the publisher", &Options{QueueMessages: 5, QueuePolicy: RejectPublisher}, func(w *world) {
		other := w.connect("other")
		other.sub(0, "#")
		p := fill(w)
		other.messages()
		if r := p.pub("t=5", 1); r != mqtt.ReasonQuotaExceeded {
			t.Error(r)
		}
		if r := p.pub("t=5", 2); r != mqtt.ReasonQuotaExceeded {
			t.Error(r)
		}
		other.want("")
		if r := p.pub("u=1", 1); r.IsError() {
			t.Error(r)
		}
		old := w.connectVersion(mqtt.Version311, "old")
		old.pub("t=5", 1)
		w.connect("s", resume).want("t=0 t=1 t=2 t=3 t=4")
	})
	run(t, "expired messages make room", &Options{QueueMessages: 3}, func(w *world) {
		s := w.connect("s", expiry(60))
		s.sub(1, "t")
		s.drop()
		p := w.connect("p")
		p.pub("t=0", 1)
		p.pub("t=1", 1, messageExpiry(5))
		p.pub("t=2", 1, messageExpiry(5))
		w.pass(6 * time.Second)
		p.pub("t=3", 1)
		w.connect("s", resume).want("t=0 t=3")
	})
	run(t, "QoS 0", &Options{QueueQoS0: true}, func(w *world) {
		s := w.connect("s", expiry(60))
		s.sub(1, "t")
		s.drop()
		p := w.connect("p")
		p.pub("t=0", 0)
		p.pub("t=1", 1)
		p.pub("t=2", 0)
		w.connect("s", resume).want("t=0 t=1 t=2")
	})
}

func TestPubackWithAnError(t *testing.T) {
	run(t, "MQTT-4.4.0-2", nil, func(w *world) {
		s := w.connect("s", expiry(60))
		s.sub(2, "t")
		p := w.connect("p").automatic()
		p.publish("t=1", 1)
		p.publish("t=2", 2)
		one, two := expect[*mqtt.Publish](s), expect[*mqtt.Publish](s)
		s.send(&mqtt.Puback{ID: one.ID, Reason: mqtt.ReasonUnspecifiedError})
		s.send(&mqtt.Pubrec{ID: two.ID, Reason: mqtt.ReasonQuotaExceeded})
		s.want("")
		s.drop()
		w.connect("s", resume).want("")
	})
}

func TestExactlyOnce(t *testing.T) {
	for _, name := range [][2]string{{"MQTT-4.3.3-10", "MQTT311-4.3.3-2"}, {"MQTT-4.3.3-12", "MQTT311-4.3.3-2 again"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connect("s")
			s.sub(0, "t")
			p := w.connectVersion(v, "p", resume, expiryIf(v, 60))
			id := p.publish("t=1", 2)
			expect[*mqtt.Pubrec](p)
			p.publish("t=1", 2, func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
			expect[*mqtt.Pubrec](p)
			p.drop()
			p = w.connectVersion(v, "p", resume, expiryIf(v, 60))
			p.publish("t=1", 2, func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
			expect[*mqtt.Pubrec](p)
			s.want("t=1")
			p.send(&mqtt.Pubrel{ID: id})
			expect[*mqtt.Pubcomp](p)
			p.publish("t=2", 2, func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
			expect[*mqtt.Pubrec](p)
			s.want("t=2")
		})
	}
	run(t, "MQTT-4.3.3-13", nil, func(w *world) {
		s := w.connect("s", expiry(60))
		s.sub(2, "t")
		w.connect("p").pub("t=1", 2, messageExpiry(1))
		m := expect[*mqtt.Publish](s)
		w.pass(10 * time.Second)
		s.send(&mqtt.Pubrec{ID: m.ID})
		expect[*mqtt.Pubrel](s)
	})
	for _, name := range [][2]string{{"MQTT-4.4.0-1", "MQTT311-4.4.0-1"}, {"MQTT-3.3.1-1", "MQTT311-3.3.1-1"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s", resume, expiryIf(v, 60))
			s.sub(2, "t")
			p := w.connect("p").automatic()
			for i := range 6 {
				p.publish(fmt.Sprint("t=", i), mqtt.QoS(1+i%2))
			}
			var ids []uint16
			for _, q := range s.all() {
				ids = append(ids, q.(*mqtt.Publish).ID)
			}
			s.send(&mqtt.Pubrec{ID: ids[1]})
			s.send(&mqtt.Puback{ID: ids[2]})
			s.want("PUBREL")
			s.drop()
			s = w.connectVersion(v, "s", resume)
			var got []string
			for _, q := range s.all() {
				switch q := q.(type) {
				case *mqtt.Publish:
					if !q.Dup {
						t.Errorf("no DUP: %v", q)
					}
					got = append(got, fmt.Sprintf("%s:%d", q.Payload, q.ID-ids[0]))
				case *mqtt.Pubrel:
					got = append(got, fmt.Sprintf("rel:%d", q.ID-ids[0]))
				}
			}
			text := strings.Join(got, " ")
			if strings.ReplaceAll(strings.ReplaceAll(text, "rel:1 ", ""), " rel:1", "") != "0:0 3:3 4:4 5:5" || !strings.Contains(text, "rel:1") {
				t.Error(text)
			}
		})
	}
}

func TestZeroBrokerRefusesEverybody(t *testing.T) {
	var zero Broker
	made, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	for _, b := range []*Broker{&zero, made} {
		in(t, nil, func(w *world) {
			w.Broker.opts.Authenticate = b.opts.Authenticate
			if r := w.refused(mqtt.Version5, "s"); r != mqtt.ReasonNotAuthorized {
				t.Error(r)
			}
			if r := w.refused(mqtt.Version311, "s"); r != mqtt.ReasonNotAuthorized {
				t.Error(r)
			}
		})
	}
	if _, err := New(&Options{Strategy: 99}); err == nil {
		t.Error("an unknown strategy was taken")
	}
}

func TestAuthentication(t *testing.T) {
	var errInternal = errors.New("database is down: secret")
	opts := &Options{Authenticate: func(_ context.Context, l *Login) (string, error) {
		switch l.Username {
		case "banned":
			return "", &mqtt.Error{Code: mqtt.ReasonBanned}
		case "broken":
			return "", errInternal
		case "":
			return "", ErrNoOpinion
		}
		return l.Username, nil
	}}
	run(t, "MQTT-3.1.4-2", opts, func(w *world) {
		w.connect("a", user("alice"))
		if s, _ := w.Session("a"); s.User != "alice" {
			t.Errorf("user %q", s.User)
		}
		for name, want := range map[string]mqtt.ReasonCode{
			"banned": mqtt.ReasonBanned, "broken": mqtt.ReasonUnspecifiedError, "": mqtt.ReasonNotAuthorized,
		} {
			edit := user(name)
			if name == "" {
				edit = func(*mqtt.Connect) {}
			}
			p := w.begin(mqtt.Version5, "x", edit)
			ack := expect[*mqtt.Connack](p)
			if ack.Reason != want || strings.Contains(ack.String(), "secret") {
				t.Errorf("%q: %v", name, ack)
			}
		}
	})
}
