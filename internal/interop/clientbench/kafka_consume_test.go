package clientbench

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// kafkaConsumers read topics from their beginning, until they have n records. They look at each.
var kafkaConsumers = []struct {
	name    string
	consume func(b *testing.B, addr, topic string, partitions, n int) int
}{
	{"quartet", consumeQuartet},
	{"quartet-all", consumeQuartetAll},
	{"franz-go", consumeFranz},
}

func openQuartetConsumer(b *testing.B, addr, topic string, partitions int) (*kafkaclient.Client, *kafkaclient.Consumer) {
	c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	o := &kafkaclient.ConsumerOptions{Assign: make(map[kafka.TopicPartition]kafkaclient.Start), MaxPollRecords: 10_000}
	for p := range partitions {
		o.Assign[kafka.TopicPartition{Topic: kafkawire.TopicName(topic), Partition: int32(p)}] = kafkaclient.StartEarliest()
	}
	k, err := c.NewConsumer(o)
	if err != nil {
		b.Fatal(err)
	}
	return c, k
}

func consumeQuartet(b *testing.B, addr, topic string, partitions, n int) int {
	c, k := openQuartetConsumer(b, addr, topic, partitions)
	defer c.Close()
	sum := 0
	for seen := 0; seen < n; {
		list, err := k.Poll(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range list {
			sum += len(r.Value)
		}
		seen += len(list)
	}
	return sum
}

func consumeQuartetAll(b *testing.B, addr, topic string, partitions, n int) int {
	c, k := openQuartetConsumer(b, addr, topic, partitions)
	defer c.Close()
	sum, seen := 0, 0
	for r, err := range k.All(context.Background()) {
		if err != nil {
			b.Fatal(err)
		}
		sum += len(r.Value)
		if seen++; seen >= n {
			break
		}
	}
	return sum
}

func consumeFranz(b *testing.B, addr, topic string, partitions, n int) int {
	offsets := make(map[int32]kgo.Offset)
	for p := range partitions {
		offsets[int32(p)] = kgo.NewOffset().AtStart()
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	sum := 0
	for seen := 0; seen < n; {
		fetches := c.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			sum += len(r.Value)
			seen++
		})
	}
	return sum
}

// BenchmarkKafkaConsume reads 100 MB again and again, each time with a new client. An operation is a record; processor time
// and allocations are those of the client.
func BenchmarkKafkaConsume(b *testing.B) {
	addr := startKafkaBroker(b)
	for _, x := range []struct {
		name       string
		size       int
		partitions int
		method     compress.Method
	}{
		{"1KiB", 1024, 1, compress.None},
		{"1KiB/8 partitions", 1024, 8, compress.None},
		{"100B", 100, 1, compress.None},
		{"100B/8 partitions", 100, 8, compress.None},
		{"1KiB/lz4", 1024, 1, compress.LZ4},
		{"100B/zstd", 100, 1, compress.Zstd},
	} {
		topic := ""
		n := 100_000_000 / x.size
		for _, l := range kafkaConsumers {
			b.Run(x.name+"/"+l.name, func(b *testing.B) {
				if topic == "" {
					topic = fillKafkaTopic(b, addr, x.size, x.partitions, n, x.method)
				}
				b.SetBytes(int64(x.size))
				b.ReportAllocs()
				before := processorTime(b)
				b.ResetTimer()
				for left := b.N; left > 0; left -= n {
					if got := min(left, n); l.consume(b, addr, topic, x.partitions, got) < got*x.size {
						b.Fatal("too little")
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// fillKafkaTopic makes a topic with n records.
func fillKafkaTopic(b *testing.B, addr string, size, partitions, n int, method compress.Method) string {
	b.Helper()
	c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	name := fmt.Sprintf("consume-%d", kafkaTopics.Add(1))
	if err := c.Admin().CreateTopics(context.Background(), kafkaclient.NewTopic{Name: name, Partitions: int32(partitions),
		Configs: map[string]string{"retention.bytes": "-1"}}); err != nil {
		b.Fatal(err)
	}
	p, err := c.NewProducer(&kafkaclient.ProducerOptions{Compression: method})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for i := range n {
		value := make([]byte, size)
		for j := range value {
			value[j] = byte((i + j*j) >> 3)
		}
		if err := p.ProduceAsync(context.Background(), &kafkaclient.Record{Topic: name, Key: fmt.Append(nil, i), Value: value}, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return name
}
