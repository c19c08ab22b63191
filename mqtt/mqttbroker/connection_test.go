package mqttbroker

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestConnectionStatements holds statements about connections, seen from a client of the whole broker.
func TestConnectionStatements(t *testing.T) {
	for _, name := range [][2]string{{"MQTT-3.1.4-5", "MQTT311-3.1.4-4"}, {"MQTT-3.2.0-1", "MQTT311-3.2.0-1"}, {"MQTT-4.2-1", "MQTT311-7.1.1-1"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s", resume, expiryIf(v, 60))
			s.sub(1, "t")
			s.drop()
			w.connect("p").pub("t=x", 1)
			s = w.begin(v, "s", resume)
			if ack := expect[*mqtt.Connack](s); ack.Reason != mqtt.ReasonSuccess {
				t.Errorf("got %v", ack)
			}
			s.want("t=x")
		})
	}
	versions(t, "MQTT-3.2.0-2", "MQTT311-3.1.0-2", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s")
		s.send(&mqtt.Connect{Version: v, ClientID: "s", CleanStart: true})
		for _, q := range s.all() {
			if _, again := q.(*mqtt.Connack); again {
				t.Errorf("got %v", q)
			}
		}
		if !s.closed() {
			t.Error("the connection is open")
		}
	})
	for _, name := range [][2]string{
		{"MQTT-3.2.2-7", "MQTT311-3.2.2-5"}, {"MQTT-4.13.2-1", "MQTT311-3.1.4-5"}, {"MQTT-3.14.0-1", "MQTT311-3.2.2-4"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			w.Broker.opts.Authenticate = nil
			l := w.local(nil, mqtt.Subscription{Filter: "#"})
			p := w.begin(v, "p")
			p.publish("t=x", 0)
			p.want("CONNACK")
			if got := l.take(w); got != "" || !p.closed() {
				t.Errorf("%q, closed: %t", got, p.closed())
			}
		})
	}
	versions(t, "MQTT-3.12.4-1", "MQTT311-3.12.4-1", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s")
		s.send(&mqtt.Pingreq{})
		s.want("PINGRESP")
	})
	for _, name := range [][2]string{{"MQTT-4.3.2-3", "MQTT311-4.6.0-5"}, {"MQTT-4.3.3-3", "MQTT311-2.3.1-3"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s", resume, expiryIf(v, 60))
			s.sub(2, "t")
			p := w.connect("p").automatic()
			p.publish("t=1", 1)
			p.publish("t=2", 2)
			for range 3 { // until they are answered
				s.want("t=1 t=2")
				s.drop()
				s = w.connectVersion(v, "s", resume, expiryIf(v, 60))
			}
		})
	}
	run(t, "MQTT311-3.1.3-9", nil, func(w *world) {
		p := w.begin(mqtt.Version311, "", resume)
		if ack := expect[*mqtt.Connack](p); ack.Reason != mqtt.ReasonClientIdentifierNotValid || !p.closed() {
			t.Errorf("got %v", ack)
		}
	})
	run(t, "MQTT311-3.1.2-24", nil, func(w *world) {
		s := w.connectVersion(mqtt.Version311, "s", func(c *mqtt.Connect) { c.KeepAlive = 10 })
		w.pass(14 * time.Second)
		if s.closed() {
			t.Error("closed too early")
		}
		if w.pass(2 * time.Second); !s.closed() {
			t.Error("the connection is open")
		}
	})
	for _, name := range []string{"MQTT311-4.8.0-1", "MQTT311-3.3.1-4"} {
		run(t, name, nil, func(w *world) {
			s := w.connectVersion(mqtt.Version311, "s")
			s.conn.Write([]byte{0x36, 5, 0, 1, 't', 0, 1}) // QoS 3
			if !s.closed() {
				t.Error("the connection is open")
			}
		})
	}
}

