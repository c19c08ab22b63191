package billing

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqptest"
)

var _ = flag.Bool("update", false, "rewrite golden files")

// run runs the program in the background until the end of the test. It fails the test when Run fails.
func run(t *testing.T, c *amqpclient091.Client, price int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, price) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

// order puts orders into the broker, without a connection.
func order(t *testing.T, b *amqptest.Broker, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := &amqpbroker.Message{RoutingKey: "orders", Mandatory: true, Properties: amqp091.Properties{MessageID: "n" + body}, Body: []byte(body)}
		if err := b.Broker.Publish(t.Context(), "/", m); err != nil {
			t.Fatal(err)
		}
	}
}

// take takes what is in a queue of the broker.
func take(t *testing.T, b *amqptest.Broker, queue string) (bodies []string) {
	t.Helper()
	for {
		d, ok, err := b.Broker.Get("/", queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return bodies
		}
		bodies = append(bodies, string(d.Body))
	}
}

// A real broker in memory.
func TestBills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := amqptest.NewBroker(t, nil)
		run(t, b.Client(t, nil), 3)
		synctest.Wait() // until it consumes
		order(t, b, "1", "many", "14")
		synctest.Wait() // until it has done its work
		if got := take(t, b, "bills"); !slices.Equal(got, []string{"3", "42"}) {
			t.Errorf("the bills are %q", got)
		}
		if got := take(t, b, "rejected"); !slices.Equal(got, []string{"many"}) {
			t.Errorf("rejected are %q", got)
		}
	})
}

// The network breaks in the middle of a bill, and then on the way of a confirm. The client comes back after a while, which
// takes no time here. No order is lost; the second one has two bills.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(amqptest.Faults)
		b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Faults: faults})
		run(t, b.Client(t, nil), 3)
		synctest.Wait()

		cuts := faults.Add(amqptest.Rule{From: amqp091.Client, Type: amqp091.FrameBody, Times: 1, Do: amqptest.CutAfter(8)})
		order(t, b, "1")
		time.Sleep(time.Minute)
		if got := take(t, b, "bills"); !slices.Equal(got, []string{"3"}) || cuts() != 1 {
			t.Errorf("after %d cuts the bills are %q", cuts(), got)
		}

		cuts = faults.Add(amqptest.Rule{From: amqp091.Server, Method: amqp091.IDBasicAck, Times: 1, Do: amqptest.CutAfter(0)})
		order(t, b, "2")
		time.Sleep(time.Minute)
		if got := take(t, b, "bills"); !slices.Equal(got, []string{"6", "6"}) || cuts() != 1 {
			t.Errorf("after %d cuts the bills are %q", cuts(), got)
		}
		if got := take(t, b, "orders"); got != nil {
			t.Errorf("orders that are left: %q", got)
		}
	})
}

// A broker that is played by hand, to see that the program does not acknowledge an order whose bill was refused.
func TestRefusedBill(t *testing.T) {
	near, far := net.Pipe()
	c, err := amqpclient091.New(&amqpclient091.Options{
		Servers: []string{"test://broker"},
		Dialers: map[string]amqpclient091.DialFunc{
			"test": func(context.Context, *url.URL) (net.Conn, error) { return near, nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), c, 3) }()

	broker := amqptest.NewPeer(t, far)
	broker.Accept(nil)
	channel := broker.AcceptChannel()
	for range topology.Queues {
		m := broker.Receive(channel, amqp091.IDQueueDeclare).(*amqp091.QueueDeclare)
		broker.Send(channel, &amqp091.QueueDeclareOK{Queue: m.Queue})
	}
	channel = broker.AcceptChannel()
	broker.Expect(channel, &amqp091.BasicQos{PrefetchCount: 10}, &amqp091.BasicConsume{Queue: "orders", ConsumerTag: "billing"})
	broker.Send(channel, &amqp091.BasicQosOK{}, &amqp091.BasicConsumeOK{ConsumerTag: "billing"}, &amqptest.Content{
		Method: &amqp091.BasicDeliver{ConsumerTag: "billing", DeliveryTag: 1, RoutingKey: "orders"},
		Body:   []byte("5"),
	})

	bills := broker.AcceptChannel()
	broker.Expect(bills, &amqp091.ConfirmSelect{})
	broker.Send(bills, &amqp091.ConfirmSelectOK{})
	broker.Expect(bills, &amqptest.Content{
		Method:     &amqp091.BasicPublish{RoutingKey: "bills", Mandatory: true},
		Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent},
		Body:       []byte("15"),
	})
	broker.Send(bills, &amqp091.BasicNack{DeliveryTag: 1})
	broker.Expect(channel, &amqp091.BasicCancel{ConsumerTag: "billing"})
	if err := <-done; !errors.Is(err, amqpclient091.ErrNacked) {
		t.Errorf("Run ends with %v", err)
	}
}

// The frames of a whole session, compared with testdata/session.txt. Run the test with -update to write it anew.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := &amqptest.Trace{NoHandshake: true}
		b := amqptest.NewBroker(t, &amqptest.BrokerOptions{Trace: trace})
		run(t, b.Client(t, nil), 3)
		synctest.Wait()
		order(t, b, "7")
		synctest.Wait()
		trace.Compare(t, "testdata/session.txt")
	})
}
