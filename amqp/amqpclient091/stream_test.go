package amqpclient091_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/amqp/amqptest"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// streamBroker is a broker whose connections have a stream for each channel.
type streamBroker struct {
	t      *testing.T
	l      *memnet.Listener
	server *amqpserver.Server
	broker *amqpbroker.Broker
	mu     sync.Mutex
	conns  []*memnet.Conn // of clients
}

func newStreamBroker(t *testing.T, o *amqpserver.Options, m *memnet.Options) *streamBroker {
	t.Helper()
	broker, err := amqpbroker.New(&amqpbroker.Options{Authenticate: amqpbroker.AllowAll, Unregistered: amqpbroker.Everything()})
	if err != nil {
		t.Fatal(err)
	}
	b := &streamBroker{t: t, l: memnet.Listen("broker"), server: amqpserver.New(broker, o), broker: broker}
	if m == nil {
		m = new(memnet.Options)
	}
	m.Protocol = amqp091.Streams
	b.l.OnDial(func(int) (*memnet.Options, error) { return m, nil })
	done := make(chan error, 1)
	go func() { done <- b.server.Serve(b.l, nil) }()
	t.Cleanup(func() {
		b.server.Close()
		<-done
		broker.Close()
	})
	return b
}

func (b *streamBroker) dial(ctx context.Context, _ *url.URL) (net.Conn, error) {
	nc, err := b.l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.conns = append(b.conns, nc.(*memnet.Conn))
	b.mu.Unlock()
	return nc, nil
}

func (b *streamBroker) last() *memnet.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns[len(b.conns)-1]
}

func (b *streamBroker) client(o *amqpclient091.Options) *amqpclient091.Client {
	b.t.Helper()
	options := amqpclient091.Options{}
	if o != nil {
		options = *o
	}
	options.Servers = []string{"mem://broker"}
	options.Dialers = map[string]amqpclient091.DialFunc{"mem": b.dial}
	c, err := amqpclient091.New(&options)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	if err := c.Connected(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// ready returns how many messages are in queues and not with a consumer.
func (b *streamBroker) ready() int { return int(b.broker.Stats().Ready) }

// must returns v unless there is an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStreamsWhole goes through all that a client does, each channel on a stream of its own.
func TestStreamsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStreamBroker(t, nil, nil)
		c := b.client(nil)
		ctx := t.Context()
		if i, _ := c.Info(); !i.Streams {
			t.Error("no streams")
		}
		_, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q"})
		no(t, err)
		for i := range 100 {
			no(t, c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: fmt.Append(nil, i)}))
		}
		// A body in many frames.
		big := bytes.Repeat([]byte("0123456789"), 100_000)
		no(t, c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: big}))
		s := must(c.Consume(ctx, "q", nil))(t)
		n := 0
		for d, err := range s.Deliveries(ctx) {
			no(t, err)
			want := fmt.Sprint(n)
			if n == 100 {
				want = string(big)
			}
			if string(d.Body) != want {
				t.Fatalf("%d bytes, want %d", len(d.Body), len(want))
			}
			no(t, d.Ack())
			if n++; n == 101 {
				break
			}
		}
		no(t, s.Cancel(ctx))

		// A message that goes nowhere comes back.
		err = c.Publish(ctx, &amqpclient091.Message{RoutingKey: "nowhere", Mandatory: true})
		if _, ok := errors.AsType[*amqpclient091.ReturnedError](err); !ok {
			t.Errorf("mandatory: %v", err)
		}

		// Transactions.
		tx := must(c.Channel(ctx, &amqpclient091.ChannelOptions{Mode: amqpclient091.Transactions}))(t)
		no(t, tx.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: []byte("no")}))
		no(t, tx.Rollback(ctx))
		no(t, tx.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: []byte("yes")}))
		if n := b.ready(); n != 0 {
			t.Errorf("%d messages before the commit", n)
		}
		no(t, tx.Commit(ctx))
		h := must(c.Channel(ctx, nil))(t)
		d, ok, err := h.Get(ctx, "q", amqpclient091.AckManual)
		if err != nil || !ok || string(d.Body) != "yes" {
			t.Fatalf("get: %v, %v, %v", d, ok, err)
		}
		no(t, d.Ack())
		_, ok, err = h.Get(ctx, "q", amqpclient091.AckNone)
		if ok || err != nil {
			t.Errorf("get: %v, %v", ok, err)
		}

		// Requests and replies.
		_, err = c.DeclareQueue(ctx, amqpclient091.Queue{Name: "work"})
		no(t, err)
		work := must(c.Consume(ctx, "work", nil))(t)
		go func() {
			for d, err := range work.Deliveries(ctx) {
				if err != nil {
					return
				}
				c.Reply(ctx, d, &amqpclient091.Message{Body: bytes.ToUpper(d.Body)})
				d.Ack()
			}
		}()
		reply := must(c.Call(ctx, &amqpclient091.Message{RoutingKey: "work", Body: []byte("hello")}))(t)
		if string(reply.Body) != "HELLO" {
			t.Errorf("reply %q", reply.Body)
		}

		// The server closes a channel: a refused declaration, a message to no exchange. Others go on.
		_, err = c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q", Durable: true})
		if e, ok := errors.AsType[*amqp091.Error](err); !ok || e.Code != amqp091.PreconditionFailed {
			t.Errorf("declare: %v", err)
		}
		if err := c.Publish(ctx, &amqpclient091.Message{Exchange: "none", RoutingKey: "q"}); err == nil {
			t.Error("published to no exchange")
		}
		no(t, c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: []byte("after")}))
		for range 50 { // numbers and streams are used again
			h := must(c.Channel(ctx, nil))(t)
			if _, err := h.Consume(ctx, "none", nil); err == nil {
				t.Fatal("consumes from nothing")
			}
			h = must(c.Channel(ctx, nil))(t)
			no(t, h.Publish(ctx, &amqpclient091.Message{RoutingKey: "q"}))
			no(t, h.Close())
		}
		synctest.Wait()
		if n := b.server.Stats().Channels; n > 10 {
			t.Errorf("%d channels", n)
		}
		no(t, c.Shutdown(ctx))
		synctest.Wait()
		if st := b.server.Stats(); st.Connections != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestStreamsAcksBeforeClose: what was acknowledged before Close is, and does not come again.
