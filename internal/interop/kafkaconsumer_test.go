package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKafkaConsumer lets our consumer work with Apache Kafka, alone and in groups with consumers of the Java client.
func TestKafkaConsumer(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	address := freeAddress(t)
	startKafka(t, address, address)
	k := &kafkaConsumers{t: t, address: address, c: newKafkaClient(t, &kafkaclient.Options{Addrs: []string{address}})}
	t.Run("records", k.records)
	t.Run("transactions", k.transactions)
	t.Run("commits", k.commits)
	t.Run("static", k.static)
	t.Run("truncation", k.validation)
	for name, assignors := range map[string][]kafka.Assignor{
		"org.apache.kafka.clients.consumer.RangeAssignor":             {kafka.RangeAssignor{}},
		"org.apache.kafka.clients.consumer.RoundRobinAssignor":        {kafka.RoundRobinAssignor{}},
		"org.apache.kafka.clients.consumer.StickyAssignor":            {kafka.StickyAssignor{}},
		"org.apache.kafka.clients.consumer.CooperativeStickyAssignor": {kafka.CooperativeStickyAssignor{}},
	} {
		t.Run(assignors[0].Name(), func(t *testing.T) {
			t.Parallel() // it waits for rebalances most of the time
			k.mixed(t, name, assignors)
		})
	}
}

type kafkaConsumers struct {
	t       *testing.T
	address string
	c       *kafkaclient.Client
}

func (k *kafkaConsumers) topic(t *testing.T, name string, partitions int32) {
	t.Helper()
	req := &kafkawire.CreateTopicsRequest{TimeoutMs: 60_000}
	req.Topics = []kafkawire.CreateTopicsRequestTopic{{Name: kafkawire.TopicName(name), NumPartitions: partitions, ReplicationFactor: 1}}
	eventually(t, func() (any, error, bool) {
		resp, err := k.c.Request(t.Context(), req)
		if err == nil {
			err = resp.(*kafkawire.CreateTopicsResponse).Topics[0].ErrorCode.Err()
		}
		return name, err, true
	})
}

// produce writes values to the partitions of a topic by turns.
func (k *kafkaConsumers) produce(t *testing.T, o *kafkaclient.ProducerOptions, topic string, partitions, first, n int) {
	t.Helper()
	p, err := k.c.NewProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	records := make([]*kafkaclient.Record, n)
	for i := range records {
		records[i] = &kafkaclient.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, first+i),
			Headers: []kafka.Header{{Key: []byte("n"), Value: fmt.Append(nil, i)}}}
	}
	if err := p.Produce(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func (k *kafkaConsumers) read(t *testing.T, c *kafkaclient.Consumer, n int) (list []*kafkaclient.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kafkaPatience)
	defer cancel()
	for len(list) < n {
		got, err := c.Poll(ctx)
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(list), n, err)
		}
		list = append(list, got...)
	}
	return list
}

func (k *kafkaConsumers) shutdown(t *testing.T, c *kafkaclient.Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), kafkaPatience)
	defer cancel()
	if err := c.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func (k *kafkaConsumers) records(t *testing.T) {
	k.topic(t, "records", 3)
	for m := compress.None; m <= compress.Zstd; m++ {
		k.produce(t, &kafkaclient.ProducerOptions{Compression: m}, "records", 3, int(m)*1000, 1000)
	}
	c, err := k.c.NewConsumer(&kafkaclient.ConsumerOptions{Group: "records", Topics: []string{"records"}, Reset: kafkaclient.ResetEarliest})
	if err != nil {
		t.Fatal(err)
	}
	next := make(map[int32]int64)
	seen := make(map[string]bool)
	for _, r := range k.read(t, c, 5000) {
		if r.Offset != next[r.Partition] {
			t.Errorf("offset %d of partition %d, not %d", r.Offset, r.Partition, next[r.Partition])
		}
		next[r.Partition]++
		i, _ := strconv.Atoi(string(r.Value))
		if want := strconv.Itoa(i % 1000); string(r.Key) != want || len(r.Headers) != 1 || string(r.Headers[0].Value) != want || time.Since(r.Timestamp) > time.Hour {
			t.Fatalf("%+v", r)
		}
		seen[string(r.Value)] = true
	}
	if len(seen) != 5000 {
		t.Errorf("%d values", len(seen))
	}
	k.shutdown(t, c)
}

