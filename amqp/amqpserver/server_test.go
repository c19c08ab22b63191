package amqpserver_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

func TestPublishAndConsume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicQos{PrefetchCount: 2}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		p.expect(`1 queue.declare-ok(queue="q")`, `1 basic.qos-ok()`, `1 basic.consume-ok(consumer-tag="c")`)
		p.publish(1, "q", "one", "two", "three")
		p.expect(`1 basic.deliver(consumer-tag="c", delivery-tag=1, routing-key="q")`, `1 header(body-size=3)`, `1 body 3:"one"`)
		p.expect(`1 basic.deliver(consumer-tag="c", delivery-tag=2, routing-key="q")`, `1 header(body-size=3)`, `1 body 3:"two"`)
		p.quiet()
		p.send(1, &amqp091.BasicAck{DeliveryTag: 1}, &amqp091.BasicNack{DeliveryTag: 2, Requeue: true})
		p.expect(`1 basic.deliver(consumer-tag="c", delivery-tag=3, routing-key="q")`, `1 header(body-size=5)`, `1 body 5:"three"`)
		p.expect(`1 basic.deliver(consumer-tag="c", delivery-tag=4, redelivered, routing-key="q")`, `1 header(body-size=3)`, `1 body 3:"two"`)
		p.send(1, &amqp091.ChannelClose{ReplyCode: 200})
		p.expect(`1 channel.close-ok()`)
		p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
		p.expect(`0 connection.close-ok()`, "EOF")
		p.nc.Close()
		synctest.Wait()
		equal(t, "log", b.take(), "start guest\nacked 1\nrequeued 1\nclose channel 1, 2 unsettled\nclosed: <nil>")
		st := s.Stats()
		equal(t, "stats", [...]int64{st.Accepted, st.Refused, st.Connections, st.Published, st.Delivered}, [...]int64{1, 0, 0, 3, 4})
	})
}

func TestConfirmsAndReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.ConfirmSelect{}, &amqp091.QueueDeclare{Queue: "q"})
		p.expect(`1 confirm.select-ok()`, `1 queue.declare-ok(queue="q")`)
		p.publish(1, "q", "a", "b", "c")
		p.expect(`1 basic.ack(delivery-tag=3, multiple)`)
		p.raw(appendPublish(nil, 1, "nowhere", "x", true))
		p.expect(`1 basic.return(reply-code=312, reply-text="NO_ROUTE", routing-key="nowhere")`, `1 header(body-size=1)`, `1 body 1:"x"`,
			`1 basic.ack(delivery-tag=4)`)
		b.hold = true
		p.publish(1, "q", "a", "b", "c")
		synctest.Wait()
		batch := amqpserver.NewBatch()
		b.held[2].ch.Confirm(batch, b.held[2].seq, true)
		b.held[0].ch.Confirm(batch, b.held[0].seq, false)
		b.held[1].ch.Confirm(batch, b.held[1].seq, true)
		p.quiet()
		batch.Flush()
		p.expect(`1 basic.nack(delivery-tag=5)`, `1 basic.ack(delivery-tag=7)`, `1 basic.ack(delivery-tag=6)`)
	})
}

func TestGet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicGet{Queue: "q"})
		p.expect(`1 queue.declare-ok(queue="q")`, `1 basic.get-empty()`)
		p.publish(1, "q", "one", strings.Repeat("2", 10_000))
		p.send(1, &amqp091.BasicGet{Queue: "q"}, &amqp091.BasicGet{Queue: "q", NoAck: true})
		p.expect(`1 basic.get-ok(delivery-tag=1, routing-key="q", message-count=1)`, `1 header(body-size=3)`, `1 body 3:"one"`)
		p.expect(`1 basic.get-ok(delivery-tag=2, routing-key="q")`, `1 header(body-size=10000)`)
		if f, _ := p.read(); string(f.Payload) != strings.Repeat("2", 10_000) {
			t.Error("another body")
		}
		p.send(1, &amqp091.BasicRecover{Requeue: true})
		p.expect(`1 basic.recover-ok()`)
		p.send(1, &amqp091.BasicGet{Queue: "q"})
		p.expect(`1 basic.get-ok(delivery-tag=3, redelivered, routing-key="q")`)
	})
}

