// Package examples_test compiles and runs the snippets of the README.
package examples_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// TestREADME checks that each Go snippet of the README stands in this file, but for indentation.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	have := flat(string(source))
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(snippets) == 0 {
		t.Fatal("the README has no snippets")
	}
	for _, s := range snippets {
		if !strings.Contains(have, flat(s[1])) {
			t.Errorf("not in readme_test.go:\n%s", s[1])
		}
	}
}

// flat removes the indentation and empty lines.
func flat(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// A broker that keeps its state on disk.
func Example_dir() {
	open := func() error {
		broker, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, Dir: "/var/lib/mybroker"})
		if err != nil {
			return err
		}
		return broker.Close()
	}
	_ = open
	// compiled only: it would write to /var/lib
}

// A broker in your process. It serves until the listener is closed, so this example is compiled only; the next one runs
// one in memory.
func Example_broker() {
	serve := func() error {
		broker, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll})
		if err != nil {
			return err
		}
		server := mqttserver.New(broker, nil)
		ln, err := net.Listen("tcp", "127.0.0.1:1883")
		if err != nil {
			return err
		}
		return server.Serve(ln, nil)
	}
	_ = serve
}

// A client.
func Example_client() {
	ctx := context.Background()
	run := func() error {
		client, err := mqttclient.Dial(ctx, "mqtt://127.0.0.1:1883", nil)
		if err != nil {
			return err
		}
		defer client.Close()
		sub, err := client.Subscribe(ctx, nil, mqtt.Subscription{Filter: "sensors/+/temp", QoS: mqtt.QoS1})
		if err != nil {
			return err
		}
		m := &mqttclient.Message{Topic: "sensors/7/temp", Payload: []byte("21.5"), QoS: mqtt.QoS1}
		if err := client.Publish(ctx, m); err != nil {
			return err
		}
		for m, err := range sub.Messages(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("%s is %s\n", m.Topic, m.Payload)
			break
		}
		return nil
	}
	_ = run
}

// An AMQP broker on disk. Compiled only: it would write to /var/lib.
func Example_amqpBroker() {
	serve := func() error {
		broker, err := amqpbroker.New(&amqpbroker.Options{Definitions: amqpbroker.Guest(), Dir: "/var/lib/mybroker"})
		if err != nil {
			return err
		}
		server := amqpserver.New(broker, nil)
		ln, err := net.Listen("tcp", "127.0.0.1:5672")
		if err != nil {
			return err
		}
		return server.Serve(ln, nil)
	}
	_ = serve
}

// An AMQP client.
func Example_amqpClient() {
	ctx := context.Background()
	run := func() error {
		client, err := amqpclient091.Dial(ctx, "amqp://guest:guest@127.0.0.1:5672/", nil)
		if err != nil {
			return err
		}
		defer client.Close()
		if _, err := client.DeclareQueue(ctx, amqpclient091.Queue{Name: "orders", Durable: true}); err != nil {
			return err
		}
		m := &amqpclient091.Message{
			RoutingKey: "orders",
			Mandatory:  true,
			Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent},
			Body:       []byte("one espresso"),
		}
		if err := client.Publish(ctx, m); err != nil { // nil: the broker has it, and a queue took it
			return err
		}
		consumer, err := client.Consume(ctx, "orders", nil)
		if err != nil {
			return err
		}
		for d, err := range consumer.Deliveries(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("%s\n", d.Body)
			if err := d.Ack(); err != nil {
				return err
			}
			break
		}
		return nil
	}
	_ = run
}

// A Kafka broker on disk. Compiled only: it would write to /var/lib.
func Example_kafkaBroker() {
	serve := func() error {
		broker, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll, Dir: "/var/lib/mybroker"})
		if err != nil {
			return err
		}
		server := kafkaserver.New(broker, nil)
		ln, err := net.Listen("tcp", "127.0.0.1:9092")
		if err != nil {
			return err
		}
		return server.Serve(ln, nil)
	}
	_ = serve
}

// A Kafka client.
func Example_kafkaClient() {
	ctx := context.Background()
	run := func() error {
		client, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{"127.0.0.1:9092"}, AutoCreateTopics: true})
		if err != nil {
			return err
		}
		defer client.Close()
		producer, err := client.NewProducer(nil) // idempotent, acks=all
		if err != nil {
			return err
		}
		defer producer.Close()
		if err := producer.Produce(ctx, &kafkaclient.Record{Topic: "orders", Key: []byte("7"), Value: []byte("espresso")}); err != nil {
			return err
		}
		consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{
			Group: "kitchen", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest,
		})
		if err != nil {
			return err
		}
		defer consumer.Close()
		for r, err := range consumer.All(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("%s %d: %s\n", r.Topic, r.Offset, r.Value)
			break
		}
		return nil
	}
	_ = run
}

func Example_quic() {
	ctx := context.Background()
	client := func(config *tls.Config) error {
		dialer := &quicnet.Dialer{Config: quicnet.Config{TLS: config}}
		defer dialer.Shutdown(ctx)
		client, err := mqttclient.Dial(ctx, "mqtt+quic://broker.example", &mqttclient.Options{
			Dialers: map[string]mqttclient.DialFunc{"mqtt+quic": dialer.DialURL},
		})
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Publish(ctx, &mqttclient.Message{Topic: "greetings/world", Payload: []byte("hello"), QoS: mqtt.QoS1})
	}
	serve := func(server *mqttserver.Server, config *tls.Config) error {
		ln, err := quicnet.Listen("udp", "127.0.0.1:14567", &quicnet.ListenOptions{Config: quicnet.Config{TLS: config}})
		if err != nil {
			return err
		}
		return server.Serve(ln.Protocol("mqtt"), nil) // beside it ln.Protocol("amqp") and so on
	}
	_, _ = client, serve
}

func TestAlarm(t *testing.T) {
	broker := mqtttest.NewBroker(t, nil)
	client := broker.Client(t, nil)
	sub, err := client.Subscribe(t.Context(), nil, mqtt.Subscription{Filter: "alarms/#", QoS: mqtt.QoS1})
	if err != nil {
		t.Fatal(err)
	}
	// Start what you test here, connected by broker.Dial. This publishes in its place, in process.
	alarm := &mqtt.Publish{Topic: []byte("alarms/door"), Payload: []byte("open"), QoS: mqtt.QoS1}
	if err := broker.Broker.Publish(t.Context(), alarm); err != nil {
		t.Fatal(err)
	}
	for m, err := range sub.Messages(t.Context()) {
		if err != nil || string(m.Payload) != "open" {
			t.Errorf("got %q, %v", m.Payload, err)
		}
		break
	}
}
