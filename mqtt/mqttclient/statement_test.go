package mqttclient

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestMalformed: what no server may send ends the connection; in version 5 the client says why.
func TestMalformed(t *testing.T) {
	const v5, v311 = mqtt.Version5, mqtt.Version311
	for _, w := range []struct {
		name string
		v    mqtt.Version
		in   string
		code mqtt.ReasonCode
	}{
		{"MQTT-1.5.4-1 topic", v5, "\x30\x05\x00\x02\xc3\x28\x00", 0x81},
		{"MQTT-1.5.4-2 topic", v5, "\x30\x04\x00\x01\x00\x00", 0x81},
		{"MQTT-1.5.5-1 property length", v5, "\x30\x05\x00\x01t\x80\x00", 0x81},
		{"MQTT-1.5.7-1", v5, "\x30\x0a\x00\x01t\x06\x26\x00\x01\xff\x00\x00", 0x81},
		{"MQTT-2.1.3-1 PUBACK", v5, "\x41\x02\x00\x01", 0x81},
		{"MQTT-2.1.3-1 PINGRESP", v5, "\xd8\x00", 0x81},
		{"MQTT-2.2.1-4 identifier 0", v5, "\x32\x06\x00\x01t\x00\x00\x00", 0x82},
		{"MQTT-3.2.0-2", v5, "\x20\x03\x00\x00\x00", 0x82},
		{"MQTT-3.3.1-2", v5, "\x38\x04\x00\x01t\x00", 0x81},
		{"MQTT-3.3.1-4", v5, "\x36\x06\x00\x01t\x00\x01\x00", 0x81},
		{"MQTT-3.3.2-2 +", v5, "\x30\x04\x00\x01+\x00", 0x90},
		{"MQTT-3.3.2-8 alias 0", v5, "\x30\x07\x00\x01t\x03\x23\x00\x00", 0x94},
		{"MQTT-3.4.2-1", v5, "\x40\x03\x00\x01\x42", 0x82},
		{"MQTT-3.6.1-1", v5, "\x60\x02\x00\x01", 0x81},
		{"MQTT-3.14.1-1", v5, "\xe1\x00", 0x81},
		{"MQTT-3.14.2-2", v5, "\xe0\x07\x00\x05\x11\x00\x00\x00\x01", 0x82},
		{"MQTT-3.15.1-1", v5, "\xf1\x00", 0x81},
		{"MQTT-4.13.1-1 SUBSCRIBE from a server", v5, "\x82\x07\x00\x01\x00\x00\x01t\x00", 0x82},
		{"MQTT311-1.5.3-1", v311, "\x30\x05\x00\x03\xed\xa0\x80", 0},
		{"MQTT311-1.5.3-2", v311, "\x30\x03\x00\x01\x00", 0},
		{"MQTT311-2.2.2-2 PUBACK", v311, "\x41\x02\x00\x01", 0},
		{"MQTT311-2.2.2-2 PINGRESP", v311, "\xd1\x00", 0},
		{"MQTT311-2.3.1-1", v311, "\x32\x05\x00\x01t\x00\x00", 0},
		{"MQTT311-3.3.1-4", v311, "\x36\x05\x00\x01t\x00\x01", 0},
		{"MQTT311-3.3.2-2", v311, "\x30\x03\x00\x01#", 0},
		{"MQTT311-4.8.0-1 DISCONNECT from a server", v311, "\xe0\x00", 0},
	} {
		t.Run(w.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&Options{Version: w.v}, "a")
				p := n.connect("a", mqtt.Connack{})
				s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#"})
				p.nc.Write([]byte(w.in))
				if w.v == v5 {
					p.expect(fmt.Sprintf("DISCONNECT reason=0x%02X", byte(w.code)))
				}
				p.expect("end")
				p.nc.Close()
				p = n.connect("a", mqtt.Connack{SessionPresent: true}) // and it comes again
				p.send(message("t", "good", 0, 0))
				if m := next(t, s); string(m.Payload) != "good" {
					t.Errorf("got %q", m.Payload)
				}
			})
		})
	}
}

