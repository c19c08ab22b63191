package amqpserver_test

import (
	"bytes"
	"math/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestReadPieces: however the stream is cut into pieces, the messages arrive as they were sent.
func TestReadPieces(t *testing.T) {
	for seed := range int64(20) {
		bubble(t, func(t *testing.T) {
			rnd := rand.New(rand.NewSource(seed))
			b := new(queues)
			var want [][]byte
			got := 0
			b.publish = func(p *amqpserver.Publish) error {
				if !bytes.Equal(p.Body, want[got]) {
					t.Fatalf("seed %d: message %d of %d bytes has changed", seed, got, len(p.Body))
				}
				got++
				return nil
			}
			_, l := serve(t, b, nil)
			p := open(t, l)
			var stream []byte
			for range 40 {
				body := make([]byte, rnd.Intn(1<<uint(2+rnd.Intn(16))))
				rnd.Read(body)
				want = append(want, body)
				stream, _ = amqp091.AppendPublish(stream, 1, "", "q", false)
				stream = amqp091.AppendContentHeader(stream, 1, uint64(len(body)), nil)
				stream = amqp091.AppendBody(stream, 1, body, amqp091.DefaultFrameMax)
			}
			for len(stream) > 0 {
				n := min(len(stream), 1+rnd.Intn(64<<10))
				p.raw(stream[:n])
				stream = stream[n:]
				synctest.Wait()
			}
			equal(t, "messages", got, len(want))
		})
	}
}

// TestHandshakePieces: the handshake may come byte by byte.
func TestHandshakePieces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), nil)
		p := dial(t, l)
		pieces := func(b []byte) {
			for i := range b {
				p.raw(b[i : i+1])
				synctest.Wait()
			}
		}
		method := func(m amqp091.Method) []byte {
			b, err := amqp091.AppendMethod(nil, 0, m)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		pieces([]byte(amqp091.ProtocolHeader))
		if f, ok := p.read(); !ok {
			t.Fatalf("no connection.start: %v", f)
		}
		pieces(method(&amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US"}))
		p.next()
		pieces(method(&amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 131072}))
		pieces(method(&amqp091.ConnectionOpen{VirtualHost: "/"}))
		p.expect("0 connection.open-ok()")
	})
}

// TestSlowFrame: a client that takes its time for a large frame is alive.
func TestSlowFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		got := 0
		b.publish = func(p *amqpserver.Publish) error { got = len(p.Body); return nil }
		_, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{Heartbeat: 5 * time.Second}})
		p := open(t, l)
		stream, _ := amqp091.AppendPublish(nil, 1, "", "q", false)
		stream = amqp091.AppendContentHeader(stream, 1, 130_000, nil)
		stream = amqp091.AppendBody(stream, 1, make([]byte, 130_000), amqp091.DefaultFrameMax)
		for len(stream) > 0 {
			n := min(len(stream), 5000)
			p.raw(stream[:n])
			stream = stream[n:]
			time.Sleep(time.Second)
		}
		synctest.Wait()
		equal(t, "size", got, 130_000)
	})
}

// TestSlowBackend: a client is alive while the backend takes its time, and what it sends is not read.
func TestSlowBackend(t *testing.T) {
	for name, slow := range map[string]func(b *queues) amqpserver.Backend{
		"method": func(b *queues) amqpserver.Backend {
			b.method = func(*amqpserver.Channel, amqp091.Method) error { time.Sleep(30 * time.Second); return nil }
			return b
		},
		"pause": func(b *queues) amqpserver.Backend { return &pausing{b, 30 * time.Second} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := new(queues)
				s, l := serve(t, slow(b), &amqpserver.Options{Limits: amqpserver.Limits{Heartbeat: 5 * time.Second}})
				p := open(t, l)
				p.publish(1, "q", "x")
				p.send(1, &amqp091.QueueDeclare{Queue: "q"})
				for range 20 {
					time.Sleep(2 * time.Second)
					p.raw(amqp091.AppendHeartbeat(nil))
				}
				synctest.Wait()
				equal(t, "connections", s.Stats().Connections, 1)
				time.Sleep(13 * time.Second) // now it is silent, and has two more seconds to take the last frames
				synctest.Wait()
				equal(t, "connections", s.Stats().Connections, 0)
			})
		})
	}
}
