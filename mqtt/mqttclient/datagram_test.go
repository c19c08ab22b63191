package mqttclient

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

var datagrams = mqtt.Connack{Properties: props(propDatagrams, propYes)}

// datagram returns the next datagram of the client, which must be a PUBLISH.
func (p *peer) datagram() *mqtt.Publish {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	b, err := p.nc.(netio.Streams).ReceiveDatagram(ctx)
	if err != nil {
		p.t.Fatalf("no datagram: %v", err)
	}
	var d mqtt.Decoder
	q, n, err := d.Decode(b, p.v)
	m, ok := q.(*mqtt.Publish)
	if err != nil || n != len(b) || !ok {
		p.t.Fatalf("datagram %x: %v", b, err)
	}
	return m
}

// sendDatagram sends a datagram.
func (p *peer) sendDatagram(b []byte) {
	p.t.Helper()
	if err := p.nc.(netio.Streams).SendDatagram(b); err != nil {
		p.t.Fatal(err)
	}
}

func encode(t testing.TB, p mqtt.Packet) []byte {
	t.Helper()
	b, err := mqtt.AppendIllegal(nil, p, mqtt.Version5)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDatagrams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ack := datagrams
		ack.Properties = ack.Properties.AppendUint16(mqtt.PropTopicAliasMaximum, 10)
		_, c, p := streaming(t, Options{Streams: &Streams{Max: -1, Datagrams: true}}, ack)
		if i, _ := c.Info(); i.Streams || !i.Datagrams {
			t.Errorf("%+v", i)
		}
		for i := range 5 { // often enough for an alias on a stream
			if err := c.Publish(t.Context(), &Message{Topic: "sensor", Payload: fmt.Append(nil, i), Retain: true}); err != nil {
				t.Fatal(err)
			}
			m := p.datagram()
			if string(m.Topic) != "sensor" || string(m.Payload) != fmt.Sprint(i) || !m.Retain || len(m.Properties) > 0 {
				t.Errorf("%v", m)
			}
		}
		large := &Message{Topic: "large", Payload: make([]byte, 1300)}
		huge := &Message{Topic: "huge", Payload: make([]byte, 100_000)}
		counted := &Message{Topic: "counted", QoS: 1}
		for _, m := range []*Message{large, huge, counted} {
			publishAsync(t, c, m)
			p.expect("PUBLISH")
		}
		if s := c.Stats(); s.DatagramsSent != 5 || s.DatagramsRefused != 2 || s.PublishesSent != 8 {
			t.Errorf("%+v", s)
		}

		sub := subscribe(p, c, nil, mqtt.Subscription{Filter: "#"})
		p.sendDatagram(encode(t, message("a", "one", 0, 0)))
		if m := next(t, sub); string(m.Payload) != "one" {
			t.Errorf("%v", m)
		}
		alias := message("a", "alias", 0, 0)
		alias.Properties = alias.Properties.AppendUint16(mqtt.PropTopicAlias, 1)
		for _, b := range [][]byte{
			{}, {0}, {0x30}, []byte("hello"), bytes.Repeat([]byte{0xff}, 1000),
			encode(t, message("a", "counted", 1, 1)), encode(t, alias), encode(t, message("", "", 0, 0)),
			encode(t, &mqtt.Pingresp{}), encode(t, &mqtt.Disconnect{}), encode(t, &mqtt.Connack{}),
			append(encode(t, message("a", "and more", 0, 0)), 0),
		} {
			p.sendDatagram(b)
		}
		p.sendDatagram(encode(t, message("a", "two", 0, 0)))
		if m := next(t, sub); string(m.Payload) != "two" {
			t.Errorf("%v", m)
		}
		p.quiet()
		if s := c.Stats(); s.DatagramsReceived != 2 || s.DatagramsDropped != 12 || s.Connects != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestDatagramsRefused: without the agreement of the server, without the wish of the client, and before version 5,
// messages take streams.
func TestDatagramsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		o   Options
		ack mqtt.Connack
	}{
		"server":  {Options{Streams: &Streams{Max: -1, Datagrams: true}}, mqtt.Connack{}},
		"client":  {Options{Streams: &Streams{Max: -1}}, datagrams},
		"version": {Options{Streams: &Streams{Max: -1, Datagrams: true}, Version: mqtt.Version311}, mqtt.Connack{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&tt.o, "a")
				p := n.accept("a")
				asks := false
				for k, v := range p.connect().Properties.UserProperties() {
					asks = asks || k == "quartet-datagrams" && v == "1"
				}
				if asks != (name == "server") {
					t.Errorf("asks: %v", asks)
				}
				p.send(&tt.ack)
				if err := c.Connected(t.Context()); err != nil {
					t.Fatal(err)
				}
				publishAsync(t, c, &Message{Topic: "a"})
				p.expect("PUBLISH")
				p.sendDatagram(encode(t, message("a", "", 0, 0)))
				synctest.Wait()
				if s := c.Stats(); s.DatagramsSent+s.DatagramsReceived+s.DatagramsRefused+s.DatagramsDropped+s.Unrouted != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
