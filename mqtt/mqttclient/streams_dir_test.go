package mqttclient

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestDirStreams: what waits in a directory for streams goes to them after a restart, what was in flight is sent again on
// them, and a stalled one stops no other.
func TestDirStreams(t *testing.T) {
	o := Options{Streams: &Streams{Policy: StreamPerPriority}, KeepAlive: -1, Limits: Limits{OutputBuffer: 8 << 10}}
	again(t, "keep", o, func(t *testing.T, d *disk, again func() *Client) {
		p := d.connect("a", keeps)
		if err := d.c.Connected(t.Context()); err != nil {
			t.Fatal(err)
		}
		publish := func(priority uint8, qos mqtt.QoS, payload string) {
			t.Helper()
			publishAsync(t, d.c, &Message{Topic: fmt.Sprint("p", priority), Payload: []byte(payload), QoS: qos, Priority: priority})
		}
		publish(1, 1, "one")
		s1 := p.stream() // it is there before the message has its identifier
		s1.expect("PUBLISH id=1")
		publish(2, 2, "two")
		s2 := p.stream()
		s2.expect("PUBLISH id=2")
		publish(0, 1, "zero")
		p.expect("PUBLISH id=3")
		for i := range 200 { // more than the streams take now
			publish(1, 1, fmt.Sprintf("%d %01000d", i, 0))
		}
		synctest.Wait()
		publish(2, 1, "moves")
		s2.expect("PUBLISH id=")
		again()
		ack := keeps
		ack.SessionPresent = true
		p = d.connect("a", ack)
		p.expect(`PUBLISH id=3 qos=1 dup topic="p0"`)
		p.send(&mqtt.Puback{ID: 3})
		a, b := p.stream(), p.stream()
		m := a.receive().(*mqtt.Publish)
		if string(m.Topic) != "p1" {
			a, b = b, a
			if m = a.receive().(*mqtt.Publish); string(m.Topic) != "p1" {
				t.Fatalf("%v", m)
			}
		} else if m2 := b.receive().(*mqtt.Publish); string(m2.Topic) != "p2" || m2.ID != 2 {
			t.Fatalf("%v", m2)
		}
		if m.ID != 1 || !m.Dup {
			t.Errorf("%v", m)
		}
		a.send(&mqtt.Puback{ID: 1})
		for i := range 200 {
			m := a.receive().(*mqtt.Publish)
			var got int
			if fmt.Sscan(string(m.Payload), &got); got != i {
				t.Fatalf("got %d, want %d", got, i)
			}
			a.complete(m)
		}
		if m := b.receive().(*mqtt.Publish); string(m.Payload) != "moves" || !m.Dup {
			t.Errorf("%v", m)
		}
		b.complete(&mqtt.Publish{QoS: 2, ID: 2})
	})
	t.Run("the server does not keep", func(t *testing.T) {
		withDir(t, o, func(t *testing.T, d *disk) {
			p := d.connect("a", mqtt.Connack{})
			publishAsync(t, d.c, &Message{Topic: "t", QoS: 2, Priority: 3})
			publishAsync(t, d.c, &Message{Topic: "t", Priority: 3})
			p.expect("PUBLISH id=1", "PUBLISH qos=0")
			p.noStream()
			if i, _ := d.c.Info(); i.Streams {
				t.Errorf("%+v", i)
			}
			time.Sleep(time.Second)
		})
	})
}

// TestPriorityRecord: the priority of a message is in its record, and other priorities are cut off.
func TestPriorityRecord(t *testing.T) {
	c := &Client{o: &config{Options: Options{Streams: &Streams{Policy: StreamPerPriority, Max: 8}}}}
	for priority := range uint8(10) {
		p := &Publication{c: c, lane: c.laneOf(&Message{Topic: "t", Priority: priority}).n}
		p.pub = mqtt.Publish{Topic: []byte("t"), QoS: mqtt.QoS2, Retain: true}
		b := appendMessage(nil, p)
		m, _, err := parseMessage(b)
		if err != nil || m.QoS != mqtt.QoS2 || !m.Retain {
			t.Errorf("%v, %v", m, err)
		}
		if got := c.restoredLane(&m, b); got != p.lane {
			t.Errorf("priority %d: lane %d, want %d", priority, got, p.lane)
		}
	}
}