// TestFirstPackets: CONNECT comes first and alone; nothing but CONNACK is an answer.
func TestFirstPackets(t *testing.T) {
	both(t, "MQTT-3.1.0-1", "MQTT311-3.1.0-1", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		go c.Publish(t.Context(), &Message{Topic: "t", QoS: 1})
		go c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "t"})
		p := n.accept("a")
		p.connect()
		p.quiet()
		p.send(&mqtt.Connack{})
		got := []string{p.receive().String(), p.receive().String()}
		if text := strings.Join(got, " "); !strings.Contains(text, "PUBLISH") || !strings.Contains(text, "SUBSCRIBE") {
			t.Errorf("got %v", got)
		}
	})
	t.Run("MQTT-3.1.2-30", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Auth: new(scripted)}, "a")
			go c.Publish(t.Context(), &Message{Topic: "t", QoS: 1})
			p := n.accept("a")
			p.connect()
			p.quiet()
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: mqtt.Properties(nil).
				AppendString(mqtt.PropAuthenticationMethod, "M").AppendBytes(mqtt.PropAuthenticationData, []byte("1"))})
			p.expect("AUTH reason=0x18")
			p.quiet()
		})
	})
	both(t, "MQTT-3.2.0-1", "MQTT311-3.2.0-1", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		n.client(&Options{Version: v}, "a")
		p := n.accept("a")
		p.connect()
		p.send(message("t", "early", 1, 1))
		if v == mqtt.Version5 {
			p.expect("DISCONNECT reason=0x82")
		}
		p.expect("end")
	})
}

// TestFreshIdentifiers: requests that wait for an answer have different identifiers, none of them 0.
func TestFreshIdentifiers(t *testing.T) {
	both(t, "MQTT-2.2.1-3", "MQTT311-2.3.1-2", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		seen := make(map[uint16]bool)
		for i := range 30 {
			switch i % 3 {
			case 0:
				go c.Publish(t.Context(), &Message{Topic: "t", QoS: 1})
			case 1:
				go c.Publish(t.Context(), &Message{Topic: "t", QoS: 2})
			case 2:
				go c.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: fmt.Sprint("f/", i)})
			}
			var id uint16
			switch q := p.receive().(type) {
			case *mqtt.Publish:
				if id = q.ID; q.Dup {
					t.Errorf("got %v", q)
				}
			case *mqtt.Subscribe:
				id = q.ID
			}
			if id == 0 || seen[id] {
				t.Errorf("identifier %d", id)
			}
			seen[id] = true
		}
	})
}

// TestManyFilters: many subscriptions side by side are routed like few.
func TestManyFilters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(nil, "a")
		p := n.connect("a", mqtt.Connack{})
		var all []*Subscription
		for i := range 50 {
			f := []mqtt.Subscription{{Filter: fmt.Sprint("plain/", i)}, {Filter: fmt.Sprintf("wild/%d/+", i)}}
			all = append(all, subscribe(p, c, nil, f...))
		}
		for i, s := range all {
			p.send(message(fmt.Sprint("plain/", i), fmt.Sprint(i), 0, 0), message(fmt.Sprintf("wild/%d/x", i), fmt.Sprint(i), 0, 0))
			for range 2 {
				if m := next(t, s); string(m.Payload) != fmt.Sprint(i) {
					t.Errorf("subscription %d got %s", i, m.Payload)
				}
			}
		}
		for _, s := range all[:45] {
			s.Close()
		}
	})
}

