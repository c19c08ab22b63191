package amqptest_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

func TestPeersConverse(t *testing.T) {
	client, server := open(t, nil)
	client.Send(1, &amqp091.QueueDeclare{Queue: "q"})
	server.Expect(1, &amqp091.QueueDeclare{Queue: "q"})
	server.Send(1, &amqp091.QueueDeclareOK{Queue: "q"})
	if got := client.Receive(1, amqp091.IDQueueDeclareOK).(*amqp091.QueueDeclareOK); got.Queue != "q" {
		t.Errorf("got %v", got)
	}
	full := hello("one")
	full.Properties = amqp091.Properties{ContentType: "text/plain", DeliveryMode: amqp091.Persistent, Headers: amqp091.Table{{Key: "n", Value: 1}}}
	client.Send(1, full, hello(""), hello("three"))
	server.Expect(1, full, hello(""))
	if got := server.ReceiveContent(1, amqp091.IDBasicPublish); string(got.Body) != "three" {
		t.Errorf("got %v", got)
	}
	server.Send(1, &amqp091.BasicAck{DeliveryTag: 3, Multiple: true})
	if channel, m := client.Next(); channel != 1 || m.String() != "basic.ack(delivery-tag=3, multiple)" {
		t.Errorf("got %d %v", channel, m)
	}
	client.Send(0, &amqp091.ConnectionClose{ReplyCode: amqp091.ReplySuccess})
	server.Expect(0, &amqp091.ConnectionClose{ReplyCode: amqp091.ReplySuccess})
	server.Send(0, &amqp091.ConnectionCloseOK{})
	server.Close()
	client.Expect(0, &amqp091.ConnectionCloseOK{})
	client.ExpectClose()
}

func TestPeersOpen(t *testing.T) {
	client, server := pair(t)
	h := &amqptest.Handshake{
		Properties: amqp091.Table{{Key: "product", Value: "p"}}, User: "u", Password: "p", VirtualHost: "v",
		ChannelMax: 7, FrameMax: 5000, Heartbeat: 3 * time.Second,
	}
	accepted := make(chan *amqptest.Opening)
	go func() { accepted <- server.Accept(h) }()
	asked, given := client.Open(h), <-accepted
	for _, o := range []*amqptest.Opening{asked, given} {
		if got, _ := o.Start.ServerProperties.Get("product"); got != "p" {
			t.Errorf("server %v", o.Start)
		}
		if got, _ := o.StartOK.ClientProperties.Get("product"); got != "p" || string(o.StartOK.Response) != "\x00u\x00p" {
			t.Errorf("client %v", o.StartOK)
		}
		for _, got := range []string{o.Tune.String(), o.TuneOK.String()} {
			if _, got, _ = strings.Cut(got, "("); got != "channel-max=7, frame-max=5000, heartbeat=3)" {
				t.Errorf("limits %s", got)
			}
		}
		if o.Open.VirtualHost != "v" {
			t.Errorf("virtual host %v", o.Open)
		}
	}
}

func TestPeerSplitsBodies(t *testing.T) {
	client, server := open(t, &amqptest.Handshake{FrameMax: 4096})
	body := bytes.Repeat([]byte("0123456789"), 1000)
	want := hello(string(body))
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Send(1, want)
	}()
	server.Expect(1, want)
	<-done

	// Another split is the same message; frames of other channels may come between.
	raw, _ := amqp091.AppendPublish(nil, 1, "", "q", false)
	raw = amqp091.AppendContentHeader(raw, 1, 5, nil)
	raw = amqp091.AppendBody(raw, 1, []byte("he"), 0)
	raw, _ = amqp091.AppendMethod(raw, 2, &amqp091.ChannelOpen{})
	raw = amqp091.AppendHeartbeat(raw)
	raw = amqp091.AppendBody(raw, 1, []byte("llo"), 0)
	client.SendBytes(raw...)
	server.Expect(2, &amqp091.ChannelOpen{})
	server.Expect(1, hello("hello"))
}

