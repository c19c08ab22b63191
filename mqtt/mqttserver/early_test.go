package mqttserver_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// earlyDial opens a connection whose handshake is not complete.
func (w *world) earlyDial() *peer {
	w.l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Early: true}, nil })
	p := w.dial()
	p.v = mqtt.Version5
	return p
}

// Before the handshake is complete a message may be a repetition: it waits, unless the listener takes such ones, and it
// keeps nothing else waiting.
func TestEarlyData(t *testing.T) {
	for _, publish := range []bool{false, true} {
		m := new(muxed)
		lo := &mqttserver.ListenerOptions{EarlyPublish: publish}
		muxWorld(t, m, nil, lo, func(w *world) {
			c := w.earlyDial()
			c.connect(&mqtt.Connect{ClientID: "c", KeepAlive: 60})
			s := m.last()
			a, b := c.open(), c.open()
			a.send(publishTo("t", "0", mqtt.QoS0, 0), publishTo("t", "1", mqtt.QoS1, 1), subscribe(2, "a", mqtt.QoS0))
			b.send(subscribe(3, "t", mqtt.QoS0), publishTo("t", "2", mqtt.QoS2, 4))
			b.expect(&mqtt.Suback{ID: 3, Reasons: []mqtt.ReasonCode{0}})
			c.send(&mqtt.Pingreq{}, &mqtt.Unsubscribe{ID: 5, Filters: []string{"x"}})
			c.expect(&mqtt.Pingresp{}, &mqtt.Unsuback{ID: 5, Reasons: []mqtt.ReasonCode{0}})
			if publish {
				a.expect(&mqtt.Puback{ID: 1}, &mqtt.Suback{ID: 2, Reasons: []mqtt.ReasonCode{0}})
			}
			synctest.Wait()
			if want := map[bool][]string{true: {"0", "1"}}[publish]; !slices.Equal(s.got, want) {
				t.Fatalf("got %v early, want %v", s.got, want)
			}
			c.nc.(*memnet.Conn).Confirm()
			b.nc.SetDeadline(time.Time{})
			if !publish {
				a.expect(&mqtt.Puback{ID: 1}, &mqtt.Suback{ID: 2, Reasons: []mqtt.ReasonCode{0}})
			}
			synctest.Wait()
			if !slices.Contains(s.got, "2") || len(s.got) != 3 {
				t.Errorf("got %v", s.got)
			}
		})
	}
}

// A password waits for the end of the handshake, as long as a connection may take.
func TestEarlyPassword(t *testing.T) {
	connect := &mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.earlyDial()
		c.send(connect, &mqtt.Pingreq{})
		c.silent()
		if len(m.sessions) != 0 {
			t.Fatal("accepted early")
		}
		c.nc.(*memnet.Conn).Confirm()
		if a, ok := c.recv().(*mqtt.Connack); !ok || a.Reason != mqtt.ReasonSuccess {
			t.Fatalf("got %v", a)
		}
		c.expect(&mqtt.Pingresp{})

		begin := time.Now()
		d := w.earlyDial()
		d.send(connect)
		d.expectEnd()
		if took := time.Since(begin); took < 10*time.Second || took > 21*time.Second {
			t.Errorf("the end came after %v", took)
		}
	})
}

// DISCONNECT waits; a client that goes away while something waits leaves nothing behind.
func TestEarlyEnd(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.earlyDial()
		c.connect(&mqtt.Connect{ClientID: "c"})
		s := m.last()
		c.send(&mqtt.Disconnect{})
		d := c.open()
		d.send(publishTo("t", "x", mqtt.QoS2, 1))
		synctest.Wait()
		if s.closed {
			t.Error("DISCONNECT was taken from early data")
		}
		c.nc.(*memnet.Conn).Abort()
		synctest.Wait()
		if !s.closed || len(s.got) > 0 {
			t.Errorf("closed %v, got %v", s.closed, s.got)
		}

		c = w.earlyDial()
		c.connect(&mqtt.Connect{ClientID: "c"})
		s = m.last()
		c.send(publishTo("t", "x", mqtt.QoS2, 1), &mqtt.Disconnect{})
		c.nc.(*memnet.Conn).Confirm()
		synctest.Wait()
		if !s.closed || len(s.got) != 1 {
			t.Errorf("closed %v, got %v", s.closed, s.got)
		}
	})
}
