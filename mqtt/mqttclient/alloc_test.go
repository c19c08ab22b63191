//go:build !race

package mqttclient

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/internal/netio"
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
	if n := alloctest.PerRun(5000, 0.5, func() {
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
		if n := alloctest.PerRun(1000, 1.5, func() {
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

// sink is a connection whose streams swallow what is written.
type sink struct {
	discard
	netio.Streams
}

// sinkStream is a stream of it.
type sinkStream struct {
	netio.Stream
	id   int64
	done chan struct{}
}

func (s *sinkStream) ID() int64                   { return s.id }
func (s *sinkStream) Write(b []byte) (int, error) { return len(b), nil }
func (s *sinkStream) Read([]byte) (int, error)    { <-s.done; return 0, io.EOF }
func (s *sinkStream) Close() error                { return nil }
func (s *sinkStream) CloseWrite() error           { return nil }

// TestAllocationsOfStreams: messages on data streams cost no more allocations than on stream 0.
func TestAllocationsOfStreams(t *testing.T) {
	c, k := connected(t, nil)
	c.mu.Lock()
	c.o.Streams = &Streams{Max: 8, Idle: -1}
	k.mux, k.multi = &sink{discard: discard{done: c.done}}, true
	for i, topic := range []string{"a/b/c", "a/b/d"} {
		l := c.out.others.assign(topic, 0, 8)
		go k.addStream(l, &sinkStream{id: int64(4 + 4*i), done: c.done}).read()
	}
	s := k.streams[4]
	c.mu.Unlock()
	i := 0
	if n := alloctest.PerRun(5000, 1.5, func() {
		i++
		topic := "a/b/c"
		if i%2 == 0 {
			topic = "a/b/d"
		}
		if err := c.Publish(t.Context(), &Message{Topic: topic, Payload: nil}); err != nil {
			t.Fatal(err)
		}
	}); n > 1.5 { // the message, and the writer's goroutine now and then
		t.Errorf("publish: %v allocations", n)
	}
	sub := newSubscription(c, nil, []mqtt.Subscription{{Filter: "#"}})
	c.mu.Lock()
	c.routes.add(sub)
	c.mu.Unlock()
	in, err := mqtt.Append(nil, message("a/b/c", string(make([]byte, 256)), 1, 1), mqtt.Version5)
	if err != nil {
		t.Fatal(err)
	}
	var buf codec.Buffer
	if n := alloctest.PerRun(1000, 2, func() {
		buf.Append(in)
		c.mu.Lock()
		p, n, err := s.dec.Decode(buf.Bytes(), mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		buf.Discard(n)
		if err := k.sess.Receive(time.Now(), s.id, p); err != nil {
			t.Fatal(err)
		}
		k.events()
		c.mu.Unlock()
		m, err := sub.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.Ack()
	}); n > 2 {
		t.Errorf("receive at QoS 1: %v allocations", n)
	}
}
