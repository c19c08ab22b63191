package amqpserver_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// FuzzInput sends any bytes on a connection with an open channel, in two pieces, and expects that the server survives and
// serves another client.
func FuzzInput(f *testing.F) {
	var b []byte
	for _, m := range []amqp091.Method{
		&amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicQos{PrefetchCount: 1}, &amqp091.BasicConsume{Queue: "q"},
		&amqp091.ConfirmSelect{},
	} {
		b, _ = amqp091.AppendMethod(b, 1, m)
	}
	b = appendPublish(appendPublish(b, 1, "q", "one", false), 1, "q", "two", true)
	f.Add(b, 7)
	for _, m := range []amqp091.Method{&amqp091.BasicAck{DeliveryTag: 1}, &amqp091.BasicGet{Queue: "q"}, &amqp091.BasicRecover{Requeue: true},
		&amqp091.ChannelClose{ReplyCode: 200}, &amqp091.ChannelOpen{}, &amqp091.TxSelect{}, &amqp091.TxCommit{}} {
		b, _ = amqp091.AppendMethod(b, 1, m)
	}
	b, _ = amqp091.AppendMethod(b, 0, &amqp091.ConnectionClose{ReplyCode: 200})
	f.Add(b, 100)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, new(queues), nil)
			p := open(t, l)
			cut := min(max(cut, 0), len(b))
			p.nc.Write(b[:cut])
			p.nc.Write(b[cut:])
			p.nc.Close()
			other := open(t, l)
			other.send(1, &amqp091.QueueDeclare{Queue: "r"})
			other.expect(`1 queue.declare-ok(queue="r")`)
		})
	})
}

// FuzzStreams sends any bytes on stream 0 and three others of a connection, in pieces, and ends some of them: a script of
// bytes, each piece behind the number of its stream and its size. The server survives, keeps nothing of the connection, and
// serves another client.
func FuzzStreams(f *testing.F) {
	piece := func(script []byte, stream byte, b []byte) []byte {
		return append(append(script, stream, byte(len(b))), b...)
	}
	method := func(channel uint16, m amqp091.Method) []byte {
		b, _ := amqp091.AppendMethod(nil, channel, m)
		return b
	}
	var b []byte
	for id := range byte(3) {
		b = piece(b, id+1, method(uint16(id+1), &amqp091.ChannelOpen{}))
		b = piece(b, id+1, method(uint16(id+1), &amqp091.QueueDeclare{Queue: "q"}))
	}
	b = piece(b, 1, method(1, &amqp091.BasicConsume{Queue: "q"}))
	b = piece(b, 2, appendPublish(nil, 2, "q", "one", false))
	f.Add(b)
	b = piece(b, 1|4, method(1, &amqp091.ChannelClose{ReplyCode: 200})) // and its end
	b = piece(b, 1, method(1, &amqp091.ChannelOpen{}))
	b = piece(b, 2|8, nil) // reset
	b = piece(b, 2, method(2, &amqp091.ChannelOpen{}))
	f.Add(b)
	b = piece(b, 3, method(3, &amqp091.BasicConsume{Queue: "none"}))
	b = piece(b, 2, method(3, &amqp091.ChannelCloseOK{}))
	f.Add(b)
	b = piece(b, 0, method(0, &amqp091.ConnectionClose{ReplyCode: 200}))
	f.Add(b)
	f.Fuzz(func(t *testing.T, script []byte) {
		bubble(t, func(t *testing.T) {
			s, l := serveStreams(t, new(queues), nil, nil)
			p := start(t, l)
			var list [4]*peer
			list[0] = p
			for len(script) >= 2 {
				op, n := script[0], min(int(script[1]), len(script)-2)
				i := op & 3
				if list[i] == nil {
					st, err := p.nc.(*memnet.Conn).OpenStream(context.Background())
					if err != nil {
						break
					}
					list[i] = &peer{t: t, nc: plainStream{st, p.nc.LocalAddr()}}
				}
				list[i].nc.Write(script[2 : 2+n])
				script = script[2+n:]
				if i == 0 {
					continue
				}
				switch {
				case op&4 != 0:
					list[i].closeWrite()
					list[i] = nil
				case op&8 != 0:
					list[i].nc.(plainStream).Stream.(interface{ Reset() }).Reset()
					list[i] = nil
				case op&16 != 0:
					synctest.Wait()
				}
			}
			synctest.Wait()
			p.nc.Close()
			time.Sleep(time.Minute)
			synctest.Wait()
			if st := s.Stats(); st.Connections != 0 || st.Buffered != 0 || st.Channels != 0 {
				t.Errorf("%+v", st)
			}
			other := start(t, l).channel(1)
			other.send(1, &amqp091.QueueDeclare{Queue: "r"})
			other.expect(`1 queue.declare-ok(queue="r")`)
		})
	})
}