// TestShortSubscribe: a SUBSCRIBE without the byte of its options is malformed and no more than that.
func TestShortSubscribe(t *testing.T) {
	in(t, nil, func(w *world) {
		s := w.connect("s")
		s.conn.Write([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'})
		if d := expect[*mqtt.Disconnect](s); d.Reason != mqtt.ReasonMalformedPacket || !s.closed() {
			t.Errorf("got %v", d)
		}
		old := w.connectVersion(mqtt.Version311, "old")
		old.conn.Write([]byte{0x82, 5, 0, 1, 0, 1, 'a'})
		if !old.closed() {
			t.Error("the connection is open")
		}
		w.connect("s").sub(0, "a")
	})
}

// TestAliasStatements: topic aliases belong to a connection, in both directions.
func TestAliasStatements(t *testing.T) {
	aliases := func(n uint16) func(*mqtt.Connect) {
		return func(c *mqtt.Connect) { c.Properties = c.Properties.AppendUint16(mqtt.PropTopicAliasMaximum, n) }
	}
	alias := func(n uint16) func(*mqtt.Publish) {
		return func(m *mqtt.Publish) { m.Properties = m.Properties.AppendUint16(mqtt.PropTopicAlias, n) }
	}
	for i, name := range []string{"MQTT-3.1.2-27", "MQTT-3.1.2-26"} {
		run(t, name, nil, func(w *world) {
			edit := aliases(uint16(3 * i))
			if i == 0 {
				edit = func(*mqtt.Connect) {}
			}
			s, p := w.connect("s", edit), w.connect("p")
			s.sub(0, "#")
			for i := range 200 {
				p.publish(fmt.Sprintf("topic/%d=x", i%7), 0)
			}
			for _, q := range s.all() {
				if n, ok := q.(*mqtt.Publish).Properties.Uint16(mqtt.PropTopicAlias); n > uint16(3*i) || ok && i == 0 {
					t.Fatalf("got %v", q)
				}
			}
		})
	}
	for _, name := range []string{"MQTT-3.3.2-12", "MQTT-3.3.2-7"} {
		run(t, name, nil, func(w *world) {
			s, p := w.connect("s"), w.connect("p", expiry(60))
			s.sub(1, "#")
			s.automatic()
			max, _ := p.ack.Properties.Uint16(mqtt.PropTopicAliasMaximum)
			if max == 0 {
				t.Fatalf("got %v", p.ack)
			}
			p.publish("a=1", 0, alias(max))
			p.publish("=2", 1, alias(max))
			expect[*mqtt.Puback](p)
			s.want("a=1 a=2")
			p.drop()
			p = w.connect("p", resume)
			p.publish("=3", 0, alias(max))
			if d := expect[*mqtt.Disconnect](p); !d.Reason.IsError() || !p.closed() {
				t.Errorf("got %v", d)
			}
			s.want("")
		})
	}
	run(t, "aliases are not forwarded", nil, func(w *world) {
		s, p := w.connect("s"), w.connect("p")
		s.sub(1, "t")
		p.pub("t=1", 1, alias(1), func(m *mqtt.Publish) { m.Properties = m.Properties.AppendUser("k", "v") })
		if m := expect[*mqtt.Publish](s); !bytes.Equal(m.Properties, mqtt.Properties(nil).AppendUser("k", "v")) {
			t.Errorf("got %v", m)
		}
	})
}

// TestProblemInformation: what a client did not ask for, or cannot take, is not sent.
func TestProblemInformation(t *testing.T) {
	opts := &Options{Authenticate: func(_ context.Context, l *Login) (string, error) {
		if l.HasUsername {
			return "", &mqtt.Error{Code: mqtt.ReasonBanned, Reason: "because of what happened yesterday"}
		}
		return "", nil
	}}
	for _, name := range []string{"MQTT-3.2.2-19", "MQTT-3.2.2-20"} {
		run(t, name, opts, func(w *world) {
			p := w.begin(mqtt.Version5, "p", user("x"))
			if ack := expect[*mqtt.Connack](p); !ack.Properties.Has(mqtt.PropReasonString) {
				t.Errorf("got %v", ack)
			}
			small := func(c *mqtt.Connect) { c.Properties = c.Properties.AppendUint32(mqtt.PropMaximumPacketSize, 20) }
			p = w.begin(mqtt.Version5, "p", user("x"), small)
			if ack := expect[*mqtt.Connack](p); ack.Reason != mqtt.ReasonBanned || ack.Properties.Has(mqtt.PropReasonString) {
				t.Errorf("got %v", ack)
			}
		})
	}
	for _, name := range []string{"MQTT-3.1.2-29", "MQTT-3.4.2-2", "MQTT-3.5.2-2", "MQTT-3.9.2-1", "MQTT-3.11.2-1"} {
		run(t, name, &Options{MaxRetained: 1}, func(w *world) {
			quiet := func(c *mqtt.Connect) { c.Properties = c.Properties.AppendByte(mqtt.PropRequestProblemInformation, 0) }
			p := w.connect("p", quiet)
			p.pub("a=x", 0, retain)
			p.publish("b=x", 1, retain)
			p.publish("c=x", 2, retain)
			p.send(&mqtt.Subscribe{ID: 9, Filters: []mqtt.Subscription{{Filter: "$share/"}, {Filter: "a"}}})
			p.send(&mqtt.Unsubscribe{ID: 10, Filters: []string{"a", "b"}})
			for _, q := range p.all() {
				var props mqtt.Properties
				switch q := q.(type) {
				case *mqtt.Puback:
					props = q.Properties
				case *mqtt.Pubrec:
					props = q.Properties
				case *mqtt.Suback:
					props = q.Properties
				case *mqtt.Unsuback:
					props = q.Properties
				}
				if len(props) > 0 {
					t.Errorf("got %v", q)
				}
			}
		})
	}
}

// TestMaximumQoS: a server that takes less than QoS 2.
func TestMaximumQoS(t *testing.T) {
	limit := &mqttserver.Options{Limits: mqttserver.Limits{MaximumQoS: 1}}
	test := func(name string, f func(w *world)) {
		t.Run(name, func(t *testing.T) { inServer(t, nil, limit, f) })
	}
	test("MQTT-3.2.2-9", func(w *world) {
		if n, ok := w.connect("s").ack.Properties.Byte(mqtt.PropMaximumQoS); !ok || n != 1 {
			t.Errorf("%d, %t", n, ok)
		}
	})
	test("MQTT-3.2.2-10", func(w *world) {
		s := w.connect("s")
		s.sub(2, "t")
		w.connect("p").pub("t=x", 1)
		if m := expect[*mqtt.Publish](s); m.QoS != 1 {
			t.Errorf("got %v", m)
		}
	})
	test("MQTT-3.2.2-12", func(w *world) {
		if r := w.refused(mqtt.Version5, "s", withWill(mqtt.Will{Topic: "w", QoS: 2})); r != mqtt.ReasonQoSNotSupported {
			t.Error(r)
		}
	})
}
