package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
)

// exampleBroker is a broker for the examples of consumers, with some records in the topic "orders".
func exampleBroker() (o *kafkaclient.Options, end func()) {
	t := new(exampleTB)
	b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"orders": 1, "bills": 1}})
	b.Produce(t, kafkatest.Numbered("orders", 0, 1, 5)...)
	return &kafkaclient.Options{Addrs: b.Addrs(), Dial: b.Dial}, t.end
}

type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (t *exampleTB) Helper()                           {}
func (t *exampleTB) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleTB) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }

func (t *exampleTB) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// A consumer of a group. What was handled is committed every few seconds and at the end; a record that was being handled
// when the process died comes again.
func ExampleConsumer_All() {
	options, end := exampleBroker() // in an application: Addrs
	defer end()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	client, err := kafkaclient.New(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{
		Group: "billing", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	n := 0
	for r, err := range consumer.All(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				fmt.Println(err)
			}
			continue
		}
		fmt.Printf("order %s\n", r.Value)
		if n++; n == 5 {
			cancel()
		}
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := consumer.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order 1
	// order 2
	// order 3
	// order 4
	// order 5
}

// Workers that are done in any order. Only what lies before the first record that is not done is committed.
func ExampleRecord_Done() {
	options, end := exampleBroker()
	defer end()
	ctx := context.Background()

	client, err := kafkaclient.New(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{
		Group: "billing", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest, Commit: kafkaclient.CommitDone,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := consumer.Poll(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	var workers sync.WaitGroup
	for _, r := range list {
		workers.Go(func() {
			if string(r.Value) != "4" { // that one fails
				r.Done()
			}
		})
	}
	workers.Wait()
	if err := consumer.Commit(ctx); err != nil {
		fmt.Println(err)
		return
	}
	orders := kafka.TopicPartition{Topic: "orders", Partition: 0}
	committed, err := consumer.Committed(ctx, orders)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("goes on at offset", committed[orders].Offset)
	// Output: goes on at offset 3
}

// A partition without a group, from an hour ago on.
func ExampleConsumer_Poll() {
	options, end := exampleBroker()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	client, err := kafkaclient.New(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{
		{Topic: "orders", Partition: 0}: kafkaclient.StartAtTime(time.Now().Add(-time.Hour)),
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer consumer.Close()
	list, err := consumer.Poll(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(list), "records, the first is", string(list[0].Value))
	// Output: 5 records, the first is 1
}

// Exactly once from one topic to another: the records and the offsets belong to one transaction.
func ExampleConsumer_Consumed() {
	options, end := exampleBroker()
	defer end()
	ctx := context.Background()

	client, err := kafkaclient.New(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{
		Group: "billing", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest, ReadCommitted: true, Commit: kafkaclient.CommitManual,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer consumer.Close()
	producer, err := client.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "billing-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer producer.Close()

	list, err := consumer.Poll(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = producer.Transact(ctx, func(ctx context.Context) error {
		for _, r := range list {
			bill := &kafkaclient.Record{Topic: "bills", Key: r.Key, Value: append([]byte("bill for "), r.Value...)}
			if err := producer.Produce(ctx, bill); err != nil {
				return err
			}
		}
		group, err := consumer.GroupMetadata()
		if err != nil {
			return err
		}
		return producer.SendOffsets(ctx, group, consumer.Consumed())
	})
	if err != nil {
		fmt.Println(err) // and go back to what is committed
		return
	}
	committed, err := consumer.Committed(ctx, consumer.Assignment()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for partition, offset := range committed {
		fmt.Println(partition, offset.Offset)
	}
	// Output: orders-0 5
}

// What went wrong tells what to do.
func ExamplePartitionError() {
	options, end := exampleBroker()
	defer end()
	ctx := context.Background()

	client, err := kafkaclient.New(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	orders := kafka.TopicPartition{Topic: "orders", Partition: 0}
	consumer, err := client.NewConsumer(&kafkaclient.ConsumerOptions{
		Reset: kafkaclient.ResetNone, Assign: map[kafka.TopicPartition]kafkaclient.Start{orders: kafkaclient.StartAt(99)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer consumer.Close()
	for r, err := range consumer.All(ctx) {
		if p, ok := errors.AsType[*kafkaclient.PartitionError](err); ok {
			fmt.Println(p)
			if err := consumer.Seek(p.TopicPartition, kafkaclient.StartEarliest()); err != nil {
				return
			}
			continue
		}
		fmt.Println(string(r.Value))
		break
	}
	// Output:
	// kafkaclient: orders-0 at offset 99: kafka: OFFSET_OUT_OF_RANGE (said by the peer)
	// 1
}
