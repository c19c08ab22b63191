package amqpclient091

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/memnet"
)

func TestLogin(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var got *amqp091.ConnectionStartOK
		s.start = func(p *peer, m *amqp091.ConnectionStartOK) bool { got = m; return false }
		for _, test := range []struct {
			url       string
			o         Options
			offer     string
			mechanism string
			response  string
		}{
			{"mem://s", Options{}, "PLAIN AMQPLAIN", "PLAIN", "\x00guest\x00guest"},
			{"mem://u%40:p%3a@s", Options{}, "AMQPLAIN PLAIN", "PLAIN", "\x00u@\x00p:"},
			{"mem://u@s", Options{}, "PLAIN", "PLAIN", "\x00u\x00guest"},
			{"mem://u:p@s", Options{Username: "v", Password: "q"}, "PLAIN", "PLAIN", "\x00v\x00q"},
			{"mem://s?auth_mechanism=external", Options{}, "PLAIN EXTERNAL", "EXTERNAL", ""},
			{"mem://s", Options{Mechanisms: []string{"EXTERNAL", "AMQPLAIN"}}, "PLAIN AMQPLAIN", "AMQPLAIN",
				"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"},
			{"mem://s", Options{Mechanisms: []string{"ANONYMOUS"}}, "ANONYMOUS", "ANONYMOUS", ""},
			{"mem://s", Options{Credentials: func(context.Context, *url.URL) (string, string, error) { return "t", "oken", nil }},
				"PLAIN", "PLAIN", "\x00t\x00oken"},
		} {
			s.mu.Lock()
			s.offer = test.offer
			s.mu.Unlock()
			o := test.o
			o.Dialers = map[string]DialFunc{"mem": s.dial}
			c, err := Dial(t.Context(), test.url, &o)
			check(t, err)
			if got.Mechanism != test.mechanism || string(got.Response) != test.response {
				t.Errorf("%s: %s %q", test.url, got.Mechanism, got.Response)
			}
			check(t, c.Shutdown(t.Context()))
		}
		o := &Options{Dialers: map[string]DialFunc{"mem": s.dial}, Mechanisms: []string{"EXTERNAL"}}
		_, err := Dial(t.Context(), "mem://s", o)
		if e, ok := errors.AsType[*MechanismError](err); !ok || e.Offered[0] != "PLAIN" || DefaultRetry(err) {
			t.Fatal(err)
		}
	})
}

func TestLoginRefused(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.start = func(p *peer, m *amqp091.ConnectionStartOK) bool { p.m.Refuse(time.Now(), nil); return true }
		c, err := New(&Options{Servers: []string{"mem://s"}, Dialers: map[string]DialFunc{"mem": s.dial}})
		check(t, err)
		<-c.Done() // it gives up
		if err := c.Err(); !errors.Is(err, ErrClosed) || !isCode(err, amqp091.AccessRefused) {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), &Message{}); !isCode(err, amqp091.AccessRefused) || !SafeToRetry(err) {
			t.Fatal(err)
		}
	})
}

// Several servers are tried in turn, and the client waits longer and longer between rounds.
func TestServers(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var dials []string
		var waits []time.Duration
		up := false
		o := &Options{
			Servers: []string{"mem://a", "mem://u:secret@b"},
			Backoff: Backoff{Min: time.Second, Max: time.Minute, Seed: 1},
			Dialers: map[string]DialFunc{"mem": func(ctx context.Context, u *url.URL) (net.Conn, error) {
				if u.Host == "b" && up {
					return s.dial(ctx, u)
				}
				return nil, errors.New("unreachable")
			}},
			Trace: &Trace{
				Dial:    func(u *url.URL) { dials = append(dials, u.String()) },
				Backoff: func(d time.Duration) { waits = append(waits, d); up = len(waits) == 8 },
			},
		}
		c, err := New(o)
		check(t, err)
		check(t, c.Connected(t.Context()))
		if len(dials) != 18 || dials[16] != "mem://a" || dials[17] != "mem://u@b" {
			t.Fatal(dials)
		}
		for i, d := range waits {
			if d > min(time.Second<<i, time.Minute) {
				t.Fatal(waits)
			}
		}
		if i, ok := c.Info(); !ok || i.Server.String() != "mem://u@b" || i.Heartbeat != 10*time.Second {
			t.Fatal(i, ok)
		}
		check(t, c.Shutdown(t.Context()))
		if _, err := Dial(t.Context(), "mem://a", &Options{Dialers: o.Dialers}); err == nil || err.Error() != "unreachable" {
			t.Fatal(err)
		}
	})
}

