package amqpserver_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// consuming opens a client that consumes q without acknowledgement.
func consuming(t *testing.T, b *queues, l *memnet.Listener) *peer {
	t.Helper()
	p := open(t, l)
	p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true})
	p.expect(`1 queue.declare-ok(queue="q")`, `1 basic.consume-ok(consumer-tag="c")`)
	return p
}

// TestSlowConsumer: a consumer that does not read draws no more than its soft limit from the queue, costs others nothing,
// and gets the rest when it reads again.
func TestSlowConsumer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 100_000}})
		slow := consuming(t, b, l)
		p := open(t, l)
		const messages, size = 1000, 1000
		body := strings.Repeat("x", size)
		for range messages {
			p.publish(1, "q", body)
		}
		p.send(1, &amqp091.QueueDeclare{Queue: "other"}) // the publisher is served
		p.expect(`1 queue.declare-ok(queue="other")`)
		st := s.Stats()
		if st.Buffered < 100_000 || st.Buffered > 100_000+3*size {
			t.Errorf("%d bytes wait", st.Buffered)
		}
		if st.Delivered > 64+100+3 { // 64 KiB are in the pipe
			t.Errorf("%d messages delivered", st.Delivered)
		}
		for range messages {
			slow.next()
			slow.next()
			slow.next()
		}
		synctest.Wait()
		equal(t, "delivered", s.Stats().Delivered, messages)
	})
}

// TestStalledConsumer: one that takes nothing for long is closed, and its queue goes on.
func TestStalledConsumer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 100_000, SlowTimeout: 20 * time.Second, Heartbeat: -1}})
		consuming(t, b, l)
		p := open(t, l)
		for range 300 {
			p.publish(1, "q", strings.Repeat("x", 1000))
		}
		synctest.Wait()
		equal(t, "connections", s.Stats().Connections, 2)
		time.Sleep(41 * time.Second) // it takes a part of the first write
		synctest.Wait()
		equal(t, "connections", s.Stats().Connections, 1)
		if cause := b.sessions[0].cause; cause == nil ||
			!strings.Contains(cause.Error(), "takes no output") {
			t.Error(cause)
		}
	})
}

// TestTwoStalledPublishers: clients that publish to each other and read nothing do not stop the server.
func TestTwoStalledPublishers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		one, two := open(t, l), open(t, l)
		for i, p := range []*peer{one, two} {
			q := string(rune('0' + i))
			p.send(1, &amqp091.QueueDeclare{Queue: q}, &amqp091.BasicConsume{Queue: q, NoAck: true})
			p.next()
			p.next()
		}
		body := strings.Repeat("x", 10_000)
		for range 200 {
			one.publish(1, "1", body)
			two.publish(1, "0", body)
		}
		for range 200 * 3 {
			one.next()
			two.next()
		}
	})
}

// TestUnreadReplies: a client that asks and reads nothing is not read any more, and does not fill memory.
func TestUnreadReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 50_000, HardLimit: 400_000, Heartbeat: -1}})
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		p.next()
		for range 2000 {
			p.publish(1, "q", strings.Repeat("x", 2000))
		}
		done := make(chan bool)
		go func() {
			for range 2000 {
				p.send(1, &amqp091.BasicGet{Queue: "q", NoAck: true})
			}
			close(done)
		}()
		time.Sleep(time.Second)
		if n := s.Stats().Buffered; n < 100_000 || n > 210_000 {
			t.Errorf("%d bytes wait", n)
		}
		for range 2000 {
			p.next()
			p.next()
			p.next()
		}
		<-done
	})
}

// TestHardLimit: what a backend sends unasked is bounded, too.
func TestHardLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		var ch *amqpserver.Channel
		b.method = func(c *amqpserver.Channel, _ amqp091.Method) error { ch = c; return nil }
		s, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 10_000, HardLimit: 20_000, MaxMessage: 1000, Heartbeat: -1}})
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		p.next()
		d := &amqpserver.Delivery{Body: make([]byte, 900)}
		for range 200 {
			ch.Return(nil, amqp091.NoRoute, "NO_ROUTE", d)
		}
		synctest.Wait()
		equal(t, "connections", s.Stats().Connections, 0)
	})
}

