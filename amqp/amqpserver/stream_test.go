package amqpserver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
)

// serveStreams starts a server on a listener whose connections have a stream for each channel.
func serveStreams(t testing.TB, b amqpserver.Backend, o *amqpserver.Options, m *memnet.Options) (*amqpserver.Server, *memnet.Listener) {
	t.Helper()
	s, l := serve(t, b, o)
	if m == nil {
		m = new(memnet.Options)
	}
	m.Protocol = amqp091.Streams
	l.OnDial(func(int) (*memnet.Options, error) { return m, nil })
	return s, l
}

// plainStream is a stream as a net.Conn.
type plainStream struct {
	netio.Stream
	net.Addr
}

func (s plainStream) LocalAddr() net.Addr  { return s.Addr }
func (s plainStream) RemoteAddr() net.Addr { return s.Addr }

// stream opens a stream beside p, which is stream 0.
func (p *peer) stream() *peer {
	p.t.Helper()
	st, err := p.nc.(netio.Streams).OpenStream(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return &peer{t: p.t, nc: plainStream{st, p.nc.LocalAddr()}}
}

// channel opens a channel on a stream of its own.
func (p *peer) channel(id uint16) *peer {
	p.t.Helper()
	c := p.stream()
	c.send(id, &amqp091.ChannelOpen{})
	c.expect(fmt.Sprintf("%d channel.open-ok()", id))
	return c
}

// closeWrite ends the sending side.
func (p *peer) closeWrite() { p.nc.(plainStream).CloseWrite() }

// start opens a connection, without a channel.
func start(t testing.TB, l *memnet.Listener, capabilities ...string) *peer {
	t.Helper()
	p := dialPlain(t, l)
	p.login(capabilities...)
	return p
}

func TestStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &queues{}
		s, l := serveStreams(t, b, nil, nil)
		p := start(t, l)
		c1, c2 := p.channel(1), p.channel(2)
		c1.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.ConfirmSelect{})
		c1.expect("1 queue.declare-ok(queue=\"q\")", "1 confirm.select-ok()")
		c2.send(2, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
		c2.expect(`2 basic.consume-ok(consumer-tag="c")`)
		c1.publish(1, "q", "a", "bc")
		c1.expect("1 basic.ack(delivery-tag=2, multiple)")
		for i, body := range []string{"a", "bc"} {
			m := c2.next()
			if want := fmt.Sprintf("delivery-tag=%d", i+1); !strings.HasPrefix(m, "2 basic.deliver(") || !strings.Contains(m, want) {
				t.Fatalf("got %s", m)
			}
			c2.next()
			equal(t, "body", c2.next(), fmt.Sprintf("2 body %d:%q", len(body), body))
		}
		// The channel that ends takes its stream along, and its number is free.
		c2.send(2, &amqp091.ChannelClose{ReplyCode: 200})
		c2.expect("2 channel.close-ok()", "EOF")
		c2.closeWrite()
		synctest.Wait()
		equal(t, "log", b.take(), "start guest\nclose channel 2, 2 unsettled")
		p.channel(2)
		st := s.Stats()
		equal(t, "channels", st.Channels, 2)
		p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
		p.expect("0 connection.close-ok()", "EOF")
		p.nc.Close()
		synctest.Wait()
		equal(t, "log", b.take(), "close channel 1, 0 unsettled\nclose channel 2, 0 unsettled\nclosed: <nil>")
		equal(t, "buffered", s.Stats().Buffered, 0)
	})
}

