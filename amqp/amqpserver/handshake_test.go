package amqpserver_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// begin dials and sends the protocol header and start-ok.
func begin(t *testing.T, l *memnet.Listener, mechanism, response string, capabilities ...string) *peer {
	t.Helper()
	p := dial(t, l)
	p.raw([]byte(amqp091.ProtocolHeader))
	p.next()
	known := amqp091.Table{}
	for _, c := range capabilities {
		known = append(known, amqp091.Field{Key: c, Value: true})
	}
	p.send(0, &amqp091.ConnectionStartOK{Mechanism: mechanism, Response: []byte(response), Locale: "en_US",
		ClientProperties: amqp091.Table{{Key: "capabilities", Value: known}}})
	return p
}

// ends expects the end of the connection after a while.
func (p *peer) ends(after time.Duration) {
	p.t.Helper()
	start := time.Now()
	p.expect("EOF")
	if took := time.Since(start); took != after {
		p.t.Errorf("the end comes after %v, not %v", took, after)
	}
}

func TestStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), &amqpserver.Options{Properties: amqp091.Table{{Key: "product", Value: "Mine"}, {Key: "x", Value: true}}})
		p := dial(t, l)
		p.raw([]byte(amqp091.ProtocolHeader))
		got := p.next()
		for _, want := range []string{`capabilities={publisher_confirms=true, `, `product="Mine"`, `x=true`, `mechanisms="PLAIN AMQPLAIN"`,
			`version-minor=9`, `locales="en_US"`} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
	})
}

func TestWrongProtocolHeader(t *testing.T) {
	for _, header := range []string{
		string(amqp.Header10), string(amqp.HeaderSASL), string(amqp.HeaderTLS), // what a client of AMQP 1.0 begins with
		string(amqp.HeaderSASL) + "\x00\x00\x00\x10\x02\x01\x00\x00", // and goes on with, without waiting
		"AMQP\x00\x00\x08\x00", "AMQP\x00\x00\x09\x00", "GET / HTTP/1.1\r\n\r\n",
	} {
		bubble(t, func(t *testing.T) {
			s, l := serve(t, new(queues), nil)
			p := dial(t, l)
			p.raw([]byte(header))
			b := make([]byte, 16)
			n, err := p.nc.Read(b)
			equal(t, "header", string(b[:n]), amqp091.ProtocolHeader)
			if err != nil {
				t.Error(err)
			}
			p.ends(0)
			p.nc.Close()
			synctest.Wait()
			equal(t, "refused", s.Stats().Refused, 1)
		})
	}
}

func TestBadCredentials(t *testing.T) {
	const text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
	t.Run("told", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, new(queues), nil)
			p := begin(t, l, "PLAIN", "\x00guest\x00wrong", "authentication_failure_close")
			p.expect(`0 connection.close(reply-code=403, reply-text="` + text + `")`)
			p.send(0, &amqp091.ConnectionCloseOK{})
			p.ends(0)
		})
	})
	t.Run("silent", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, new(queues), nil)
			p := begin(t, l, "PLAIN", "\x00guest\x00wrong")
			p.ends(3 * time.Second)
		})
	})
}

func TestMechanisms(t *testing.T) {
	login := func(t *testing.T, mechanism, response string, want string) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			b.authenticate = func(a *amqpserver.Auth) (string, error) {
				if a.Mechanism != "ANONYMOUS" && (a.User != "u" || a.Password != "p") {
					return "", errors.New("no")
				}
				return "user of " + a.Mechanism, nil
			}
			_, l := serve(t, b, &amqpserver.Options{Mechanisms: []string{"PLAIN", "AMQPLAIN", "ANONYMOUS", "EXTERNAL"}})
			p := begin(t, l, mechanism, response, "authentication_failure_close")
			got := p.next()
			if !strings.HasPrefix(got, want) {
				t.Fatalf("got %s, want %s", got, want)
			}
			if !strings.Contains(want, "tune") {
				return
			}
			p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 1, FrameMax: 4096}, &amqp091.ConnectionOpen{VirtualHost: "/"})
			p.expect(`0 connection.open-ok()`)
			c := b.last().c
			equal(t, "user", c.User()+" "+c.Mechanism()+" "+c.VirtualHost(), "user of "+mechanism+" "+mechanism+" /")
			frameMax, channelMax, heartbeat := c.Tuning()
			equal(t, "tuning", []any{frameMax, channelMax, heartbeat}, []any{4096, 1, time.Duration(0)})
		})
	}
	const tune = `0 connection.tune(channel-max=2047, frame-max=131072, heartbeat=60)`
	t.Run("PLAIN", func(t *testing.T) { login(t, "PLAIN", "\x00u\x00p", tune) })
	t.Run("AMQPLAIN", func(t *testing.T) {
		login(t, "AMQPLAIN", "\x05LOGINS\x00\x00\x00\x01u\x08PASSWORDS\x00\x00\x00\x01p", tune)
	})
	t.Run("ANONYMOUS", func(t *testing.T) { login(t, "ANONYMOUS", "me", tune) })
	t.Run("malformed", func(t *testing.T) { login(t, "PLAIN", "u", `0 connection.close(reply-code=403`) })
	t.Run("EXTERNAL without a certificate", func(t *testing.T) {
		login(t, "EXTERNAL", "", `0 connection.close(reply-code=503, reply-text="COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'"`)
	})
	t.Run("unknown", func(t *testing.T) {
		login(t, "X", "", `0 connection.close(reply-code=503, reply-text="COMMAND_INVALID - unknown authentication mechanism 'X'"`)
	})
}

