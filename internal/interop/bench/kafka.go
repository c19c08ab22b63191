package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/interop/load/kafkaload"
	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/kafka"
)

// kafkaScenario is a scenario for brokers that speak Kafka, with their logs on disk. The most memory that the broker had is a
// figure of each.
func kafkaScenario(name string, sync bool, run func(*env) (*outcome, error)) scenario {
	return scenario{name: name, durable: true, sync: sync, listeners: peer.Listeners{Kafka: true}, run: func(e *env) (*outcome, error) {
		o, err := run(e)
		if err != nil {
			return nil, err
		}
		rss, err := e.PeakRSS()
		o.figures = append(o.figures, figure{name: name + ": memory at most, MiB", value: float64(rss) / (1 << 20)})
		return o, err
	}}
}

// kafkaLoad says what is produced, with acks=all.
type kafkaLoad struct {
	// value is the size of values, batch about that of batches, in bytes. With several partitions a request has a batch for
	// each that the connection produces to.
	value, batch int
	partitions   int
	method       compress.Method
	// sync is for a sync before each acknowledgement.
	sync bool
	// trust has our broker take compressed batches as they come, as kfake does.
	trust bool
	// consume reads everything again afterwards.
	consume bool
}

const kafkaTopic = "bench"

// kafkaConns is how many producers and consumers there are: each has its share of the partitions.
func (l *kafkaLoad) conns() int { return min(l.partitions, 4) }

// share returns the partitions of one of the connections.
func (l *kafkaLoad) share(conn int) (parts []int) {
	for p := conn; p < l.partitions; p += l.conns() {
		parts = append(parts, p)
	}
	return parts
}

