package kafkabroker_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// An application produces and reads without a connection.
func Example() {
	b, err := kafkabroker.Open(nil) // in memory
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	for _, text := range []string{"one", "two", "three"} {
		if _, err := b.Produce(ctx, "numbers", 0, kafkabroker.Record{Value: []byte(text)}); err != nil {
			log.Fatal(err)
		}
	}
	for r, err := range b.Records(ctx, "numbers", 0, 1, kafkabroker.ReadCommitted) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Offset, string(r.Value))
		if r.Offset == 2 {
			break
		}
	}
	// Output:
	// 1 two
	// 2 three
}

// A broker is served to clients.
func ExampleOpen() {
	b, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := kafkaserver.New(b, nil)
	go server.Serve(l, nil)
	defer server.Close()
	fmt.Println(len(b.APIs().Versions) > 0)
	// Output: true
}

func ExampleBroker_CreateTopic() {
	b, err := kafkabroker.Open(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	err = b.CreateTopic("users", &kafkabroker.TopicOptions{Partitions: 3, Configs: map[string]string{"cleanup.policy": "compact"}})
	if err != nil {
		log.Fatal(err)
	}
	t, _ := b.Topic("users")
	fmt.Println(t.Name, len(t.Partitions), t.Configs)
	// Output: users 3 map[cleanup.policy:compact]
}
