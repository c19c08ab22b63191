package amqp091_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func ExampleAppendMethod() {
	b, err := amqp091.AppendMethod(nil, 1, &amqp091.QueueDeclare{
		Queue:     "jobs",
		Durable:   true,
		Arguments: amqp091.Table{{Key: "x-message-ttl", Value: 60000}},
	})
	if err != nil {
		log.Fatal(err)
	}
	frame, _, err := amqp091.NextFrame(b, 0)
	if err != nil {
		log.Fatal(err)
	}
	m, err := amqp091.DecodeMethod(frame.Payload)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.(*amqp091.QueueDeclare).Queue)
	fmt.Println(frame)
	// Output:
	// jobs
	// 1 queue.declare(queue="jobs", durable, arguments={x-message-ttl=60000})
}

// A message is a method, a content header and a body.
func ExampleAppendPublish() {
	body := []byte("hello")
	props := amqp091.Properties{ContentType: "text/plain", DeliveryMode: amqp091.Persistent}
	raw, err := props.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	b, err := amqp091.AppendPublish(nil, 1, "amq.topic", "a.b", true)
	if err != nil {
		log.Fatal(err)
	}
	b = amqp091.AppendContentHeader(b, 1, uint64(len(body)), raw)
	b = amqp091.AppendBody(b, 1, body, 131072)

	for len(b) > 0 {
		frame, n, err := amqp091.NextFrame(b, 131072)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(frame)
		b = b[n:]
	}
	// Output:
	// 1 basic.publish(exchange="amq.topic", routing-key="a.b", mandatory)
	// 1 header(body-size=5, content-type="text/plain", delivery-mode=2)
	// 1 body 5:"hello"
}

// What a broker does when it moves a message to a dead-letter exchange.
func ExampleRawProperties_Edit() {
	p := amqp091.Properties{Expiration: "1000", Headers: amqp091.Table{{Key: "trace", Value: "7f"}}}
	raw, err := p.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	props := amqp091.RawProperties(raw)

	var headers amqp091.RawTable = props.Headers().AppendWithout(nil, "x-death")
	headers, err = amqp091.AppendField(headers, "x-death", []any{amqp091.Table{{Key: "count", Value: int64(1)}}})
	if err != nil {
		log.Fatal(err)
	}
	props = props.Edit(nil, amqp091.PropertyEdit{SetHeaders: true, Headers: headers, DropExpiration: true})

	if err := props.Decode(&p); err != nil {
		log.Fatal(err)
	}
	fmt.Println(&p)
	// Output: (headers={trace="7f", x-death=[{count=1l}]})
}

func ExampleRawTable_All() {
	table := amqp091.Table{{Key: "x-match", Value: "all"}, {Key: "size", Value: 10}}
	raw, err := table.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	for key, value := range amqp091.RawTable(raw).All() {
		if n, ok := value.Int(); ok {
			fmt.Printf("%s: %d\n", key, n)
		} else if text, ok := value.Text(); ok {
			fmt.Printf("%s: %s\n", key, text)
		}
	}
	// Output:
	// x-match: all
	// size: 10
}

func ExampleError() {
	err := fmt.Errorf("consume: %w", amqp091.SoftError(amqp091.NotFound, "no queue '%s' in vhost '%s'", "jobs", "/"))
	fmt.Println(err)
	fmt.Println(errors.Is(err, &amqp091.Error{Code: amqp091.NotFound}))
	var e *amqp091.Error
	if errors.As(err, &e) {
		fmt.Println(e.ReplyText())
	}
	// Output:
	// consume: 404 NOT_FOUND - no queue 'jobs' in vhost '/'
	// true
	// NOT_FOUND - no queue 'jobs' in vhost '/'
}
