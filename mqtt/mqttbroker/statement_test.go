package mqttbroker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestStatements holds normative statements that the server and the session machine keep together with the broker.
func TestStatements(t *testing.T) {
	for _, name := range [][2]string{
		{"MQTT-3.3.4-1", "MQTT311-3.3.4-1"}, {"MQTT-4.3.2-4", "MQTT311-4.3.2-2"}, {"MQTT-4.3.3-8", "MQTT311-2.3.1-6"},
		{"MQTT-4.3.3-11", "MQTT311-4.3.3-2 complete"}, {"MQTT-2.2.1-5", "MQTT311-2.3.1-6 complete"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			p := w.connectVersion(v, "p")
			p.publish("t=0", 0)
			p.want("")
			id := p.publish("t=1", 1)
			if ack := expect[*mqtt.Puback](p); ack.ID != id {
				t.Errorf("PUBACK %d", ack.ID)
			}
			id = p.publish("t=2", 2)
			if rec := expect[*mqtt.Pubrec](p); rec.ID != id {
				t.Errorf("PUBREC %d", rec.ID)
			}
			p.send(&mqtt.Pubrel{ID: id})
			if comp := expect[*mqtt.Pubcomp](p); comp.ID != id {
				t.Errorf("PUBCOMP %d", comp.ID)
			}
		})
	}
	for _, name := range [][2]string{{"MQTT-3.3.1-2", "MQTT311-3.3.1-2"}, {"MQTT-4.3.1-1", "MQTT311-4.3.1-1"}, {"MQTT-2.2.1-2", "MQTT311-2.3.1-5"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			s.sub(0, "t")
			p := w.connectVersion(v, "p").automatic()
			for qos := range mqtt.QoS(3) {
				p.publish("t=x", qos, retain)
				if m := expect[*mqtt.Publish](s); m.QoS != 0 || m.Dup || m.ID != 0 {
					t.Errorf("got %v", m)
				}
			}
		})
	}
	for _, name := range [][2]string{
		{"MQTT-4.3.2-1", "MQTT311-4.3.2-1"}, {"MQTT-4.3.2-2", "MQTT311-2.3.1-1"}, {"MQTT-4.3.3-1", "MQTT311-4.3.3-1"},
		{"MQTT-4.3.3-2", "MQTT311-4.3.3-1 first"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			s.sub(2, "t")
			p := w.connectVersion(v, "p").automatic()
			var ids []uint16
			for i := range 6 {
				p.publish("t=x", mqtt.QoS(1+i%2))
				m := expect[*mqtt.Publish](s)
				if m.ID == 0 || m.Dup || slices.Contains(ids, m.ID) {
					t.Errorf("got %v", m)
				}
				ids = append(ids, m.ID)
			}
		})
	}
}

func TestQoS2Statements(t *testing.T) {
	for _, name := range []string{"MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s", expiry(60))
			s.sub(2, "t")
			w.connect("p").pub("t=x", 2)
			m := expect[*mqtt.Publish](s)
			s.send(&mqtt.Pubrec{ID: m.ID})
			if rel := expect[*mqtt.Pubrel](s); rel.ID != m.ID {
				t.Errorf("PUBREL %d", rel.ID)
			}
			for range 2 { // PUBREL again until PUBCOMP, never PUBLISH
				s.drop()
				s = w.connect("s", resume, expiry(60))
				if rel := expect[*mqtt.Pubrel](s); rel.ID != m.ID {
					t.Errorf("PUBREL %d", rel.ID)
				}
				s.want("")
			}
			s.send(&mqtt.Pubcomp{ID: m.ID})
			s.drop()
			w.connect("s", resume).want("")
		})
	}
	for _, name := range []string{"MQTT-4.3.3-9", "MQTT-4.3.2-5"} {
		run(t, name, &Options{MaxRetained: 1}, func(w *world) {
			s, p := w.connect("s"), w.connect("p")
			s.sub(0, "#")
			p.pub("a=1", 0, retain)
			again := func(m *mqtt.Publish) { m.ID, m.Retain = 77, true }
			p.publish("b=refused", 2, again)
			if rec := expect[*mqtt.Pubrec](p); rec.Reason != mqtt.ReasonQuotaExceeded {
				t.Errorf("got %v", rec)
			}
			p.publish("a=2", 2, again)
			expect[*mqtt.Pubrec](p)
			for range 2 {
				p.publish("a=3", 1, func(m *mqtt.Publish) { m.ID, m.Dup = 78, true })
				expect[*mqtt.Puback](p)
			}
			s.want("a=1 a=2 a=3 a=3")
		})
	}
	for _, name := range []string{"MQTT-3.3.4-10", "MQTT-3.3.4-8"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s", receiveMaximum(1))
			s.sub(2, "t")
			p := w.connect("p").automatic()
			p.publish("t=1", 2)
			p.publish("t=2", 2)
			m := expect[*mqtt.Publish](s)
			s.pub("u=x", 1)
			s.pub("u=x", 2)
			s.unsub("u")
			s.send(&mqtt.Pubrec{ID: m.ID})
			expect[*mqtt.Pubrel](s)
			s.want("") // PUBREC gives no quota back
			s.send(&mqtt.Pubcomp{ID: m.ID})
			s.want("t=2")
		})
	}
}

