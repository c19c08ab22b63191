package amqp091_test

import (
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func TestAppendAndDecode(t *testing.T) {
	m := &amqp091.QueueDeclare{Queue: "q", Durable: true, NoWait: true, Arguments: amqp091.Table{{"x-max-length", 10}, {"x-y", amqp091.Table{{"a", "b"}}}}}
	b, err := amqp091.AppendMethod(nil, 7, m)
	if err != nil {
		t.Fatal(err)
	}
	f, n, err := amqp091.NextFrame(b, 0)
	if err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	const want = `7 queue.declare(queue="q", durable, no-wait, arguments={x-max-length=10, x-y={a="b"}})`
	if got := f.String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	p := amqp091.Properties{ContentType: "text/plain", Headers: amqp091.Table{{"k", int64(1)}}, DeliveryMode: 2, Expiration: "100"}
	raw, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b = amqp091.AppendContentHeader(nil, 7, 5, raw)
	f, _, err = amqp091.NextFrame(b, 0)
	if got := f.String(); err != nil || got != `7 header(body-size=5, content-type="text/plain", headers={k=1l}, delivery-mode=2, expiration="100")` {
		t.Errorf("%s, %v", got, err)
	}
}