// A server that says nothing at all, at each step of the handshake.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []string{"", "\x01\x00\x00", "AMQP"} {
			l := memnet.Listen("silent")
			go func() {
				nc, err := l.Accept()
				if err == nil {
					io.WriteString(nc, answer)
					io.Copy(io.Discard, nc)
					nc.Close()
				}
			}()
			begin := time.Now()
			_, err := Dial(t.Context(), "mem://silent?connection_timeout=3000", &Options{
				Dialers: map[string]DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
			})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
				t.Fatal(err, time.Since(begin))
			}
			l.Close()
			synctest.Wait()
		}
	})
}

// Bytes that are no AMQP, or the wrong AMQP.
func TestBadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ answer, want string }{
			{"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown frame type"},
			{"AMQP\x00\x01\x00\x00", "another protocol"},
			{"\x01\x00\x00\x7f\xff\xff\xff", "larger than"},
			{"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0b\xce", ""},
			{"", ""},
		} {
			l := memnet.Listen("bad")
			go func() {
				nc, err := l.Accept()
				if err == nil {
					io.WriteString(nc, test.answer)
					nc.Close()
				}
			}()
			_, err := Dial(t.Context(), "mem://bad", &Options{
				Dialers: map[string]DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: %v", test.answer, err)
			}
			l.Close()
			synctest.Wait()
		}
	})
}

// Rules that a server breaks end the connection with a code, and the next one works.
func TestViolations(t *testing.T) {
	for _, test := range []struct {
		name string
		f    func(s *broker, k *fakeConsumer)
	}{
		{"prefetch", func(s *broker, k *fakeConsumer) {
			for tag := range uint64(1000) {
				k.p.out, _ = amqp091.AppendDeliver(k.p.out, k.ch.ID(), k.s.Tag(), tag+1, false, "", "q")
				k.p.out = amqp091.AppendContentHeader(k.p.out, k.ch.ID(), 0, nil)
			}
		}},
		{"tag", func(s *broker, k *fakeConsumer) {
			k.p.out, _ = amqp091.AppendDeliver(k.p.out, k.ch.ID(), k.s.Tag(), 77, false, "", "q")
			k.p.out = amqp091.AppendContentHeader(k.p.out, k.ch.ID(), 0, nil)
		}},
		{"consumer", func(s *broker, k *fakeConsumer) {
			k.p.out, _ = amqp091.AppendDeliver(k.p.out, k.ch.ID(), "no such", 1, false, "", "q")
			k.p.out = amqp091.AppendContentHeader(k.p.out, k.ch.ID(), 0, nil)
		}},
		{"confirm", func(s *broker, k *fakeConsumer) { k.p.out = amqp091.AppendAck(k.p.out, k.ch.ID(), 1, false) }},
		{"channel", func(s *broker, k *fakeConsumer) { k.p.out = amqp091.AppendAck(k.p.out, 99, 1, false) }},
		{"frame", func(s *broker, k *fakeConsumer) { k.p.out = append(k.p.out, "\x01\x00\x01\x7f\xff\xff\xff"...) }},
		{"answer", func(s *broker, k *fakeConsumer) {
			k.p.out, _ = amqp091.AppendMethod(k.p.out, k.ch.ID(), &amqp091.QueueDeclareOK{})
		}},
		{"get", func(s *broker, k *fakeConsumer) {
			k.p.out, _ = amqp091.AppendGetOK(k.p.out, k.ch.ID(), 1, false, "", "", 0)
		}},
		{"update secret", func(s *broker, k *fakeConsumer) {
			k.p.out, _ = amqp091.AppendMethod(k.p.out, 0, &amqp091.ConnectionUpdateSecretOK{})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "frame" {
				oneStream(t, "the bridge waits for the end of the frame")
			}
			run(t, func(t *testing.T, s *broker) {
				s.queue("q")
				c := s.client(nil)
				k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Prefetch: 5})
				check(t, err)
				s.took()
				s.do(func() { test.f(s, s.consumer("q")) })
				synctest.Wait()
				time.Sleep(3 * time.Second)
				if got := s.took(); !strings.HasPrefix(got, "1 connection.close 5") {
					t.Fatal(got)
				}
				s.put("q", "good")
				d := take(t, k, 1)[0]
				if string(d.Body) != "good" {
					t.Fatalf("%+v", d)
				}
				check(t, d.Ack())
			})
		})
	}
}

