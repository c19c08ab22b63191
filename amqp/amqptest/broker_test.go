package amqptest_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

// roundTrip lets two peers exchange messages through a broker.
func roundTrip(t *testing.T, b *amqptest.Broker) {
	t.Helper()
	sub, pub := b.Peer(t), b.Peer(t)
	sub.Open(nil)
	sub.OpenChannel(1)
	pub.Open(nil)
	pub.OpenChannel(7)
	sub.Send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
	sub.Expect(1, &amqp091.QueueDeclareOK{Queue: "q"}, &amqp091.BasicConsumeOK{ConsumerTag: "c"})
	pub.Send(7, &amqp091.ConfirmSelect{})
	pub.Expect(7, &amqp091.ConfirmSelectOK{})
	for i, body := range []string{"hi", "", strings.Repeat("long", 100_000)} {
		tag := uint64(i + 1)
		m := hello(body)
		m.Properties.ContentType = "text/plain"
		pub.Send(7, m)
		pub.Expect(7, ack(tag))
		sub.Expect(1, &amqptest.Content{
			Method:     &amqp091.BasicDeliver{ConsumerTag: "c", DeliveryTag: tag, RoutingKey: "q"},
			Properties: m.Properties, Body: m.Body,
		})
		sub.Send(1, ack(tag))
	}
}

func TestBrokerInMemory(t *testing.T) {
	roundTrip(t, amqptest.NewBroker(t, nil))
}

func TestBrokerInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { roundTrip(t, amqptest.NewBroker(t, nil)) })
}

func TestBrokerOnLoopback(t *testing.T) {
	b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Loopback: true, Trace: new(amqptest.Trace)})
	if !strings.HasPrefix(b.URL(), "amqp://127.0.0.1:") {
		t.Errorf("URL %s", b.URL())
	}
	roundTrip(t, b)
	c, err := amqpclient091.Dial(t.Context(), b.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestBrokerOptionsCount(t *testing.T) {
	b := amqptest.NewBroker(t, &amqptest.BrokerOptions{
		Broker: &amqpbroker.Options{}, // refuses everybody
		Server: &amqpserver.Options{Limits: amqpserver.Limits{FrameMax: 5000}},
	})
	p := b.Peer(t)
	message := failure(t, func(tb testing.TB) {
		conn, err := b.Dial(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		amqptest.NewPeer(tb, conn).Open(nil)
	})
	if !strings.Contains(message, "reply-code=403") {
		t.Errorf("got %s", message)
	}
	p.SendBytes([]byte("GET / HTTP/1.1\r\n\r\n")...)
	p.ExpectHeader("AMQP\x00\x00\x09\x01")
	p.ExpectClose()
}

func TestClientAndBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := amqptest.NewBroker(t, nil)
		c := b.Client(t, nil)
		if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "q"}); err != nil {
			t.Fatal(err)
		}
		consumer, err := c.Consume(t.Context(), "q", nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &amqpclient091.Message{RoutingKey: "q", Mandatory: true, Body: []byte("x")}
		if err := b.Client(t, nil).Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		for d, err := range consumer.Deliveries(t.Context()) {
			if err != nil || string(d.Body) != "x" {
				t.Fatalf("%v, %v", d, err)
			}
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
			break
		}
	})
}

// TestLostConfirm cuts the connection on the way of a confirm: the client connects again and says that it does not know,
// or publishes again if it may.
func TestLostConfirm(t *testing.T) {
	for _, republish := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var faults amqptest.Faults
			b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Faults: &faults})
			hits := faults.Add(amqptest.Rule{From: amqp091.Server, Method: amqp091.IDBasicAck, Times: 1, Do: amqptest.CutAfter(1)})
			c := b.Client(t, &amqpclient091.Options{Publish: &amqpclient091.ChannelOptions{Republish: republish}})
			if _, err := b.Broker.DeclareQueue(t.Context(), "/", amqpbroker.Queue{Name: "q"}); err != nil {
				t.Fatal(err)
			}
			faults.Refuse(1)
			err := c.Publish(t.Context(), &amqpclient091.Message{RoutingKey: "q"})
			var unknown *amqpclient091.UnknownError
			if republish && err != nil || !republish && !errors.As(err, &unknown) {
				t.Errorf("republish %v: %v", republish, err)
			}
			if n := hits(); n != 1 {
				t.Errorf("%d confirms cut", n)
			}
			n := 0
			for {
				_, ok, err := b.Broker.Get("/", "q", true)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				n++
			}
			if want := map[bool]int{false: 1, true: 2}[republish]; n != want {
				t.Errorf("%d messages, want %d", n, want)
			}
		})
	}
}

func TestBrokerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults amqptest.Faults
		b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Faults: &faults})
		faults.Refuse(-1)
		if _, err := b.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		faults.Clear()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := b.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

func TestBrokerTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := amqptest.Trace{NoHandshake: true}
		b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Trace: &trace})
		p := b.Peer(t)
		p.Open(nil)
		p.OpenChannel(1)
		p.Send(1, &amqp091.QueueDeclare{Queue: "q", Arguments: amqp091.Table{{Key: "x-max-length", Value: 10}}})
		p.Expect(1, &amqp091.QueueDeclareOK{Queue: "q"})
		p.Send(1, hello("x"))
		synctest.Wait()
		p.Send(1, &amqp091.BasicGet{Queue: "q"})
		synctest.Wait()
		p.Send(1, ack(1), &amqp091.BasicGet{Queue: "q"})
		synctest.Wait()
		p.Send(1, &amqp091.QueueDeclare{Queue: "q"})
		synctest.Wait()
		p.Send(1, &amqp091.ChannelCloseOK{})
		p.Send(0, &amqp091.ConnectionClose{ReplyCode: amqp091.ReplySuccess})
		synctest.Wait()
		trace.Compare(t, "testdata/broker.txt")
	})
}

func BenchmarkNewBroker(b *testing.B) {
	for b.Loop() {
		t := new(exampleT)
		amqptest.NewBroker(t, nil)
		t.end()
	}
}