func TestStreamsAcksBeforeClose(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			// Stream 0 is faster than the others: the bytes of channels are slow on their way.
			b := newStreamBroker(t, nil, &memnet.Options{ToServer: memnet.Link{BytesPerSecond: 100_000, Latency: 10 * time.Millisecond}})
			c := b.client(nil)
			ctx := t.Context()
			_, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q"})
			no(t, err)
			for range 50 {
				_, err := c.PublishAsync(ctx, &amqpclient091.Message{RoutingKey: "q"})
				no(t, err)
			}
			s := must(c.Consume(ctx, "q", nil))(t)
			n := 0
			for d, err := range s.Deliveries(ctx) {
				no(t, err)
				no(t, d.Ack())
				if n++; n == 50 {
					break
				}
			}
			if shutdown {
				no(t, c.Shutdown(ctx))
			} else {
				no(t, c.Close())
			}
			time.Sleep(5 * time.Second)
			if n := b.ready(); n != 0 {
				t.Errorf("%d messages came back", n)
			}
			if n := b.server.Stats().Connections; n != 0 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestStreamsRecover: a connection that is lost, with messages under way, comes back with all its channels and loses nothing.
func TestStreamsRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const channels, messages = 5, 400
		b := newStreamBroker(t, nil, &memnet.Options{ToServer: memnet.Link{Latency: time.Millisecond}, ToClient: memnet.Link{Latency: time.Millisecond}})
		c := b.client(&amqpclient091.Options{Backoff: amqpclient091.Backoff{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond, Seed: 1}})
		ctx := t.Context()
		var stop atomic.Bool
		go func() {
			for i := 0; !stop.Load(); i++ {
				time.Sleep(37 * time.Millisecond)
				if i%2 == 0 {
					b.last().Abort()
				} else {
					b.last().Close()
				}
			}
		}()
		var wg sync.WaitGroup
		for i := range channels {
			q := fmt.Sprint("q", i)
			_, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: q})
			no(t, err)
			h := must(c.Channel(ctx, &amqpclient091.ChannelOptions{Republish: true, Window: 10}))(t)
			wg.Go(func() {
				for n := range messages {
					if err := h.Publish(ctx, &amqpclient091.Message{RoutingKey: q, Body: fmt.Append(nil, n)}); err != nil {
						t.Errorf("publish: %v", err)
						return
					}
				}
			})
			wg.Go(func() {
				s, err := c.Consume(ctx, q, nil)
				if err != nil {
					t.Errorf("consume: %v", err)
					return
				}
				seen := make(map[string]bool)
				for d, err := range s.Deliveries(ctx) {
					if err != nil {
						t.Errorf("consume: %v", err)
						return
					}
					seen[string(d.Body)] = true
					if err := d.Ack(); err != nil && !errors.Is(err, amqpclient091.ErrStale) {
						t.Errorf("ack: %v", err)
					}
					if len(seen) == messages {
						return
					}
				}
			})
		}
		wg.Wait()
		stop.Store(true)
		time.Sleep(time.Second)
		if st := c.Stats(); st.Connects < 3 || st.Unknown != 0 {
			t.Errorf("%+v", st)
		}
		no(t, c.Shutdown(ctx))
	})
}