func TestTuneOK(t *testing.T) {
	for name, m := range map[string]*amqp091.ConnectionTuneOK{
		"frame-max too large":   {ChannelMax: 10, FrameMax: 131_073},
		"frame-max unlimited":   {ChannelMax: 10},
		"frame-max too small":   {ChannelMax: 10, FrameMax: 4095},
		"channel-max too large": {ChannelMax: 2048, FrameMax: 131_072},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, new(queues), nil)
				p := begin(t, l, "PLAIN", "\x00guest\x00guest")
				p.next()
				p.send(0, m, &amqp091.ConnectionOpen{VirtualHost: "/"})
				p.ends(3 * time.Second)
			})
		})
	}
}

func TestVirtualHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, l := serve(t, b, nil)
		p := begin(t, l, "PLAIN", "\x00guest\x00guest")
		p.next()
		p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 131_072}, &amqp091.ConnectionOpen{VirtualHost: "none"})
		p.expect(`0 connection.close(reply-code=530, reply-text="NOT_ALLOWED - vhost none not found", method=connection.open)`)
		p.send(0, &amqp091.ConnectionCloseOK{})
		p.ends(0)
		p.nc.Close()
		synctest.Wait()
		equal(t, "log", b.take(), "")
		equal(t, "refused", s.Stats().Refused, 1)
	})
}

func TestHandshakeTimeout(t *testing.T) {
	for _, step := range []string{"", "AMQP", amqp091.ProtocolHeader} {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, new(queues), nil)
			p := dial(t, l)
			p.raw([]byte(step))
			if len(step) == 8 {
				p.next()
			}
			p.ends(10 * time.Second)
		})
	}
}

func TestHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{Heartbeat: 10 * time.Second}})
		p := open(t, l)
		start := time.Now()
		for i := range 4 {
			p.expect("0 heartbeat")
			equal(t, "time", time.Since(start), time.Duration(i+1)*5*time.Second)
			if i == 1 {
				p.raw(amqp091.AppendHeartbeat(nil)) // after 10 s
			}
		}
		p.expect("0 heartbeat", "EOF") // after 25 and 30
		equal(t, "time", time.Since(start), 30*time.Second)
		synctest.Wait()
		if s := b.last(); !errors.Is(s.cause, &amqp091.Error{Code: amqp091.ConnectionForced}) &&
			!strings.Contains(s.cause.Error(), "missed heartbeats") {
			t.Error(s.cause)
		}
	})
}

func TestUpdateSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), nil)
		p := open(t, l)
		p.send(0, &amqp091.ConnectionUpdateSecret{NewSecret: []byte("s")})
		p.expect(`0 connection.close(reply-code=530, reply-text="NOT_ALLOWED - secrets cannot be updated", method=connection.update-secret)`)
	})
}

func TestMaxConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := serve(t, new(queues), &amqpserver.Options{Limits: amqpserver.Limits{MaxConnections: 2}})
		open(t, l)
		p := open(t, l)
		dial(t, l).expect("EOF")
		p.nc.Close()
		synctest.Wait()
		open(t, l)
		st := s.Stats()
		equal(t, "stats", []int64{st.Accepted, st.Refused, st.Connections}, []int64{4, 1, 2})
	})
}

// TestPipelined sends everything that a client says until it has a consumer at once.
func TestPipelined(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), nil)
		p := dial(t, l)
		b := []byte(amqp091.ProtocolHeader)
		for _, m := range []amqp091.Method{
			&amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest")},
			&amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 4096},
			&amqp091.ConnectionOpen{VirtualHost: "/"},
		} {
			b, _ = amqp091.AppendMethod(b, 0, m)
		}
		for _, m := range []amqp091.Method{&amqp091.ChannelOpen{}, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"}} {
			b, _ = amqp091.AppendMethod(b, 7, m)
		}
		b = appendPublish(b, 7, "q", strings.Repeat("x", 3000), false)
		go p.raw(b)
		p.next()
		p.next()
		p.expect(`0 connection.open-ok()`, `7 channel.open-ok()`, `7 queue.declare-ok(queue="q")`, `7 basic.consume-ok(consumer-tag="c")`,
			`7 basic.deliver(consumer-tag="c", delivery-tag=1, routing-key="q")`, `7 header(body-size=3000)`)
	})
}
