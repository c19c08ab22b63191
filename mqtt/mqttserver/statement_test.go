package mqttserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// both runs a test with a client of version 5 and of version 3.1.1, each named after its statement.
func both(t *testing.T, id5, id311 string, l mqttserver.Limits, f func(w *world, v mqtt.Version)) {
	t.Helper()
	for id, v := range map[string]mqtt.Version{id5: mqtt.Version5, id311: mqtt.Version311} {
		t.Run(id, func(t *testing.T) { limited(t, l, func(w *world) { f(w, v) }) })
	}
}

// upgrade opens a WebSocket connection by hand and returns what the server answered and a reader of frames.
func (w *world) upgrade(protocols string) (net.Conn, *http.Response, *bufio.Reader) {
	w.t.Helper()
	nc := w.dialTo(w.serve(&mqttserver.ListenerOptions{Name: "ws", WebSocket: true}))
	header := ""
	if protocols != "" {
		header = "Sec-WebSocket-Protocol: " + protocols + "\r\n"
	}
	fmt.Fprintf(nc, "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", header)
	r := bufio.NewReader(nc)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return nc, answer, r
}

// frame is one frame of a client, with a mask of zeros.
func frame(first byte, data []byte) []byte {
	return append([]byte{first, 0x80 | byte(len(data)), 0, 0, 0, 0}, data...)
}

const binaryFrame, textFrame = 0x82, 0x81

func TestWebSocketStatements(t *testing.T) {
	connect, _ := mqtt.Append(nil, &mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true}, mqtt.Version5)
	ping := []byte{0xC0, 0}
	both(t, "MQTT-6.0.0-1", "MQTT311-6.0.0-1", mqttserver.Limits{}, func(w *world, _ mqtt.Version) {
		nc, _, r := w.upgrade("mqtt")
		nc.Write(frame(binaryFrame, connect))
		if b, err := r.Peek(3); err != nil || b[0] != binaryFrame || b[2] != 0x20 {
			w.t.Fatalf("the answer is % x, %v", b, err)
		}
		r.Discard(r.Buffered())
		nc.Write(frame(textFrame, ping))
		rest, _ := io.ReadAll(r)
		if len(rest) < 2 || rest[0] != 0x88 { // a frame that closes, no PINGRESP
			w.t.Errorf("after a text frame came % x", rest)
		}
	})
	both(t, "MQTT-6.0.0-2", "MQTT311-6.0.0-2", mqttserver.Limits{}, func(w *world, _ mqtt.Version) {
		nc, _, r := w.upgrade("mqtt")
		all := append(append([]byte{}, connect...), 0xC0, 0, 0xC0, 0, 0xC0)
		nc.Write(append(frame(binaryFrame, all[:5]), frame(binaryFrame, all[5:])...))
		nc.Write(frame(binaryFrame, []byte{0}))
		synctest.Wait()
		r.Peek(1)
		b, _ := r.Peek(r.Buffered())
		if n := strings.Count(string(b), "\xd0\x00"); n != 3 {
			w.t.Errorf("%d PINGRESPs in % x", n, b)
		}
		nc.Close()
	})
	both(t, "MQTT-6.0.0-3", "MQTT311-6.0.0-3", mqttserver.Limits{}, func(w *world, _ mqtt.Version) {
		for _, protocols := range []string{"", "soap", "MQTT", "amqp, xmpp"} {
			if _, answer, _ := w.upgrade(protocols); answer.StatusCode == http.StatusSwitchingProtocols {
				w.t.Errorf("%q is accepted", protocols)
			}
		}
	})
	both(t, "MQTT-6.0.0-4", "MQTT311-6.0.0-4", mqttserver.Limits{}, func(w *world, _ mqtt.Version) {
		for _, protocols := range []string{"mqtt", "chat, mqtt", "mqtt,chat"} {
			nc, answer, _ := w.upgrade(protocols)
			if got := answer.Header.Values("Sec-WebSocket-Protocol"); len(got) != 1 || got[0] != "mqtt" {
				w.t.Errorf("%q is answered with %q", protocols, got)
			}
			nc.Close()
		}
	})
}

// TestTransientError: a client of version 3.1.1 whose message cannot be taken now is not acknowledged, but closed.
func TestTransientError(t *testing.T) {
	t.Run("MQTT311-4.8.0-2", func(t *testing.T) {
		var used atomic.Int64
		limited(t, mqttserver.Limits{MemoryLimit: 1000, MemoryUsed: used.Load}, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "p", Version: mqtt.Version311})
			used.Store(1001)
			time.Sleep(time.Second)
			p.send(publishTo("t", "x", 1, 1))
			p.expectEnd()
		})
	})
}