// TestStreamsServerGoesDown: the server's Shutdown and Close are ends of the connection, not of channels.
func TestStreamsServerGoesDown(t *testing.T) {
	for name, end := range map[string]func(s *amqpserver.Server){
		"shutdown": func(s *amqpserver.Server) { s.Shutdown(context.Background()) },
		"close":    func(s *amqpserver.Server) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newStreamBroker(t, nil, nil)
				b2 := newStreamBroker(t, nil, nil)
				dials := 0
				c, err := amqpclient091.New(&amqpclient091.Options{
					Servers: []string{"mem://broker"},
					Dialers: map[string]amqpclient091.DialFunc{"mem": func(ctx context.Context, u *url.URL) (net.Conn, error) {
						if dials++; dials == 1 {
							return b.dial(ctx, u)
						}
						return b2.dial(ctx, u)
					}},
				})
				no(t, err)
				defer c.Close()
				ctx := t.Context()
				_, err = c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q"})
				no(t, err)
				h := must(c.Channel(ctx, &amqpclient091.ChannelOptions{Republish: true}))(t)
				s := must(c.Consume(ctx, "q", nil))(t)
				end(b.server)
				no(t, h.Publish(ctx, &amqpclient091.Message{RoutingKey: "q"}))
				for d, err := range s.Deliveries(ctx) {
					no(t, err)
					no(t, d.Ack())
					break
				}
				if h.Err() != nil || c.Stats().Connects != 2 {
					t.Errorf("%v, %+v", h.Err(), c.Stats())
				}
			})
		})
	}
}

// TestStreamsEarly: the login waits for the end of the handshake below; the protocol header does not.
func TestStreamsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("broker")
		defer l.Close()
		l.OnDial(func(int) (*memnet.Options, error) {
			return &memnet.Options{Protocol: amqp091.Streams, Early: true}, nil
		})
		c, err := amqpclient091.New(&amqpclient091.Options{
			Servers: []string{"mem://broker"},
			Dialers: map[string]amqpclient091.DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
		})
		no(t, err)
		defer c.Close()
		nc := must(l.Accept())(t)
		p := amqptest.NewPeer(t, nc)
		p.ExpectHeader(amqp.Header091)
		p.Send(0, &amqp091.ConnectionStart{VersionMinor: 9, Mechanisms: "PLAIN", Locales: "en_US"})
		p.ExpectSilence(time.Second)
		nc.(*memnet.Conn).Confirm()
		p.Receive(0, amqp091.IDConnectionStartOK)
	})
}

