package clientbench

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// The AMQP benchmarks run on RabbitMQ; QUARTET_INTEROP_BROKER=quartet takes our broker, and QUARTET_INTEROP_AMQP=host:port one
// that runs already. Messages are transient.

// prefetch is how many deliveries are unacknowledged at most.
const prefetch = 100

// An amqpClient is one connection of a client library, with one channel.
type amqpClient interface {
	// declare declares a queue and empties it.
	declare(tb testing.TB, queue string)
	// publishMany publishes n messages, the window unconfirmed at most, and waits for all confirms.
	publishMany(tb testing.TB, queue string, n int)
	// publishOne publishes a message and waits for the confirm.
	publishOne(tb testing.TB, queue string)
	// consume acknowledges deliveries one by one, and calls got for each.
	consume(tb testing.TB, queue string, got func())
	close()
}

var amqpLibraries = []struct {
	name string
	open func(tb testing.TB, addr string) amqpClient
}{
	{"quartet", openQuartetAMQP},
	{"amqp091-go", openRabbitMQ},
}

func startAMQP(b *testing.B) string {
	b.Helper()
	if addr := os.Getenv("QUARTET_INTEROP_AMQP"); addr != "" {
		return addr
	}
	name := cmp.Or(os.Getenv("QUARTET_INTEROP_BROKER"), "rabbitmq")
	for _, x := range peer.AllAMQP() {
		if x.Name != name {
			continue
		}
		bin := b.TempDir()
		if err := x.Prepare(context.Background(), bin); err != nil {
			b.Skip(err)
		}
		p, err := peer.Start(context.Background(), x, bin, bin, peer.Listeners{AMQP: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(p.Stop)
		return p.AMQP
	}
	b.Fatalf("no broker %q", name)
	return ""
}

var queues atomic.Int32

func newQueue() string {
	return "bench." + strconv.Itoa(os.Getpid()) + "." + strconv.Itoa(int(queues.Add(1)))
}

func eachAMQP(b *testing.B, run func(b *testing.B, open func() amqpClient, queue string)) {
	addr := startAMQP(b)
	for _, l := range amqpLibraries {
		b.Run(l.name, func(b *testing.B) {
			open := func() amqpClient {
				c := l.open(b, addr)
				b.Cleanup(c.close)
				return c
			}
			queue := newQueue()
			open().declare(b, queue)
			b.ReportAllocs()
			run(b, open, queue)
			report(b)
			b.ReportMetric(float64(cpuEnd-cpuBegin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuBegin and cpuEnd are the processor time of this process.
var cpuBegin, cpuEnd time.Duration

func begin(b *testing.B) {
	cpuBegin = processorTime(b)
	b.ResetTimer()
}

func end(b *testing.B) {
	b.StopTimer()
	cpuEnd = processorTime(b)
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAMQPPublish publishes with confirms and a window.
func BenchmarkAMQPPublish(b *testing.B) {
	eachAMQP(b, func(b *testing.B, open func() amqpClient, queue string) {
		c := open()
		begin(b)
		c.publishMany(b, queue, b.N)
		end(b)
	})
}

// BenchmarkAMQPPublishOne publishes with a confirm for each message.
func BenchmarkAMQPPublishOne(b *testing.B) {
	eachAMQP(b, func(b *testing.B, open func() amqpClient, queue string) {
		c := open()
		begin(b)
		for range b.N {
			c.publishOne(b, queue)
		}
		end(b)
	})
}

// BenchmarkAMQPConsume consumes what is in a queue, with an acknowledgement for each message.
func BenchmarkAMQPConsume(b *testing.B) {
	eachAMQP(b, func(b *testing.B, open func() amqpClient, queue string) {
		open().publishMany(b, queue, b.N)
		f := newFlow()
		c := open()
		begin(b)
		c.consume(b, queue, f.got)
		f.wait(b.N)
		end(b)
	})
}

// BenchmarkAMQPBoth publishes with confirms on one connection what another one consumes with acknowledgements.
func BenchmarkAMQPBoth(b *testing.B) {
	eachAMQP(b, func(b *testing.B, open func() amqpClient, queue string) {
		f := newFlow()
		pub := open()
		open().consume(b, queue, f.got)
		begin(b)
		pub.publishMany(b, queue, b.N)
		f.wait(b.N)
		end(b)
	})
}

// quartetAMQP is ours.
type quartetAMQP struct {
	c  *amqpclient091.Client
	ch *amqpclient091.Channel
	m  amqpclient091.Message
}

func openQuartetAMQP(tb testing.TB, addr string) amqpClient {
	tb.Helper()
	c, err := amqpclient091.Dial(context.Background(), "amqp://"+addr, &amqpclient091.Options{
		Username: peer.AMQPUser, Password: peer.AMQPPassword,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ch, err := c.Channel(context.Background(), &amqpclient091.ChannelOptions{Window: window})
	if err != nil {
		tb.Fatal(err)
	}
	return &quartetAMQP{c: c, ch: ch, m: amqpclient091.Message{
		Properties: amqp091.Properties{ContentType: "text/plain", DeliveryMode: amqp091.Transient}, Body: payload,
	}}
}

func (c *quartetAMQP) declare(tb testing.TB, queue string) {
	tb.Helper()
	if _, err := c.c.DeclareQueue(context.Background(), amqpclient091.Queue{Name: queue, AutoDelete: true}); err != nil {
		tb.Fatal(err)
	}
}

func (c *quartetAMQP) publishMany(tb testing.TB, queue string, n int) {
	c.m.RoutingKey = queue
	var ring [window]*amqpclient091.Publication
	for i := range n + window {
		p := &ring[i%window]
		if *p != nil {
			if err := (*p).Wait(context.Background()); err != nil {
				tb.Fatal(err)
			}
			*p = nil
		}
		if i >= n {
			continue
		}
		var err error
		if *p, err = c.ch.PublishAsync(context.Background(), &c.m); err != nil {
			tb.Fatal(err)
		}
	}
}

func (c *quartetAMQP) publishOne(tb testing.TB, queue string) {
	c.m.RoutingKey = queue
	if err := c.ch.Publish(context.Background(), &c.m); err != nil {
		tb.Fatal(err)
	}
}

func (c *quartetAMQP) consume(tb testing.TB, queue string, got func()) {
	tb.Helper()
	s, err := c.c.Consume(context.Background(), queue, &amqpclient091.ConsumeOptions{Prefetch: prefetch})
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for d, err := range s.Deliveries(context.Background()) {
			if err != nil {
				return // closed at the end of the benchmark
			}
			d.Ack()
			got()
		}
	}()
}

func (c *quartetAMQP) close() { c.c.Close() }

// rabbitmqClient is amqp091-go.
type rabbitmqClient struct {
	c  *amqp.Connection
	ch *amqp.Channel
}

func openRabbitMQ(tb testing.TB, addr string) amqpClient {
	tb.Helper()
	c, err := amqp.Dial("amqp://" + peer.AMQPUser + ":" + peer.AMQPPassword + "@" + addr)
	if err != nil {
		tb.Fatal(err)
	}
	ch, err := c.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return &rabbitmqClient{c, ch}
}

func (c *rabbitmqClient) declare(tb testing.TB, queue string) {
	tb.Helper()
	if _, err := c.ch.QueueDeclare(queue, false, true, false, false, nil); err != nil {
		tb.Fatal(err)
	}
}

func (c *rabbitmqClient) publish(tb testing.TB, queue string) *amqp.DeferredConfirmation {
	p, err := c.ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, amqp.Publishing{
		ContentType: "text/plain", DeliveryMode: amqp.Transient, Body: payload,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func (c *rabbitmqClient) publishMany(tb testing.TB, queue string, n int) {
	var ring [window]*amqp.DeferredConfirmation
	for i := range n + window {
		p := &ring[i%window]
		if *p != nil {
			if !(*p).Wait() {
				tb.Fatal("nack")
			}
			*p = nil
		}
		if i < n {
			*p = c.publish(tb, queue)
		}
	}
}

func (c *rabbitmqClient) publishOne(tb testing.TB, queue string) {
	if !c.publish(tb, queue).Wait() {
		tb.Fatal("nack")
	}
}

func (c *rabbitmqClient) consume(tb testing.TB, queue string, got func()) {
	tb.Helper()
	if err := c.ch.Qos(prefetch, 0, false); err != nil {
		tb.Fatal(err)
	}
	deliveries, err := c.ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for d := range deliveries {
			d.Ack(false)
			got()
		}
	}()
}

func (c *rabbitmqClient) close() { c.c.Close() }
