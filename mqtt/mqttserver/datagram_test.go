package mqttserver_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

func (p *peer) datagram(packet mqtt.Packet) {
	p.t.Helper()
	b, err := mqtt.AppendIllegal(nil, packet, p.v)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.nc.(netio.Streams).SendDatagram(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) expectDatagram(want *mqtt.Publish) {
	p.t.Helper()
	b, err := p.nc.(netio.Streams).ReceiveDatagram(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	got, n, err := p.dec.Decode(b, p.v)
	if err != nil || n != len(b) || got.String() != want.String() {
		p.t.Fatalf("got  %v (%d of %d bytes, %v)\nwant %v", got, n, len(b), err, want)
	}
}

// Messages of QoS 0 travel as datagrams both ways where both sides want it, and on a stream when they are too large.
func TestDatagrams(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, &mqttserver.ListenerOptions{Datagrams: true}, func(w *world) {
		c := w.dial()
		ack := c.connect(&mqtt.Connect{ClientID: "c", Properties: keep("quartet-datagrams", "1").AppendUint16(mqtt.PropTopicAliasMaximum, 10)})
		if v, _ := userProperty(ack.Properties, "quartet-datagrams"); v != "1" {
			t.Fatalf("CONNACK is %v", ack)
		}
		c.subscribe("t", mqtt.QoS1)
		d := c.open()
		d.send(subscribe(1, "d", mqtt.QoS0))
		d.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0}})
		for range 3 { // no topic alias is assigned
			c.datagram(publishTo("t", "x", mqtt.QoS0, 0))
			c.expectDatagram(publishTo("t", "x", mqtt.QoS0, 0))
		}
		c.datagram(publishTo("d", "y", mqtt.QoS0, 0))
		c.expectDatagram(publishTo("d", "y", mqtt.QoS0, 0))
		c.send(publishTo("t", "z", mqtt.QoS1, 2))
		c.expect(publishTo("t", "z", mqtt.QoS1, 1), &mqtt.Puback{ID: 2})
		large := publishTo("d", string(make([]byte, 1500)), mqtt.QoS0, 0)
		c.send(large)
		d.expect(large)
		st := m.last().c.Stats()
		if st.DatagramsReceived != 4 || st.DatagramsSent != 4 || st.DatagramsTooLarge != 1 || st.DatagramsDropped != 0 {
			t.Errorf("%+v", st)
		}
		if st.MessagesReceived != 6 || st.MessagesSent != 6 {
			t.Errorf("%d messages received, %d sent", st.MessagesReceived, st.MessagesSent)
		}
		c.nc.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if all := w.srv.Stats(); all.DatagramsSent != 4 || all.Streams != 1 {
			t.Errorf("after the end: %+v", all)
		}
	})
}

// A datagram that is no message of QoS 0 is dropped and counted, and breaks nothing.
func TestBadDatagrams(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, &mqttserver.ListenerOptions{Datagrams: true}, func(w *world) {
		c := w.dial()
		c.connect(&mqtt.Connect{ClientID: "c", Properties: keep("quartet-datagrams", "1")})
		alias := publishTo("t", "x", mqtt.QoS0, 0)
		alias.Properties = alias.Properties.AppendUint16(mqtt.PropTopicAlias, 1)
		only := publishTo("", "x", mqtt.QoS0, 0)
		for _, p := range []mqtt.Packet{
			publishTo("t", "x", mqtt.QoS1, 1), publishTo("t", "x", mqtt.QoS2, 1), &mqtt.Pingreq{}, &mqtt.Disconnect{}, subscribe(1, "t", 0),
			alias, only, publishTo("t/#", "x", mqtt.QoS0, 0), &mqtt.Puback{ID: 1},
		} {
			c.datagram(p)
		}
		raw := [][]byte{{}, {0}, {0x30}, {0x30, 0xff, 0xff, 0xff, 0xff, 1}, {0x30, 5, 0, 1, 't', 0}, {0x30, 4, 0, 1, 't', 0, 0, 0}}
		for _, b := range raw {
			if err := c.nc.(netio.Streams).SendDatagram(b); err != nil {
				t.Fatal(err)
			}
		}
		c.datagram(publishTo("t", "good", mqtt.QoS0, 0))
		synctest.Wait()
		s := m.last()
		if st := s.c.Stats(); st.DatagramsDropped != int64(9+len(raw)) || st.DatagramsReceived != 1 || !slices.Equal(s.got, []string{"good"}) {
			t.Errorf("%+v, got %v", st, s.got)
		}
		c.send(&mqtt.Pingreq{})
		c.expect(&mqtt.Pingresp{})
	})
}

// Without the option of the listener, or the client's wish, there are no datagrams.
func TestNoDatagrams(t *testing.T) {
	for _, server := range []bool{false, true} {
		m := new(muxed)
		muxWorld(t, m, nil, &mqttserver.ListenerOptions{Datagrams: server}, func(w *world) {
			c := w.dial()
			var props mqtt.Properties
			if !server {
				props = keep("quartet-datagrams", "1")
			}
			if ack := c.connect(&mqtt.Connect{ClientID: "c", Properties: props}); ack.Properties.Has(mqtt.PropUserProperty) {
				t.Errorf("CONNACK is %v", ack)
			}
			c.subscribe("t", mqtt.QoS0)
			c.datagram(publishTo("t", "x", mqtt.QoS0, 0))
			c.silent()
			c.send(publishTo("t", "y", mqtt.QoS0, 0))
			c.expect(publishTo("t", "y", mqtt.QoS0, 0))
		})
	}
}
