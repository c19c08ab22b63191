package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// exampleOptions are options of a client of a broker in memory. A program has Addrs only.
func exampleOptions() (o *kafkaclient.Options, stop func()) {
	b, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll, OffsetsPartitions: 1, TransactionPartitions: 1})
	if err != nil {
		panic(err)
	}
	l := memnet.Listen("kafka.example:9092")
	s := kafkaserver.New(b, &kafkaserver.Options{Advertise: "kafka.example:9092"})
	go s.Serve(l, nil)
	o = &kafkaclient.Options{Addrs: []string{"kafka.example:9092"}, AutoCreateTopics: true}
	o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }
	return o, func() { s.Close(); b.Close() }
}

func ExampleProducer_Produce() {
	options, stop := exampleOptions() // Options{Addrs: []string{"kafka.example:9092"}}
	defer stop()
	client, err := kafkaclient.New(options)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	producer, err := client.NewProducer(nil)
	if err != nil {
		panic(err)
	}
	record := &kafkaclient.Record{Topic: "orders", Key: []byte("42"), Value: []byte("two books")}
	if err := producer.Produce(context.Background(), record); err != nil {
		panic(err)
	}
	fmt.Println(record.Topic, record.Partition, record.Offset)
	// Output: orders 0 0
}

func ExampleProducer_ProduceAsync() {
	options, stop := exampleOptions()
	defer stop()
	client, err := kafkaclient.New(options)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	producer, err := client.NewProducer(&kafkaclient.ProducerOptions{Compression: compress.Zstd})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	failed := 0
	for i := range 1000 {
		record := &kafkaclient.Record{Topic: "readings", Value: fmt.Appendf(nil, "reading %d", i)}
		err := producer.ProduceAsync(ctx, record, func(r *kafkaclient.Record, err error) {
			if err != nil {
				failed++ // callbacks are called one at a time
			}
		})
		if err != nil {
			panic(err) // it was not taken
		}
	}
	if err := producer.Flush(ctx); err != nil {
		panic(err)
	}
	fmt.Println(failed, "failed")
	// Output: 0 failed
}

func ExampleProducer_Transact() {
	options, stop := exampleOptions()
	defer stop()
	client, err := kafkaclient.New(options)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	producer, err := client.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "billing"})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := client.Admin().CreateTopics(ctx, kafkaclient.NewTopic{Name: "orders"}, kafkaclient.NewTopic{Name: "invoices"}); err != nil {
		panic(err)
	}
	// The invoice and the offset of the order from which it was made count both, or none of them.
	err = producer.Transact(ctx, func(ctx context.Context) error {
		if err := producer.Produce(ctx, &kafkaclient.Record{Topic: "invoices", Value: []byte("two books: 30")}); err != nil {
			return err
		}
		group := kafkaclient.GroupMetadata{Group: "billing"} // of a consumer: consumer.GroupMetadata()
		return producer.SendOffsets(ctx, group, map[kafka.TopicPartition]kafkaclient.CommitOffset{
			{Topic: "orders", Partition: 0}: {Offset: 8, LeaderEpoch: -1},
		})
	})
	switch {
	case kafkaclient.Fatal(err):
		fmt.Println("another producer has taken over:", err)
	case err != nil:
		fmt.Println("aborted:", err)
	default:
		fmt.Println("committed")
	}
	// Output: committed
}

func ExampleAdmin_CreateTopics() {
	options, stop := exampleOptions()
	defer stop()
	client, err := kafkaclient.New(options)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	admin := client.Admin()
	ctx := context.Background()
	err = admin.CreateTopics(ctx,
		kafkaclient.NewTopic{Name: "orders", Partitions: 3},
		kafkaclient.NewTopic{Name: "prices", Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}})
	fmt.Println(err)
	err = admin.CreateTopics(ctx, kafkaclient.NewTopic{Name: "orders"}, kafkaclient.NewTopic{Name: "customers"})
	fmt.Println(errors.Is(err, kafkawire.ErrTopicAlreadyExists))
	topics, err := admin.Topics(ctx)
	if err != nil {
		panic(err)
	}
	for _, t := range topics {
		fmt.Println(t.Name, len(t.Partitions))
	}
	// Output:
	// <nil>
	// true
	// customers 1
	// orders 3
	// prices 1
}

func ExampleClient_Request() {
	options, stop := exampleOptions()
	defer stop()
	client, err := kafkaclient.New(options)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	resp, err := client.Request(context.Background(), &kafkawire.DescribeClusterRequest{EndpointType: 1})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(resp.(*kafkawire.DescribeClusterResponse).Brokers), "broker")
	// Output: 1 broker
}
