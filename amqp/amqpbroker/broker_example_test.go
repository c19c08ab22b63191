package amqpbroker_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// A broker on a port of loopback, with the user guest.
func Example() {
	b, err := amqpbroker.New(&amqpbroker.Options{Definitions: amqpbroker.Guest()})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := amqpserver.New(b, nil)
	go server.Serve(l, nil)
	defer server.Close()
	fmt.Println("serving", l.Addr().Network())
	// Output: serving tcp
}

// The application declares, publishes and consumes without a connection.
func ExampleBroker_Consume() {
	ctx := context.Background()
	b, err := amqpbroker.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if _, err := b.DeclareQueue(ctx, "/", amqpbroker.Queue{Name: "temperatures"}); err != nil {
		log.Fatal(err)
	}
	bd := amqpbroker.Binding{Source: "amq.topic", Destination: "temperatures", RoutingKey: "rooms.*.temperature"}
	if err := b.Bind(ctx, "/", bd); err != nil {
		log.Fatal(err)
	}
	sub, err := b.Consume("/", "temperatures", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()

	m := &amqpbroker.Message{Exchange: "amq.topic", RoutingKey: "rooms.kitchen.temperature", Body: []byte("21.5"), Mandatory: true}
	if err := b.Publish(ctx, "/", m); err != nil {
		log.Fatal(err)
	}
	for d, err := range sub.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", d.RoutingKey, d.Body)
		d.Ack()
		break
	}
	// Output: rooms.kitchen.temperature 21.5
}

// Messages one at a time.
func ExampleBroker_Get() {
	ctx := context.Background()
	b, err := amqpbroker.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	name, err := b.DeclareQueue(ctx, "/", amqpbroker.Queue{Arguments: amqp091.Table{{Key: "x-max-priority", Value: 9}}})
	if err != nil {
		log.Fatal(err)
	}
	for i, text := range []string{"calm", "urgent"} {
		m := &amqpbroker.Message{RoutingKey: name, Body: []byte(text), Properties: amqp091.Properties{Priority: uint8(i)}}
		if err := b.Publish(ctx, "/", m); err != nil {
			log.Fatal(err)
		}
	}
	for {
		d, ok, err := b.Get("/", name, true)
		if err != nil {
			log.Fatal(err)
		}
		if !ok {
			break
		}
		fmt.Printf("%s\n", d.Body)
	}
	// Output:
	// urgent
	// calm
}

// A broker whose state outlives it.
func ExampleOptions_dir() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "broker-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opts := &amqpbroker.Options{Dir: dir}
	b, err := amqpbroker.New(opts)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.DeclareQueue(ctx, "/", amqpbroker.Queue{Name: "jobs", Durable: true}); err != nil {
		log.Fatal(err)
	}
	m := &amqpbroker.Message{RoutingKey: "jobs", Body: []byte("dig"), Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent}}
	if err := b.Publish(ctx, "/", m); err != nil { // returns when the disk has it
		log.Fatal(err)
	}
	b.Close()

	if b, err = amqpbroker.New(opts); err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	d, _, err := b.Get("/", "jobs", false)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Body)
	d.Ack()
	// Output: dig
}