func TestPeerIgnoresTheOrderOfFields(t *testing.T) {
	client, server := pair(t)
	inner := amqp091.Table{{Key: "x", Value: 1}, {Key: "y", Value: "2"}}
	renni := amqp091.Table{{Key: "y", Value: "2"}, {Key: "x", Value: 1}}
	a := &amqp091.QueueDeclare{Queue: "q", Arguments: amqp091.Table{{Key: "a", Value: true}, {Key: "b", Value: []any{inner}}}}
	b := &amqp091.QueueDeclare{Queue: "q", Arguments: amqp091.Table{{Key: "b", Value: []any{renni}}, {Key: "a", Value: true}}}
	c, d := hello("x"), hello("x")
	c.Properties.Headers, d.Properties.Headers = a.Arguments, b.Arguments
	client.Send(1, a, c)
	server.Expect(1, b, d)
	if !a.Arguments.Equal(b.Arguments) || b.Arguments[0].Key != "b" || renni[0].Key != "y" {
		t.Errorf("Expect has changed what it expects: %v", b)
	}
}

func TestPeerHeaders(t *testing.T) {
	client, server := pair(t)
	client.SendHeader(amqp.Header10)
	server.ExpectHeader(amqp.Header10)
	server.SendHeader(amqp.Header091)
	client.ExpectHeader(amqp.Header091)
	client.SendHeader("AMQP\x01\x02\x03\x04")
	server.ExpectHeader("AMQP\x01\x02\x03\x04")
}

func TestPeerHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		client.SendHeartbeat()
		server.ExpectHeartbeat(time.Second)
		client.SendHeartbeat()
		client.Send(1, ack(1))
		server.Expect(1, ack(1))
		client.SendHeartbeat()
		server.ExpectSilence(time.Hour)
		client.SendHeartbeat()
		client.Close()
		server.ExpectClose()
	})
}

