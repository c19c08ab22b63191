package interop

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// The exchanges that the tests of other projects expect of a client and of a broker, byte by byte: those of mosquitto
// (test/lib and test/broker), of Paho's interoperability tests and of mqtt.js. Our own clients and brokers are held to them
// here without any code of ours at the other end.

// wants reads packets and compares their bytes.
func (r *recorder) wants(packets ...[]byte) {
	r.t.Helper()
	for _, want := range packets {
		if got := r.frame(); !bytes.Equal(got, want) {
			r.t.Errorf("got  % x\nwant % x", got, want)
		}
	}
}

// wantsBegin reads a packet and compares its first byte and the beginning of its body: what follows may differ.
func (r *recorder) wantsBegin(first byte, body ...byte) {
	r.t.Helper()
	if got := r.frame(); got[0] != first || !bytes.HasPrefix(got[2:], body) {
		r.t.Errorf("got % x, want %x .. % x", got, first, body)
	}
}

// quiet pings, or waits, to see that nothing else came.
func (r *recorder) quiet(ping bool) {
	r.t.Helper()
	if ping {
		r.send([]byte{0xC0, 0})
		r.wants([]byte{0xD0, 0})
		return
	}
	r.conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	b := make([]byte, 100)
	if n, _ := r.conn.Read(b); n > 0 {
		r.t.Errorf("unexpected % x", b[:n])
	}
}

// brokerWire is our broker and the connections of a test.
type brokerWire struct {
	t       *testing.T
	addr    string
	version int
}

func newBrokerWire(t *testing.T, version int) *brokerWire {
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	srv := mqttserver.New(b, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l, nil)
	t.Cleanup(func() { srv.Close(); b.Close() })
	return &brokerWire{t, l.Addr().String(), version}
}

func (w *brokerWire) dial() *recorder {
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &recorder{t: w.t, conn: conn, version: w.version}
}

// connect connects with a clean session; props are those of CONNECT.
func (w *brokerWire) connect(id string, props ...byte) *recorder {
	w.t.Helper()
	r := w.dial()
	r.send(raw(0x10, "MQTT", w.version, 2, uint16(60), r.props(props...), id))
	if w.version == 5 {
		r.wantsBegin(0x20, 0, 0)
	} else {
		r.wants(raw(0x20, 0, 0))
	}
	return r
}

// sub subscribes and looks at SUBACK.
func (r *recorder) sub(id uint16, filter string, options, code int) {
	r.t.Helper()
	r.send(raw(0x82, id, r.props(), filter, options))
	r.wants(raw(0x90, id, r.props(), code))
}