func TestBlocked(t *testing.T) {
	publishes := func(t *testing.T, b *queues) *atomic.Int64 {
		n := new(atomic.Int64)
		b.publish = func(*amqpserver.Publish) error { n.Add(1); return nil }
		return n
	}
	t.Run("told", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			n := publishes(t, b)
			s, l := serve(t, b, nil)
			p := open(t, l, "connection.blocked")
			c := b.last().c
			c.Block(nil, "low on memory")
			c.Block(nil, "low on disk")
			p.quiet() // it has not published
			p.publish(1, "q", "one")
			p.expect(`0 connection.blocked(reason="low on memory")`)
			p.send(1, &amqp091.QueueDeclare{Queue: "q"}) // it is still read
			p.expect(`1 queue.declare-ok(queue="q")`)
			p.publish(1, "q", "two", "three")
			p.send(1, &amqp091.QueueDeclare{Queue: "r"})
			time.Sleep(10 * time.Second)
			equal(t, "published", n.Load(), 2)
			equal(t, "blocked", s.Stats().Blocked, 1)
			c.Unblock(nil)
			p.expect(`0 connection.unblocked()`, `1 queue.declare-ok(queue="r")`)
			equal(t, "published", n.Load(), 3)
			c.Block(nil, "again")
			c.Unblock(nil)
			p.publish(1, "q", "four")
			p.quiet()
		})
	})
	t.Run("by its own message", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			var c *amqpserver.Conn
			b.publish = func(*amqpserver.Publish) error { c.Block(nil, "low on memory"); return nil }
			_, l := serve(t, b, nil)
			p := open(t, l, "connection.blocked")
			c = b.last().c
			p.publish(1, "q", "one")
			p.expect(`0 connection.blocked(reason="low on memory")`)
			p.quiet()
		})
	})
	t.Run("not told", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			n := publishes(t, b)
			_, l := serve(t, b, nil)
			p := open(t, l)
			c := b.last().c
			c.Block(nil, "")
			p.publish(1, "q", "one", "two")
			time.Sleep(10 * time.Minute) // heartbeats go on, the client's silence means nothing
			equal(t, "published", n.Load(), 1)
			for range 20 {
				p.expect("0 heartbeat")
			}
			c.Unblock(nil)
			synctest.Wait()
			equal(t, "published", n.Load(), 2)
		})
	})
	t.Run("and closed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			publishes(t, b)
			s, l := serve(t, b, nil)
			p := open(t, l)
			c := b.last().c
			c.Block(nil, "")
			p.publish(1, "q", "one", "two")
			synctest.Wait()
			c.Close(nil, amqp091.HardError(amqp091.ConnectionForced, "bye"))
			p.expect(`0 connection.close(reply-code=320, reply-text="CONNECTION_FORCED - bye")`)
			p.send(0, &amqp091.ConnectionCloseOK{})
			p.expect("EOF")
			p.nc.Close()
			synctest.Wait()
			equal(t, "connections", s.Stats().Connections, 0)
		})
	})
}

// TestPause: a backend slows a publisher down.
func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, &pausing{b, time.Second}, nil)
		p := open(t, l)
		start := time.Now()
		p.publish(1, "q", "one")
		synctest.Wait()
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		p.expect(`1 queue.declare-ok(queue="q")`)
		equal(t, "time", time.Since(start), time.Second)
	})
}

type pausing struct {
	*queues
	d time.Duration
}

func (p *pausing) Open(ctx context.Context, c *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	s, err := p.queues.Open(ctx, c, vhost)
	return &pausingSession{s, p.d}, err
}

type pausingSession struct {
	amqpserver.Session
	d time.Duration
}

func (s *pausingSession) Publish(b *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	b.Slow(s.d)
	return s.Session.Publish(b, ch, p)
}

// TestMalformed: what a client must not send ends with the right code, whatever comes after it.
func TestMalformed(t *testing.T) {
	method := func(channel uint16, m amqp091.Method) []byte {
		b, err := amqp091.AppendMethod(nil, channel, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	frame := func(kind amqp091.FrameType, channel uint16, payload string) []byte {
		return amqp091.AppendFrame(nil, amqp091.Frame{Type: kind, Channel: channel, Payload: []byte(payload)})
	}
	broken := method(1, &amqp091.BasicQos{})
	broken[len(broken)-1] = 0
	for name, v := range map[string]struct {
		input []byte
		want  string
	}{
		"frame end":           {broken, "501, reply-text=\"FRAME_ERROR"},
		"frame type":          {[]byte{9, 0, 1, 0, 0, 0, 0, 0xCE}, "501, reply-text=\"FRAME_ERROR"},
		"large frame":         {[]byte{1, 0, 1, 0, 2, 0, 0}, "501, reply-text=\"FRAME_ERROR"},
		"arguments":           {frame(1, 1, "\x00\x3c\x00\x0a"), "501, reply-text=\"FRAME_ERROR"},
		"header without":      {frame(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "505, reply-text=\"UNEXPECTED_FRAME"},
		"unknown channel":     {method(2, &amqp091.BasicQos{}), "504, reply-text=\"CHANNEL_ERROR - expected 'channel.open'"},
		"second open":         {method(1, &amqp091.ChannelOpen{}), "504, reply-text=\"CHANNEL_ERROR - second 'channel.open' seen"},
		"heartbeat":           {frame(8, 1, ""), "505, reply-text=\"UNEXPECTED_FRAME"},
		"method of a server":  {method(1, &amqp091.BasicGetEmpty{}), "503, reply-text=\"COMMAND_INVALID"},
		"method on channel 0": {method(0, &amqp091.BasicQos{}), "503, reply-text=\"COMMAND_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := new(queues)
				s, l := serve(t, b, nil)
				p := open(t, l)
				p.raw(append(v.input, "and something that nobody looks at any more"...))
				if got := p.next(); !strings.HasPrefix(got, "0 connection.close(reply-code="+v.want) {
					t.Error(got)
				}
				synctest.Wait()
				if !b.last().ended {
					t.Error("the session goes on")
				}
				p.nc.Close()
				synctest.Wait()
				equal(t, "connections", s.Stats().Connections, 0)
			})
		})
	}
}

func TestMaxMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), &amqpserver.Options{Limits: amqpserver.Limits{MaxMessage: 100}})
		p := open(t, l)
		p.publish(1, "q", strings.Repeat("x", 101), "dropped")
		p.expect(`1 channel.close(reply-code=406, reply-text="PRECONDITION_FAILED - message size 101 is larger than configured max size 100", method=basic.publish)`)
	})
}

func TestMaxChannels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), &amqpserver.Options{Limits: amqpserver.Limits{ChannelMax: 2}})
		p := open(t, l)
		p.send(60_000, &amqp091.ChannelOpen{}) // numbers are not limited, RabbitMQ counts
		p.expect(`60000 channel.open-ok()`)
		p.send(2, &amqp091.ChannelOpen{})
		p.expect(`0 connection.close(reply-code=530, reply-text="NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)", method=channel.open)`)
	})
}

// TestLargeProperties: properties that do not fit into a frame of the consumer cost it its channel.
func TestLargeProperties(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := begin(t, l, "PLAIN", "\x00guest\x00guest")
		p.next()
		p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 4096}, &amqp091.ConnectionOpen{VirtualHost: "/"})
		p.send(1, &amqp091.ChannelOpen{}, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		for range 4 {
			p.next()
		}
		props, _ := (&amqp091.Properties{Headers: amqp091.Table{{Key: "k", Value: strings.Repeat("x", 5000)}}}).Append(nil)
		other := open(t, l)
		m, _ := amqp091.AppendPublish(nil, 1, "", "q", false)
		other.raw(amqp091.AppendContentHeader(m, 1, 0, props))
		if got := p.next(); !strings.HasPrefix(got, `1 channel.close(reply-code=311`) {
			t.Error(got)
		}
		synctest.Wait()
		other.send(1, &amqp091.BasicGet{Queue: "q"})
		if got := other.next(); !strings.HasPrefix(got, `1 basic.get-ok(delivery-tag=1, redelivered`) {
			t.Error(got)
		}
	})
}

// TestLargePropertiesNoAck: the message is not lost for others when the consumer needs no acknowledgement, nor is one of
// basic.get.
func TestLargePropertiesNoAck(t *testing.T) {
	for _, m := range []amqp091.Method{&amqp091.BasicConsume{Queue: "q", NoAck: true}, &amqp091.BasicGet{Queue: "q", NoAck: true}} {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			_, l := serve(t, b, nil)
			p := begin(t, l, "PLAIN", "\x00guest\x00guest")
			p.next()
			p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 4096}, &amqp091.ConnectionOpen{VirtualHost: "/"})
			p.send(1, &amqp091.ChannelOpen{}, &amqp091.QueueDeclare{Queue: "q"})
			for range 3 {
				p.next()
			}
			props, _ := (&amqp091.Properties{Headers: amqp091.Table{{Key: "k", Value: strings.Repeat("x", 5000)}}}).Append(nil)
			other := open(t, l)
			msg, _ := amqp091.AppendPublish(nil, 1, "", "q", false)
			other.raw(amqp091.AppendContentHeader(msg, 1, 0, props))
			synctest.Wait()
			p.send(1, m)
			for got := p.next(); !strings.HasPrefix(got, `1 channel.close(reply-code=311`); got = p.next() {
			}
			synctest.Wait()
			other.send(1, &amqp091.BasicGet{Queue: "q"})
			if got := other.next(); !strings.HasPrefix(got, `1 basic.get-ok(delivery-tag=1`) {
				t.Errorf("after %s: %s", m.ID(), got)
			}
		})
	}
}
