package kafkatest_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// exampleT stands for the *testing.T that an example does not have.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper() {}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// A broker for one test, a client of it that produces, and what it has written.
func ExampleNewBroker() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	ctx := context.Background()

	b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"orders": 3}})
	p, err := b.Client(t, nil).NewProducer(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Produce(ctx, &kafkaclient.Record{Topic: "orders", Key: []byte("17"), Value: []byte("paid")}); err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range b.Records(t, "orders") {
		fmt.Printf("%s: %s\n", r.Key, r.Value)
	}
	// Output: 17: paid
}

// A coordinator that is not ready for some time, when a consumer commits.
func ExampleFaults() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()
	ctx := context.Background()

	faults := new(kafkatest.Faults)
	b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"orders": 1}, Faults: faults})
	b.Produce(t, kafkatest.Numbered("orders", 0, 0, 3)...)
	hits := faults.Add(kafkatest.Rule{
		Keys: []kafkawire.APIKey{kafkawire.KeyOffsetCommit}, Times: 2,
		Do: kafkatest.Fail(kafkawire.ErrCoordinatorLoadInProgress),
	})
	c, err := b.Client(t, nil).NewConsumer(&kafkaclient.ConsumerOptions{
		Group: "billing", Topics: []string{"orders"}, Reset: kafkaclient.ResetEarliest,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := c.Poll(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Shutdown(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(list), "records,", hits(), "failures, committed", b.Committed(t, "billing", "orders", 0))
	// Output: 3 records, 2 failures, committed 3
}

// A broker that the test plays: it hangs up on the first connection, and the record of what a client says then.
func ExamplePeerBroker() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()

	b := kafkatest.NewPeerBroker(t)
	trace := kafkatest.Trace{NoHandshake: true}
	c, err := kafkaclient.New(&kafkaclient.Options{
		Addrs: b.Addrs(),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := b.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return trace.Wrap(nc, kafkatest.Client), nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Admin().Cluster(context.Background())
	}()
	b.Accept().Close()
	p := b.Accept()
	p.Versions(map[kafkawire.APIKey]int16{kafkawire.KeyMetadata: 9, kafkawire.KeyDescribeCluster: -1})
	p.Receive(kafkawire.KeyMetadata)
	_ = c.Close()
	<-done
	fmt.Print(trace.String())
	// Output: C Metadata/9 Topics=[]
}
