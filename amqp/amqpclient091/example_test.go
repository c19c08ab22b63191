package amqpclient091_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// broker starts a broker in memory. The options that it returns lead to it under the URL "mem://broker"; a program has
// "amqp://user:password@broker.example.com" instead and needs no dialer.
func broker() (o *amqpclient091.Options, stop func()) {
	b, err := amqpbroker.New(&amqpbroker.Options{Authenticate: amqpbroker.AllowAll, Unregistered: amqpbroker.Everything()})
	if err != nil {
		log.Fatal(err)
	}
	l := memnet.Listen("broker")
	s := amqpserver.New(b, nil)
	go s.Serve(l, nil)
	dial := func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }
	return &amqpclient091.Options{Dialers: map[string]amqpclient091.DialFunc{"mem": dial}}, func() {
		s.Close()
		b.Close()
	}
}

// Declare a queue, publish a message and receive it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()

	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "orders", Durable: true}); err != nil {
		log.Fatal(err)
	}
	m := &amqpclient091.Message{
		RoutingKey: "orders",
		Mandatory:  true,
		Properties: amqp091.Properties{ContentType: "text/plain", DeliveryMode: amqp091.Persistent},
		Body:       []byte("two pumps"),
	}
	if err := c.Publish(ctx, m); err != nil { // it returns when the server has confirmed the message
		log.Fatal(err)
	}

	consumer, err := c.Consume(ctx, "orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	for d, err := range consumer.Deliveries(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", d.RoutingKey, d.Body)
		if err := d.Ack(); err != nil {
			log.Fatal(err)
		}
		break
	}
	if err := c.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// orders: two pumps
}

// A client begins at once, whether a server can be reached or not: messages wait, as long as ctx allows.
func ExampleNew() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()

	options.Servers = []string{"mem://broker", "mem://second"}
	options.Name = "billing"
	options.Trace = &amqpclient091.Trace{
		Connected: func(i amqpclient091.Info) { fmt.Println("connected to virtual host", i.VirtualHost) },
	}
	c, err := amqpclient091.New(options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Publish(ctx, &amqpclient091.Message{Exchange: "amq.topic", RoutingKey: "a.b"})
	fmt.Println("published:", err)
	// Output:
	// connected to virtual host /
	// published: <nil>
}

// A topology is written down in one place. It is declared again after each reconnection; the alias stands for whatever name
// the server gives the queue.
func ExampleClient_Declare() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	err = c.Declare(ctx, &amqpclient091.Topology{
		Exchanges: []amqpclient091.Exchange{{Name: "events", Kind: "topic", Durable: true}},
		Queues: []amqpclient091.Queue{
			{Name: "audit", Durable: true, Arguments: amqp091.Table{{Key: "x-max-length", Value: 100_000}}},
			{Alias: "mine", Exclusive: true},
		},
		Bindings: []amqpclient091.Binding{
			{Source: "events", Queue: "audit", Key: "#"},
			{Source: "events", Queue: "mine", Key: "user.*"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Publish(ctx, &amqpclient091.Message{Exchange: "events", RoutingKey: "user.created", Mandatory: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"audit", "mine"} {
		q, err := c.LookupQueue(ctx, name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, q.Messages)
	}

	// A refusal is an error and nothing else: no channel is lost.
	_, err = c.DeclareQueue(ctx, amqpclient091.Queue{Name: "audit"})
	fmt.Println(errors.Is(err, &amqp091.Error{Code: amqp091.PreconditionFailed}))
	// Output:
	// audit 1
	// mine 1
	// true
}

// Publish without waiting for each confirm. Window bounds how many are under way.
func ExampleChannel_PublishAsync() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ch, err := c.Channel(ctx, &amqpclient091.ChannelOptions{Window: 200, Republish: true})
	if err != nil {
		log.Fatal(err)
	}
	var publications []*amqpclient091.Publication
	for i := range 1000 {
		p, err := ch.PublishAsync(ctx, &amqpclient091.Message{Exchange: "amq.fanout", Body: fmt.Append(nil, i)})
		if err != nil {
			log.Fatal(err)
		}
		publications = append(publications, p)
	}
	for _, p := range publications {
		if err := p.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(c.Stats().Confirmed)
	// Output: 1000
}

// What became of a message is in the error.
func ExampleClient_Publish() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	err = c.Publish(ctx, &amqpclient091.Message{RoutingKey: "no-such-queue", Mandatory: true})
	if r, ok := errors.AsType[*amqpclient091.ReturnedError](err); ok {
		fmt.Println("returned:", r.Code, r.Text)
	}
	err = c.Publish(ctx, &amqpclient091.Message{Exchange: "no-such-exchange"})
	if e, ok := errors.AsType[*amqp091.Error](err); ok {
		fmt.Println("refused:", e.Code, amqpclient091.SafeToRetry(err))
	}
	// Output:
	// returned: NO_ROUTE NO_ROUTE
	// refused: NOT_FOUND true
}

// Requests and replies over RabbitMQ's direct reply-to.
func ExampleClient_Call() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: "greeter", AutoDelete: true}); err != nil {
		log.Fatal(err)
	}
	requests, err := c.Consume(ctx, "greeter", &amqpclient091.ConsumeOptions{Ack: amqpclient091.AckNext})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for d, err := range requests.Deliveries(ctx) {
			if err != nil {
				return
			}
			c.Reply(ctx, d, &amqpclient091.Message{Body: append([]byte("Hello, "), d.Body...)})
		}
	}()

	reply, err := c.Call(ctx, &amqpclient091.Message{RoutingKey: "greeter", Body: []byte("Bob")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(reply.Body))
	// Output: Hello, Bob
}

// Messages and acknowledgements in a transaction.
func ExampleChannel_Commit() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := amqpclient091.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for _, q := range []string{"in", "out"} {
		if _, err := c.DeclareQueue(ctx, amqpclient091.Queue{Name: q}); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.Publish(ctx, &amqpclient091.Message{RoutingKey: "in", Body: []byte("1")}); err != nil {
		log.Fatal(err)
	}
	ch, err := c.Channel(ctx, &amqpclient091.ChannelOptions{Mode: amqpclient091.Transactions})
	if err != nil {
		log.Fatal(err)
	}
	d, ok, err := ch.Get(ctx, "in", amqpclient091.AckManual)
	if err != nil || !ok {
		log.Fatal(ok, err)
	}
	if err := ch.Publish(ctx, &amqpclient091.Message{RoutingKey: "out", Body: d.Body}); err != nil {
		log.Fatal(err)
	}
	if err := d.Ack(); err != nil {
		log.Fatal(err)
	}
	if err := ch.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	for _, q := range []string{"in", "out"} {
		i, err := c.LookupQueue(ctx, q)
		fmt.Println(q, i.Messages, err)
	}
	// Output:
	// in 0 <nil>
	// out 1 <nil>
}