// TestReceiver: what a client makes of messages that come twice.
func TestReceiver(t *testing.T) {
	start := func(t *testing.T, v mqtt.Version) (*network, *peer, *Subscription) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		return n, p, subscribe(p, c, nil, mqtt.Subscription{Filter: "#", QoS: 2})
	}
	again := func(text string, qos mqtt.QoS, id uint16) *mqtt.Publish {
		m := message("t", text, qos, id)
		m.Dup = true
		return m
	}
	want := func(t *testing.T, s *Subscription, text string) {
		t.Helper()
		if m := next(t, s); string(m.Payload) != text {
			t.Errorf("got %q, want %q", m.Payload, text)
		}
	}
	both(t, "MQTT-4.3.2-5", "MQTT311-4.3.2-2", func(t *testing.T, v mqtt.Version) {
		_, p, s := start(t, v)
		p.send(message("t", "1", 1, 5))
		want(t, s, "1")
		p.expect("PUBACK id=5")
		p.send(again("2", 1, 5))
		want(t, s, "2")
		p.expect("PUBACK id=5")
	})
	both(t, "MQTT-4.3.3-10", "MQTT311-4.3.3-2", func(t *testing.T, v mqtt.Version) {
		n, p, s := start(t, v)
		p.send(message("t", "1", 2, 5))
		want(t, s, "1")
		p.expect("PUBREC id=5")
		p.send(again("1", 2, 5))
		p.expect("PUBREC id=5")
		p.nc.Close()
		p = n.connect("a", mqtt.Connack{SessionPresent: true})
		p.send(again("1", 2, 5))
		p.expect("PUBREC id=5")
		p.send(&mqtt.Pubrel{ID: 5})
		p.expect("PUBCOMP id=5")
		p.send(again("2", 2, 5)) // a new message
		want(t, s, "2")
		p.expect("PUBREC id=5")
	})
	t.Run("MQTT-4.3.3-12", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, p, s := start(t, mqtt.Version5)
			for i := range 3 {
				p.send(again(fmt.Sprint(i), 2, 9))
				want(t, s, fmt.Sprint(i))
				p.expect("PUBREC id=9")
				p.send(&mqtt.Pubrel{ID: 9})
				p.expect("PUBCOMP id=9")
			}
		})
	})
	t.Run("MQTT-4.3.3-13", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, p, s := start(t, mqtt.Version5)
			m := message("t", "1", 2, 9)
			m.Properties = m.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, 1)
			p.send(m)
			want(t, s, "1")
			p.expect("PUBREC id=9")
			time.Sleep(10 * time.Second)
			p.send(&mqtt.Pubrel{ID: 9})
			p.expect("PUBCOMP id=9")
		})
	})
	both(t, "MQTT-4.5.0-2", "MQTT311-4.5.0-2", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		n.client(&Options{Version: v}, "a") // without a subscription
		p := n.connect("a", mqtt.Connack{})
		p.send(message("t", "", 0, 0), message("t", "", 1, 3), message("t", "", 2, 4))
		p.expect("PUBACK id=3", "PUBREC id=4")
		p.send(&mqtt.Pubrel{ID: 4})
		p.expect("PUBCOMP id=4")
	})
}

// TestNoRetransmission: on an open connection nothing is sent again, however long the answer takes.
func TestNoRetransmission(t *testing.T) {
	both(t, "MQTT-4.4.0-1", "MQTT311-4.4.0-1", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v, KeepAlive: -1}, "a")
		p := n.connect("a", mqtt.Connack{})
		for qos := mqtt.QoS(1); qos <= 2; qos++ {
			if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: qos}); err != nil {
				t.Fatal(err)
			}
		}
		p.expect("PUBLISH id=1", "PUBLISH id=2")
		p.send(&mqtt.Pubrec{ID: 2})
		p.expect("PUBREL id=2")
		time.Sleep(24 * time.Hour)
		p.quiet()
	})
	t.Run("MQTT-4.4.0-2", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{})
			for qos := mqtt.QoS(1); qos <= 2; qos++ {
				if _, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: qos}); err != nil {
					t.Fatal(err)
				}
			}
			p.expect("PUBLISH id=1", "PUBLISH id=2")
			p.send(&mqtt.Puback{ID: 1, Reason: mqtt.ReasonQuotaExceeded}, &mqtt.Pubrec{ID: 2, Reason: mqtt.ReasonQuotaExceeded})
			synctest.Wait()
			p.nc.Close()
			p = n.connect("a", mqtt.Connack{SessionPresent: true})
			p.quiet()
		})
	})
}

// TestNoAuth: without an authentication method the client has no word AUTH.
func TestNoAuth(t *testing.T) {
	t.Run("MQTT-4.12.0-7", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(nil, "a")
			p := n.accept("a")
			if k := p.connect(); k.Properties.Has(mqtt.PropAuthenticationMethod) {
				t.Errorf("got %v", k)
			}
			p.send(&mqtt.Connack{})
			synctest.Wait()
			if err := c.Reauthenticate(t.Context()); err == nil {
				t.Error("reauthenticated without a method")
			}
			p.quiet()
		})
	})
}

