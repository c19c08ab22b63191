// Amqp-client publishes and consumes from the command line.
//
//	amqp-client [-server URL] [-durable] consume QUEUE [EXCHANGE KEY...]
//	amqp-client [-server URL] [-durable] publish EXCHANGE KEY MESSAGE
//
// consume declares the queue, binds it to the exchange with each key, and prints one line for each message, its routing
// key and its body, until it is interrupted. The queue stays. A message is acknowledged when it is printed.
//
// publish returns when the server has confirmed the message, and fails when no queue takes it. The exchange "" takes it to
// the queue whose name is KEY. Start a broker with go run ./examples/gateway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "amqp-client:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: amqp-client [-server URL] [-durable] consume QUEUE [EXCHANGE KEY...] | publish EXCHANGE KEY MESSAGE")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("amqp-client", flag.ContinueOnError)
	server := f.String("server", "amqp://guest:guest@127.0.0.1:5672/%2f", "`URL` of the server: amqp or amqps")
	durable := f.Bool("durable", false, "consume: declare a durable queue; publish: a persistent message")
	if err := f.Parse(args); err != nil {
		return err
	}
	args = f.Args()
	switch {
	case len(args) >= 2 && len(args) != 3 && args[0] == "consume":
	case len(args) == 4 && args[0] == "publish":
	default:
		return errUsage
	}
	c, err := amqpclient091.Dial(ctx, *server, &amqpclient091.Options{Name: "amqp-client " + args[0]})
	if err != nil {
		return err
	}
	defer c.Close()
	if args[0] == "consume" {
		return consume(ctx, c, *durable, args[1], args[2:], stdout)
	}
	m := &amqpclient091.Message{Exchange: args[1], RoutingKey: args[2], Mandatory: true, Body: []byte(args[3])}
	if *durable {
		m.Properties.DeliveryMode = amqp091.Persistent
	}
	if err := c.Publish(ctx, m); err != nil {
		return err
	}
	return c.Shutdown(ctx)
}

// consume prints messages until ctx ends. binding is an exchange and routing keys, or empty.
func consume(ctx context.Context, c *amqpclient091.Client, durable bool, queue string, binding []string, stdout io.Writer) error {
	t := amqpclient091.Topology{Queues: []amqpclient091.Queue{{Name: queue, Durable: durable}}}
	if len(binding) > 0 {
		for _, key := range binding[1:] {
			t.Bindings = append(t.Bindings, amqpclient091.Binding{Source: binding[0], Queue: queue, Key: key})
		}
	}
	if err := c.Declare(ctx, &t); err != nil {
		return err
	}
	consumer, err := c.Consume(ctx, queue, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "consuming from %q\n", queue)
	for d, err := range consumer.Deliveries(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s\n", d.RoutingKey, d.Body)
		if err := d.Ack(); err != nil && !errors.Is(err, amqpclient091.ErrStale) { // a stale one comes again
			return err
		}
	}
	return nil
}
