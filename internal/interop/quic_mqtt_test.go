package interop

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	xquic "golang.org/x/net/quic"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// These tests hold ours to the description of MQTT over QUIC by EMQX (https://mqtt.ai/docs/mqtt-quic, modes 1 and 2), since
// EMQX itself cannot be had from the registries. The peer is golang.org/x/net/quic with packets that are put together
// by hand.

// quicBroker is our broker on QUIC.
func quicBroker(t *testing.T, k *quicKeys) net.Addr {
	t.Helper()
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	s := mqttserver.New(b, nil)
	o := &quicnet.ListenOptions{Config: quicConfig(k.server)}
	o.Linger = 3 * time.Second // a test waits for its end
	l, err := quicnet.Listen("udp", "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l.Protocol("mqtt"), nil)
	t.Cleanup(func() {
		s.Close()
		b.Close()
		l.Close()
	})
	return l.Addr()
}

// A byHand is one stream with packets in bytes.
type byHand struct {
	t *testing.T
	s *xquic.Stream
	r *bufio.Reader
}

func newByHand(t *testing.T, s *xquic.Stream) *byHand {
	s.SetReadContext(quicContext(t))
	return &byHand{t, s, bufio.NewReader(s)}
}

// open opens a stream of a client.
func (b *byHand) open(c *xquic.Conn) *byHand {
	b.t.Helper()
	s, err := c.NewStream(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return newByHand(b.t, s)
}

func (b *byHand) send(packets ...[]byte) {
	b.t.Helper()
	for _, p := range packets {
		if _, err := b.s.Write(p); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.s.Flush(); err != nil {
		b.t.Fatal(err)
	}
}

// next reads a packet.
func (b *byHand) next() ([]byte, error) {
	first, err := b.r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(b.r)
	if err != nil {
		return nil, err
	}
	p := binary.AppendUvarint([]byte{first}, n)
	head := len(p)
	p = append(p, make([]byte, n)...)
	_, err = io.ReadFull(b.r, p[head:])
	return p, err
}

// want reads packets that must be these.
func (b *byHand) want(packets ...[]byte) {
	b.t.Helper()
	for _, want := range packets {
		got, err := b.next()
		if err != nil || !slices.Equal(got, want) {
			b.t.Fatalf("stream %d: got % x, %v\nwant % x", b.s.ID(), got, err, want)
		}
	}
}

// connect does CONNECT with version 5 on a client's first stream.
func (b *byHand) connect(id string) {
	b.t.Helper()
	b.send(mqtt5Connect(id))
	b.connack()
}

func (b *byHand) connack() {
	b.t.Helper()
	if p, err := b.next(); err != nil || p[0] != 0x20 || p[3] != 0 {
		b.t.Fatalf("CONNACK: % x, %v", p, err)
	}
}

func mqtt5Connect(id string) []byte { return raw(0x10, "MQTT", 5, 2, uint16(60), 0, id) }

// Packets of version 5 without properties.
func mqtt5Subscribe(id uint16, filter string, qos int) []byte {
	return raw(0x82, id, 0, filter, qos)
}
func mqtt5Suback(id uint16, code int) []byte { return raw(0x90, id, 0, code) }
func mqtt5Publish(topic string, qos int, id uint16, payload string) []byte {
	if qos == 0 {
		return raw(0x30, topic, 0, []byte(payload))
	}
	return raw(byte(0x30|qos<<1), topic, id, 0, []byte(payload))
}
func mqtt5Ack(first byte, id uint16) []byte { return raw(first, id) }

const (
	puback  = 0x40
	pubrec  = 0x50
	pubrel  = 0x62
	pubcomp = 0x70
)

// TestQUICMode1 has everything on one stream.
func TestQUICMode1(t *testing.T) {
	k := newQUICKeys(t)
	c := xnetDial(t, k, "mqtt", quicBroker(t, k))
	m := (&byHand{t: t}).open(c)
	m.connect("mode1")
	m.send(mqtt5Subscribe(1, "a/#", 2))
	m.want(mqtt5Suback(1, 2))
	m.send(mqtt5Publish("a/b", 2, 5, "two"))
	var got [][]byte
	for range 2 { // in any order
		p, err := m.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	slices.SortFunc(got, func(a, b []byte) int { return int(b[0]) - int(a[0]) })
	if want := mqtt5Ack(pubrec, 5); !slices.Equal(got[0], want) {
		t.Errorf("% x, want % x", got[0], want)
	}
	if want := mqtt5Publish("a/b", 2, 1, "two"); !slices.Equal(got[1], want) {
		t.Errorf("% x, want % x", got[1], want)
	}
	m.send(mqtt5Ack(pubrel, 5))
	m.want(mqtt5Ack(pubcomp, 5))
	m.send(mqtt5Ack(pubrec, 1))
	m.want(mqtt5Ack(pubrel, 1))
	m.send(mqtt5Ack(pubcomp, 1), raw(0xc0))
	m.want(raw(0xd0))
	m.send(raw(0xe0, 0))
	if p, err := m.next(); err != io.EOF {
		t.Errorf("after DISCONNECT: % x, %v", p, err)
	}
	m.s.CloseWrite()
	ended := &xquic.ConnectionCloseError{}
	if err := c.Wait(quicContext(t)); !errors.As(err, &ended) || ended.Code != 0 {
		t.Errorf("the connection ended with %v", err)
	}
}

// TestQUICMode2 has data streams beside.
func TestQUICMode2(t *testing.T) {
	k := newQUICKeys(t)
	addr := quicBroker(t, k)
	start := func(t *testing.T, id string) (*xquic.Conn, *byHand) {
		t.Helper()
		c := xnetDial(t, k, "mqtt", addr)
		m := (&byHand{t: t}).open(c)
		m.connect(id)
		return c, m
	}
	t.Run("replies and messages take the stream of the request", func(t *testing.T) {
		c, control := start(t, "streams")
		one, two, pub := control.open(c), control.open(c), control.open(c)
		one.send(mqtt5Subscribe(1, "s/1", 1))
		one.want(mqtt5Suback(1, 1))
		two.send(mqtt5Subscribe(2, "s/2", 2))
		two.want(mqtt5Suback(2, 2))
		control.send(mqtt5Subscribe(3, "s/0", 0))
		control.want(mqtt5Suback(3, 0))
		pub.send(mqtt5Publish("s/1", 1, 10, "one"))
		pub.want(mqtt5Ack(puback, 10))
		p, err := one.next()
		if err != nil || !slices.Equal(p[:6], mqtt5Publish("s/1", 1, 0, "one")[:6]) || string(p[len(p)-3:]) != "one" {
			t.Fatalf("on its stream: % x, %v", p, err)
		}
		one.send(mqtt5Ack(puback, binary.BigEndian.Uint16(p[7:])))
		pub.send(mqtt5Publish("s/2", 2, 11, "two"))
		pub.want(mqtt5Ack(pubrec, 11))
		pub.send(mqtt5Ack(pubrel, 11))
		pub.want(mqtt5Ack(pubcomp, 11))
		p, err = two.next()
		if err != nil || p[0] != 0x34 || string(p[len(p)-3:]) != "two" {
			t.Fatalf("on its stream: % x, %v", p, err)
		}
		id := binary.BigEndian.Uint16(p[7:])
		two.send(mqtt5Ack(pubrec, id))
		two.want(mqtt5Ack(pubrel, id))
		two.send(mqtt5Ack(pubcomp, id))
		pub.send(mqtt5Publish("s/0", 0, 0, "zero"))
		control.want(mqtt5Publish("s/0", 0, 0, "zero"))
		two.send(raw(0xa2, uint16(4), 0, "s/2"))
		two.want(raw(0xb0, uint16(4), 0, 0))
		control.send(raw(0xc0))
		control.want(raw(0xd0))
	})
	t.Run("a data stream waits for CONNECT", func(t *testing.T) {
		c := xnetDial(t, k, "mqtt", addr)
		control := (&byHand{t: t}).open(c)
		data := control.open(c)
		data.send(mqtt5Subscribe(1, "w", 0), mqtt5Publish("w", 0, 0, "waited"))
		control.connect("waits")
		data.want(mqtt5Suback(1, 0), mqtt5Publish("w", 0, 0, "waited"))
	})
	t.Run("a subscription ends with its stream", func(t *testing.T) {
		c, control := start(t, "ends")
		data := control.open(c)
		data.send(mqtt5Subscribe(1, "e", 0))
		data.want(mqtt5Suback(1, 0))
		data.s.CloseWrite()
		if p, err := data.next(); err != io.EOF {
			t.Fatalf("% x, %v", p, err)
		}
		control.send(mqtt5Publish("e", 1, 2, "nobody"))
		p, err := control.next()
		if want := raw(puback, uint16(2), 0x10); err != nil || !slices.Equal(p, want) {
			t.Errorf("% x, %v, want % x: nobody has subscribed", p, err, want)
		}
	})
	t.Run("the same packet identifier on two streams", func(t *testing.T) {
		c, control := start(t, "ids")
		a, b := control.open(c), control.open(c)
		a.send(mqtt5Publish("i", 2, 7, "a"))
		a.want(raw(pubrec, uint16(7), 0x10))
		b.send(mqtt5Publish("i", 1, 8, "b"))
		b.want(raw(puback, uint16(8), 0x10))
		a.send(mqtt5Ack(pubrel, 7))
		a.want(mqtt5Ack(pubcomp, 7))
	})
	for name, packet := range map[string][]byte{
		"CONNECT":    mqtt5Connect("again"),
		"PINGREQ":    raw(0xc0),
		"DISCONNECT": raw(0xe0, 0),
		"AUTH":       raw(0xf0, 0),
	} {
		t.Run(name+" on a data stream", func(t *testing.T) {
			c, control := start(t, "illegal")
			control.open(c).send(packet)
			p, err := control.next()
			if err != nil || p[0] != 0xe0 || len(p) < 3 || p[2] != 0x82 {
				t.Errorf("% x, %v, want DISCONNECT with a protocol error", p, err)
			}
		})
	}
	t.Run("the control stream ends", func(t *testing.T) {
		c, control := start(t, "control")
		data := control.open(c)
		data.send(mqtt5Subscribe(1, "c", 0))
		data.want(mqtt5Suback(1, 0))
		control.s.CloseWrite()
		if _, err := control.next(); err == nil {
			t.Error("something after the end")
		}
		data.s.CloseWrite()
		if _, err := data.next(); err == nil {
			t.Error("something after the end of the control stream")
		}
		if err := c.Wait(quicContext(t)); err == nil {
			t.Error("the connection goes on")
		}
	})
}

// TestQUICClientByHand has our client use a broker that knows no more than EMQX's description.
func TestQUICClientByHand(t *testing.T) {
	k := newQUICKeys(t)
	e, err := xquic.Listen("udp", "127.0.0.1:0", &xquic.Config{TLSConfig: xnetTLS(k.server, "mqtt"), HandshakeTimeout: quicTimeout})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	defer e.Close(ended)
	defer end()
	d := &quicnet.Dialer{Config: quicConfig(k.client), FallbackDelay: -1}
	d.Linger = 250 * time.Millisecond // nobody reads any more when it is closed
	defer d.Shutdown(t.Context())
	c, err := mqttclient.New(&mqttclient.Options{
		Servers:  []string{fmt.Sprintf("mqtt+quic://%s", e.LocalAddr())},
		ClientID: "ours",
		Dialers:  map[string]mqttclient.DialFunc{"mqtt+quic": d.DialURL},
		Streams:  &mqttclient.Streams{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	qc, err := e.Accept(quicContext(t))
	if err != nil {
		t.Fatal(err)
	}
	accept := func(id int64) *byHand {
		t.Helper()
		s, err := qc.AcceptStream(quicContext(t))
		if err != nil || s.ID() != id {
			t.Fatalf("stream %v, %v, want %d", s, err, id)
		}
		return newByHand(t, s)
	}
	control := accept(0)
	if p, err := control.next(); err != nil || p[0] != 0x10 {
		t.Fatalf("% x, %v, want CONNECT", p, err)
	}
	control.send(raw(0x20, 0, 0, 0))
	if err := c.Connected(quicContext(t)); err != nil {
		t.Fatal(err)
	}
	// Each topic on a stream of its own, answered there.
	answer := func(topic string, qos mqtt.QoS, id int64, streams map[string]*byHand) {
		t.Helper()
		p, err := c.PublishAsync(t.Context(), &mqttclient.Message{Topic: topic, Payload: []byte("x"), QoS: qos})
		if err != nil {
			t.Fatal(err)
		}
		s := streams[topic]
		if s == nil {
			s = accept(id)
			streams[topic] = s
		}
		got, err := s.next()
		if err != nil || got[0]&0xf6 != 0x30|byte(qos)<<1 {
			t.Fatalf("% x, %v, want PUBLISH", got, err)
		}
		if qos > 0 {
			n := binary.BigEndian.Uint16(got[2+2+len(topic):])
			if qos == 1 {
				s.send(mqtt5Ack(puback, n))
			} else {
				s.send(mqtt5Ack(pubrec, n))
				s.want(mqtt5Ack(pubrel, n))
				s.send(mqtt5Ack(pubcomp, n))
			}
		}
		if err := p.Wait(quicContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	streams := make(map[string]*byHand)
	answer("t/1", 1, 4, streams)
	answer("t/2", 2, 8, streams)
	answer("t/1", 2, 4, streams)
	answer("t/2", 0, 8, streams)
	// A subscription on a stream of its own.
	type result struct {
		sub *mqttclient.Subscription
		err error
	}
	done := make(chan result, 1)
	go func() {
		sub, err := c.Subscribe(quicContext(t), &mqttclient.SubscribeOptions{Stream: true}, mqtt.Subscription{Filter: "in/#", QoS: 1})
		done <- result{sub, err}
	}()
	s := accept(12)
	p, err := s.next()
	if err != nil || p[0] != 0x82 {
		t.Fatalf("% x, %v, want SUBSCRIBE", p, err)
	}
	s.send(mqtt5Suback(binary.BigEndian.Uint16(p[2:]), 1))
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	s.send(raw(0x32, "in/1", uint16(77), 0, []byte("hello")))
	for m, err := range r.sub.Messages(quicContext(t)) {
		if err != nil || m.Topic != "in/1" || string(m.Payload) != "hello" {
			t.Fatal(m, err)
		}
		break
	}
	s.want(mqtt5Ack(puback, 77))
}
