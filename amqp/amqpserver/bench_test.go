package amqpserver_test

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// tcp starts a server on a loopback port and returns a connected client that is open.
func tcp(b testing.TB, backend amqpserver.Backend) (s *amqpserver.Server, dial func() *peer) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Skip(err)
	}
	s = amqpserver.New(backend, nil)
	go s.Serve(l, nil)
	b.Cleanup(func() { s.Close() })
	return s, func() *peer {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { nc.Close() })
		p := &peer{t: b, nc: nc}
		p.login()
		p.send(1, &amqp091.ChannelOpen{})
		p.next()
		return p
	}
}

// sink is a backend that takes messages and confirms them at once, and delivers to one consumer what it is given.
type sink struct {
	amqpserver.Session
	consumer chan *amqpserver.Consumer
	ready    chan struct{}
	settled  chan int

	got, want int // messages published
	done      chan struct{}
}

func (s *sink) Authenticate(_ context.Context, _ *amqpserver.Conn, a *amqpserver.Auth) (string, error) {
	return a.User, nil
}

func (s *sink) Open(context.Context, *amqpserver.Conn, string) (amqpserver.Session, error) {
	return &sinkSession{s}, nil
}

type sinkSession struct{ s *sink }

func (s *sinkSession) Start(*amqpserver.Batch)                                    {}
func (s *sinkSession) OpenChannel(*amqpserver.Batch, *amqpserver.Channel) error   { return nil }
func (s *sinkSession) CloseChannel(*amqpserver.Batch, *amqpserver.Channel, []any) {}
func (s *sinkSession) Closed(error)                                               {}
func (s *sinkSession) Settled(_ *amqpserver.Batch, _ *amqpserver.Channel, refs []any, _ amqpserver.Settlement) {
	s.s.settled <- len(refs)
}

func (s *sinkSession) Ready(*amqpserver.Batch, *amqpserver.Channel) {
	select {
	case s.s.ready <- struct{}{}:
	default:
	}
}

func (s *sinkSession) Publish(b *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	if p.Seq != 0 {
		ch.Confirm(b, p.Seq, true)
	}
	if s.s.got++; s.s.got == s.s.want {
		close(s.s.done)
	}
	return nil
}

func (s *sinkSession) Method(b *amqpserver.Batch, ch *amqpserver.Channel, m amqp091.Method) error {
	c, err := ch.Consume("c", m.(*amqp091.BasicConsume).NoAck)
	if err != nil {
		return err
	}
	ch.Reply(b, &amqp091.BasicConsumeOK{ConsumerTag: "c"})
	s.s.consumer <- c
	return nil
}

// repeat returns a message of 256 bytes n times.
func repeat(n int) []byte {
	return bytes.Repeat(appendPublish(nil, 1, "some.queue", string(make([]byte, 256)), false), n)
}

// BenchmarkPublish sends messages of 256 bytes over loopback.
func BenchmarkPublish(b *testing.B) {
	for _, confirm := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "confirm"}[confirm], func(b *testing.B) {
			backend := &sink{want: b.N, done: make(chan struct{})}
			_, dial := tcp(b, backend)
			p := dial()
			if confirm {
				p.send(1, &amqp091.ConfirmSelect{})
				p.next()
				go func() {
					buf := make([]byte, 64<<10)
					for {
						if _, err := p.nc.Read(buf); err != nil {
							return
						}
					}
				}()
			}
			const block = 500
			out := repeat(block)
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += block {
				p.raw(out[:len(out)/block*min(block, b.N-sent)])
			}
			<-backend.done
		})
	}
}

// BenchmarkDeliver delivers messages of 256 bytes over loopback, to a client that acknowledges nothing or every 50th with
// multiple.
func BenchmarkDeliver(b *testing.B) {
	for _, noAck := range []bool{true, false} {
		b.Run(map[bool]string{true: "no-ack", false: "ack"}[noAck], func(b *testing.B) {
			backend := &sink{consumer: make(chan *amqpserver.Consumer, 1), ready: make(chan struct{}, 1), settled: make(chan int, 1<<20), done: make(chan struct{})}
			_, dial := tcp(b, backend)
			p := dial()
			p.send(1, &amqp091.BasicQos{PrefetchCount: 1000}, &amqp091.BasicConsume{NoAck: noAck})
			p.next()
			p.next()
			consumer := <-backend.consumer
			size := 0
			{
				m, _ := amqp091.AppendDeliver(nil, 1, "c", 1, false, "", "some.queue")
				size = len(amqp091.AppendBody(amqp091.AppendContentHeader(m, 1, 256, nil), 1, make([]byte, 256), 0))
			}
			go func() {
				buf, got, acked := make([]byte, 256<<10), 0, 0
				for {
					n, err := p.nc.Read(buf)
					if err != nil {
						return
					}
					got += n
					if got >= b.N*size {
						close(backend.done)
					}
					if tag := got / size; !noAck && (tag >= acked+50 || tag == b.N) {
						acked = tag
						p.nc.Write(amqp091.AppendAck(nil, 1, uint64(tag), true))
					}
				}
			}()
			batch := amqpserver.NewBatch()
			d := &amqpserver.Delivery{RoutingKey: "some.queue", Body: make([]byte, 256)}
			ref := any(d)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; {
				if consumer.Channel().Deliver(batch, consumer, d, ref) {
					if i++; i%200 == 0 {
						batch.Flush()
					}
					continue
				}
				batch.Flush()
				<-backend.ready
			}
			batch.Flush()
			<-backend.done
		})
	}
}