// TestStreamEnds: a stream that ends without channel.close ends its channel, and no other.
func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]func(c *peer){
		"close":       func(c *peer) { c.nc.Close() },
		"end sending": func(c *peer) { c.closeWrite(); c.expect("EOF") },
		"reset":       func(c *peer) { c.nc.(plainStream).Stream.(interface{ Reset() }).Reset() },
		"within a frame": func(c *peer) {
			c.raw([]byte{1, 0, 2, 0, 0, 0, 9, 0})
			c.closeWrite()
			c.expect("EOF")
		},
		"within a content": func(c *peer) {
			b := appendPublish(nil, 2, "q", "never", false)
			c.raw(b[:len(b)-9])
			c.closeWrite()
			c.expect("EOF")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &queues{}
				_, l := serveStreams(t, b, nil, nil)
				p := start(t, l)
				c1, c2 := p.channel(1), p.channel(2)
				c2.send(2, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
				c2.next()
				c2.next()
				c1.publish(1, "q", "a")
				c2.next()
				c2.next()
				c2.next()
				end(c2)
				synctest.Wait()
				equal(t, "log", b.take(), "start guest\nclose channel 2, 1 unsettled")
				p.channel(2)
				c1.send(1, &amqp091.BasicGet{Queue: "q"})
				if m := c1.next(); !strings.Contains(m, "get-ok") || !strings.Contains(m, "redelivered") {
					t.Errorf("got %s", m)
				}
				p.quiet()
			})
		})
	}
}

// TestStreamClosedByServer: the server closes the channel; its number may come again before the client's answer.
func TestStreamClosedByServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &queues{}
		_, l := serveStreams(t, b, nil, nil)
		p := start(t, l)
		c := p.channel(1)
		c.send(1, &amqp091.BasicConsume{Queue: "no"})
		if m := c.next(); !strings.HasPrefix(m, "1 channel.close(") {
			t.Fatalf("got %s", m)
		}
		again := p.stream()
		again.send(1, &amqp091.ChannelOpen{}, &amqp091.QueueDeclare{Queue: "q"})
		again.quiet() // the first one has not ended
		c.send(1, &amqp091.ChannelCloseOK{})
		again.expect("1 channel.open-ok()", "1 queue.declare-ok(queue=\"q\")")
		c.expect("EOF")
		c.nc.Close()
		again.send(1, &amqp091.BasicConsume{Queue: "no"})
		again.next()
		// And when there is no answer, the next stream waits for a while only.
		third := p.stream()
		third.send(1, &amqp091.ChannelOpen{})
		begin := time.Now()
		if m := p.next(); !strings.Contains(m, "connection.close(reply-code=504") {
			t.Errorf("got %s", m)
		}
		equal(t, "it took", time.Since(begin), 10*time.Second)
	})
}

