package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// consumerTest is a broker with a client in a bubble.
type consumerTest struct {
	*testing.T
	b      *kafkatest.Broker
	c      *kafkaclient.Client
	faults *kafkatest.Faults
}

func consumerBubble(t *testing.T, o *kafkatest.BrokerOptions, f func(t *consumerTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		options := kafkatest.BrokerOptions{}
		if o != nil {
			options = *o
		}
		options.Faults = new(kafkatest.Faults)
		b := kafkatest.NewBroker(t, &options)
		f(&consumerTest{T: t, b: b, c: b.Client(t, nil), faults: options.Faults})
	})
}

func (t *consumerTest) consumer(o *kafkaclient.ConsumerOptions) *kafkaclient.Consumer {
	t.Helper()
	c, err := t.c.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (t *consumerTest) shutdown(c *kafkaclient.Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// values polls until there are n records and returns their values.
func (t *consumerTest) values(c *kafkaclient.Consumer, n int) (list []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(list) < n {
		got, err := c.Poll(ctx)
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(list), n, err)
		}
		for _, r := range got {
			list = append(list, string(r.Value))
		}
	}
	return list
}

// nothing polls for a time in which nothing comes.
func (t *consumerTest) nothing(c *kafkaclient.Consumer, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if got, err := c.Poll(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func numbers(first, n int) (list []string) {
	for i := range n {
		list = append(list, strconv.Itoa(first+i))
	}
	return list
}

func tp(topic string, partition int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: kafkawire.TopicName(topic), Partition: partition}
}

func (t *consumerTest) equal(got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// committed returns the committed offset of a partition, -1 for none.
func (t *consumerTest) committed(group string, p kafka.TopicPartition) int64 {
	t.Helper()
	return t.b.Committed(t, group, string(p.Topic), p.Partition)
}

// member is a consumer that polls on a goroutine and keeps what it gets.
type member struct {
	c    *kafkaclient.Consumer
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	values []string
	owned  map[kafka.TopicPartition]bool
	events []string
	errs   []error
}

func (t *consumerTest) member(o kafkaclient.ConsumerOptions) *member {
	t.Helper()
	m := &member{done: make(chan struct{}), owned: make(map[kafka.TopicPartition]bool)}
	type callback = func(*kafkaclient.Consumer, []kafka.TopicPartition)
	note := func(what string, owned bool, also callback) callback {
		return func(c *kafkaclient.Consumer, list []kafka.TopicPartition) {
			m.mu.Lock()
			m.events = append(m.events, fmt.Sprint(what, " ", len(list)))
			for _, p := range list {
				if m.owned[p] == owned {
					t.Errorf("%s %v twice", what, p)
				}
				m.owned[p] = owned
			}
			m.mu.Unlock()
			if also != nil {
				also(c, list)
			}
		}
	}
	o.OnAssigned, o.OnRevoked, o.OnLost = note("assigned", true, o.OnAssigned), note("revoked", false, o.OnRevoked), note("lost", false, o.OnLost)
	m.c = t.consumer(&o)
	ctx, cancel := context.WithCancel(t.Context())
	m.stop = cancel
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			list, err := m.c.Poll(ctx)
			m.mu.Lock()
			for _, r := range list {
				m.values = append(m.values, string(r.Value))
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				m.errs = append(m.errs, err)
			}
			m.mu.Unlock()
			if errors.Is(err, kafkaclient.ErrClosed) || kafkaclient.Fatal(err) {
				return
			}
		}
	}()
	return m
}

func (m *member) count() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, owned := range m.owned {
		if owned {
			n++
		}
	}
	return n
}

func (m *member) leave(t *consumerTest) {
	t.Helper()
	m.stop()
	<-m.done
	t.shutdown(m.c)
}

// changes is how many callbacks there were.
func (m *member) changes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}
