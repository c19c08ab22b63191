// Package clientbench measures our MQTT and AMQP clients next to those of others, on the same broker, with 256 bytes of
// payload.
//
//	cd internal/interop && go test -bench . -benchtime 3s ./clientbench
//
// The broker is ours in a process of its own; QUARTET_INTEROP_BROKER=mosquitto (or mochi) takes another one. Processor time and
// allocations are those of both clients, publisher and subscriber, in this process.
package clientbench

import (
	"cmp"
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// window is how many messages are unacknowledged at most at QoS 1.
const window = 100

// limit is how many messages may be under way at QoS 0, so that nobody has to drop any.
const limit = 8192

var payload = []byte(strings.Repeat("0123456789abcdef", 16))

// A client is one connection of a client library.
type client interface {
	// subscribe calls got for each message.
	subscribe(tb testing.TB, filter string, qos byte, got func())
	// publish publishes a message at QoS 0.
	publish(tb testing.TB, topic string)
	// publishMany publishes n messages at QoS 1, the window unacknowledged at most, and waits for all acknowledgements.
	publishMany(tb testing.TB, topic string, n int)
	close()
}

// libraries are the client libraries, each with the versions that it has.
var libraries = []struct {
	name string
	open func(tb testing.TB, addr, id string) client
}{
	{"quartet v5", openQuartet5},
	{"paho.golang v5", openPaho5},
	{"quartet v3.1.1", openQuartet3},
	{"paho.mqtt.golang v3.1.1", openPaho3},
}

// startBroker starts the broker for one benchmark.
func startBroker(b *testing.B) string {
	b.Helper()
	name := cmp.Or(os.Getenv("QUARTET_INTEROP_BROKER"), "quartet")
	for _, x := range peer.All() {
		if x.Name != name {
			continue
		}
		bin := b.TempDir()
		if err := x.Prepare(context.Background(), bin); err != nil {
			b.Fatal(err)
		}
		p, err := peer.Start(context.Background(), x, bin, bin, peer.Listeners{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(p.Stop)
		return p.TCP
	}
	b.Fatalf("no broker %q", name)
	return ""
}

// BenchmarkPublishQoS0 publishes to nobody. The last message is of QoS 1, so that all are with the broker at the end.
func BenchmarkPublishQoS0(b *testing.B) {
	addr := startBroker(b)
	for _, l := range libraries {
		b.Run(l.name, func(b *testing.B) {
			c := l.open(b, addr, "pub")
			defer c.close()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c.publish(b, "bench/nobody")
			}
			c.publishMany(b, "bench/nobody", 1)
			report(b)
		})
	}
}

// BenchmarkQoS0 sends messages from one connection to another.
func BenchmarkQoS0(b *testing.B) {
	addr := startBroker(b)
	for _, l := range libraries {
		b.Run(l.name, func(b *testing.B) {
			sub, pub := l.open(b, addr, "sub"), l.open(b, addr, "pub")
			defer sub.close()
			defer pub.close()
			f := newFlow()
			sub.subscribe(b, "bench/0", 0, f.got)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i%chunk == 0 {
					f.wait(i - limit)
				}
				pub.publish(b, "bench/0")
			}
			f.wait(b.N)
			report(b)
		})
	}
}

// BenchmarkQoS1 sends messages from one connection to another with a window.
func BenchmarkQoS1(b *testing.B) {
	addr := startBroker(b)
	for _, l := range libraries {
		b.Run(l.name, func(b *testing.B) {
			sub, pub := l.open(b, addr, "sub"), l.open(b, addr, "pub")
			defer sub.close()
			defer pub.close()
			f := newFlow()
			sub.subscribe(b, "bench/1", 1, f.got)
			b.ReportAllocs()
			b.ResetTimer()
			pub.publishMany(b, "bench/1", b.N)
			f.wait(b.N)
			report(b)
		})
	}
}

func report(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// chunk is how many messages pass between looks at the other side.
const chunk = 256

// A flow lets a publisher wait for messages to arrive.
type flow struct {
	received, awaited atomic.Int64
	wake              chan struct{}
}

func newFlow() *flow { return &flow{wake: make(chan struct{}, 1)} }

// got counts a message.
func (f *flow) got() {
	if n := f.received.Add(1); n == f.awaited.Load() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// wait waits until n messages have arrived.
func (f *flow) wait(n int) {
	for f.received.Load() < int64(n) {
		f.awaited.Store(int64(n))
		if f.received.Load() >= int64(n) {
			return
		}
		<-f.wake
	}
}