// A server that asks and does not read the answers is given up before they take much memory.
func TestFlood(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		var why error
		c := s.client(&Options{Trace: &Trace{Disconnected: func(err error) {
			if why == nil {
				why = err
			}
		}}})
		_, err := c.Channel(t.Context(), nil)
		check(t, err)
		flow, _ := amqp091.AppendMethod(nil, 1, &amqp091.ChannelFlow{Active: true})
		s.do(func() {
			s.last().deaf = true
			s.last().out = bytes.Repeat(flow, 1<<20)
		})
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"})) // maybe on the next connection
		later()
		if why != errFlood {
			t.Fatal(why)
		}
	})
}

// The server goes silent: the connection is given up after two heartbeats, and calls do not hang.
func TestHeartbeat(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		time.Sleep(time.Hour)
		if st := c.Stats(); st.Connects != 1 {
			t.Fatalf("%+v", st)
		}
		begin := time.Now()
		s.do(func() { s.last().mute, s.last().stalled = true, true })
		_, err := c.DeclareQueue(t.Context(), Queue{Name: "r"})
		check(t, err) // on the next connection
		if d := time.Since(begin); d < 10*time.Second || d > 21*time.Second {
			t.Fatal(d)
		}
	})
}

// Close does not wait for a server that reads nothing and says nothing; Shutdown does, as long as ctx allows.
func TestClose(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		for _, shutdown := range []bool{false, true} {
			c := s.client(nil)
			k, err := c.Consume(t.Context(), "q", nil)
			check(t, err)
			p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "nowhere"})
			check(t, err)
			check(t, p.Wait(t.Context()))
			s.do(func() { s.last().stalled = true })
			p, err = c.PublishAsync(t.Context(), &Message{RoutingKey: "nowhere"})
			check(t, err)
			begin := time.Now()
			if shutdown {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				if err := c.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 500*time.Millisecond {
					t.Fatal(err, time.Since(begin))
				}
			} else {
				check(t, c.Close())
				if time.Since(begin) != 0 {
					t.Fatal(time.Since(begin))
				}
			}
			if err := p.Wait(t.Context()); !isUnknown(err) {
				t.Fatal(err)
			}
			if _, err := rest(t, k); !errors.Is(err, ErrClosed) && !(shutdown && err == nil) {
				t.Fatal(err)
			}
			_, err = c.Channel(t.Context(), nil)
			if !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			check(t, c.Close())
		}
	})
}

// Shutdown waits for confirms and sends acknowledgements before the end.
func TestShutdown(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 5)
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Prefetch: 3})
		check(t, err)
		for _, d := range take(t, k, 2) {
			check(t, d.Ack())
		}
		s.do(func() { s.hold = true })
		var seqs []func()
		s.do(func() {
			s.publish = func(p *peer, ch *amqp091.Channel, e *amqp091.Event) bool {
				seq := e.Seq
				seqs = append(seqs, func() { ch.Confirm(seq, true) })
				return true
			}
		})
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "nowhere"})
		check(t, err)
		time.AfterFunc(time.Minute, func() { s.do(func() { seqs[0]() }) })
		begin := time.Now()
		check(t, c.Shutdown(t.Context()))
		check(t, p.Err())
		if d := time.Since(begin); d != time.Minute {
			t.Fatal(d)
		}
		synctest.Wait()
		if got := s.bodies("q"); got != "2 3 4" {
			t.Fatal(got)
		}
	})
}

