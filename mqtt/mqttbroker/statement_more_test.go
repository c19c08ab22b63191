package mqttbroker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestSeveralCopies: subscriptions that get copies of their own get their own identifiers.
func TestSeveralCopies(t *testing.T) {
	run(t, "MQTT-3.3.4-5", nil, func(w *world) {
		s := w.connect("s")
		s.subscribe(1, mqtt.Subscription{Filter: "$share/g/t"})
		s.subscribe(2, mqtt.Subscription{Filter: "$share/h/t"})
		s.subscribe(0, mqtt.Subscription{Filter: "$share/i/t"})
		s.subscribe(3, mqtt.Subscription{Filter: "#"})
		w.connect("p").pub("t=x", 0)
		var got []string
		for _, q := range s.all() {
			got = append(got, fmt.Sprint(slices.Collect(q.(*mqtt.Publish).Properties.SubscriptionIDs())))
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != "[1] [2] [3] []" {
			t.Error(text)
		}
	})
}

// TestRetainedOutlive: retained messages belong to no session.
func TestRetainedOutlive(t *testing.T) {
	run(t, "MQTT311-3.1.2-7", nil, func(w *world) {
		for i, how := range []func(p *peer){(*peer).drop, func(p *peer) { p.leave() }, func(*peer) { w.connectVersion(mqtt.Version311, "p") }} {
			p := w.connectVersion(mqtt.Version311, "p")
			p.pub(fmt.Sprint("t/", i, "=x"), 1, retain)
			how(p)
		}
		s := w.connectVersion(mqtt.Version311, "s")
		s.sub(0, "t/+")
		words := strings.Fields(s.messages())
		slices.Sort(words)
		if got := strings.Join(words, " "); got != "t/0=x t/1=x t/2=x" {
			t.Error(got)
		}
	})
}

// TestReplacedWithoutGap: while a subscription is replaced again and again, no message is lost or doubled.
func TestReplacedWithoutGap(t *testing.T) {
	versions(t, "MQTT-3.8.4-4", "MQTT311-3.8.4-3", nil, func(w *world, v mqtt.Version) {
		const n = 300
		w.publish("r=kept", 0, true)
		s, p := w.connectVersion(v, "s").automatic(), w.connectVersion(v, "p").automatic()
		s.sub(1, "+")
		if got := s.messages(); got != "r=kept" {
			t.Errorf("at first %q", got)
		}
		done := make(chan bool)
		go func() {
			defer close(done)
			for i := range n {
				p.publish(fmt.Sprint("t=", i), 1)
				yield(3)
			}
		}()
		const again = 40
		for i := range again {
			s.send(&mqtt.Subscribe{ID: uint16(1000 + i), Filters: []mqtt.Subscription{{Filter: "+", QoS: mqtt.QoS(1 + i%2)}}})
			yield(10)
		}
		<-done
		w.wait()
		kept, next := 0, 0
		for _, q := range s.all() {
			switch m := q.(*mqtt.Publish); {
			case string(m.Topic) == "r":
				if kept++; !m.Retain {
					t.Errorf("got %v", m)
				}
			case string(m.Payload) != fmt.Sprint(next) || m.Retain:
				t.Fatalf("message %d is %v", next, m)
			default:
				next++
			}
		}
		if next != n || kept != again {
			t.Errorf("%d of %d messages, the retained one %d of %d times", next, n, kept, again)
		}
	})
}

// TestAnswersToUnsubscribe: UNSUBACK has the identifier of its request, whether anything matched or not.
func TestAnswersToUnsubscribe(t *testing.T) {
	for _, name := range [][2]string{
		{"MQTT-3.10.4-5", "MQTT311-3.10.4-5"}, {"MQTT-3.10.4-4", "MQTT311-3.10.4-4"}, {"MQTT-2.2.1-6", "MQTT311-2.3.1-7"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			s.sub(0, "a")
			for _, id := range []uint16{7, 300, 65535} { // only the first deletes anything
				s.send(&mqtt.Unsubscribe{ID: id, Filters: []string{"a", "b"}})
				ack := expect[*mqtt.Unsuback](s)
				if ack.ID != id || v == mqtt.Version5 && len(ack.Reasons) != 2 {
					t.Errorf("UNSUBSCRIBE %d is answered with %v", id, ack)
				}
				s.want("")
			}
		})
	}
}

// TestExpiredReceived: PUBREL is answered even when the message has expired meanwhile.
func TestExpiredReceived(t *testing.T) {
	run(t, "MQTT-4.3.3-13", nil, func(w *world) {
		s := w.connect("s", expiry(600))
		s.sub(2, "t")
		s.drop()
		p := w.connect("p", expiry(600))
		id := p.publish("t=x", 2, messageExpiry(1))
		expect[*mqtt.Pubrec](p)
		w.pass(time.Minute)
		p.drop()
		p = w.connect("p", resume, expiry(600))
		p.publish("t=x", 2, messageExpiry(1), func(m *mqtt.Publish) { m.ID, m.Dup = id, true })
		if rec := expect[*mqtt.Pubrec](p); rec.ID != id || rec.Reason.IsError() {
			t.Errorf("got %v", rec)
		}
		p.send(&mqtt.Pubrel{ID: id})
		if comp := expect[*mqtt.Pubcomp](p); comp.ID != id || comp.Reason != mqtt.ReasonSuccess {
			t.Errorf("got %v", comp)
		}
		w.connect("s", resume).want("")
	})
}