// TestStreamsHeadOfLine: a channel that the server does not read, and a consumer that is not read, do not stop the others.
func TestStreamsHeadOfLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("broker")
		defer l.Close()
		l.OnDial(func(int) (*memnet.Options, error) {
			return &memnet.Options{Protocol: amqp091.Streams, Capacity: 4 << 10}, nil
		})
		c, err := amqpclient091.New(&amqpclient091.Options{
			Servers: []string{"mem://broker"},
			Dialers: map[string]amqpclient091.DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
			Limits:  amqpclient091.Limits{OutputBuffer: 64 << 10},
		})
		no(t, err)
		defer c.Close()
		nc := must(l.Accept())(t)
		p := amqptest.NewPeer(t, nc)
		p.Accept(nil)
		ctx := t.Context()
		open := func(mode amqpclient091.ChannelMode) (*amqpclient091.Channel, *amqptest.Peer, uint16) {
			got := make(chan *amqpclient091.Channel, 1)
			go func() {
				h, err := c.Channel(ctx, &amqpclient091.ChannelOptions{Mode: mode})
				if err != nil {
					t.Error(err)
				}
				got <- h
			}()
			s := p.AcceptStream()
			id := s.AcceptChannel()
			if mode == amqpclient091.Confirms {
				s.Receive(id, amqp091.IDConfirmSelect)
				s.Send(id, &amqp091.ConfirmSelectOK{})
			}
			return <-got, s, id
		}
		// Nobody reads these.
		body := bytes.Repeat([]byte("x"), 3000)
		var stalled []*amqpclient091.Channel
		for range 10 {
			h, _, _ := open(amqpclient091.NoConfirms)
			for range 100 {
				_, err := h.PublishAsync(ctx, &amqpclient091.Message{RoutingKey: "q", Body: body})
				no(t, err)
			}
			stalled = append(stalled, h)
		}
		synctest.Wait()
		if n := c.Stats().Queued; n < 500 {
			t.Errorf("%d messages wait in queues", n)
		}
		h, s, id := open(amqpclient091.Confirms)
		for i := range 100 {
			m := &amqpclient091.Message{RoutingKey: "q", Body: body}
			if i%2 == 0 {
				m.Body = []byte("y")
			}
			done := make(chan error, 1)
			begin := time.Now()
			go func() { done <- h.Publish(ctx, m) }()
			s.ReceiveContent(id, amqp091.IDBasicPublish)
			s.Send(id, &amqp091.BasicAck{DeliveryTag: uint64(i + 1)})
			no(t, <-done)
			if took := time.Since(begin); took != 0 {
				t.Fatalf("it took %v", took)
			}
		}
		for _, h := range stalled {
			if h.Err() != nil {
				t.Error(h.Err())
			}
		}
	})
}

// TestStreamsServerEnds: the server ends the stream of a channel without closing it: the channel has ended, and no other.
func TestStreamsServerEnds(t *testing.T) {
	for name, end := range map[string]func(p *amqptest.Peer){
		"close": func(p *amqptest.Peer) { p.Close() },
		"half":  func(p *amqptest.Peer) { p.Conn().(interface{ CloseWrite() error }).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen("broker")
				defer l.Close()
				l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: amqp091.Streams}, nil })
				c, err := amqpclient091.New(&amqpclient091.Options{
					Servers: []string{"mem://broker"},
					Dialers: map[string]amqpclient091.DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
				})
				no(t, err)
				defer c.Close()
				p := amqptest.NewPeer(t, must(l.Accept())(t))
				p.Accept(nil)
				ctx := t.Context()
				var hs [2]*amqpclient091.Channel
				var ps [2]*amqptest.Peer
				for i := range hs {
					done := make(chan error, 1)
					go func() {
						var err error
						hs[i], err = c.Channel(ctx, &amqpclient091.ChannelOptions{Mode: amqpclient091.NoConfirms})
						done <- err
					}()
					ps[i] = p.AcceptStream()
					ps[i].AcceptChannel()
					no(t, <-done)
				}
				end(ps[0])
				<-hs[0].Done()
				if err := hs[0].Err(); !errors.Is(err, amqpclient091.ErrChannelClosed) || !strings.Contains(err.Error(), "stream") {
					t.Errorf("%v", err)
				}
				no(t, hs[1].Publish(ctx, &amqpclient091.Message{RoutingKey: "q"}))
				ps[1].ReceiveContent(2, amqp091.IDBasicPublish)
				p.ExpectSilence(time.Second)
			})
		})
	}
}

