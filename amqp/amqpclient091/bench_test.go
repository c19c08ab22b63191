package amqpclient091

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// BenchmarkPublishSize publishes messages of several sizes to a server that takes them at once: what is left is what the client
// does with them.
func BenchmarkPublishSize(b *testing.B) {
	for _, o := range []struct {
		name string
		ChannelOptions
	}{{"plain", ChannelOptions{}}, {"republish", ChannelOptions{Republish: true}}} {
		for _, size := range []int{256, 4 << 10, 16 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", o.name, size), func(b *testing.B) {
				c, ch, _ := connected(b, &o.ChannelOptions)
				ack := amqp091.AppendAck(nil, 1, 0, true)
				m := &Message{RoutingKey: "q", Body: make([]byte, size)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					p, err := ch.PublishAsync(b.Context(), m)
					if err != nil {
						b.Fatal(err)
					}
					for done := false; !done; runtime.Gosched() {
						c.feed(b, ack)
						c.mu.Lock()
						done = p.stage == stageDone
						c.mu.Unlock()
					}
				}
			})
		}
	}
}