func TestExpectedOfBroker(t *testing.T) {
	both, five, old := []int{4, 5}, []int{5}, []int{4}
	for name, tt := range map[string]struct {
		versions []int
		test     func(w *brokerWire)
	}{
		"bad first packets": {both, func(w *brokerWire) {
			for kind := 2; kind <= 15; kind++ {
				r := w.dial()
				r.send(raw(byte(kind<<4), uint16(1), "topic"))
				r.end()
			}
		}},
		"unknown level": {old, func(w *brokerWire) {
			r := w.dial()
			r.send(raw(0x10, "MQTT", 2, 2, uint16(60), "c"))
			r.wants(raw(0x20, 0, 1))
			r.end()
		}},
		"no identifier": {old, func(w *brokerWire) {
			r := w.dial()
			r.send(raw(0x10, "MQTT", 4, 0, uint16(60), ""))
			r.wants(raw(0x20, 0, 2))
			r.end()
			w.connect("")
		}},
		"second CONNECT": {both, func(w *brokerWire) {
			r := w.connect("c")
			r.send(raw(0x10, "MQTT", w.version, 2, uint16(60), r.props(), "c"))
			if w.version == 5 {
				r.wantsBegin(0xE0, 0x82)
			}
			r.end()
		}},
		"SUBACK and UNSUBACK": {both, func(w *brokerWire) {
			r := w.connect("c")
			for qos := range 3 {
				r.sub(uint16(53+qos), "qos/test", qos, qos)
			}
			r.send(raw(0xA2, uint16(9), r.props(), "qos/test"), raw(0xA2, uint16(10), r.props(), "qos/test"))
			if w.version == 5 {
				r.wants(raw(0xB0, uint16(9), 0, 0), raw(0xB0, uint16(10), 0, 0x11))
			} else {
				r.wants(raw(0xB0, uint16(9)), raw(0xB0, uint16(10)))
			}
		}},
		"PUBACK without subscribers": {both, func(w *brokerWire) {
			r := w.connect("c")
			r.send(raw(0x32, "t", uint16(19), r.props(), []byte("message")))
			if w.version == 5 {
				r.wants(raw(0x40, uint16(19), 0x10))
			} else {
				r.wants(raw(0x40, uint16(19)))
			}
		}},
		"QoS 1 and back": {both, func(w *brokerWire) {
			r := w.connect("c")
			r.sub(1, "t", 1, 1)
			r.send(raw(0x32, "t", uint16(265), r.props(), []byte("message")))
			got := [][]byte{r.frame(), r.frame()} // in any order
			slices.SortFunc(got, bytes.Compare)
			for i, want := range [][]byte{raw(0x32, "t", uint16(1), r.props(), []byte("message")), raw(0x40, uint16(265))} {
				if !bytes.Equal(got[i], want) {
					w.t.Errorf("got % x, want % x", got[i], want)
				}
			}
			r.send(raw(0x40, uint16(1)))
			r.quiet(true)
		}},
		"QoS 2 twice": {both, func(w *brokerWire) {
			s, p := w.connect("s"), w.connect("p")
			s.sub(1, "t", 0, 0)
			p.send(raw(0x34, "t", uint16(1), p.props(), []byte("x")), raw(0x3C, "t", uint16(1), p.props(), []byte("x")))
			p.wants(raw(0x50, uint16(1)), raw(0x50, uint16(1)))
			p.send(raw(0x62, uint16(1)))
			p.wants(raw(0x70, uint16(1)))
			s.wants(raw(0x30, "t", s.props(), []byte("x")))
			s.quiet(true)
		}},
		"lengths of PUBREL and PUBACK": {five, func(w *brokerWire) {
			s, p := w.connect("s"), w.connect("p")
			s.sub(1, "t", 1, 1)
			for i, end := range [][]byte{nil, {0}, {0, 0}, append([]byte{0, 13}, "\x26\x00\x03key\x00\x05value"...)} {
				id := uint16(i + 1)
				p.send(raw(0x34, "t", id, 0, []byte("x")))
				p.wants(raw(0x50, id))
				s.wants(raw(0x32, "t", id, 0, []byte("x")))
				s.send(raw(0x40, id, end))
				p.send(raw(0x62, id, end))
				p.wants(raw(0x70, id))
			}
			s.quiet(true)
		}},
		"retained": {both, func(w *brokerWire) {
			p := w.connect("p")
			p.send(raw(0x31, "r/1", p.props(), []byte("one")), raw(0x33, "r/2", uint16(2), p.props(), []byte("two")))
			p.frame() // PUBACK
			s := w.connect("s")
			for range 2 { // each time
				s.sub(7, "r/1", 0, 0)
				s.wants(raw(0x31, "r/1", s.props(), []byte("one")))
			}
			s.sub(8, "r/2", 0, 0)
			s.wants(raw(0x31, "r/2", s.props(), []byte("two"))) // at the lower QoS
			p.send(raw(0x31, "r/1", p.props()))
			s.wants(raw(0x30, "r/1", s.props()))
			s.sub(9, "r/1", 0, 0)
			s.quiet(true)
		}},
		"topics of $SYS": {both, func(w *brokerWire) {
			p := w.connect("p")
			p.send(raw(0x32, "$SYS/broker/version", uint16(1), p.props(), []byte("x")))
			if w.version == 5 {
				p.wants(raw(0x40, uint16(1), 0x87))
			} else {
				p.wants(raw(0x40, uint16(1)))
			}
		}},
		"not UTF-8": {both, func(w *brokerWire) {
			for _, in := range []func(r *recorder) []byte{
				func(r *recorder) []byte { return raw(0x30, "a\xc3/b", r.props()) },
				func(r *recorder) []byte { return raw(0x82, uint16(1), r.props(), "a\xff", 0) },
				func(r *recorder) []byte { return raw(0xA2, uint16(1), r.props(), "\xed\xa0\x80") },
			} {
				r := w.connect("c")
				r.send(in(r))
				if w.version == 5 {
					r.wantsBegin(0xE0, 0x81)
				}
				r.end()
			}
		}},
		"topic aliases of the client": {five, func(w *brokerWire) {
			s, p := w.connect("s"), w.connect("p")
			s.sub(1, "t/alias", 0, 0)
			p.send(raw(0x30, "t/alias", 3, 0x23, uint16(3), []byte("1")), raw(0x30, "", 3, 0x23, uint16(3), []byte("2")))
			s.wants(raw(0x30, "t/alias", 0, []byte("1")), raw(0x30, "t/alias", 0, []byte("2")))
			p.send(raw(0x30, "", 3, 0x23, uint16(4)))
			p.wantsBegin(0xE0, 0x82)
			p.end()
			p = w.connect("p")
			p.send(raw(0x30, "t", 3, 0x23, uint16(0)))
			p.wantsBegin(0xE0, 0x94)
			p.end()
		}},
		"subscription identifiers": {five, func(w *brokerWire) {
			s, p := w.connect("s"), w.connect("p")
			s.send(raw(0x82, uint16(1), 2, 0x0B, 1, "id/1", 0), raw(0x82, uint16(2), 3, 0x0B, 0x80, 0x01, "id/+", 0))
			s.wants(raw(0x90, uint16(1), 0, 0), raw(0x90, uint16(2), 0, 0))
			p.send(raw(0x30, "id/2", 0, []byte("x")))
			s.wants(raw(0x30, "id/2", 3, 0x0B, 0x80, 0x01, []byte("x")))
		}},
		"options of subscriptions": {five, func(w *brokerWire) {
			r := w.connect("c")
			r.sub(1, "o/1", 0x04, 0) // no local
			r.sub(2, "o/2", 0x08, 0) // retain as published
			r.send(raw(0x30, "o/1", 0, []byte("mine")), raw(0x31, "o/2", 0, []byte("kept")))
			r.wants(raw(0x31, "o/2", 0, []byte("kept")))
			r.sub(3, "o/2", 0x18, 0) // send retained messages if new
			r.sub(4, "o/2", 0x28, 0) // never
			r.quiet(true)
			r.send(raw(0x82, uint16(5), 0, "$share/g/o", 0x04)) // no local and shared
			r.wantsBegin(0xE0, 0x82)
			r.end()
		}},
		"maximum packet size": {five, func(w *brokerWire) {
			s, p := w.connect("s", 0x27, 0, 0, 0, 40), w.connect("p")
			s.sub(1, "size", 1, 1)
			p.send(raw(0x32, "size", uint16(1), 0, bytes.Repeat([]byte("x"), 40)), raw(0x32, "size", uint16(2), 0, []byte("fits")))
			s.wants(raw(0x32, "size", uint16(1), 0, []byte("fits")))
		}},
		"receive maximum and PUBREC with an error": {five, func(w *brokerWire) {
			s, p := w.connect("s", 0x21, 0, 1), w.connect("p")
			s.sub(1, "t", 2, 2)
			for i := range 3 {
				p.send(raw(0x34, "t", uint16(i+1), 0, []byte{byte('1' + i)}))
				p.wants(raw(0x50, uint16(i+1)))
				p.send(raw(0x62, uint16(i+1)))
				p.wants(raw(0x70, uint16(i+1)))
			}
			s.wants(raw(0x34, "t", uint16(1), 0, []byte("1")))
			s.quiet(true)
			s.send(raw(0x50, uint16(1), 0x80)) // no PUBREL comes, the quota does
			s.wants(raw(0x34, "t", uint16(2), 0, []byte("2")))
			s.send(raw(0x50, uint16(2)))
			s.wants(raw(0x62, uint16(2)))
			s.quiet(true)
			s.send(raw(0x70, uint16(2)))
			s.wants(raw(0x34, "t", uint16(3), 0, []byte("3")))
		}},
		"session expiry that was 0": {five, func(w *brokerWire) {
			r := w.connect("c")
			r.send(raw(0xE0, 0, 5, 0x11, 0, 0, 0, 9))
			r.wantsBegin(0xE0, 0x82)
			r.end()
		}},
		"taken over": {both, func(w *brokerWire) {
			r := w.connect("c")
			w.connect("c")
			if w.version == 5 {
				r.wants(raw(0xE0, 0x8E))
			}
			r.end()
		}},
	} {
		for _, version := range tt.versions {
			t.Run(map[int]string{4: "3.1.1/", 5: "5.0/"}[version]+name, func(t *testing.T) { tt.test(newBrokerWire(t, version)) })
		}
	}
}

