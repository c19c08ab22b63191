package amqpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// board is a backend of one's own: every consumer gets everything that is published, whatever queue it names.
type board struct {
	mu        sync.Mutex
	consumers map[*amqpserver.Consumer]bool
}

// Authenticate lets everybody in who knows the password.
func (b *board) Authenticate(_ context.Context, _ *amqpserver.Conn, a *amqpserver.Auth) (string, error) {
	if a.Password != "swordfish" {
		return "", errors.New("wrong password")
	}
	return a.User, nil
}

// Open has one virtual host.
func (b *board) Open(_ context.Context, _ *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	if vhost != "/" {
		return nil, amqp091.HardError(amqp091.NotAllowed, "vhost %s not found", vhost)
	}
	return &guest{b}, nil
}

// guest is a connection to the board.
type guest struct{ board *board }

func (g *guest) Method(batch *amqpserver.Batch, ch *amqpserver.Channel, m amqp091.Method) error {
	consume, ok := m.(*amqp091.BasicConsume)
	if !ok {
		return amqp091.SoftError(amqp091.AccessRefused, "this is a board")
	}
	c, err := ch.Consume(consume.ConsumerTag, true)
	if err != nil {
		return err
	}
	ch.Reply(batch, &amqp091.BasicConsumeOK{ConsumerTag: c.Tag()})
	g.board.mu.Lock()
	defer g.board.mu.Unlock()
	g.board.consumers[c] = true
	return nil
}

func (g *guest) Publish(batch *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	d := &amqpserver.Delivery{Exchange: string(p.Exchange), RoutingKey: string(p.RoutingKey), Properties: p.Properties, Body: p.Body}
	if len(d.Body) > amqpserver.LargeBody && !p.Owned {
		d.Body = bytes.Clone(d.Body) // smaller ones are copied by Deliver
	}
	g.board.mu.Lock()
	for c := range g.board.consumers {
		c.Channel().Deliver(batch, c, d, nil)
	}
	g.board.mu.Unlock()
	if p.Seq != 0 {
		ch.Confirm(batch, p.Seq, true)
	}
	return nil
}

func (g *guest) CloseChannel(_ *amqpserver.Batch, ch *amqpserver.Channel, _ []any) {
	g.board.mu.Lock()
	defer g.board.mu.Unlock()
	for c := range g.board.consumers {
		if c.Channel() == ch {
			delete(g.board.consumers, c)
		}
	}
}

// Nothing is acknowledged and nothing waits, so there is nothing to settle or to go on with.

func (g *guest) Start(*amqpserver.Batch)                                                      {}
func (g *guest) OpenChannel(*amqpserver.Batch, *amqpserver.Channel) error                     { return nil }
func (g *guest) Settled(*amqpserver.Batch, *amqpserver.Channel, []any, amqpserver.Settlement) {}
func (g *guest) Ready(*amqpserver.Batch, *amqpserver.Channel)                                 {}
func (g *guest) Closed(error)                                                                 {}

func ExampleServer() {
	server := amqpserver.New(&board{consumers: make(map[*amqpserver.Consumer]bool)}, &amqpserver.Options{
		Limits: amqpserver.Limits{MaxMessage: 1 << 20},
	})
	listener := memnet.Listen("board") // or net.Listen("tcp", ":5672")
	go server.Serve(listener, nil)

	conn, err := listener.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	talk(conn)
	conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(server.Shutdown(ctx))
	// Output:
	// 1 basic.deliver(consumer-tag="me", delivery-tag=1, exchange="board", routing-key="hello")
	// 1 header(body-size=5)
	// 1 body 5:"world"
	// <nil>
}

// talk consumes and publishes, and prints the first message that comes back.
func talk(conn net.Conn) {
	out := []byte(amqp091.ProtocolHeader)
	for _, m := range []amqp091.Method{
		&amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00me\x00swordfish")},
		&amqp091.ConnectionTuneOK{ChannelMax: 1, FrameMax: 4096},
		&amqp091.ConnectionOpen{VirtualHost: "/"},
	} {
		out, _ = amqp091.AppendMethod(out, 0, m)
	}
	out, _ = amqp091.AppendMethod(out, 1, &amqp091.ChannelOpen{})
	out, _ = amqp091.AppendMethod(out, 1, &amqp091.BasicConsume{ConsumerTag: "me"})
	out, _ = amqp091.AppendPublish(out, 1, "board", "hello", false)
	out = amqp091.AppendContentHeader(out, 1, 5, nil)
	conn.Write(amqp091.AppendBody(out, 1, []byte("world"), 4096))
	in, shown := make([]byte, 0, 4096), 0
	for {
		n, err := conn.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		for {
			f, n, err := amqp091.NextFrame(in, 0)
			if n == 0 || err != nil {
				break
			}
			in = in[n:]
			if id, _ := amqp091.PeekMethod(f.Payload); f.Type == amqp091.FrameMethod && id != amqp091.IDBasicDeliver {
				continue
			}
			fmt.Println(f)
			if shown++; shown == 3 {
				return
			}
		}
	}
}