// kafkaThroughput returns a scenario that produces as fast as acknowledgements come, with five requests under way on each
// connection, and then perhaps consumes it.
func kafkaThroughput(name string, l kafkaLoad) scenario {
	s := kafkaScenario(name, l.sync, func(e *env) (*outcome, error) {
		c, err := kafkaload.Connect(e.Kafka)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.CreateTopic(kafkaTopic, l.partitions); err != nil {
			return nil, err
		}
		batch, records, err := kafkaload.Batch(l.value, l.batch, l.method)
		if err != nil {
			return nil, err
		}
		producers := make([]*kafkaload.Producer, l.conns())
		for i := range producers {
			if producers[i], err = kafkaload.NewProducer(e.Kafka, kafkaTopic, l.share(i), batch, records); err != nil {
				return nil, err
			}
			defer producers[i].Close()
		}
		run := func(d time.Duration) error {
			return together(len(producers), func(i int) error { return producers[i].Run(time.Now().Add(d), nil) })
		}
		if err := run(e.warm); err != nil {
			return nil, err
		}
		var before, after int64
		for _, p := range producers {
			before += p.Records
			p.KeepTimes = true
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		load := ownCPU()
		if err := run(e.d); err != nil {
			return nil, err
		}
		var times []time.Duration
		for _, p := range producers {
			after += p.Records
			times = append(times, p.Times...)
		}
		r, err := m.stop(name+", produce", after-before)
		if err != nil {
			return nil, err
		}
		r.load = (ownCPU() - load) / time.Duration(after-before)
		end, err := c.End(kafkaTopic, l.partitions)
		if err != nil {
			return nil, err
		}
		r.lost = after - end
		o := &outcome{rows: []row{r}, figures: []figure{
			{name: name + ": request p50, ms", value: quantile(times, 0.5) / 1e3},
			{name: name + ": request p99, ms", value: quantile(times, 0.99) / 1e3},
		}}
		if l.consume {
			if r, err = l.read(e, name, end); err == nil {
				o.rows = append(o.rows, r)
			}
		}
		return o, err
	})
	if l.trust {
		s.args = []string{"-kafka-trust-compressed"}
	}
	return s
}

// readBytes is how many bytes of values are read at most, over and over: the same for each broker, however much it has taken.
// What has more of the kernel's cache is slower to read.
const readBytes = 2 << 30

// read consumes what was produced, from the beginning.
func (l *kafkaLoad) read(e *env, name string, end int64) (row, error) {
	end = min(end, readBytes/int64(l.value))
	consumers := make([]*kafkaload.Consumer, l.conns())
	var err error
	for i := range consumers {
		if consumers[i], err = kafkaload.NewConsumer(e.Kafka, kafkaTopic, l.share(i)); err != nil {
			return row{}, err
		}
		defer consumers[i].Close()
	}
	run := func(d time.Duration) error {
		return together(len(consumers), func(i int) error {
			return consumers[i].Run(time.Now().Add(d), end*int64(len(l.share(i)))/int64(l.partitions))
		})
	}
	if err := run(e.warm); err != nil {
		return row{}, err
	}
	count := func() (n int64) {
		for _, c := range consumers {
			n += c.Records.Load()
		}
		return n
	}
	before, load := count(), ownCPU()
	m, err := e.start()
	if err != nil {
		return row{}, err
	}
	if err := run(e.d); err != nil {
		return row{}, err
	}
	n := count() - before
	r, err := m.stop(name+", consume", n)
	if err == nil {
		r.load = (ownCPU() - load) / time.Duration(n)
	}
	return r, err
}

// together calls f for 0 to n-1 at the same time and returns the first error.
func together(n int, f func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// kafkaLatency sends 500 records a second, each alone, and looks how long they take to a consumer that waits for them.
func kafkaLatency(name string, sync bool) scenario {
	return kafkaScenario(name, sync, func(e *env) (*outcome, error) {
		c, err := kafkaload.Connect(e.Kafka)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.CreateTopic(kafkaTopic, 1); err != nil {
			return nil, err
		}
		p, err := kafkaload.NewProducer(e.Kafka, kafkaTopic, []int{0}, nil, 1)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		k, err := kafkaload.NewConsumer(e.Kafka, kafkaTopic, []int{0})
		if err != nil {
			return nil, err
		}
		defer k.Close()
		begin := time.Now()
		var measured atomic.Bool
		var times []time.Duration
		k.Each = func(b kafka.Batch) error {
			now := time.Since(begin)
			recs, err := kafka.Open(b, nil, 1<<20)
			if err != nil {
				return err
			}
			for r := (kafka.Record{}); recs.Next(&r); {
				if measured.Load() {
					times = append(times, now-time.Duration(binary.BigEndian.Uint64(r.Value)))
				}
			}
			return recs.Err()
		}
		done := make(chan error, 1)
		end := make(chan struct{})
		go func() {
			for {
				if _, err := k.Fetch(); err != nil {
					done <- err
					return
				}
				select {
				case <-end:
					done <- nil
					return
				default:
				}
			}
		}()
		sent := 0
		value := make([]byte, 1024)
		send := func(d time.Duration) error {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for until := time.Now().Add(d); time.Now().Before(until); sent++ {
				<-tick.C
				binary.BigEndian.PutUint64(value, uint64(time.Since(begin)))
				if err := p.One(kafkaTopic, value); err != nil {
					return err
				}
			}
			return nil
		}
		if err := send(e.warm); err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		measured.Store(true)
		from := sent
		if err := send(e.d); err != nil {
			return nil, err
		}
		r, err := m.stop(name, int64(sent-from))
		if err != nil {
			return nil, err
		}
		close(end)
		if err := <-done; err != nil {
			return nil, err
		}
		return &outcome{rows: []row{r}, figures: []figure{
			{name: name + ": p50, µs", value: quantile(times, 0.5)},
			{name: name + ": p99, µs", value: quantile(times, 0.99)},
		}}, nil
	})
}

// kafkaFan has n consumers of one partition, each of whom gets everything; the producer waits for the slowest.
func kafkaFan(name string, n int) scenario {
	return kafkaScenario(name, false, func(e *env) (*outcome, error) {
		c, err := kafkaload.Connect(e.Kafka)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.CreateTopic(kafkaTopic, 1); err != nil {
			return nil, err
		}
		batch, records, err := kafkaload.Batch(1024, 16<<10, compress.None)
		if err != nil {
			return nil, err
		}
		p, err := kafkaload.NewProducer(e.Kafka, kafkaTopic, []int{0}, batch, records)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		consumers := make([]*kafkaload.Consumer, n)
		end := make(chan struct{})
		failed := make(chan error, n)
		var running sync.WaitGroup
		for i := range consumers {
			if consumers[i], err = kafkaload.NewConsumer(e.Kafka, kafkaTopic, []int{0}); err != nil {
				return nil, err
			}
			defer consumers[i].Close()
			running.Go(func() {
				for {
					if _, err := consumers[i].Fetch(); err != nil {
						failed <- err
						return
					}
					select {
					case <-end:
						return
					default:
					}
				}
			})
		}
		received := func() (sum, least int64) {
			least = 1 << 62
			for _, k := range consumers {
				v := k.Records.Load()
				sum, least = sum+v, min(least, v)
			}
			return sum, least
		}
		sent := int64(0)
		gate := func() { // at most 8 MiB ahead of the slowest
			for {
				if _, least := received(); sent-least < 8<<10 || len(failed) > 0 {
					break
				}
				time.Sleep(200 * time.Microsecond)
			}
			sent += int64(records)
		}
		if err := p.Run(time.Now().Add(e.warm), gate); err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		before, _ := received()
		if err := p.Run(time.Now().Add(e.d), gate); err != nil {
			return nil, err
		}
		after, _ := received()
		r, err := m.stop(name+" (deliveries)", after-before)
		if err != nil {
			return nil, err
		}
		for begin := time.Now(); time.Since(begin) < e.quiet; time.Sleep(time.Millisecond) {
			if _, least := received(); least >= sent {
				break
			}
		}
		close(end)
		running.Wait() // each has an empty fetch under way at the most
		if len(failed) > 0 {
			return nil, <-failed
		}
		if _, least := received(); least < sent {
			r.lost = sent - least
		}
		return &outcome{rows: []row{r}}, nil
	})
}

// kafkaScenarios are the scenarios with Kafka.
func kafkaScenarios() []scenario {
	size := func(partitions int) int { return 512 << 10 / max(partitions/4, 1) } // the batches of a request together
	all := []scenario{
		kafkaThroughput("kafka 1 KiB, 1 partition", kafkaLoad{value: 1024, batch: 512 << 10, partitions: 1, consume: true}),
		kafkaThroughput("kafka 1 KiB, 8 partitions", kafkaLoad{value: 1024, batch: size(8), partitions: 8, consume: true}),
		kafkaThroughput("kafka 1 KiB, 64 partitions", kafkaLoad{value: 1024, batch: size(64), partitions: 64, consume: true}),
		kafkaThroughput("kafka 1 KiB, 1 partition, batches of 16 KiB", kafkaLoad{value: 1024, batch: 16 << 10, partitions: 1}),
		kafkaThroughput("kafka 100 B, 1 partition", kafkaLoad{value: 100, batch: 512 << 10, partitions: 1, consume: true}),
		kafkaThroughput("kafka 1 KiB lz4, 1 partition", kafkaLoad{value: 1024, batch: 512 << 10, partitions: 1, method: compress.LZ4, consume: true}),
		kafkaThroughput("kafka 100 B lz4, 1 partition", kafkaLoad{value: 100, batch: 512 << 10, partitions: 1, method: compress.LZ4, consume: true}),
		kafkaThroughput("kafka 1 KiB lz4 unchecked, 1 partition", kafkaLoad{value: 1024, batch: 512 << 10, partitions: 1, method: compress.LZ4, trust: true}),
		kafkaThroughput("kafka 100 B lz4 unchecked, 1 partition", kafkaLoad{value: 100, batch: 512 << 10, partitions: 1, method: compress.LZ4, trust: true}),
	}
	for _, n := range []int{1, 8, 64} {
		name := fmt.Sprintf("kafka 1 KiB, %d partitions, sync", n)
		all = append(all, kafkaThroughput(strings.Replace(name, "1 partitions", "1 partition", 1), kafkaLoad{value: 1024, batch: size(n), partitions: n, sync: true}))
	}
	return append(all,
		kafkaLatency("kafka end to end, 500/s", false),
		kafkaLatency("kafka end to end, 500/s, sync", true),
		kafkaFan("kafka 1→100 consumers", 100),
	)
}