func (k *kafkaConsumers) transactions(t *testing.T) {
	k.topic(t, "txn", 1)
	p, err := k.c.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "consumed"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var want []string
	for i := range 20 {
		if err := p.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		for j := range 5 {
			v := fmt.Sprint(i, "-", j)
			if i%3 != 1 {
				want = append(want, v)
			}
			if err := p.Produce(t.Context(), &kafkaclient.Record{Topic: "txn", Value: []byte(v)}); err != nil {
				t.Fatal(err)
			}
		}
		end := p.Commit
		if i%3 == 1 {
			end = p.Abort
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	assign := map[kafka.TopicPartition]kafkaclient.Start{{Topic: "txn"}: kafkaclient.StartEarliest()}
	for committed, n := range map[bool]int{true: len(want), false: 100} {
		c, err := k.c.NewConsumer(&kafkaclient.ConsumerOptions{Assign: assign, ReadCommitted: committed})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range k.read(t, c, n) {
			got = append(got, string(r.Value))
		}
		if committed && !slices.Equal(got, want) || len(got) != n {
			t.Errorf("%v: %v", committed, got)
		}
		k.shutdown(t, c)
	}
}

func (k *kafkaConsumers) commits(t *testing.T) {
	k.topic(t, "commits", 1)
	k.produce(t, nil, "commits", 1, 0, 100)
	tp := kafka.TopicPartition{Topic: "commits"}
	o := &kafkaclient.ConsumerOptions{Group: "commits", Topics: []string{"commits"}, Reset: kafkaclient.ResetEarliest, Commit: kafkaclient.CommitDone, MaxPollRecords: 10}
	c, err := k.c.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	list := k.read(t, c, 20)
	for i, r := range list {
		if i != 7 {
			r.Done()
		}
	}
	k.shutdown(t, c)
	if c, err = k.c.NewConsumer(o); err != nil {
		t.Fatal(err)
	}
	at, err := c.Committed(t.Context(), tp)
	if err != nil || at[tp].Offset != 7 {
		t.Errorf("%+v, %v", at, err)
	}
	if r := k.read(t, c, 1)[0]; r.Offset != 7 {
		t.Errorf("offset %d", r.Offset)
	}
	if err := c.Seek(tp, kafkaclient.StartAtTime(list[9].Timestamp)); err != nil {
		t.Error(err)
	}
	ends, err := c.Offsets(t.Context(), map[kafka.TopicPartition]kafkaclient.Start{tp: kafkaclient.StartLatest()})
	if err != nil || ends[tp] != 100 {
		t.Errorf("%v, %v", ends, err)
	}
	if err := c.Seek(tp, kafkaclient.StartAt(1000)); err != nil { // out of range: the first one again
		t.Error(err)
	}
	if r := k.read(t, c, 1)[0]; r.Offset != 0 {
		t.Errorf("offset %d", r.Offset)
	}
	k.shutdown(t, c)
}

func (k *kafkaConsumers) static(t *testing.T) {
	k.topic(t, "static", 2)
	k.produce(t, nil, "static", 2, 0, 10)
	o := &kafkaclient.ConsumerOptions{Group: "static", Topics: []string{"static"}, Reset: kafkaclient.ResetEarliest, InstanceID: "one"}
	first, err := k.c.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	k.read(t, first, 10)
	second, err := k.c.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	ctx, cancel := context.WithTimeout(t.Context(), kafkaPatience)
	defer cancel()
	go second.Poll(ctx)
	if _, err := first.Poll(ctx); !errors.Is(err, kafkawire.ErrFencedInstanceID) || !kafkaclient.Fatal(err) {
		t.Errorf("%v", err)
	}
	first.Close()
	k.shutdown(t, second)
}

// validation: a committed offset with its epoch is compared with the log, which agrees.
func (k *kafkaConsumers) validation(t *testing.T) {
	k.topic(t, "epochs", 1)
	k.produce(t, nil, "epochs", 1, 0, 10)
	o := &kafkaclient.ConsumerOptions{Group: "epochs", Topics: []string{"epochs"}, Reset: kafkaclient.ResetEarliest, MaxPollRecords: 5}
	for i := range 2 {
		c, err := k.c.NewConsumer(o)
		if err != nil {
			t.Fatal(err)
		}
		if r := k.read(t, c, 5)[0]; r.Offset != int64(5*i) || r.LeaderEpoch != 0 {
			t.Errorf("offset %d, epoch %d", r.Offset, r.LeaderEpoch)
		}
		k.shutdown(t, c)
	}
}

// mixed is a group of two of our consumers and two of the Java client.
func (k *kafkaConsumers) mixed(t *testing.T, class string, assignors []kafka.Assignor) {
	topic := "mixed-" + assignors[0].Name()
	k.topic(t, topic, 8)
	var mu sync.Mutex
	seen := make(map[string]int)
	partitions := make(map[int]int)
	sum := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range partitions {
			n += p
		}
		return n
	}
	var stops []func()
	java := func(i int) {
		cmd := javaCommand(t.Context(), "-Xmx128m", "-cp", kafkaPath, "interop.KafkaMember", k.address, topic, topic, class)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for s := bufio.NewScanner(out); s.Scan(); {
				mu.Lock()
				if what, value, _ := strings.Cut(s.Text(), " "); what == "value" {
					seen[value]++
				} else {
					partitions[i], _ = strconv.Atoi(value)
				}
				mu.Unlock()
			}
		}()
		stops = append(stops, func() {
			in.Close()
			<-done
			cmd.Wait()
			mu.Lock()
			delete(partitions, i)
			mu.Unlock()
		})
	}
	ours := func(i int) {
		count := func(c *kafkaclient.Consumer) {
			mu.Lock()
			partitions[i] = len(c.Assignment())
			mu.Unlock()
		}
		c, err := k.c.NewConsumer(&kafkaclient.ConsumerOptions{Group: topic, Topics: []string{topic}, Reset: kafkaclient.ResetEarliest, Assignors: assignors, SessionTimeout: 2 * time.Minute,
			OnAssigned: func(c *kafkaclient.Consumer, _ []kafka.TopicPartition) { count(c) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				list, err := c.Poll(ctx)
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, r := range list {
					seen[string(r.Value)]++
				}
				mu.Unlock()
			}
		}()
		stops = append(stops, func() {
			cancel()
			<-done
			k.shutdown(t, c)
			mu.Lock()
			delete(partitions, i)
			mu.Unlock()
		})
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(kafkaPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if ok() {
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%s: partitions %v, %d values", what, partitions, len(seen))
	}
	produced := 0
	round := func(members int) {
		t.Helper()
		wait("balance", func() bool {
			if sum() != 8 {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			if len(partitions) != members {
				return false
			}
			for _, n := range partitions {
				if n < 8/members || n > (8+members-1)/members {
					return false
				}
			}
			return true
		})
		k.produce(t, nil, topic, 8, produced, 200)
		produced += 200
		wait("values", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) == produced
		})
	}
	ours(0)
	round(1)
	java(1)
	round(2)
	ours(2)
	round(3)
	java(3)
	round(4)
	stops[0]()
	round(3)
	stops[1]()
	round(2)
	stops[3]()
	round(1)
	stops[2]()
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	if twice > 0 {
		t.Errorf("%d values came twice", twice)
	}
}