func TestOtherStatements(t *testing.T) {
	for _, name := range []string{"MQTT-3.8.3-4"} {
		run(t, name, nil, func(w *world) {
			s := w.connect("s")
			s.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "$share/g/t", NoLocal: true}}})
			if d := expect[*mqtt.Disconnect](s); d.Reason != mqtt.ReasonProtocolError {
				t.Errorf("got %v", d)
			}
		})
	}
	for _, name := range []string{"MQTT-4.8.2-1", "MQTT-4.8.2-2"} {
		run(t, name, nil, func(w *world) {
			for _, filter := range []string{"$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/#/t"} {
				s := w.connect("s")
				s.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: filter}}})
				switch q := s.next().(type) {
				case *mqtt.Suback:
					if q.Reasons[0] != mqtt.ReasonTopicFilterInvalid {
						t.Errorf("%s: %v", filter, q)
					}
				case *mqtt.Disconnect:
				default:
					t.Errorf("%s: %v", filter, q)
				}
				s.drop()
			}
		})
	}
	run(t, "MQTT-4.6.0-6", nil, func(w *world) {
		s := w.connect("s", receiveMaximum(2))
		s.sub(1, "#")
		s.automatic()
		p := w.connect("p").automatic()
		for i := range 50 {
			p.publish(fmt.Sprint("t=", i), 1)
		}
		w.wait()
		checkOrder(t, s, 50)
	})
	versions(t, "MQTT-3.3.1-6 forwarded", "MQTT311-3.3.1-10 forwarded", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s", resume, expiryIf(v, 60))
		s.sub(1, "t")
		s.drop()
		w.connectVersion(v, "p").pub("t=", 1, retain)
		w.connectVersion(v, "s", resume).want("t=")
	})
	run(t, "MQTT-3.1.4-6", &Options{Authenticate: nil}, func(w *world) {
		w.Broker.opts.Authenticate = nil
		l := w.local(nil, mqtt.Subscription{Filter: "#"})
		p := w.begin(mqtt.Version5, "p")
		p.publish("t=x", 0)
		if ack := expect[*mqtt.Connack](p); ack.Reason != mqtt.ReasonNotAuthorized || ack.SessionPresent {
			t.Errorf("got %v", ack)
		}
		if got := l.take(w); got != "" || !p.closed() {
			t.Error(got)
		}
	})
	run(t, "MQTT-3.2.2-6", &Options{MaxSessions: 1}, func(w *world) {
		w.connect("s", expiry(60)).drop()
		p := w.begin(mqtt.Version5, "other", resume)
		if ack := expect[*mqtt.Connack](p); !ack.Reason.IsError() || ack.SessionPresent {
			t.Errorf("got %v", ack)
		}
	})
	run(t, "MQTT-3.1.0-2", nil, func(w *world) {
		s := w.connect("s", withWill(mqtt.Will{Topic: "w"}))
		other := w.connect("other")
		other.sub(0, "w")
		s.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "s", CleanStart: true})
		w.pass(time.Second)
		if !s.closed() {
			t.Error("the connection is open")
		}
		other.want("w=")
	})
}