func TestPeerFailures(t *testing.T) {
	type peer = *amqptest.Peer
	tests := []struct {
		name string
		play func(client, server peer)
		want []string
	}{
		{"other argument", func(c, s peer) { c.Send(1, ack(1), ack(2)); s.Expect(1, ack(1), ack(3)) },
			[]string{"got  1 basic.ack(delivery-tag=2)", "want 1 basic.ack(delivery-tag=3)",
				"diff 1 [-basic.ack(delivery-tag=3)-] {+basic.ack(delivery-tag=2)+}",
				"the last frames:\n\tgot  1 basic.ack(delivery-tag=1)\n\tgot  1 basic.ack(delivery-tag=2)"}},
		{"other channel", func(c, s peer) { c.Send(1, ack(1)); s.Expect(2, ack(1)) }, []string{"diff [-2-] {+1+} basic.ack"}},
		{"other body", func(c, s peer) { c.Send(1, hello("one")); s.Expect(1, hello("two")) },
			[]string{`diff 1 basic.publish(routing-key="q") header(body-size=3) body [-3:"two"-] {+3:"one"+}`}},
		{"other property", func(c, s peer) {
			m := hello("one")
			m.Properties.Priority = 3
			c.Send(1, m)
			s.Expect(1, hello("one"))
		}, []string{`[-header(body-size=3)-] {+header(body-size=3,+} {+priority=3)+} body 3:"one"`}},
		{"other body beyond the text", func(c, s peer) {
			long := strings.Repeat("x", 100)
			c.Send(1, hello(long+"a"))
			s.Expect(1, hello(long+"b"))
		}, []string{"the bytes differ (- want, + got)", "- 00000070", "+ 00000070"}},
		{"other method", func(c, s peer) { c.Send(1, ack(1)); s.Receive(1, amqp091.IDBasicNack) },
			[]string{"got 1 basic.ack(delivery-tag=1), want 1 basic.nack"}},
		{"no content", func(c, s peer) { c.Send(1, ack(1)); s.ReceiveContent(1, amqp091.IDBasicAck) },
			[]string{"basic.ack(delivery-tag=1) has no content"}},
		{"nothing", func(c, s peer) { s.Expect(1, ack(1)) }, []string{"timeout, want 1 basic.ack(delivery-tag=1)"}},
		{"close", func(c, s peer) { c.Close(); s.Expect(1, ack(1)) }, []string{"EOF, want 1 basic.ack(delivery-tag=1)"}},
		{"close within a frame", func(c, s peer) { c.SendBytes(1, 0, 1, 0); c.Close(); s.Next() },
			[]string{"ended within a frame", "01 00 01 00", "want a method", "EOF"}},
		{"close within a content", func(c, s peer) {
			c.SendBytes(amqp091.AppendContentHeader(publish(), 1, 3, nil)...)
			c.Close()
			s.Next()
		}, []string{`the content of 1 basic.publish(routing-key="q") header(body-size=0) is not complete: EOF`}},
		{"no frame", func(c, s peer) { c.SendBytes([]byte("HTTP/1.1")...); s.Next() },
			[]string{"cannot decode what came", "unknown frame type 72", "48 54 54 50"}},
		{"unknown method", func(c, s peer) {
			c.SendBytes(amqp091.AppendFrame(nil, amqp091.Frame{Type: amqp091.FrameMethod, Channel: 1, Payload: []byte{0, 60, 0, 7}})...)
			s.Next()
		}, []string{"cannot decode what came", "no method 60.7"}},
		{"header without method", func(c, s peer) { c.SendBytes(amqp091.AppendContentHeader(nil, 1, 3, nil)...); s.Next() },
			[]string{"1 header(body-size=3) without a method before"}},
		{"body before the header", func(c, s peer) { c.SendBytes(amqp091.AppendBody(publish(), 1, []byte("x"), 0)...); s.Next() },
			[]string{`1 body 1:"x" within the content of 1 basic.publish`}},
		{"body too long", func(c, s peer) {
			c.SendBytes(amqp091.AppendBody(amqp091.AppendContentHeader(publish(), 1, 3, nil), 1, []byte("four"), 0)...)
			s.Next()
		}, []string{"4 bytes of body where only 3 are left"}},
		{"method within a content", func(c, s peer) {
			c.SendIllegal(1, &amqp091.BasicPublish{RoutingKey: "q"}, ack(1))
			s.Next()
		}, []string{"1 basic.ack(delivery-tag=1) within the content of 1 basic.publish"}},
		{"frame too large", func(c, s peer) {
			tune := &amqp091.ConnectionTuneOK{FrameMax: 4096}
			c.Send(0, tune)
			s.Expect(0, tune)
			c.SendBytes(amqp091.AppendBody(nil, 1, make([]byte, 5000), 0)...)
			s.Next()
		}, []string{"frame of 5008 bytes is larger than 4096"}},
		{"message instead of silence", func(c, s peer) { c.Send(1, ack(1)); s.ExpectSilence(time.Second) },
			[]string{"got 1 basic.ack(delivery-tag=1), want nothing for 1s"}},
		{"part of a message instead of silence", func(c, s peer) { c.SendBytes(publish()...); s.ExpectSilence(time.Second) },
			[]string{"got a part of 1 basic.publish(", "want nothing for 1s"}},
		{"close instead of silence", func(c, s peer) { c.Close(); s.ExpectSilence(time.Second) },
			[]string{"EOF, want nothing for 1s"}},
		{"message instead of close", func(c, s peer) { c.Send(1, ack(1)); s.ExpectClose() },
			[]string{"got 1 basic.ack(delivery-tag=1), want the connection to be closed"}},
		{"no close", func(c, s peer) { s.ExpectClose() }, []string{"timeout, want the connection to be closed"}},
		{"message instead of a header", func(c, s peer) { c.Send(1, ack(1)); s.ExpectHeader(amqp.Header091) },
			[]string{"got 1 basic.ack(delivery-tag=1), want AMQP 0-9-1"}},
		{"header instead of a message", func(c, s peer) { c.SendHeader(amqp.Header10); s.Expect(1, ack(1)) },
			[]string{"got AMQP 1.0, want 1 basic.ack(delivery-tag=1)"}},
		{"message instead of a heartbeat", func(c, s peer) { c.Send(1, ack(1)); s.ExpectHeartbeat(time.Second) },
			[]string{"got 1 basic.ack(delivery-tag=1), want a heartbeat"}},
		{"no heartbeat", func(c, s peer) { s.ExpectHeartbeat(time.Minute) }, []string{"timeout, want a heartbeat"}},
		{"no header", func(c, s peer) { s.ExpectHeader(amqp.Header091) }, []string{"timeout, want AMQP 0-9-1"}},
		{"illegal name", func(c, s peer) { c.Send(1, &amqp091.QueueDeclare{Queue: strings.Repeat("q", 256)}) },
			[]string{"cannot send 1 queue.declare(", "longer than 255 bytes"}},
		{"illegal channel", func(c, s peer) { c.Send(0, ack(1)) }, []string{"channel 0 is for methods of the class connection"}},
		{"illegal connection method", func(c, s peer) { c.Send(1, &amqp091.ConnectionOpenOK{}) },
			[]string{"methods of the class connection are for channel 0"}},
		{"missing content", func(c, s peer) { c.Send(1, &amqp091.BasicPublish{}) }, []string{"the method needs a Content"}},
		{"illegal content", func(c, s peer) { c.Send(1, &amqptest.Content{Method: ack(1)}) }, []string{"the method has no content"}},
		{"illegal frame", func(c, s peer) {
			c.Send(0, &amqp091.ConnectionTuneOK{FrameMax: 4096})
			m := hello("")
			m.Properties.Headers = amqp091.Table{{Key: "x", Value: strings.Repeat("x", 5000)}}
			c.Send(1, m)
		}, []string{"is larger than 4096"}},
		{"refused", func(c, s peer) {
			s.Send(0, &amqp091.ConnectionClose{ReplyCode: amqp091.AccessRefused, ReplyText: "no"})
			c.Open(nil)
		}, []string{`got 0 connection.close(reply-code=403, reply-text="no"), want 0 connection.start`, "sent AMQP 0-9-1"}},
		{"no channel", func(c, s peer) { c.Send(1, ack(1)); s.AcceptChannel() },
			[]string{"got 1 basic.ack(delivery-tag=1), want channel.open"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				message := failure(t, func(tb testing.TB) {
					client, server := pair(tb)
					tt.play(client, server)
				})
				for _, want := range tt.want {
					if !strings.Contains(message, want) {
						t.Errorf("the message lacks %q:\n%s", want, message)
					}
				}
			})
		})
	}
}

// publish is a method frame without the content.
func publish() []byte {
	b, err := amqp091.AppendPublish(nil, 1, "", "q", false)
	if err != nil {
		panic(err)
	}
	return b
}

func TestPeerSendsIllegalMessages(t *testing.T) {
	message := failure(t, func(tb testing.TB) {
		client, server := pair(tb)
		client.SendIllegal(0, ack(1), &amqptest.Content{Method: ack(2), Body: []byte("x")})
		server.Expect(0, ack(1), ack(2))
		server.Next()
	})
	if !strings.Contains(message, "0 header(body-size=1) without a method before") {
		t.Errorf("got %q", message)
	}
}

func TestPeerSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		start := time.Now()
		client.ExpectSilence(time.Hour)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("waited %v", d)
		}
		server.Send(1, ack(1))
		client.Expect(1, ack(1))
	})
}
