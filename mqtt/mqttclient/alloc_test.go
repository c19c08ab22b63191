//go:build !race

package mqttclient

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// discard is a connection that swallows what is written.
type discard struct {
	net.Conn
	done chan struct{}
}

func (d *discard) Write(b []byte) (int, error)        { return len(b), nil }
func (d *discard) Read([]byte) (int, error)           { <-d.done; return 0, io.EOF }
func (d *discard) SetWriteDeadline(t time.Time) error { return nil }
func (d *discard) Close() error                       { return nil }

// connected returns a client with a connection to nowhere.
func connected(t testing.TB, props mqtt.Properties) (*Client, *conn) {
	cfg, err := newConfig(&Options{Servers: []string{"mqtt://nowhere"}, Version: mqtt.Version5})
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{o: cfg, done: make(chan struct{}), up: make(chan struct{}), first: make(chan struct{}), cancel: func() {}}
	k := newConn(c, &discard{done: c.done}, cfg.servers[0], mqtt.Version5)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := k.sess.Connect(time.Now(), &mqtt.Connect{Version: 5, ClientID: "c", CleanStart: true}, &c.state); err != nil {
		t.Fatal(err)
	}
	k.events()
	if err := k.sess.Receive(time.Now(), 0, &mqtt.Connack{Properties: props}); err != nil {
		t.Fatal(err)
	}
	k.events()
	k.activate()
	t.Cleanup(func() { c.Close() })
	return c, k
}

// TestAllocations: a QoS 0 message is published without an allocation, and received with one.
func TestAllocations(t *testing.T) {
	c, k := connected(t, nil)
	m := &Message{Topic: "a/b/c", Payload: make([]byte, 256)}
	ctx := t.Context()
	if n := testing.AllocsPerRun(5000, func() {
		if err := c.Publish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 { // the writer's goroutine is started now and then
		t.Errorf("publish at QoS 0: %v allocations", n)
	}
	for qos := range mqtt.QoS(2) {
		s := newSubscription(c, nil, []mqtt.Subscription{{Filter: "#"}})
		c.mu.Lock()
		c.routes.add(s)
		c.mu.Unlock()
		in, err := mqtt.Append(nil, message("a/b/c", string(make([]byte, 256)), qos, uint16(qos)), mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() {
			k.in.Append(in)
			k.feed()
			m, err := s.next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			m.Ack()
		}); n > 1.5 {
			t.Errorf("receive at QoS %d: %v allocations", qos, n)
		}
		c.mu.Lock()
		c.routes.leave(s)
		c.routes.remove(s)
		c.mu.Unlock()
	}
}

// BenchmarkPublish encodes into the output buffer of a network that costs nothing.
func BenchmarkPublish(b *testing.B) {
	c, _ := connected(b, nil)
	m := &Message{Topic: "a/b/c", Payload: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Publish(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublishQoS1 publishes, and takes the acknowledgement.
func BenchmarkPublishQoS1(b *testing.B) {
	c, k := connected(b, nil)
	m := &Message{Topic: "a/b/c", Payload: make([]byte, 256), QoS: mqtt.QoS1}
	b.ReportAllocs()
	id := uint16(0)
	for b.Loop() {
		p, err := c.PublishAsync(b.Context(), m)
		if err != nil {
			b.Fatal(err)
		}
		for c.Stats().Queued > 0 { // the output buffer is full
			runtime.Gosched()
		}
		id = id%65_535 + 1
		k.in.Append([]byte{0x40, 2, byte(id >> 8), byte(id)})
		k.feed()
		if err := p.Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive decodes, routes and hands out.
func BenchmarkReceive(b *testing.B) {
	c, k := connected(b, nil)
	s := newSubscription(c, nil, []mqtt.Subscription{{Filter: "a/+/c"}})
	c.mu.Lock()
	c.routes.add(s)
	c.mu.Unlock()
	one, err := mqtt.Append(nil, message("a/b/c", string(make([]byte, 256)), 0, 0), mqtt.Version5)
	if err != nil {
		b.Fatal(err)
	}
	var in []byte
	for range 100 {
		in = append(in, one...)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%100 == 0 {
			k.in.Append(in)
			k.feed()
		}
		i++
		if _, err := s.next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
