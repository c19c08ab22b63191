package amqpserver_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestReopenedChannel: the session is told of the end of a channel before its number is used again, and gets back what was
// not settled.
func TestReopenedChannel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		_, l := serve(t, b, nil)
		p := open(t, l)
		p.send(1, &amqp091.QueueDeclare{Queue: "q"})
		p.next()
		p.publish(1, "q", "one")
		p.send(1, &amqp091.BasicGet{Queue: "q"})
		p.next()
		p.next()
		p.next()
		ch := b.last().c.Channels()[0]
		b.method = func(*amqpserver.Channel, amqp091.Method) error {
			ch.Close(nil, amqp091.SoftError(amqp091.PreconditionFailed, "bye"))
			return nil
		}
		b.take()
		m, _ := amqp091.AppendMethod(nil, 1, &amqp091.QueueDeclare{Queue: "q"})
		m, _ = amqp091.AppendMethod(m, 1, &amqp091.ChannelCloseOK{}) // the answer is quick
		m, _ = amqp091.AppendMethod(m, 1, &amqp091.ChannelOpen{})
		p.raw(m)
		if got := p.next(); !strings.HasPrefix(got, "1 channel.close(") {
			t.Error(got)
		}
		p.expect("1 channel.open-ok()")
		synctest.Wait()
		equal(t, "calls", b.take(), "close channel 1, 1 unsettled")
		b.method = nil
		p.send(1, &amqp091.BasicGet{Queue: "q"})
		p.expect(`1 basic.get-ok(delivery-tag=1, redelivered, routing-key="q")`)
	})
}

// calls notes calls of a session that come after Closed, or of a channel after CloseChannel.
type calls struct {
	amqpserver.Session
	b      *queues
	closed bool
	ended  map[*amqpserver.Channel]bool
}

func (s *calls) CloseChannel(b *amqpserver.Batch, ch *amqpserver.Channel, refs []any) {
	s.ended[ch] = true
	s.Session.CloseChannel(b, ch, refs)
}

func (s *calls) Ready(b *amqpserver.Batch, ch *amqpserver.Channel) {
	if s.ended[ch] {
		s.b.note("ready after the end")
	}
	s.Session.Ready(b, ch)
}

func (s *calls) Flush(*amqpserver.Batch) {
	if s.closed {
		s.b.note("flush after the end")
	}
}

func (s *calls) Closed(cause error) {
	s.closed = true
	s.Session.Closed(cause)
}

type counting struct{ *queues }

func (c *counting) Open(ctx context.Context, conn *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	s, err := c.queues.Open(ctx, conn, vhost)
	return &calls{Session: s, b: c.queues, ended: make(map[*amqpserver.Channel]bool)}, err
}

// TestLastCall: nothing is called after Closed, and nothing for a channel after CloseChannel.
func TestLastCall(t *testing.T) {
	t.Run("flush", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			_, l := serve(t, &counting{b}, nil)
			p := open(t, l)
			b.last().c.Close(nil, amqp091.HardError(amqp091.ConnectionForced, "bye"))
			synctest.Wait()
			p.send(1, &amqp091.QueueDeclare{Queue: "q"})
			p.send(0, &amqp091.ConnectionCloseOK{})
			p.next()
			p.expect("EOF")
			synctest.Wait()
			if got := b.take(); strings.Contains(got, "after") {
				t.Error(got)
			}
		})
	})
	t.Run("ready", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			_, l := serve(t, &counting{b}, nil)
			p := open(t, l)
			p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.TxSelect{}, &amqp091.BasicQos{PrefetchCount: 1},
				&amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
			for range 4 {
				p.next()
			}
			p.publish(1, "q", "one", "two")
			for range 3 {
				p.next()
			}
			b.method = func(_ *amqpserver.Channel, m amqp091.Method) error {
				return amqp091.SoftError(amqp091.ResourceError, "the disk is full")
			}
			p.send(1, &amqp091.BasicAck{DeliveryTag: 1}, &amqp091.TxCommit{})
			p.next()
			synctest.Wait()
			if got := b.take(); strings.Contains(got, "after") {
				t.Error(got)
			}
		})
	})
}

// TestCommitFails: what a transaction has settled is not settled when it cannot be committed.
func TestCommitFails(t *testing.T) {
	for _, hard := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			_, l := serve(t, b, nil)
			p := open(t, l)
			p.send(1, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.TxSelect{})
			p.next()
			p.next()
			p.publish(1, "q", "one", "two")
			p.send(1, &amqp091.BasicGet{Queue: "q"}, &amqp091.BasicGet{Queue: "q"})
			for range 6 {
				p.next()
			}
			b.method = func(_ *amqpserver.Channel, m amqp091.Method) error {
				return &amqp091.Error{Code: amqp091.PreconditionFailed, Text: "no room", Hard: hard}
			}
			p.send(1, &amqp091.BasicAck{DeliveryTag: 1}, &amqp091.TxCommit{})
			p.next()
			synctest.Wait()
			if got := b.take(); !strings.Contains(got, "close channel 1, 2 unsettled") {
				t.Error(got)
			}
		})
	}
}

// TestAfterClose: what a client has on the way when it closes the connection is read, for a reset would take the answer from
// it.
func TestAfterClose(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "amqp"))
	if err != nil {
		t.Skip(err)
	}
	s := amqpserver.New(new(queues), nil)
	defer s.Close()
	go s.Serve(l, nil)
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	p := &peer{t: t, nc: nc}
	p.login()
	b, _ := amqp091.AppendMethod(nil, 0, &amqp091.ConnectionClose{ReplyCode: 200})
	for len(b) < 4<<20 {
		b = appendPublish(b, 1, "q", strings.Repeat("x", 1000), false)
	}
	p.raw(b)
	p.expect("0 connection.close-ok()", "EOF")
}

// TestClientStays: a client that does not go after connection.close-ok is not kept for long.
func TestClientStays(t *testing.T) {
	for _, v := range []struct {
		name  string
		sends bool
		want  time.Duration
	}{
		{"silent", false, 2 * time.Second},
		{"sending", true, 30 * time.Second},
	} {
		t.Run(v.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, l := serve(t, new(queues), nil)
				p := open(t, l)
				start := time.Now()
				p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
				p.expect("0 connection.close-ok()", "EOF")
				var err error
				for err == nil && s.Stats().Connections > 0 {
					time.Sleep(time.Second)
					synctest.Wait()
					if v.sends {
						_, err = p.nc.Write([]byte{1})
					}
				}
				equal(t, "time", time.Since(start), v.want)
			})
		})
	}
}

// TestRefusedClientSends: a client that was refused and goes on sending is not kept for long.
func TestRefusedClientSends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, new(queues), nil)
		p := dial(t, l)
		start := time.Now()
		p.raw([]byte("no protocol"))
		if got, err := io.ReadAll(p.nc); err != nil || string(got) != amqp091.ProtocolHeader {
			t.Errorf("%q, %v", got, err)
		}
		for {
			time.Sleep(time.Second)
			synctest.Wait()
			if _, err := p.nc.Write([]byte{1}); err != nil {
				break
			}
		}
		equal(t, "time", time.Since(start), 30*time.Second)
	})
}
