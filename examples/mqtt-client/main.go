// Mqtt-client publishes and subscribes from the command line.
//
//	mqtt-client [-server URL] [-qos N] sub FILTER...
//	mqtt-client [-server URL] [-qos N] [-retain] pub TOPIC MESSAGE
//
// sub prints one line for each message, its topic and its payload, until it is interrupted. pub returns when the
// message is published as its quality of service demands. Start a broker with go run ./examples/gateway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mqtt-client:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: mqtt-client [-server URL] [-qos N] sub FILTER... | [-retain] pub TOPIC MESSAGE")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("mqtt-client", flag.ContinueOnError)
	server := f.String("server", "mqtt://127.0.0.1:1883", "`URL` of the server: mqtt, mqtts, ws, wss or unix")
	qos := f.Uint("qos", 1, "quality of service: 0, 1 or 2")
	retain := f.Bool("retain", false, "pub: let the server keep the message for later subscribers")
	if err := f.Parse(args); err != nil {
		return err
	}
	args = f.Args()
	if len(args) == 0 || *qos > 2 {
		return errUsage
	}
	c, err := mqttclient.Dial(ctx, *server, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case args[0] == "sub" && len(args) > 1:
		return subscribe(ctx, c, mqtt.QoS(*qos), args[1:], stdout)
	case args[0] == "pub" && len(args) == 3:
		m := &mqttclient.Message{Topic: args[1], Payload: []byte(args[2]), QoS: mqtt.QoS(*qos), Retain: *retain}
		if err := c.Publish(ctx, m); err != nil {
			return err
		}
		return c.Disconnect(ctx, nil)
	}
	return errUsage
}

// subscribe prints messages until ctx ends.
func subscribe(ctx context.Context, c *mqttclient.Client, qos mqtt.QoS, filters []string, stdout io.Writer) error {
	var subs []mqtt.Subscription
	for _, f := range filters {
		subs = append(subs, mqtt.Subscription{Filter: f, QoS: qos})
	}
	sub, err := c.Subscribe(ctx, nil, subs...)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "subscribed to %q\n", filters)
	for m, err := range sub.Messages(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s\n", m.Topic, m.Payload)
	}
	return nil
}