// TestStreamViolations: what does not belong on a stream closes the connection.
func TestStreamViolations(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(p, c *peer)
		want string
	}{
		"channel on stream 0":            {func(p, c *peer) { p.send(1, &amqp091.BasicGet{Queue: "q"}) }, "504"},
		"new channel on stream 0":        {func(p, c *peer) { p.send(2, &amqp091.ChannelOpen{}) }, "504"},
		"channel 0":                      {func(p, c *peer) { c.send(0, &amqp091.ConnectionClose{ReplyCode: 200}) }, "503"},
		"channel 0 first":                {func(p, c *peer) { p.stream().send(0, &amqp091.ConnectionClose{ReplyCode: 200}) }, "503"},
		"heartbeat":                      {func(p, c *peer) { c.raw(amqp091.AppendHeartbeat(nil)) }, "503"},
		"other channel":                  {func(p, c *peer) { c.send(2, &amqp091.ChannelOpen{}) }, "504"},
		"other channel that is open":     {func(p, c *peer) { p.channel(2); c.send(2, &amqp091.BasicGet{Queue: "q"}) }, "504"},
		"second stream":                  {func(p, c *peer) { p.stream().send(1, &amqp091.BasicGet{Queue: "q"}) }, "504"},
		"second stream with open":        {func(p, c *peer) { p.stream().send(1, &amqp091.ChannelOpen{}) }, "504"},
		"second open":                    {func(p, c *peer) { c.send(1, &amqp091.ChannelOpen{}) }, "504"},
		"no open":                        {func(p, c *peer) { p.stream().send(2, &amqp091.BasicGet{Queue: "q"}) }, "504"},
		"content first":                  {func(p, c *peer) { p.stream().raw([]byte{2, 0, 2, 0, 0, 0, 0, 0xCE}) }, "505"},
		"no frame":                       {func(p, c *peer) { p.stream().raw([]byte("GET / HTTP/1.1\r\n")) }, "501"},
		"protocol header":                {func(p, c *peer) { p.stream().raw([]byte(amqp091.ProtocolHeader)) }, "501"},
		"behind the end":                 {func(p, c *peer) { c.send(1, &amqp091.ChannelClose{}, &amqp091.ChannelOpen{}) }, "504"},
		"behind the end, after a while":  {func(p, c *peer) { c.send(1, &amqp091.ChannelClose{}); c.next(); c.send(1, &amqp091.ChannelOpen{}) }, "504"},
		"content on the stream of other": {func(p, c *peer) { c.raw(appendPublish(nil, 3, "q", "x", false)) }, "504"},
		"too many": {func(p, c *peer) {
			p.channel(2)
			p.channel(3)
			p.stream().send(4, &amqp091.ChannelOpen{})
		}, "530"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &queues{}
				s, l := serveStreams(t, b, &amqpserver.Options{Limits: amqpserver.Limits{ChannelMax: 3}}, nil)
				p := start(t, l)
				c := p.channel(1)
				test.do(p, c)
				if m := p.next(); !strings.HasPrefix(m, "0 connection.close(reply-code="+test.want+",") {
					t.Errorf("got %s", m)
				}
				if test.want != "501" {
					p.send(0, &amqp091.ConnectionCloseOK{})
				}
				p.expect("EOF")
				p.nc.Close()
				synctest.Wait()
				equal(t, "connections", s.Stats().Connections, 0)
				if log := b.take(); strings.Count(log, "closed: ") != 1 || strings.Count(log, "close channel 1,") != 1 {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

// TestStreamsBeforeOpen: streams that come before connection.open-ok wait for it.
func TestStreamsBeforeOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serveStreams(t, &queues{}, nil, nil)
		p := dialPlain(t, l)
		c := p.stream()
		c.send(5, &amqp091.ChannelOpen{})
		c.quiet()
		p.login()
		c.expect("5 channel.open-ok()")

		// A connection that does not get that far ends with them.
		p = dialPlain(t, l)
		for range 100 {
			p.stream().send(1, &amqp091.ChannelOpen{})
		}
		begin := time.Now()
		if m := p.next(); m != "EOF" && !strings.Contains(m, "connection.start") {
			t.Errorf("got %s", m)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestStreamFlood: streams without a channel are bounded, and end after a while; the connection goes on.
func TestStreamFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serveStreams(t, &queues{}, &amqpserver.Options{Limits: amqpserver.Limits{ChannelMax: 4, Heartbeat: -1}}, nil)
		p := start(t, l)
		first := p.channel(1)
		var rest []*peer
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for {
			st, err := p.nc.(netio.Streams).OpenStream(ctx)
			if err != nil {
				break
			}
			c := &peer{t: t, nc: plainStream{st, p.nc.LocalAddr()}}
			if len(rest)%2 == 0 {
				c.raw([]byte{1, 0}) // not even the number
			}
			rest = append(rest, c)
		}
		// memnet has room for 256 that nobody has accepted; the server has taken as many as it may serve.
		if n := len(rest); n > 256+4+16 {
			t.Errorf("%d streams", n)
		}
		first.send(1, &amqp091.QueueDeclare{Queue: "q"})
		first.expect("1 queue.declare-ok(queue=\"q\")")
		begin := time.Now()
		for _, c := range rest {
			c.expect("EOF")
		}
		if took := time.Since(begin); took > 300*time.Second {
			t.Errorf("it took %v", took)
		}
		p.channel(2)
		first.send(1, &amqp091.QueueDeclare{Queue: "q"})
		first.expect("1 queue.declare-ok(queue=\"q\")")
	})
}

// TestStreamStall: a client that does not read the streams of many channels gets what it asks for on another one, and what
// waits for it is bounded.
func TestStreamStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const soft, hard, stalled = 64 << 10, 4 << 20, 20
		b := &queues{}
		lim := amqpserver.Limits{SoftLimit: soft, HardLimit: hard, MaxMessage: 128 << 10, SlowTimeout: time.Hour}
		s, l := serveStreams(t, b, &amqpserver.Options{Limits: lim}, &memnet.Options{Capacity: 4 << 10})
		p := start(t, l)
		pub := p.channel(100)
		pub.send(100, &amqp091.ConfirmSelect{})
		pub.next()
		body := strings.Repeat("x", 10_000)
		for i := range stalled {
			id := uint16(1 + i)
			c, q := p.channel(id), fmt.Sprint("q", id)
			c.send(id, &amqp091.QueueDeclare{Queue: q})
			c.next()
			c.send(id, &amqp091.BasicConsume{Queue: q, NoAck: i%2 == 0})
			c.next()
			for range 100 {
				pub.publish(100, q, body)
				pub.next()
			}
			// And one that asks without reading the answers.
			if i%4 == 0 {
				for range 40 {
					c.nc.SetWriteDeadline(time.Now().Add(time.Second))
					var out []byte
					for range 500 {
						out, _ = amqp091.AppendMethod(out, id, &amqp091.QueueDeclare{Queue: q})
					}
					if _, err := c.nc.Write(out); err != nil {
						break
					}
				}
			}
		}
		synctest.Wait()
		if n := s.Stats().Buffered; n > hard/2 || n < hard/4 {
			t.Errorf("%d bytes wait", n)
		}
		// The others go on, with small messages and large ones.
		free := p.channel(101)
		free.send(101, &amqp091.QueueDeclare{Queue: "free"})
		free.next()
		free.send(101, &amqp091.BasicConsume{Queue: "free", NoAck: true})
		free.next()
		for range 200 {
			pub.publish(100, "free", "y")
			pub.next()
			free.next()
			free.next()
			equal(t, "body", free.next(), `101 body 1:"y"`)
		}
		begin := time.Now()
		for range 20 {
			pub.publish(100, "free", body)
			pub.next()
			free.next()
			free.next()
			free.next()
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
		p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
		p.expect("0 connection.close-ok()")
		p.nc.Close()
	})
}