// TestAnswersThatFit: no answer is larger than the client can take; the reason codes stay when the words must go.
func TestAnswersThatFit(t *testing.T) {
	refuse := &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Reason: "a reason that takes more than the packet may have"}
	opts := &Options{Hooks: Hooks{OnPublish: func(context.Context, *Publishing) error { return refuse }}}
	run(t, "MQTT-3.1.2-24", opts, func(w *world) {
		const limit = 20
		p := w.connect("p", func(c *mqtt.Connect) {
			c.Properties = c.Properties.AppendUint32(mqtt.PropMaximumPacketSize, limit)
		})
		p.publish("t=x", 1)
		p.publish("t=x", 2)
		p.send(&mqtt.Subscribe{ID: 9, Filters: []mqtt.Subscription{{Filter: "$share/"}, {Filter: "a"}}})
		p.send(&mqtt.Unsubscribe{ID: 10, Filters: []string{"a", "b"}})
		kinds := ""
		for _, q := range p.all() {
			kinds += strings.Fields(q.String())[0] + " "
			if b, err := mqtt.Append(nil, q, mqtt.Version5); err != nil || len(b) > limit {
				t.Errorf("%d bytes, %v: %v", len(b), err, q)
			}
			if a, ok := q.(*mqtt.Puback); ok && a.Reason != mqtt.ReasonQuotaExceeded {
				t.Errorf("got %v", q)
			}
		}
		if !strings.HasPrefix(kinds, "PUBACK PUBREC ") {
			t.Errorf("got %s", kinds)
		}
	})
}

// TestKeepAliveOfTheClient: without a limit the client's own keep alive holds, and none is none.
func TestKeepAliveOfTheClient(t *testing.T) {
	for _, id := range []string{"MQTT-3.2.2-22", "MQTT-3.1.2-22"} {
		run(t, id, nil, func(w *world) {
			forever := w.connect("forever")
			for _, seconds := range []uint16{2, 40} {
				s := w.connect("s", func(c *mqtt.Connect) { c.KeepAlive = seconds })
				if s.ack.Properties.Has(mqtt.PropServerKeepAlive) {
					t.Errorf("got %v", s.ack)
				}
				whole := time.Duration(seconds) * 1500 * time.Millisecond
				if w.pass(whole - time.Millisecond); s.closed() {
					t.Error("closed too early")
				}
				if w.pass(2 * time.Millisecond); !s.closed() {
					t.Error("the connection is open")
				}
			}
			if w.pass(1000 * time.Hour); forever.closed() {
				t.Error("a client without keep alive was closed")
			}
		})
	}
}

// TestUniqueIdentifiers: clients without an identifier are apart from each other.
func TestUniqueIdentifiers(t *testing.T) {
	versions(t, "MQTT-3.1.3-6", "MQTT311-3.1.3-6", nil, func(w *world, v mqtt.Version) {
		var all []*peer
		for range 10 {
			s := w.connectVersion(v, "")
			s.sub(0, "t")
			all = append(all, s)
		}
		w.connect("p").pub("t=x", 0)
		for _, s := range all {
			s.want("t=x")
		}
		if n := w.Stats().Sessions; n != 11 {
			t.Errorf("%d sessions", n)
		}
	})
}

// TestWillOnce: a will that was published is gone.
func TestWillOnce(t *testing.T) {
	versions(t, "MQTT-3.1.2-10", "MQTT311-3.1.2-10", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s")
		s.sub(0, "w")
		w.connectVersion(v, "p", resume, expiryIf(v, 600), withWill(mqtt.Will{Topic: "w"})).drop()
		s.want("w=")
		w.connectVersion(v, "p", resume, expiryIf(v, 600)).drop()
		w.pass(time.Hour)
		s.want("")
	})
}

// TestOpenConnection: while a connection is open its session stays and nothing is sent again.
func TestOpenConnection(t *testing.T) {
	versions(t, "MQTT-4.4.0-1", "MQTT311-4.4.0-1", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s")
		s.sub(2, "t")
		p := w.connectVersion(v, "p").automatic()
		p.publish("t=1", 1)
		p.publish("t=2", 2)
		p.publish("t=3", 2)
		first, second := expect[*mqtt.Publish](s), expect[*mqtt.Publish](s)
		expect[*mqtt.Publish](s)
		s.send(&mqtt.Pubrec{ID: second.ID})
		expect[*mqtt.Pubrel](s)
		w.pass(1000 * time.Hour)
		s.want("")
		s.send(&mqtt.Puback{ID: first.ID})
		s.want("")
	})
	versions(t, "MQTT-4.1.0-1", "MQTT311-4.1.0-2", nil, func(w *world, v mqtt.Version) {
		s := w.connectVersion(v, "s", expiryIf(v, 1)) // and clean session in 3.1.1
		s.sub(1, "t")
		w.pass(1000 * time.Hour)
		w.connect("p").pub("t=x", 1)
		s.want("t=x")
	})
}

