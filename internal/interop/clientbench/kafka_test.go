package clientbench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/interop/pages"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// TestMain is our Kafka broker when the benchmarks start the program again as one.
func TestMain(m *testing.M) {
	if dir := os.Getenv("QUARTET_KAFKA_BROKER"); dir != "" {
		serveKafka(dir)
		return
	}
	os.Exit(m.Run())
}

// serveKafka is a broker whose topics are gone when they are deleted: what is measured is the client.
func serveKafka(dir string) {
	b, err := kafkabroker.Open(&kafkabroker.Options{Dir: dir, Sync: kafkabroker.SyncNever, Authenticate: kafkabroker.AllowAll, DiskReserve: -1,
		Config: map[string]string{"log.segment.delete.delay.ms": "0"}})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go kafkaserver.New(b, nil).Serve(ln, nil)
	fmt.Println(ln.Addr())
	bufio.NewReader(os.Stdin).ReadByte() // until the parent is gone
	b.Close()
}

// startKafkaBroker starts our broker in a process of its own, or takes the one at QUARTET_KAFKA_ADDR.
func startKafkaBroker(b *testing.B) string {
	b.Helper()
	if addr := os.Getenv("QUARTET_KAFKA_ADDR"); addr != "" {
		return addr
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QUARTET_KAFKA_BROKER="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// kafkaProducer is the producer of a library.
type kafkaProducer struct {
	async func(value []byte, done func(error))
	sync  func(value []byte) error
	flush func()
	close func()
}

var kafkaLibraries = []struct {
	name string
	open func(b *testing.B, addr, topic string, lz4 bool) kafkaProducer
}{
	{"quartet", openQuartetKafka},
	{"franz-go", openFranz},
}

func openQuartetKafka(b *testing.B, addr, topic string, lz4 bool) kafkaProducer {
	c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	o := &kafkaclient.ProducerOptions{}
	if lz4 {
		o.Compression = compress.LZ4
	}
	p, err := c.NewProducer(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	return kafkaProducer{
		async: func(value []byte, done func(error)) {
			if err := p.ProduceAsync(ctx, &kafkaclient.Record{Topic: topic, Value: value}, func(_ *kafkaclient.Record, err error) { done(err) }); err != nil {
				b.Fatal(err)
			}
		},
		sync:  func(value []byte) error { return p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: value}) },
		flush: func() { p.Flush(ctx) },
		close: func() { c.Close() },
	}
}

func openFranz(b *testing.B, addr, topic string, lz4 bool) kafkaProducer {
	codec := kgo.NoCompression()
	if lz4 {
		codec = kgo.Lz4Compression()
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(100_000))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	return kafkaProducer{
		async: func(value []byte, done func(error)) {
			c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) { done(err) })
		},
		sync:  func(value []byte) error { return c.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr() },
		flush: func() { c.Flush(ctx) },
		close: c.Close,
	}
}

var kafkaTopics atomic.Int32

// newKafkaTopic creates a topic.
func newKafkaTopic(b *testing.B, addr string, partitions int32) string {
	b.Helper()
	c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	name := fmt.Sprintf("bench-%d-%d", os.Getpid(), kafkaTopics.Add(1))
	if err := c.Admin().CreateTopics(context.Background(), kafkaclient.NewTopic{Name: name, Partitions: partitions}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		c.Admin().DeleteTopics(context.Background(), name)
	})
	return name
}

// BenchmarkKafkaProduce produces without waiting, with acks of all replicas and idempotence, as the buffer of the client
// allows. Processor time and allocations are those of the client.
func BenchmarkKafkaProduce(b *testing.B) {
	addr := startKafkaBroker(b)
	for _, x := range []struct {
		name       string
		size       int
		partitions int32
		lz4        bool
	}{
		{"1KiB", 1024, 1, false},
		{"1KiB/8 partitions", 1024, 8, false},
		{"100B", 100, 1, false},
		{"100B/8 partitions", 100, 8, false},
		{"1KiB/lz4", 1024, 1, true},
	} {
		for _, l := range kafkaLibraries {
			b.Run(x.name+"/"+l.name, func(b *testing.B) {
				p := l.open(b, addr, newKafkaTopic(b, addr, x.partitions), x.lz4)
				defer p.close()
				// Each record has bytes of its own, as those of an application do.
				values := make([]byte, 64<<20)
				for i := range values {
					values[i] = byte(i * i >> 3)
				}
				at := 0
				next := func() []byte {
					if at+x.size > len(values) {
						at = 0
					}
					at += x.size
					return values[at-x.size : at : at]
				}
				if err := p.sync(next()); err != nil {
					b.Fatal(err)
				}
				if err := pages.Touch(4 << 30); err != nil {
					b.Fatal(err)
				}
				var failed atomic.Int64
				done := func(err error) {
					if err != nil {
						failed.Add(1)
					}
				}
				b.ReportAllocs()
				b.SetBytes(int64(x.size))
				b.ResetTimer()
				before := processorTime(b)
				for range b.N {
					p.async(next(), done)
				}
				p.flush()
				b.StopTimer()
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
				if n := failed.Load(); n > 0 {
					b.Fatalf("%d failed", n)
				}
			})
		}
	}
}

// BenchmarkKafkaProduceSync produces and waits, by one goroutine and by many.
func BenchmarkKafkaProduceSync(b *testing.B) {
	addr := startKafkaBroker(b)
	value := make([]byte, 256)
	for _, goroutines := range []int{1, 64} {
		for _, l := range kafkaLibraries {
			b.Run(fmt.Sprintf("%d goroutines/%s", goroutines, l.name), func(b *testing.B) {
				p := l.open(b, addr, newKafkaTopic(b, addr, 1), false)
				defer p.close()
				if err := p.sync(value); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := processorTime(b)
				var left atomic.Int64
				left.Store(int64(b.N))
				var all sync.WaitGroup
				for range goroutines {
					all.Go(func() {
						for left.Add(-1) >= 0 {
							if err := p.sync(value); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.StopTimer()
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkKafkaTransactions runs transactions of ten records of 100 bytes.
func BenchmarkKafkaTransactions(b *testing.B) {
	addr := startKafkaBroker(b)
	value := make([]byte, 100)
	ctx := context.Background()
	measure := func(b *testing.B, transaction func() error) {
		if err := transaction(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		before := processorTime(b)
		for range b.N {
			if err := transaction(); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
	}
	b.Run("quartet", func(b *testing.B) {
		topic := newKafkaTopic(b, addr, 1)
		c, err := kafkaclient.New(&kafkaclient.Options{Addrs: []string{addr}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		p, err := c.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: topic})
		if err != nil {
			b.Fatal(err)
		}
		measure(b, func() error {
			if err := p.Begin(ctx); err != nil {
				return err
			}
			for range 10 {
				if err := p.ProduceAsync(ctx, &kafkaclient.Record{Topic: topic, Value: value}, nil); err != nil {
					return err
				}
			}
			return p.Commit(ctx)
		})
	})
	b.Run("franz-go", func(b *testing.B) {
		topic := newKafkaTopic(b, addr, 1)
		c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.TransactionalID(topic), kgo.ProducerLinger(0),
			kgo.ProducerBatchCompression(kgo.NoCompression()))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		measure(b, func() error {
			if err := c.BeginTransaction(); err != nil {
				return err
			}
			for range 10 {
				c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := c.Flush(ctx); err != nil {
				return err
			}
			return c.EndTransaction(ctx, kgo.TryCommit)
		})
	})
}
