package mqttbroker

import (
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

func willDelay(seconds uint32) mqtt.Properties {
	return mqtt.Properties(nil).AppendUint32(mqtt.PropWillDelayInterval, seconds)
}

func TestWill(t *testing.T) {
	for _, name := range [][2]string{
		{"MQTT-3.1.2-7", "MQTT311-3.1.2-8"}, {"MQTT-3.1.2-8", "MQTT311-3.1.2-9"}, {"MQTT-3.1.2-14", "MQTT311-3.1.2-16"},
	} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			s.sub(2, "w")
			p := w.connectVersion(v, "p", withWill(mqtt.Will{Topic: "w", Payload: []byte("gone"), QoS: 1}))
			s.want("")
			p.drop()
			m := expect[*mqtt.Publish](s)
			if string(m.Payload) != "gone" || m.QoS != 1 || m.Retain {
				t.Errorf("got %v", m)
			}
			late := w.connectVersion(v, "late")
			late.sub(0, "w")
			late.want("")
		})
	}
	versions(t, "MQTT-3.1.2-15", "MQTT311-3.1.2-17", nil, func(w *world, v mqtt.Version) {
		w.connectVersion(v, "p", withWill(mqtt.Will{Topic: "w", Payload: []byte("gone"), Retain: true})).drop()
		s := w.connectVersion(v, "s")
		s.sub(0, "w")
		s.want("w=gone")
	})
	for _, name := range [][2]string{{"MQTT-3.14.4-3", "MQTT311-3.14.4-3"}, {"MQTT-3.1.2-10", "MQTT311-3.1.2-10"}} {
		versions(t, name[0], name[1], nil, func(w *world, v mqtt.Version) {
			s := w.connectVersion(v, "s")
			s.sub(0, "w")
			p := w.connectVersion(v, "p", withWill(mqtt.Will{Topic: "w"}), expiryIf(v, 5))
			p.leave()
			w.pass(time.Minute)
			s.want("")
			w.connectVersion(v, "p", resume).drop()
			s.want("")
		})
	}
	run(t, "MQTT311-3.1.2-12", nil, func(w *world) {
		s := w.connectVersion(mqtt.Version311, "s")
		s.sub(0, "#")
		w.connectVersion(mqtt.Version311, "p").drop()
		s.want("")
	})
	run(t, "DISCONNECT with will", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		p := w.connect("p", withWill(mqtt.Will{Topic: "w", Payload: []byte("x")}))
		p.leave(func(d *mqtt.Disconnect) { d.Reason = mqtt.ReasonDisconnectWithWill })
		s.want("w=x")
	})
	run(t, "an empty will", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", withWill(mqtt.Will{Topic: "w"})).drop()
		s.want("w=")
	})
	run(t, "keep alive", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", withWill(mqtt.Will{Topic: "w"}), func(c *mqtt.Connect) { c.KeepAlive = 10 })
		w.pass(14 * time.Second)
		s.want("")
		w.pass(2 * time.Second)
		s.want("w=")
	})
}

func TestWillDelay(t *testing.T) {
	run(t, "MQTT-3.1.2-8 delay", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", expiry(600), withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		w.pass(29 * time.Second)
		s.want("")
		w.pass(2 * time.Second)
		m := expect[*mqtt.Publish](s)
		if len(m.Properties) != 0 {
			t.Errorf("the delay was forwarded: %v", m)
		}
		w.pass(time.Hour)
		s.want("")
	})
	run(t, "MQTT-3.1.2-8 session end", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", expiry(10), withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		w.pass(9 * time.Second)
		s.want("")
		w.pass(2 * time.Second)
		s.want("w=")
		w.connect("q", withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		s.want("w=")
	})
	run(t, "MQTT-3.1.3-9", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", expiry(600), withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		w.pass(20 * time.Second)
		p := w.connect("p", resume, expiry(600))
		w.pass(time.Hour)
		s.want("")
		p.drop()
		w.pass(time.Hour)
		s.want("")
	})
	run(t, "clean start ends the session", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", expiry(600), withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		w.connect("p")
		s.want("w=")
	})
	run(t, "takeover", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("a", expiry(600), withWill(mqtt.Will{Topic: "w", Payload: []byte("a")}))
		w.connect("a", resume, expiry(600), withWill(mqtt.Will{Topic: "w", Payload: []byte("b"), Properties: willDelay(30)}))
		s.want("w=a")
		w.connect("a", resume, expiry(600))
		w.pass(time.Minute)
		s.want("")
	})
	run(t, "deleted session", nil, func(w *world) {
		s := w.connect("s")
		s.sub(0, "w")
		w.connect("p", expiry(600), withWill(mqtt.Will{Topic: "w", Properties: willDelay(30)})).drop()
		if ok, err := w.DeleteSession(w.t.Context(), "p"); !ok || err != nil {
			t.Error(ok, err)
		}
		s.want("w=")
	})
}

func TestWillPermission(t *testing.T) {
	allowed := true
	opts := &Options{Authorize: func(c *Client) Permissions {
		return func(a Action, topic string) Decision {
			if a == ActionPublish && (topic == "secret" || !allowed) {
				return Deny
			}
			return Allow
		}
	}}
	in(t, opts, func(w *world) {
		if r := w.refused(mqtt.Version5, "p", withWill(mqtt.Will{Topic: "secret"})); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
		if r := w.refused(mqtt.Version5, "p", withWill(mqtt.Will{Topic: "$SYS/broker/uptime"})); r != mqtt.ReasonNotAuthorized {
			t.Error(r)
		}
		s := w.connect("s")
		s.sub(0, "w")
		p := w.connect("p", withWill(mqtt.Will{Topic: "w"}))
		allowed = false
		p.drop()
		s.want("")
	})
}