// TestStreamStallEnds: a stream that takes nothing for too long ends its channel, and no other.
func TestStreamStallEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &queues{}
		_, l := serveStreams(t, b, &amqpserver.Options{Limits: amqpserver.Limits{Heartbeat: -1}}, &memnet.Options{Capacity: 4 << 10})
		p := start(t, l)
		c1, c2 := p.channel(1), p.channel(2)
		c1.send(1, &amqp091.QueueDeclare{Queue: "q"})
		c1.next()
		c2.send(2, &amqp091.BasicConsume{Queue: "q"})
		c2.next()
		c1.publish(1, "q", strings.Repeat("x", 50_000))
		time.Sleep(119 * time.Second) // a minute in which it took something, and one in which not
		equal(t, "log", b.take(), "start guest")
		time.Sleep(2 * time.Second)
		equal(t, "log", b.take(), "close channel 2, 1 unsettled")
		c1.send(1, &amqp091.BasicGet{Queue: "q", NoAck: true})
		if m := c1.next(); !strings.Contains(m, "get-ok") {
			t.Errorf("got %s", m)
		}
		p.channel(2)
	})
}

// TestStreamBlocked: while a connection is blocked, channels that publish are not read, and others are.
func TestStreamBlocked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &queues{}
		_, l := serveStreams(t, b, nil, nil)
		p := start(t, l, "connection.blocked")
		c1, c2 := p.channel(1), p.channel(2)
		c1.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.ConfirmSelect{})
		c1.next()
		c1.next()
		b.last().c.Block(nil, "low on memory")
		c1.publish(1, "q", "a")
		p.expect(`0 connection.blocked(reason="low on memory")`)
		c1.expect("1 basic.ack(delivery-tag=1)")
		c1.publish(1, "q", "b") // was on its way
		c1.expect("1 basic.ack(delivery-tag=2)")
		c1.publish(1, "q", "c", "d")
		c1.quiet()
		c2.send(2, &amqp091.BasicGet{Queue: "q", NoAck: true})
		if m := c2.next(); !strings.Contains(m, "get-ok") {
			t.Errorf("got %s", m)
		}
		for range 10 { // heartbeats are read
			time.Sleep(time.Minute)
			p.raw(amqp091.AppendHeartbeat(nil))
		}
		b.last().c.Unblock(nil)
		for m := p.next(); m != "0 connection.unblocked()"; m = p.next() {
			if m != "0 heartbeat" {
				t.Fatalf("got %s", m)
			}
		}
		switch m := c1.next(); m {
		case "1 basic.ack(delivery-tag=4, multiple)":
		case "1 basic.ack(delivery-tag=3)": // somebody wrote while the other was read
			c1.expect("1 basic.ack(delivery-tag=4)")
		default:
			t.Errorf("got %s", m)
		}
	})
}

