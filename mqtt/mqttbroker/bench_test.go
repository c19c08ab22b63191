package mqttbroker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// benchACL is an access control list like one in use.
const benchACL = "topic readwrite bench/#\ntopic deny bench/secret/#\npattern readwrite devices/%c/#\n"

// benchBroker serves a broker with an access control list on loopback.
func benchBroker(tb testing.TB) (b *Broker, addr string) {
	tb.Helper()
	list, err := parseACL(strings.NewReader(benchACL))
	if err != nil {
		tb.Fatal(err)
	}
	b, err = New(&Options{
		Authenticate: AllowAll, SysInterval: -1,
		Authorize: func(c *Client) Permissions { return list.rules(c).decide },
	})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := mqttserver.New(b, nil)
	go server.Serve(l, nil)
	tb.Cleanup(func() {
		server.Close()
		b.Close()
	})
	return b, l.Addr().String()
}

// benchConn connects and, with filters, subscribes.
func benchConn(tb testing.TB, addr, id string, qos mqtt.QoS, filters ...string) net.Conn {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	send(tb, conn, &mqtt.Connect{Version: mqtt.Version311, ClientID: id, CleanStart: true})
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		tb.Fatal(err)
	}
	if len(filters) > 0 {
		s := &mqtt.Subscribe{ID: 1}
		for _, f := range filters {
			s.Filters = append(s.Filters, mqtt.Subscription{Filter: f, QoS: qos})
		}
		send(tb, conn, s)
		if _, err := io.ReadFull(conn, make([]byte, 4+len(filters))); err != nil {
			tb.Fatal(err)
		}
	}
	return conn
}

func send(tb testing.TB, conn net.Conn, p mqtt.Packet) {
	tb.Helper()
	b, err := mqtt.Append(nil, p, mqtt.Version311)
	if err == nil {
		_, err = conn.Write(b)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// encoded returns n PUBLISH packets with 256 bytes each.
func encoded(tb testing.TB, n int, qos mqtt.QoS, topic func(i int) string) []byte {
	var out []byte
	var err error
	for i := range n {
		p := &mqtt.Publish{Topic: []byte(topic(i)), Payload: bytes.Repeat([]byte("x"), 256), QoS: qos}
		if qos > 0 {
			p.ID = uint16(i + 1)
		}
		if out, err = mqtt.AppendPublish(out, p, mqtt.Version311); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

// BenchmarkBroker measures the whole broker on loopback; the load generator shares the cores.
func BenchmarkBroker(b *testing.B) {
	same := func(int) string { return "bench/t" }
	b.Run("1to1/qos0", func(b *testing.B) {
		_, addr := benchBroker(b)
		sub := benchConn(b, addr, "sub", 0, "bench/t")
		benchStream(b, benchConn(b, addr, "pub", 0), same, sub)
	})
	b.Run("1to200/qos0", func(b *testing.B) {
		_, addr := benchBroker(b)
		var subs []net.Conn
		for i := range 200 {
			subs = append(subs, benchConn(b, addr, fmt.Sprint("sub", i), 0, "bench/t"))
		}
		benchStream(b, benchConn(b, addr, "pub", 0), same, subs...)
	})
	b.Run("wildcards/qos0", func(b *testing.B) {
		const filters = 100_000
		broker, addr := benchBroker(b)
		sub := benchConn(b, addr, "sub", 0)
		s := broker.sessions["sub"]
		for i := range filters {
			f := fmt.Sprint("bench/d", i, "/+/cmd")
			broker.subscribe(s, mqtt.Subscription{Filter: f}, f, makeOptions(mqtt.Subscription{Filter: f}, 0, Allow), 0)
		}
		i := 0
		spread := func(int) string { i += 97; return fmt.Sprintf("bench/d%d/7/cmd", i%filters) }
		benchStream(b, benchConn(b, addr, "pub", 0), spread, sub)
	})
	b.Run("1to1/qos1", func(b *testing.B) { benchAcked(b, 1) })
	b.Run("1to1/qos2", func(b *testing.B) { benchAcked(b, 2) })
}

// benchStream publishes at QoS 0 as fast as it can. An operation is a delivery.
func benchStream(b *testing.B, pub net.Conn, topic func(i int) string, subs ...net.Conn) {
	const batch = 500
	out := encoded(b, batch, 0, topic)
	n := (b.N + batch*len(subs) - 1) / (batch * len(subs))
	done := make(chan error, len(subs))
	for _, sub := range subs {
		go func() {
			_, err := io.CopyN(io.Discard, sub, int64(n)*int64(len(out)))
			done <- err
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		pub.Write(out)
	}
	for range subs {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*batch*len(subs))/b.Elapsed().Seconds(), "msg/s")
}

// benchAcked publishes in windows of 100 and acknowledges what comes.
func benchAcked(b *testing.B, qos mqtt.QoS) {
	const window = 100
	_, addr := benchBroker(b)
	sub := benchConn(b, addr, "sub", qos, "bench/t")
	pub := benchConn(b, addr, "pub", 0)
	out := encoded(b, window, qos, func(int) string { return "bench/t" })
	var acks, rels, comps []byte
	for i := range window {
		id := uint16(i + 1)
		acks, _ = mqtt.Append(acks, &mqtt.Pubrec{ID: id}, mqtt.Version311)
		rels, _ = mqtt.Append(rels, &mqtt.Pubrel{ID: id}, mqtt.Version311)
		comps, _ = mqtt.Append(comps, &mqtt.Pubcomp{ID: id}, mqtt.Version311)
	}
	n := (b.N + window - 1) / window
	done := make(chan error, 1)
	go func() { done <- answerAll(sub, n*window, qos) }()
	buf := make([]byte, len(acks))
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		pub.Write(out)
		io.ReadFull(pub, buf)
		if qos == mqtt.QoS2 {
			pub.Write(rels)
			io.ReadFull(pub, buf)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n*window)/b.Elapsed().Seconds(), "msg/s")
}

// answerAll reads n messages and completes them.
func answerAll(conn net.Conn, n int, qos mqtt.QoS) error {
	dec := mqtt.Decoder{From: mqtt.Server}
	in := make([]byte, 0, 256<<10)
	var out []byte
	for open := n; open > 0; {
		k, err := conn.Read(in[len(in):cap(in)])
		if err != nil {
			return err
		}
		in, out = in[:len(in)+k], out[:0]
		rest := in
		for {
			p, size, err := dec.Decode(rest, mqtt.Version311)
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			rest = rest[size:]
			switch p := p.(type) {
			case *mqtt.Publish:
				if qos == mqtt.QoS1 {
					out, _ = mqtt.Append(out, &mqtt.Puback{ID: p.ID}, mqtt.Version311)
					open--
				} else {
					out, _ = mqtt.Append(out, &mqtt.Pubrec{ID: p.ID}, mqtt.Version311)
				}
			case *mqtt.Pubrel:
				out, _ = mqtt.Append(out, &mqtt.Pubcomp{ID: p.ID}, mqtt.Version311)
				open--
			}
		}
		in = append(in[:0], rest...)
		conn.Write(out)
	}
	return nil
}