// TestStreamsLimit: more channels than the server takes streams for wait for one another.
func TestStreamsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// memnet has 256 streams that nobody has accepted, the server accepts as many as there may be channels, and some.
		b := newStreamBroker(t, &amqpserver.Options{Limits: amqpserver.Limits{ChannelMax: 300}}, nil)
		c := b.client(nil)
		ctx := t.Context()
		var all []*amqpclient091.Channel
		for range 300 {
			all = append(all, must(c.Channel(ctx, nil))(t))
		}
		if _, err := c.Channel(ctx, nil); !errors.Is(err, amqpclient091.ErrTooManyChannels) {
			t.Errorf("one more: %v", err)
		}
		for _, h := range all {
			no(t, h.Close())
		}
		synctest.Wait()
		must(c.Channel(ctx, nil))(t)
	})
}

// TestStreamsCloseWaits: what the server has said on channels before connection.close counts, even if it comes later; but it is
// not waited for long.
func TestStreamsCloseWaits(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen("broker")
				defer l.Close()
				l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: amqp091.Streams}, nil })
				c, err := amqpclient091.New(&amqpclient091.Options{
					Servers: []string{"mem://broker"},
					Dialers: map[string]amqpclient091.DialFunc{"mem": func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }},
				})
				no(t, err)
				defer c.Close()
				p := amqptest.NewPeer(t, must(l.Accept())(t))
				p.Accept(nil)
				published := make(chan error, 1)
				go func() { published <- c.Publish(t.Context(), &amqpclient091.Message{RoutingKey: "q"}) }()
				s := p.AcceptStream()
				id := s.AcceptChannel()
				s.Receive(id, amqp091.IDConfirmSelect)
				s.Send(id, &amqp091.ConfirmSelectOK{})
				s.ReceiveContent(id, amqp091.IDBasicPublish)

				p.Send(0, &amqp091.ConnectionClose{ReplyCode: amqp091.ConnectionForced})
				begin := time.Now()
				p.ExpectSilence(time.Millisecond)
				if !late {
					s.Send(id, &amqp091.BasicAck{DeliveryTag: 1})
					s.Conn().(interface{ CloseWrite() error }).CloseWrite()
				}
				p.Receive(0, amqp091.IDConnectionCloseOK)
				_, unknown := errors.AsType[*amqpclient091.UnknownError](<-published)
				if took := time.Since(begin); unknown != late || late != (took == time.Second) {
					t.Errorf("unknown: %v, after %v", unknown, took)
				}
			})
		})
	}
}

// TestStreamsTrickle: a consumer that nobody reads, and a queue that goes on filling, do not end the connection.
func TestStreamsTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStreamBroker(t, &amqpserver.Options{Limits: amqpserver.Limits{SlowTimeout: -1}}, &memnet.Options{Capacity: 1 << 10})
		c := b.client(nil)
		ctx := t.Context()
		_, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "q"})
		no(t, err)
		s := must(c.Consume(ctx, "q", &amqpclient091.ConsumeOptions{Ack: amqpclient091.AckNone, Buffer: 3}))(t)
		for range 600 {
			time.Sleep(time.Second)
			no(t, c.Publish(ctx, &amqpclient091.Message{RoutingKey: "q", Body: make([]byte, 100)}))
		}
		if st := c.Stats(); st.Connects != 1 || b.server.Stats().Accepted != 1 {
			t.Errorf("%+v", st)
		}
		n := 0
		for _, err := range s.Deliveries(ctx) {
			no(t, err)
			if n++; n == 600 {
				break
			}
		}
	})
}