func TestLargeBodies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		owned := 0
		b.publish = func(p *amqpserver.Publish) error {
			if p.Owned {
				owned++
			}
			return nil
		}
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true})
		p.expect(`1 queue.declare-ok(queue="q")`, `1 basic.consume-ok(consumer-tag="c")`)
		sizes := []int{0, 1, 4096, 4097, 131_064, 131_065, 1_000_000}
		go func() {
			for _, n := range sizes {
				p.publish(1, "q", strings.Repeat("x", n))
			}
		}()
		for _, n := range sizes {
			p.next()
			p.next()
			got := 0
			for got < n {
				f, _ := p.read()
				got += len(f.Payload)
				if len(f.Payload)+amqp091.FrameOverhead > amqp091.DefaultFrameMax {
					t.Fatalf("a frame of %d bytes", len(f.Payload))
				}
			}
			equal(t, "size", got, n)
		}
		equal(t, "owned", owned, 2)
	})
}

func TestErrorsOfTheBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.BasicConsume{Queue: "none"}, &amqp091.BasicConsume{Queue: "none"})
		p.expect(`1 channel.close(reply-code=404, reply-text="NOT_FOUND - no queue 'none' in vhost '/'", method=basic.consume)`)
		p.send(1, &amqp091.ChannelCloseOK{}, &amqp091.ChannelOpen{})
		p.expect(`1 channel.open-ok()`)
		p.send(99, &amqp091.ChannelOpen{})
		p.expect(`99 channel.close(reply-code=506, reply-text="RESOURCE_ERROR - no more", method=channel.open)`)
		p.send(1, &amqp091.ExchangeDeclare{Exchange: "e"})
		p.expect(`0 connection.close(reply-code=541, reply-text="INTERNAL_ERROR - internal error", method=exchange.declare)`)
		p.send(0, &amqp091.ConnectionCloseOK{})
		p.expect("EOF")
		equal(t, "log", b.take(), "start guest\nclose channel 1, 0 unsettled\nclose channel 1, 0 unsettled\n"+
			"closed: 541 INTERNAL_ERROR - internal error")
	})
}

func TestCloseFromElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l, "consumer_cancel_notify")
		var ch *amqpserver.Channel
		b.method = func(c *amqpserver.Channel, _ amqp091.Method) error { ch = c; return nil }
		p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		p.expect(`1 queue.declare-ok(queue="q")`, `1 basic.consume-ok(consumer-tag="c")`)
		p.publish(1, "q", "one")
		p.expect(`1 basic.deliver(consumer-tag="c", delivery-tag=1, routing-key="q")`, `1 header(body-size=3)`, `1 body 3:"one"`)
		ch.Close(nil, amqp091.SoftError(amqp091.PreconditionFailed, "timeout"))
		p.expect(`1 channel.close(reply-code=406, reply-text="PRECONDITION_FAILED - timeout")`)
		synctest.Wait()
		equal(t, "log", b.take(), "start guest\nclose channel 1, 1 unsettled")
		p.send(1, &amqp091.ChannelCloseOK{}, &amqp091.ChannelOpen{}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "d", NoAck: true})
		p.expect(`1 channel.open-ok()`, `1 basic.consume-ok(consumer-tag="d")`)
		p.expect(`1 basic.deliver(consumer-tag="d", delivery-tag=1, redelivered, routing-key="q")`, `1 header(body-size=3)`, `1 body 3:"one"`)
		p.send(1, &amqp091.QueueDelete{Queue: "q"})
		p.expect(`1 basic.cancel(consumer-tag="d", no-wait)`, `1 queue.delete-ok()`)
		b.last().c.Close(nil, amqp091.HardError(amqp091.ConnectionForced, "bye"))
		p.expect(`0 connection.close(reply-code=320, reply-text="CONNECTION_FORCED - bye")`)
		synctest.Wait()
		equal(t, "log", b.take(), "close channel 1, 0 unsettled\nclosed: 320 CONNECTION_FORCED - bye")
		p.send(0, &amqp091.ConnectionCloseOK{})
		p.expect("EOF")
	})
}

func TestLostConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.nc.Close()
		synctest.Wait()
		s := b.last()
		if !s.ended || !errors.Is(s.cause, net.ErrClosed) {
			t.Errorf("cause %v", s.cause)
		}
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := serve(t, new(queues), nil)
		p := open(t, l)
		half := dial(t, l)
		synctest.Wait()
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		p.expect(`0 connection.close(reply-code=320, reply-text="CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")`)
		half.expect("EOF")
		p.send(0, &amqp091.ConnectionCloseOK{})
		p.expect("EOF")
		p.nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) {
		s, l := serve(t, new(queues), nil)
		open(t, l)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