// TestServerDisconnect: what the broker's DISCONNECT says.
func TestServerDisconnect(t *testing.T) {
	for _, id := range []string{"MQTT-3.14.2-2", "MQTT-3.14.4-1"} {
		run(t, id, nil, func(w *world) {
			old := w.connect("s", expiry(60))
			old.sub(0, "t")
			w.connect("s", resume, expiry(60))
			d := expect[*mqtt.Disconnect](old)
			if d.Properties.Has(mqtt.PropSessionExpiryInterval) {
				t.Errorf("got %v", d)
			}
			w.connect("p").pub("t=x", 0)
			old.send(&mqtt.Pingreq{})
			if old.want(""); !old.closed() {
				t.Error("the connection is open")
			}
		})
	}
	run(t, "MQTT-3.14.0-1", nil, func(w *world) { // refused with CONNACK, malformed or not: never DISCONNECT
		for _, in := range []string{
			"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c", // reserved flag
			"\x10\x0e\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c",
			"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00",
			"\xc0\x00",
		} {
			p := w.dial(mqtt.Version5)
			p.conn.Write([]byte(in))
			for _, q := range p.all() {
				if ack, ok := q.(*mqtt.Connack); !ok || !ack.Reason.IsError() {
					t.Errorf("%q: %v", in, q)
				}
			}
			if !p.closed() {
				t.Errorf("%q: the connection is open", in)
			}
		}
	})
}

// TestNoEnhancedAuthentication: who did not ask for a method hears of none.
func TestNoEnhancedAuthentication(t *testing.T) {
	run(t, "MQTT-4.12.0-6", nil, func(w *world) {
		s := w.connect("s")
		if s.ack.Properties.Has(mqtt.PropAuthenticationMethod) {
			t.Errorf("got %v", s.ack)
		}
		s.want("")
	})
}

// TestRefusedIdentifiers: a client identifier that is not wanted.
func TestRefusedIdentifiers(t *testing.T) {
	opts := &Options{Authenticate: func(_ context.Context, l *Login) (string, error) {
		if l.ClientID == "bad" {
			return "", &mqtt.Error{Code: mqtt.ReasonClientIdentifierNotValid}
		}
		return "", nil
	}}
	versions(t, "MQTT-3.1.3-8", "MQTT311-3.1.3-9", opts, func(w *world, v mqtt.Version) {
		if r := w.refused(v, "bad"); r != mqtt.ReasonClientIdentifierNotValid {
			t.Error(r)
		}
		w.connectVersion(v, "good")
	})
}

// TestDupOfForwarded: DUP of a forwarded message says whether it was sent before, at each QoS of both sides.
func TestDupOfForwarded(t *testing.T) {
	versions(t, "MQTT-3.3.1-3", "MQTT311-3.3.1-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s", resume, expiryIf(v, 60)), w.connectVersion(v, "p").automatic()
		s.sub(2, "t")
		for qos := mqtt.QoS(1); qos <= 2; qos++ {
			p.publish("t=x", qos, func(m *mqtt.Publish) { m.Dup = true })
			if m := expect[*mqtt.Publish](s); m.Dup || m.QoS != qos {
				t.Errorf("got %v", m)
			}
		}
		s.drop()
		s = w.connectVersion(v, "s", resume, expiryIf(v, 60))
		for range 2 {
			if m := expect[*mqtt.Publish](s); !m.Dup {
				t.Errorf("got %v", m)
			}
		}
	})
}

// TestAllFilterKinds: SUBSCRIBE of each kind of filter that the standard has is granted.
func TestAllFilterKinds(t *testing.T) {
	versions(t, "MQTT-4.7.1-2", "MQTT311-4.7.1-3", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(0, "+", "+/tennis/#", "sport/+/player1", "/+")
		for _, name := range []string{"x", "x/tennis", "x/tennis/a/b", "sport/a/player1", "/finance"} {
			p.pub(name+"=", 0)
		}
		for _, name := range []string{"x/y", "sport/a/b/player1", "sport/player1", "/finance/a"} {
			p.pub(name+"=", 0)
		}
		s.want("x= x/tennis= x/tennis/a/b= sport/a/player1= /finance=")
	})
	versions(t, "MQTT-4.7.1-1", "MQTT311-4.7.1-2", nil, func(w *world, v mqtt.Version) {
		s, p := w.connectVersion(v, "s"), w.connectVersion(v, "p")
		s.sub(0, "sport/tennis/player1/#")
		for _, name := range []string{"sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/w", "sport/tennis/player2", "sport/tennis"} {
			p.pub(name+"=", 0)
		}
		s.want("sport/tennis/player1= sport/tennis/player1/ranking= sport/tennis/player1/score/w=")
	})
}