// TestStreamOrder: what is published on a channel arrives in its order, and its confirms come on its stream, whatever the
// other channels do.
func TestStreamOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const channels, messages = 10, 300
		_, l := serveStreams(t, &queues{}, nil, &memnet.Options{ToServer: memnet.Link{Latency: time.Millisecond, BytesPerSecond: 1 << 20}})
		p := start(t, l)
		done := make(chan error, channels)
		for i := range channels {
			id := uint16(1 + i)
			c, q := p.channel(id), fmt.Sprint("q", id)
			c.send(id, &amqp091.QueueDeclare{Queue: q}, &amqp091.ConfirmSelect{}, &amqp091.BasicConsume{Queue: q, NoAck: true})
			c.next()
			c.next()
			c.next()
			go func() {
				for n := range messages {
					c.nc.Write(appendPublish(nil, id, q, fmt.Sprint(n), false))
				}
			}()
			go func() {
				done <- func() error {
					bodies, acked := 0, 0
					for bodies < messages || acked < messages {
						f, ok := c.read()
						if !ok || f.Channel != id {
							return fmt.Errorf("got %v on the stream of %d", f, id)
						}
						switch m, _ := amqp091.PeekMethod(f.Payload); {
						case f.Type == amqp091.FrameBody:
							if string(f.Payload) != fmt.Sprint(bodies) {
								return fmt.Errorf("message %q, want %d", f.Payload, bodies)
							}
							bodies++
						case f.Type == amqp091.FrameMethod && m == amqp091.IDBasicAck:
							var v amqp091.AckView
							if err := v.Decode(f.Payload); err != nil {
								return err
							}
							if int(v.DeliveryTag) <= acked || !v.Multiple && int(v.DeliveryTag) != acked+1 {
								return fmt.Errorf("ack %d after %d", v.DeliveryTag, acked)
							}
							acked = int(v.DeliveryTag)
						}
					}
					return nil
				}()
			}()
		}
		for range channels {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestStreamsEarly: a login that came in early data waits for the end of the handshake; the protocol header does not.
func TestStreamsEarly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		asked := 0
		b := &queues{authenticate: func(a *amqpserver.Auth) (string, error) { asked++; return a.User, nil }}
		_, l := serveStreams(t, b, nil, &memnet.Options{Early: true})
		p := dialPlain(t, l)
		p.raw([]byte(amqp091.ProtocolHeader))
		if m := p.next(); !strings.HasPrefix(m, "0 connection.start(") {
			t.Errorf("got %s", m)
		}
		p.send(0, &amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US"})
		p.quiet()
		equal(t, "logins", asked, 0)
		p.nc.(*memnet.Conn).Confirm()
		if m := p.next(); !strings.HasPrefix(m, "0 connection.tune(") {
			t.Errorf("got %s", m)
		}
		equal(t, "logins", asked, 1)

		// A handshake that does not end is not waited for longer than a login may take.
		p = dialPlain(t, l)
		p.raw([]byte(amqp091.ProtocolHeader))
		p.next()
		p.send(0, &amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US"})
		begin := time.Now()
		p.expect("EOF")
		equal(t, "it took", time.Since(begin), 10*time.Second)
		equal(t, "logins", asked, 1)
	})
}