// clientWire is our client and the broker's end of its connection.
func clientWire(t *testing.T, version int, o mqttclient.Options, connack ...byte) (*mqttclient.Client, *recorder) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	o.Servers, o.Version, o.ClientID = []string{"mqtt://" + l.Addr().String()}, wireVersions[version], "ours"
	o.SessionExpiry, o.KeepAlive = -1, 60*time.Second
	c, err := mqttclient.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &recorder{t: t, conn: conn, version: version}
	if version < 5 {
		r.wants(raw(0x10, "MQTT", version, 2, uint16(60), "ours"))
	} else {
		r.wantsBegin(0x10, raw(0, "MQTT", 5, 2, uint16(60))[2:]...)
	}
	r.send(raw(0x20, 0, 0, r.props(connack...)))
	if err := c.Connected(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, r
}

func TestExpectedOfClient(t *testing.T) {
	both, five := []int{4, 5}, []int{5}
	publish := func(t *testing.T, c *mqttclient.Client, qos mqtt.QoS) {
		t.Helper()
		if _, err := c.PublishAsync(t.Context(), &mqttclient.Message{Topic: "pub", Payload: []byte("message"), QoS: qos}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		versions []int
		connack  []byte
		o        mqttclient.Options
		test     func(t *testing.T, c *mqttclient.Client, r *recorder)
	}{
		"publish": {both, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			publish(t, c, 0)
			publish(t, c, 1)
			publish(t, c, 2)
			r.wants(raw(0x30, "pub", r.props(), []byte("message")), raw(0x32, "pub", uint16(1), r.props(), []byte("message")),
				raw(0x34, "pub", uint16(2), r.props(), []byte("message")))
			r.send(raw(0x40, uint16(1)), raw(0x50, uint16(2)))
			r.wants(raw(0x62, uint16(2)))
			r.send(raw(0x70, uint16(2)))
			if err := c.Disconnect(t.Context(), nil); err != nil {
				t.Error(err)
			}
			r.wants([]byte{0xE0, 0})
			r.end()
		}},
		"subscribe": {both, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			go c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "qos1/test", QoS: 1})
			if r.version == 5 {
				r.wants(raw(0x82, uint16(1), 2, 0x0B, 1, "qos1/test", 1))
			} else {
				r.wants(raw(0x82, uint16(1), "qos1/test", 1))
			}
			r.send(raw(0x90, uint16(1), r.props(), 1))
			r.quiet(false)
		}},
		"receive": {both, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			r.send(raw(0x32, "pub/qos1/receive", uint16(123), r.props(), []byte("message")),
				raw(0x34, "pub/qos2/receive", uint16(13423), r.props(), []byte("message")))
			r.wants(raw(0x40, uint16(123)), raw(0x50, uint16(13423)))
			r.send(raw(0x62, uint16(13423)))
			r.wants(raw(0x70, uint16(13423)))
		}},
		"answers that nobody waits for": {both, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			r.send(raw(0x40, uint16(1000)), raw(0x70, uint16(1000)), raw(0x62, uint16(1000)))
			if r.version == 5 {
				r.wants(raw(0x70, uint16(1000), 0x92))
			} else {
				r.wants(raw(0x70, uint16(1000)))
			}
			r.send(raw(0x34, "t", uint16(5), r.props()))
			r.wants(raw(0x50, uint16(5)))
		}},
		"lengths of acknowledgements": {five, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			for i, end := range [][]byte{nil, {0}, {0, 0}, append([]byte{0, 13}, "\x26\x00\x03key\x00\x05value"...)} {
				r.send(raw(0x34, "t", uint16(56), 0))
				r.wants(raw(0x50, uint16(56)))
				r.send(raw(0x62, uint16(56), end))
				r.wants(raw(0x70, uint16(56)))
				publish(t, c, 1)
				publish(t, c, 2)
				a, b := uint16(2*i+1), uint16(2*i+2)
				r.wants(raw(0x32, "pub", a, 0, []byte("message")), raw(0x34, "pub", b, 0, []byte("message")))
				r.send(raw(0x40, a, end), raw(0x50, b, end))
				r.wants(raw(0x62, b))
				r.send(raw(0x70, b, end))
			}
		}},
		"PUBREC with an error": {five, nil, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			publish(t, c, 2)
			publish(t, c, 2)
			r.wants(raw(0x34, "pub", uint16(1), 0, []byte("message")), raw(0x34, "pub", uint16(2), 0, []byte("message")))
			r.send(raw(0x50, uint16(1), 0x80), raw(0x50, uint16(2)))
			r.wants(raw(0x62, uint16(2)))
			r.quiet(false)
		}},
		"receive maximum": {five, []byte{0x21, 0, 1}, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			publish(t, c, 2)
			publish(t, c, 2)
			r.wants(raw(0x34, "pub", uint16(1), 0, []byte("message")))
			r.quiet(false)
			r.send(raw(0x50, uint16(1)))
			r.wants(raw(0x62, uint16(1)))
			r.quiet(false)
			r.send(raw(0x70, uint16(1)))
			r.wants(raw(0x34, "pub", uint16(2), 0, []byte("message")))
		}},
		"maximum QoS": {five, []byte{0x24, 0}, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			for qos := mqtt.QoS(1); qos <= 2; qos++ {
				if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "pub", QoS: qos}); err == nil {
					t.Errorf("QoS %d was published", qos)
				}
			}
			publish(t, c, 0)
			r.wants(raw(0x30, "pub", 0, []byte("message")))
		}},
		"server keep alive": {five, []byte{0x13, 0, 2}, mqttclient.Options{}, func(t *testing.T, c *mqttclient.Client, r *recorder) {
			r.wants([]byte{0xC0, 0})
			r.send([]byte{0xD0, 0})
		}},
		"a packet that is too large": {five, nil, mqttclient.Options{Limits: mqttclient.Limits{MaxPacketSize: 40}},
			func(t *testing.T, c *mqttclient.Client, r *recorder) {
				r.send(raw(0x32, "t", uint16(1), 0, bytes.Repeat([]byte("x"), 40)))
				r.wantsBegin(0xE0, 0x95)
				r.end()
			}},
	} {
		for _, version := range tt.versions {
			t.Run(map[int]string{4: "3.1.1/", 5: "5.0/"}[version]+name, func(t *testing.T) {
				c, r := clientWire(t, version, tt.o, tt.connack...)
				tt.test(t, c, r)
			})
		}
	}
}