func TestUpdateSecret(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		check(t, c.UpdateSecret(t.Context(), "token", "expires"))
		if got := s.took(); !strings.Contains(got, "update-secret") || strings.Contains(got, "token") {
			t.Fatal(got)
		}
	})
}

func TestTooManyChannels(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(&Options{Limits: Limits{ChannelMax: 3}})
		var all []*Channel
		for range 3 {
			ch, err := c.Channel(t.Context(), nil)
			check(t, err)
			all = append(all, ch)
		}
		if _, err := c.Channel(t.Context(), nil); !errors.Is(err, ErrTooManyChannels) {
			t.Fatal(err)
		}
		if _, err := c.DeclareQueue(t.Context(), Queue{}); !errors.Is(err, ErrTooManyChannels) {
			t.Fatal(err)
		}
		check(t, all[0].Close())
		time.Sleep(time.Second)
		_, err := c.DeclareQueue(t.Context(), Queue{})
		check(t, err)
	})
}

func TestCall(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		// The broker of the tests has no direct replies: this is what RabbitMQ does.
		replying := true
		s.do(func() {
			s.publish = func(p *peer, ch *amqp091.Channel, e *amqp091.Event) bool {
				t := e.Content
				if string(t.RoutingKey) == "nowhere" {
					return false
				}
				ch.Confirm(e.Seq, true)
				if !replying {
					return true
				}
				id, _ := t.Properties.CorrelationID()
				props, _ := (&amqp091.Properties{CorrelationID: string(id)}).Append(nil)
				var tag string
				for _, l := range s.log {
					if _, rest, ok := strings.Cut(l, `queue="amq.rabbitmq.reply-to", consumer-tag="`); ok {
						tag, _, _ = strings.Cut(rest, `"`)
					}
				}
				p.out, _ = amqp091.AppendDeliver(p.out, ch.ID(), tag, 1, false, "", "amq.rabbitmq.reply-to.x")
				p.out = amqp091.AppendContentHeader(p.out, ch.ID(), uint64(len(t.Body)), props)
				p.out = amqp091.AppendBody(p.out, ch.ID(), t.Body, p.m.FrameMax())
				return true
			}
		})
		for i := range 3 {
			d, err := c.Call(t.Context(), &Message{RoutingKey: "service", Body: fmt.Append(nil, i)})
			if err != nil || string(d.Body) != fmt.Sprint(i) {
				t.Fatal(d, err)
			}
		}
		_, err := c.Call(t.Context(), &Message{RoutingKey: "nowhere"})
		if _, ok := errors.AsType[*ReturnedError](err); !ok {
			t.Fatal(err)
		}
		s.do(func() { replying = false })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, &Message{RoutingKey: "service"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, s.drop)
		if _, err := c.Call(t.Context(), &Message{RoutingKey: "service"}); !isUnknown(err) {
			t.Fatal(err)
		}
		s.do(func() { replying = true })
		_, err = c.Call(t.Context(), &Message{RoutingKey: "service"})
		check(t, err)
		if err := c.Reply(t.Context(), &Delivery{}, &Message{}); !SafeToRetry(err) {
			t.Fatal(err)
		}
		props, _ := (&amqp091.Properties{ReplyTo: "q", CorrelationID: "7"}).Append(nil)
		s.do(func() { s.publish = nil })
		s.queue("q")
		check(t, c.Reply(t.Context(), &Delivery{Raw: props}, &Message{Body: []byte("reply")}))
		if got := s.bodies("q"); got != "reply" {
			t.Fatal(got)
		}
	})
}
