package mqttclient_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// A client that publishes without a connection, ends, and is there again later.
func ExampleOptions_dir() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	options, stop := broker()
	defer stop()
	options.Dir = dir // the client identifier is chosen and kept there
	options.Servers = []string{"mem://broker"}

	offline := *options
	offline.Dialers = nil
	offline.Servers = []string{"mqtt://127.0.0.1:1"} // nobody is there
	c, err := mqttclient.New(&offline)
	if err != nil {
		log.Fatal(err)
	}
	m := &mqttclient.Message{Topic: "meter/7", Payload: []byte("1024 kWh"), QoS: mqtt.QoS2}
	if _, err := c.PublishAsync(ctx, m); err != nil {
		log.Fatal(err) // no error: the message is on the disk
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}

	reader, err := mqttclient.Dial(ctx, "mem://broker", &mqttclient.Options{Dialers: options.Dialers})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	sub, err := reader.Subscribe(ctx, nil, mqtt.Subscription{Filter: "meter/+", QoS: mqtt.QoS2})
	if err != nil {
		log.Fatal(err)
	}

	c, err = mqttclient.New(options) // later, perhaps after a loss of power
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", m.Topic, m.Payload)
		break
	}
	// Output: meter/7: 1024 kWh
}
