package amqpserver_test

import (
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
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