// TestStreamsLost: the end of the connection ends the channels; nothing is left of them.
func TestStreamsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &queues{}
		s, l := serveStreams(t, b, nil, nil)
		p := start(t, l)
		c := p.channel(1)
		p.channel(2)
		c.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q"})
		c.publish(1, "q", "a", "b")
		synctest.Wait()
		p.stream() // without a channel
		p.nc.(*memnet.Conn).Abort()
		synctest.Wait()
		log := b.take()
		if !strings.Contains(log, "close channel 1, 2 unsettled") || !strings.Contains(log, "close channel 2, 0 unsettled") {
			t.Errorf("log: %s", log)
		}
		if s := b.last(); !s.ended || !errors.Is(s.cause, net.ErrClosed) {
			t.Errorf("cause: %v", s.cause)
		}
		equal(t, "connections", s.Stats().Connections, 0)

		// And so does the server's end.
		p = start(t, l)
		c = p.channel(1)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		if m := p.next(); !strings.HasPrefix(m, "0 connection.close(reply-code=320") {
			t.Errorf("got %s", m)
		}
		c.expect("EOF") // there is nothing more to come, before the client answers
		p.send(0, &amqp091.ConnectionCloseOK{})
		p.expect("EOF")
		p.nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// census is a backend that counts channels and messages.
type census struct {
	*queues
	mu             sync.Mutex
	opened, closed int
}

type censusSession struct {
	amqpserver.Session
	b    *census
	open map[*amqpserver.Channel]bool
	end  bool
}

func (b *census) Open(ctx context.Context, c *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	s, err := b.queues.Open(ctx, c, vhost)
	return &censusSession{s, b, make(map[*amqpserver.Channel]bool), false}, err
}

// say notes what must not happen.
func (s *censusSession) say(ok bool, what string) {
	if !ok {
		s.b.note("wrong: %s", what)
	}
}

func (s *censusSession) OpenChannel(b *amqpserver.Batch, ch *amqpserver.Channel) error {
	s.say(!s.end, "a channel after the end")
	for other := range s.open {
		s.say(other.ID() != ch.ID(), "two channels with one number")
	}
	s.open[ch] = true
	s.b.mu.Lock()
	s.b.opened++
	s.b.mu.Unlock()
	return s.Session.OpenChannel(b, ch)
}

func (s *censusSession) Publish(b *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	s.say(s.open[ch] && !s.end, "a message without a channel")
	return s.Session.Publish(b, ch, p)
}

func (s *censusSession) CloseChannel(b *amqpserver.Batch, ch *amqpserver.Channel, refs []any) {
	s.say(s.open[ch] && !s.end, "the end of a channel that is not open")
	delete(s.open, ch)
	s.b.mu.Lock()
	s.b.closed++
	s.b.mu.Unlock()
	s.Session.CloseChannel(b, ch, refs)
}

func (s *censusSession) Closed(cause error) {
	s.say(len(s.open) == 0 && !s.end, "the end")
	s.end = true
	s.Session.Closed(cause)
}