// TestByteByByte: the client needs no more of a transport than an ordered, lossless stream of bytes.
func TestByteByByte(t *testing.T) {
	both(t, "MQTT-4.2-1", "MQTT311-7.1.2-1", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v}, "a")
		p := n.connect("a", mqtt.Connack{})
		s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#", QoS: 1})
		b, err := mqtt.Append(nil, message("t", strings.Repeat("x", 300), 1, 1), v)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			p.nc.Write(b[i : i+1])
			synctest.Wait()
		}
		if m := next(t, s); len(m.Payload) != 300 {
			t.Errorf("got %d bytes", len(m.Payload))
		}
		p.expect("PUBACK id=1")
	})
}

// TestFrames: the client's side of section 6.
func TestFrames(t *testing.T) {
	// open answers the client's request by hand and returns the connection behind the CONNECT.
	open := func(t *testing.T, v mqtt.Version) (nc io.ReadWriteCloser, r *bufio.Reader, offered string) {
		l := memnet.Listen("ws")
		t.Cleanup(func() { l.Close() })
		var address string
		c, err := New(&Options{Servers: []string{"ws://broker/mqtt"}, ClientID: "c", Version: v, DialContext: memDial(l, &address)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); time.Sleep(time.Minute) })
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		r = bufio.NewReader(conn)
		q, err := http.ReadRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha1.Sum([]byte(q.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		return conn, r, q.Header.Get("Sec-WebSocket-Protocol")
	}
	// frame reads a frame of the client and returns its first byte and its data.
	frame := func(t *testing.T, r *bufio.Reader) (byte, []byte) {
		t.Helper()
		head := make([]byte, 6)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(r, data); err != nil {
			t.Fatal(err)
		}
		for i := range data {
			data[i] ^= head[2+i%4]
		}
		return head[0], data
	}
	connack := map[mqtt.Version]string{mqtt.Version5: "\x20\x03\x00\x00\x00", mqtt.Version311: "\x20\x02\x00\x00"}
	server := func(first byte, data string) []byte { return append([]byte{first, byte(len(data))}, data...) }
	both(t, "MQTT-6.0.0-1", "MQTT311-6.0.0-1", func(t *testing.T, v mqtt.Version) {
		nc, r, _ := open(t, v)
		if first, data := frame(t, r); first != 0x82 || data[0] != 0x10 {
			t.Fatalf("a frame %x of % x", first, data)
		}
		nc.Write(server(0x82, connack[v]))
		nc.Write(server(0x81, "\x32\x05\x00\x01t\x00\x01")) // a text frame
		if first, data := frame(t, r); first != 0x88 {
			t.Errorf("a frame %x of % x", first, data)
		}
	})
	both(t, "MQTT-6.0.0-2", "MQTT311-6.0.0-2", func(t *testing.T, v mqtt.Version) {
		nc, r, _ := open(t, v)
		frame(t, r)
		props := map[mqtt.Version]string{mqtt.Version5: "\x00", mqtt.Version311: ""}[v]
		publish := string(rune(0x32)) + string(rune(5+len(props))) + "\x00\x01t\x00"
		all := connack[v] + publish + "\x01" + props + publish + "\x02" + props
		cut := len(connack[v]) + 3
		nc.Write(append(server(0x82, all[:2]), server(0x82, all[2:cut])...))
		nc.Write(server(0x82, all[cut:]))
		var got []byte
		for len(got) < 8 {
			first, data := frame(t, r)
			if first != 0x82 {
				t.Fatalf("a frame %x of % x", first, data)
			}
			got = append(got, data...)
		}
		if string(got) != "\x40\x02\x00\x01\x40\x02\x00\x02" {
			t.Errorf("answered % x", got)
		}
	})
	both(t, "MQTT-6.0.0-3", "MQTT311-6.0.0-3", func(t *testing.T, v mqtt.Version) {
		if _, _, offered := open(t, v); offered != "mqtt" {
			t.Errorf("the client offers %q", offered)
		}
	})
}
