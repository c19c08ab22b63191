package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Produce writes records, those of each partition as one batch in their order, and sets their offsets. Topics that are not
// there are made, as the broker allows. Records without a timestamp get the current time. Faults pass it by.
func (b *Broker) Produce(tb testing.TB, records ...*kafkaclient.Record) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	batches := make(map[kafka.TopicPartition][]*kafkaclient.Record)
	for _, r := range records {
		tp := kafka.TopicPartition{Topic: kafkawire.TopicName(r.Topic), Partition: r.Partition}
		batches[tp] = append(batches[tp], r)
	}
	for tp, list := range batches {
		if err := b.produce(ctx, tp, list); err != nil {
			tb.Fatalf("kafkatest: produce to %v: %v", tp, err)
		}
	}
}

func (b *Broker) produce(ctx context.Context, tp kafka.TopicPartition, list []*kafkaclient.Record) error {
	var w kafka.BatchWriter
	for _, r := range list {
		at := r.Timestamp
		if at.IsZero() {
			at = time.Now()
		}
		w.Add(at.UnixMilli(), r.Key, r.Value, r.Headers...)
	}
	batch, err := w.Append(nil, nil)
	if err != nil {
		return err
	}
	base, err := b.ProduceBatch(ctx, tp, batch)
	if err != nil {
		return err
	}
	for i, r := range list {
		r.Offset = base + int64(i)
	}
	return nil
}

// ProduceBatch writes a record batch as it is, which may be anything that brokers take, and returns the offset of its first
// record.
func (b *Broker) ProduceBatch(ctx context.Context, tp kafka.TopicPartition, batch kafka.Batch) (int64, error) {
	t, err := b.topic(ctx, tp.Topic)
	if err != nil {
		return -1, err
	}
	if int(tp.Partition) >= len(t.Partitions) || tp.Partition < 0 {
		return -1, kafkawire.ErrUnknownTopicOrPartition
	}
	var leader kafkawire.BrokerID
	for _, p := range t.Partitions {
		if p.PartitionIndex == tp.Partition {
			leader = p.LeaderID
		}
	}
	req := new(kafkawire.ProduceRequest)
	req.Reset()
	req.Acks, req.TimeoutMs = -1, 10_000
	req.TopicData = []kafkawire.ProduceRequestTopic{{TopicID: t.TopicID, PartitionData: []kafkawire.ProduceRequestPartition{{Index: tp.Partition, Records: batch}}}}
	resp, err := b.client.RequestBroker(ctx, leader, req)
	for errors.Is(err, kafkaclient.ErrNoBroker) && ctx.Err() == nil { // the client is learning of its brokers
		time.Sleep(time.Millisecond)
		resp, err = b.client.RequestBroker(ctx, leader, req)
	}
	if err != nil {
		return -1, err
	}
	answer := resp.(*kafkawire.ProduceResponse).Responses
	if len(answer) != 1 || len(answer[0].PartitionResponses) != 1 {
		return -1, errors.New("no answer")
	}
	p := &answer[0].PartitionResponses[0]
	return p.BaseOffset, p.ErrorCode.Err()
}

// topic asks for a topic.
func (b *Broker) topic(ctx context.Context, name kafkawire.TopicName) (*kafkawire.MetadataResponseTopic, error) {
	req := new(kafkawire.MetadataRequest)
	req.Reset()
	req.AllowAutoTopicCreation = true
	var topic kafkawire.MetadataRequestTopic
	topic.Name = &name
	req.Topics = []kafkawire.MetadataRequestTopic{topic}
	for {
		resp, err := b.client.Request(ctx, req)
		if err != nil {
			return nil, err
		}
		m := resp.(*kafkawire.MetadataResponse)
		if len(m.Topics) == 0 {
			return nil, kafkawire.ErrUnknownTopicOrPartition
		}
		t := &m.Topics[0]
		switch t.ErrorCode {
		case 0:
			return t, nil
		case kafkawire.ErrLeaderNotAvailable:
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			return nil, t.ErrorCode
		}
	}
}

// Records returns what a topic holds, by partition and offset: all records that are not part of an open or aborted
// transaction. Faults pass it by.
func (b *Broker) Records(tb testing.TB, topic string) []*kafkaclient.Record {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := b.records(ctx, topic)
	if err != nil {
		tb.Fatalf("kafkatest: records of %s: %v", topic, err)
	}
	return list
}

func (b *Broker) records(ctx context.Context, topic string) ([]*kafkaclient.Record, error) {
	t, err := b.topic(ctx, kafkawire.TopicName(topic))
	if err != nil {
		return nil, err
	}
	starts := make(map[kafka.TopicPartition]kafkaclient.Start)
	ends := make(map[kafka.TopicPartition]kafkaclient.Start)
	for i := range t.Partitions {
		tp := kafka.TopicPartition{Topic: kafkawire.TopicName(topic), Partition: int32(i)}
		starts[tp], ends[tp] = kafkaclient.StartEarliest(), kafkaclient.StartLatest()
	}
	c, err := b.client.NewConsumer(&kafkaclient.ConsumerOptions{Assign: starts, ReadCommitted: true, FetchMaxWait: time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	end, err := c.Offsets(ctx, ends)
	if err != nil {
		return nil, err
	}
	var list []*kafkaclient.Record
	for {
		missing := false
		for tp, offset := range end {
			at, err := c.Position(ctx, tp)
			if err != nil {
				return nil, err
			}
			missing = missing || at < offset
		}
		if !missing {
			break
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		got, err := c.Poll(short)
		cancel()
		if err != nil && short.Err() == nil {
			return nil, err
		}
		list = append(list, got...)
	}
	slices.SortStableFunc(list, func(x, y *kafkaclient.Record) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
	})
	return list, ctx.Err()
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