// TestStreamsRandom does what comes to its mind on some streams of a connection, legal for the most part, and ends streams and
// connections in all ways. The session is told of each channel once, in the right
// order.
func TestStreamsRandom(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				b := &census{queues: &queues{}}
				s, l := serveStreams(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 4 << 10, HardLimit: 64 << 10, Heartbeat: -1}},
					&memnet.Options{Capacity: 1 << 10, ToServer: memnet.Link{Latency: time.Microsecond}})
				for range 5 {
					randomClient(rnd, start(t, l))
					time.Sleep(5 * time.Minute)
					synctest.Wait()
					if st := s.Stats(); st.Connections != 0 || st.Channels != 0 {
						t.Errorf("%+v", st)
					}
					if b.opened != b.closed {
						t.Errorf("%d channels, and the ends of %d", b.opened, b.closed)
					}
					if log := b.take(); strings.Contains(log, "wrong") {
						t.Error(log)
					}
				}
			})
		})
	}
}

// randomClient does something on a connection and ends it.
func randomClient(rnd *rand.Rand, p *peer) {
	var list [6]*peer // by channel
	write := func(c *peer, b []byte) {
		c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		c.nc.Write(b)
	}
	for range rnd.IntN(120) {
		id := uint16(1 + rnd.IntN(5))
		c := list[id]
		if c == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			st, err := p.nc.(netio.Streams).OpenStream(ctx)
			cancel()
			if err != nil {
				break
			}
			c = &peer{t: p.t, nc: plainStream{st, p.nc.LocalAddr()}}
			list[id] = c
			b, _ := amqp091.AppendMethod(nil, id, &amqp091.ChannelOpen{})
			write(c, b)
		}
		var m amqp091.Method
		act := rnd.IntN(24)
		if illegal := act == 12 || act == 18 || act == 19; illegal && rnd.IntN(10) > 0 {
			continue
		}
		switch act {
		case 0, 1:
			m = &amqp091.QueueDeclare{Queue: "q"}
		case 2, 3:
			m = &amqp091.BasicConsume{Queue: "q", NoAck: rnd.IntN(2) == 0}
		case 4, 5, 6, 7:
			write(c, appendPublish(nil, id, "q", strings.Repeat("x", rnd.IntN(9000)), false))
		case 8:
			m = &amqp091.BasicAck{Multiple: true}
		case 9:
			m = &amqp091.ConfirmSelect{}
		case 10:
			m = &amqp091.BasicGet{Queue: "q"}
		case 11:
			m = &amqp091.BasicConsume{Queue: "none"} // ends the channel
		case 12:
			m = &amqp091.ChannelCloseOK{} // which that may want
		case 13:
			m = &amqp091.ChannelClose{ReplyCode: 200}
		case 14:
			m = &amqp091.BasicRecover{Requeue: true}
		case 15:
			c.closeWrite()
			list[id] = nil
		case 16:
			c.nc.Close()
			list[id] = nil
		case 17:
			c.nc.(plainStream).Stream.(interface{ Reset() }).Reset()
			list[id] = nil
		case 18:
			list[id] = nil // another stream comes for the channel
		case 19:
			b := appendPublish(nil, id, "q", strings.Repeat("x", 500), false)
			write(c, b[:rnd.IntN(len(b))])
		case 20, 21:
			c.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			c.nc.Read(make([]byte, 4<<10))
		case 22:
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Microsecond)
		case 23:
			synctest.Wait()
		}
		if m != nil {
			b, _ := amqp091.AppendMethod(nil, id, m)
			write(c, b)
		}
		if act == 13 {
			c.closeWrite()
			list[id] = nil
		}
		if list[id] == nil && rnd.IntN(50) > 0 {
			time.Sleep(time.Millisecond) // else the server might not have seen the end
		}
	}
	switch rnd.IntN(4) {
	case 0:
		p.nc.Close()
	case 1:
		p.nc.(*memnet.Conn).Abort()
	case 2:
		b, _ := amqp091.AppendMethod(nil, 0, &amqp091.ConnectionClose{ReplyCode: 200})
		write(p, b)
		time.Sleep(time.Minute)
		p.nc.Close()
	case 3:
		p.nc.(*memnet.Conn).CloseWrite()
	}
}
