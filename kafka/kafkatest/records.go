package kafkatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// patience is how long what should be there at once may take.
const patience = 10 * time.Second

// Produce writes records, those of each partition as one batch in their order, and sets their offsets. Topics that are not
// there are made, as the broker allows. Records without a timestamp get the current time. Faults do not matter.
func (b *Broker) Produce(tb testing.TB, records ...*kafkaclient.Record) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var order []kafka.TopicPartition
	batches := make(map[kafka.TopicPartition][]*kafkaclient.Record)
	for _, r := range records {
		tp := kafka.TopicPartition{Topic: kafkawire.TopicName(r.Topic), Partition: r.Partition}
		if batches[tp] == nil {
			order = append(order, tp)
		}
		batches[tp] = append(batches[tp], r)
	}
	for _, tp := range order {
		list := make([]kafkabroker.Record, len(batches[tp]))
		for i, r := range batches[tp] {
			list[i] = kafkabroker.Record{Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: r.Headers}
		}
		base, err := b.Broker.Produce(ctx, string(tp.Topic), tp.Partition, list...)
		if err != nil {
			tb.Fatalf("kafkatest: produce to %v: %v", tp, err)
		}
		for i, r := range batches[tp] {
			r.Offset = base + int64(i)
		}
	}
}

// ProduceBatch writes a record batch as it is, which may be anything that brokers take, and returns the offset of its first
// record.
func (b *Broker) ProduceBatch(tb testing.TB, topic string, partition int32, batch kafka.Batch) int64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	base, err := b.Broker.ProduceBatch(ctx, topic, partition, batch)
	if err != nil {
		tb.Fatalf("kafkatest: produce to %s-%d: %v", topic, partition, err)
	}
	return base
}

// Records returns what a topic holds, by partition and offset: all records that are not part of an open or aborted
// transaction. Faults do not matter.
func (b *Broker) Records(tb testing.TB, topic string) []*kafkaclient.Record {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	t, ok := b.Broker.Topic(topic)
	if !ok {
		tb.Fatalf("kafkatest: there is no topic %s", topic)
	}
	var list []*kafkaclient.Record
	for i, p := range t.Partitions {
		for offset := p.Start; offset < p.LastStable; {
			got, err := b.Broker.Fetch(ctx, topic, int32(i), &kafkabroker.Fetch{Offset: offset, Isolation: kafkabroker.ReadCommitted})
			if err != nil {
				tb.Fatalf("kafkatest: records of %s-%d: %v", topic, i, err)
			}
			if got.Next <= offset {
				break
			}
			for r, err := range got.Records() {
				if err != nil {
					tb.Fatalf("kafkatest: records of %s-%d: %v", topic, i, err)
				}
				list = append(list, &kafkaclient.Record{Topic: topic, Partition: int32(i), Offset: r.Offset, LeaderEpoch: -1, Timestamp: r.Timestamp,
					Key: clone(r.Key), Value: clone(r.Value), Headers: cloneHeaders(r.Headers)})
			}
			offset = got.Next
		}
	}
	return list
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func cloneHeaders(list []kafka.Header) (out []kafka.Header) {
	for _, h := range list {
		out = append(out, kafka.Header{Key: clone(h.Key), Value: clone(h.Value)})
	}
	return out
}

// Record makes a record of strings.
func Record(topic string, partition int32, key, value string) *kafkaclient.Record {
	return &kafkaclient.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(value)}
}

// Numbered makes n records of a partition, with the values of fmt.Sprint(first), fmt.Sprint(first+1) and so on.
func Numbered(topic string, partition int32, first, n int) []*kafkaclient.Record {
	list := make([]*kafkaclient.Record, n)
	for i := range list {
		list[i] = &kafkaclient.Record{Topic: topic, Partition: partition, Value: fmt.Append(nil, first+i)}
	}
	return list
}
