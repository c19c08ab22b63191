package mqttclient_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// broker starts a broker in memory. The options that it returns lead to it under the URL "mem://broker"; a program has
// "mqtt://broker.example.com" instead and needs no dialer.
func broker() (o *mqttclient.Options, stop func()) {
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll})
	if err != nil {
		log.Fatal(err)
	}
	l := memnet.Listen("broker")
	s := mqttserver.New(b, nil)
	go s.Serve(l, nil)
	dial := func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }
	return &mqttclient.Options{Dialers: map[string]mqttclient.DialFunc{"mem": dial}}, func() {
		s.Close()
		b.Close()
	}
}

// Publish a message and receive it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()

	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sub, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: "sensors/+/temperature", QoS: mqtt.QoS1})
	if err != nil {
		log.Fatal(err)
	}
	m := &mqttclient.Message{Topic: "sensors/cellar/temperature", Payload: []byte("11.5"), QoS: mqtt.QoS1}
	if err := c.Publish(ctx, m); err != nil {
		log.Fatal(err)
	}
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", m.Topic, m.Payload)
		break
	}
	if err := c.Disconnect(ctx, nil); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sensors/cellar/temperature: 11.5
}

// A client begins at once, whether a server can be reached or not: what is published waits in the queue.
func ExampleNew() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()

	options.Servers = []string{"mem://broker"}
	options.Will = &mqtt.Will{Topic: "status/pump", Payload: []byte("lost"), Retain: true}
	options.Trace = &mqttclient.Trace{
		Connected: func(i mqttclient.Info) { fmt.Println("connected with MQTT", i.Version) },
	}
	c, err := mqttclient.New(options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Publish(ctx, &mqttclient.Message{Topic: "status/pump", Payload: []byte("up"), QoS: mqtt.QoS1, Retain: true})
	fmt.Println("published:", err)
	// Output:
	// connected with MQTT 5.0
	// published: <nil>
}

// Publish without waiting for each message.
func ExampleClient_PublishAsync() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var publications []*mqttclient.Publication
	for i := range 1000 {
		p, err := c.PublishAsync(ctx, &mqttclient.Message{Topic: "log", Payload: fmt.Append(nil, i), QoS: mqtt.QoS1})
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
	fmt.Println(len(publications), "messages acknowledged")
	// Output:
	// 1000 messages acknowledged
}

// Acknowledge a message only when its work is done.
func ExampleMessage_Ack() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sub, err := c.Subscribe(ctx, &mqttclient.SubscribeOptions{ManualAck: true}, mqtt.Subscription{Filter: "jobs", QoS: mqtt.QoS2})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Publish(ctx, &mqttclient.Message{Topic: "jobs", Payload: []byte("dig"), QoS: mqtt.QoS2}); err != nil {
		log.Fatal(err)
	}
	work := func(m *mqttclient.Message) error {
		fmt.Printf("working: %s\n", m.Payload)
		return nil
	}
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if err := work(m); err != nil {
			m.Nack(mqtt.ReasonImplementationSpecificError)
			continue
		}
		m.Ack()
		break
	}
	// Output:
	// working: dig
}

// Send a request and wait for the response.
func ExampleClient_Request() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	service, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()
	requests, err := service.Subscribe(ctx, nil, mqtt.Subscription{Filter: "service/upper", QoS: mqtt.QoS1})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for m, err := range requests.Messages(ctx) {
			if err != nil {
				return
			}
			topic, _ := m.Properties.String(mqtt.PropResponseTopic)
			data, _ := m.Properties.Bytes(mqtt.PropCorrelationData)
			answer := &mqttclient.Message{Topic: topic, Payload: []byte(strings.ToUpper(string(m.Payload))), QoS: mqtt.QoS1}
			answer.Properties = answer.Properties.AppendBytes(mqtt.PropCorrelationData, data)
			service.Publish(ctx, answer)
		}
	}()

	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Request(ctx, &mqttclient.Message{Topic: "service/upper", Payload: []byte("hello"), QoS: mqtt.QoS1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer.Payload)

	_, err = c.Request(ctx, &mqttclient.Message{Topic: "service/none", QoS: mqtt.QoS1})
	fmt.Println(errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNoMatchingSubscribers}))
	// Output:
	// HELLO
	// true
}

// A program that is started again gets what came while it was away.
func ExampleOptions_resume() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options, stop := broker()
	defer stop()
	sender, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer sender.Close()

	options.ClientID = "archive"
	options.Resume = true
	options.SessionExpiry = 24 * time.Hour
	options.Unrouted = &mqttclient.SubscribeOptions{} // what comes before Subscribe
	first, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := first.Subscribe(ctx, nil, mqtt.Subscription{Filter: "meter/#", QoS: mqtt.QoS1}); err != nil {
		log.Fatal(err)
	}
	if err := first.Disconnect(ctx, nil); err != nil {
		log.Fatal(err)
	}

	if err := sender.Publish(ctx, &mqttclient.Message{Topic: "meter/7", Payload: []byte("1204 kWh"), QoS: mqtt.QoS1}); err != nil {
		log.Fatal(err)
	}

	second, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()
	for m, err := range second.Unrouted().Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", m.Topic, m.Payload)
		break
	}
	// Output:
	// meter/7: 1204 kWh
}

// Tell whether a message may be published again without the risk of a second delivery.
func ExampleSafeToRetry() {
	options, stop := broker()
	defer stop()
	options.Servers = []string{"mem://broker"}
	options.Queue = mqttclient.Queue{Messages: -1} // do not wait for a connection
	options.Dialers["mem"] = func(context.Context, *url.URL) (net.Conn, error) { return nil, errors.New("no network") }
	c, err := mqttclient.New(options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Publish(context.Background(), &mqttclient.Message{Topic: "t", QoS: mqtt.QoS1})
	fmt.Println(err, mqttclient.SafeToRetry(err))
	// Output:
	// mqttclient: not connected true
}