// TestOwnKeepAlive: without a limit the server uses the client's keep alive and says nothing.
func TestOwnKeepAlive(t *testing.T) {
	t.Run("MQTT-3.2.2-22", func(t *testing.T) {
		for _, seconds := range []uint16{1, 20, 300} {
			bubble(t, nil, nil, func(w *world) {
				p := w.dial()
				if ack := p.connect(&mqtt.Connect{ClientID: "c", KeepAlive: seconds}); ack.Properties.Has(mqtt.PropServerKeepAlive) {
					t.Errorf("got %v", ack)
				}
				begin := time.Now()
				p.nc.SetReadDeadline(time.Time{})
				p.buf = make([]byte, 100)
				n, _ := p.nc.Read(p.buf)
				want := time.Duration(seconds) * 1500 * time.Millisecond
				if d := time.Since(begin); d != want || n == 0 || p.buf[0] != 0xE0 {
					t.Errorf("closed after %v with % x, want %v", d, p.buf[:n], want)
				}
			})
		}
	})
}

// TestNothingAfterDisconnect: after the server's DISCONNECT comes the end, whatever the client still sends.
func TestNothingAfterDisconnect(t *testing.T) {
	for _, id := range []string{"MQTT-3.14.4-1", "MQTT-3.14.4-2"} {
		t.Run(id, func(t *testing.T) {
			bubble(t, nil, nil, func(w *world) {
				p := w.client(&mqtt.Connect{ClientID: "c"})
				p.subscribe("t", 1)
				var b []byte
				b = append(b, 0xC1, 0) // malformed
				for i := range uint16(5) {
					b, _ = mqtt.Append(b, publishTo("t", "x", 1, i+1), mqtt.Version5)
					b = append(b, 0xC0, 0)
				}
				p.write(b)
				p.expectDisconnect(malformed)
			})
		})
	}
}

// TestNoMethod: a client without authentication method gets neither AUTH nor a method, even from a server that has one.
func TestNoMethod(t *testing.T) {
	t.Run("MQTT-4.12.0-6", func(t *testing.T) {
		bubbleWith(t, new(challenger), nil, func(w *world) {
			p := w.dial()
			if ack := p.connect(&mqtt.Connect{ClientID: "c"}); ack.Properties.Has(mqtt.PropAuthenticationMethod) {
				t.Errorf("got %v", ack)
			}
			p.send(&mqtt.Pingreq{})
			p.expect(&mqtt.Pingresp{})
		})
	})
	t.Run("MQTT-4.12.0-2", func(t *testing.T) { // and one with a method gets 0x18 until it is in
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("42")})
			if ack, ok := p.recv().(*mqtt.Connack); !ok || ack.Reason != mqtt.ReasonSuccess {
				t.Errorf("got %v", ack)
			} else if m, _ := ack.Properties.String(mqtt.PropAuthenticationMethod); m != "riddle" {
				t.Errorf("method %q", m)
			}
		})
	})
	t.Run("MQTT-4.12.1-2", func(t *testing.T) {
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("42")})
			p.recv()
			p.send(&mqtt.Auth{Reason: mqtt.ReasonReauthenticate, Properties: authProps("")})
			p.expectAuth(mqtt.ReasonContinueAuthentication, "what?")
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("wrong")})
			p.expectDisconnect(mqtt.ReasonNotAuthorized)
		})
	})
	t.Run("MQTT-4.12.1-1", func(t *testing.T) { // another method than that of CONNECT
		challenged(t, func(w *world, p *peer) {
			p.send(&mqtt.Auth{Reason: mqtt.ReasonContinueAuthentication, Properties: authProps("42")})
			p.recv()
			other := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "other")
			p.send(&mqtt.Auth{Reason: mqtt.ReasonReauthenticate, Properties: other})
			if d, ok := p.recv().(*mqtt.Disconnect); !ok || !d.Reason.IsError() {
				t.Errorf("got %v", d)
			}
			p.expectEnd()
		})
	})
}

// TestIdentifiersOfRequests: SUBACK and UNSUBACK carry whatever identifier the request had.
func TestIdentifiersOfRequests(t *testing.T) {
	both(t, "MQTT-2.2.1-6", "MQTT311-2.3.1-7", mqttserver.Limits{}, func(w *world, v mqtt.Version) {
		p := w.client(&mqtt.Connect{ClientID: "c", Version: v})
		for _, id := range []uint16{1, 7, 256, 65535} {
			p.send(&mqtt.Subscribe{ID: id, Filters: []mqtt.Subscription{{Filter: "t"}}}, &mqtt.Unsubscribe{ID: id, Filters: []string{"t"}})
			s, ok := p.recv().(*mqtt.Suback)
			u, also := p.recv().(*mqtt.Unsuback)
			if !ok || !also || s.ID != id || u.ID != id {
				w.t.Errorf("%d: %v, %v", id, s, u)
			}
		}
	})
}
