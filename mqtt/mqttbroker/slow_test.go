package mqttbroker

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestSlowClient: a client that does not read for a while gets all messages of QoS 1 and 2, in order, and stops nobody.
func TestSlowClient(t *testing.T) {
	limits := &mqttserver.Options{Limits: mqttserver.Limits{SoftLimit: 8 << 10, HardLimit: 32 << 10}}
	const n = 500
	payload := bytes.Repeat([]byte("x"), 1000)
	text := func(i int) string { return fmt.Sprintf("t=%d.%s", i, payload) }
	check := func(t *testing.T, s *peer, qos mqtt.QoS) {
		i := 0
		for _, q := range s.all() {
			m := q.(*mqtt.Publish)
			if m.QoS != qos {
				continue
			}
			if want := fmt.Appendf(nil, "%d.", i); !bytes.HasPrefix(m.Payload, want) || m.Dup {
				t.Fatalf("message %d: %.10s", i, m.Payload)
			}
			i++
		}
		if i != n {
			t.Errorf("%d of %d messages at QoS %d", i, n, qos)
		}
	}
	for qos := mqtt.QoS(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			inServer(t, nil, limits, func(w *world) {
				s, fast := w.connect("slow", receiveMaximum(1000)), w.connect("fast", receiveMaximum(1000))
				s.sub(qos, "t")
				fast.sub(qos, "t")
				s.automatic().stop()
				fast.automatic()
				p := w.connect("p").automatic()
				for i := range n {
					p.publish(text(i), qos)
				}
				for range 50 {
					w.pass(20 * time.Millisecond)
				}
				check(t, fast, qos)
				s.goOn()
				w.pass(time.Second)
				check(t, s, qos)
			})
		})
	}
	t.Run("QoS 0 is dropped and counted", func(t *testing.T) {
		inServer(t, nil, limits, func(w *world) {
			s, fast := w.connect("slow"), w.connect("fast")
			s.sub(0, "t")
			fast.sub(0, "t")
			s.stop()
			p := w.connect("p")
			for i := range n {
				p.publish(text(i), 0)
				if i%10 == 0 {
					w.pass(100 * time.Millisecond)
				}
			}
			w.pass(time.Second)
			check(t, fast, 0)
			s.goOn()
			got := len(s.all())
			if dropped := w.Stats().DroppedSlow; got == n || int64(got)+dropped != n {
				t.Errorf("%d messages, %d dropped", got, dropped)
			}
		})
	})
	t.Run("retained messages wait", func(t *testing.T) {
		inServer(t, nil, limits, func(w *world) {
			for i := range n {
				w.publish(fmt.Sprintf("t/%d=%s", i, payload), 1, true)
			}
			s := w.connect("slow")
			s.sub(0, "u")
			s.stop()
			s.send(&mqtt.Subscribe{ID: 9, Filters: []mqtt.Subscription{{Filter: "t/#"}}})
			w.pass(time.Second)
			s.goOn()
			w.pass(time.Second)
			if got := len(s.all()); got != n+1 { // and SUBACK
				t.Errorf("%d packets", got)
			}
		})
	})
}

// TestLargePayloads: what is shared by connections does not change when the publisher's buffer is used again.
func TestLargePayloads(t *testing.T) {
	in(t, nil, func(w *world) {
		var all []*peer
		for i := range 3 {
			s := w.connect(fmt.Sprint("s", i)).automatic()
			s.sub(mqtt.QoS(i), "#")
			s.stop()
			all = append(all, s)
		}
		p := w.connect("p").automatic()
		for i := range 60 {
			p.publish(fmt.Sprintf("t=%s", bytes.Repeat([]byte{byte('0' + i)}, mqttserver.LargePayload+i)), mqtt.QoS(i%3))
		}
		w.wait()
		for _, s := range all {
			s.goOn()
		}
		for _, s := range all {
			got := s.all()
			if len(got) != 60 {
				t.Errorf("%d messages", len(got))
			}
			seen := make(map[byte]bool)
			for _, q := range got {
				m := q.(*mqtt.Publish)
				first := m.Payload[0]
				if want := bytes.Repeat([]byte{first}, mqttserver.LargePayload+int(first-'0')); !bytes.Equal(m.Payload, want) || seen[first] {
					t.Fatalf("a payload of %d bytes has changed", len(m.Payload))
				}
				seen[first] = true
			}
		}
	})
}
