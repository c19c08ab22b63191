package mqttclient_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// Over QUIC each topic gets a stream of its own, so a lost packet of one does not delay the messages of another. A program
// reaches its server with the dialer of quic/quicnet:
//
//	d := &quicnet.Dialer{}
//	o.Servers = []string{"mqtt+quic://broker.example.com"}
//	o.Dialers = map[string]mqttclient.DialFunc{"mqtt+quic": d.DialURL}
func ExampleStreams() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker() // in memory, with streams
	defer stop()
	options.Streams = &mqttclient.Streams{Keep: true}

	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, topic := range []string{"rooms/1", "rooms/2", "rooms/1"} {
		if err := c.Publish(ctx, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1}); err != nil {
			log.Fatal(err)
		}
	}
	info, _ := c.Info()
	fmt.Println("streams:", info.Streams, "kept:", info.StreamsKept, "open:", c.Stats().Streams)
	// Output: streams: true kept: true open: 2
}

// The application says which topics share a stream, and what stays on stream 0.
func ExampleStreams_group() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	options.Streams = &mqttclient.Streams{
		Policy: mqttclient.StreamPerGroup,
		Group: func(topic string) string {
			plant, _, found := strings.Cut(topic, "/")
			if !found {
				return "" // stream 0
			}
			return plant
		},
	}
	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, topic := range []string{"north/1", "north/2", "south/1", "status"} {
		if err := c.Publish(ctx, &mqttclient.Message{Topic: topic, QoS: mqtt.QoS1}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(c.Stats().StreamsOpened)
	// Output: 2
}

// Messages of a subscription come on a stream of its own.
func ExampleSubscribeOptions_stream() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	options.Streams = &mqttclient.Streams{Policy: mqttclient.StreamPerPriority}
	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	alarms, err := c.Subscribe(ctx, &mqttclient.SubscribeOptions{Stream: true}, mqtt.Subscription{Filter: "alarms/#", QoS: mqtt.QoS1})
	if err != nil {
		log.Fatal(err)
	}
	m := &mqttclient.Message{Topic: "alarms/boiler", Payload: []byte("hot"), QoS: mqtt.QoS1, Priority: 7}
	if err := c.Publish(ctx, m); err != nil {
		log.Fatal(err)
	}
	for m, err := range alarms.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s, %d streams\n", m.Topic, m.Payload, c.Stats().Streams)
		break
	}
	// Output: alarms/boiler: hot, 2 streams
}
