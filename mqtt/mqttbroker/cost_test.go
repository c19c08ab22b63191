package mqttbroker

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// TestPublishAllocations publishes past the network: what the broker and the session machines allocate for a message.
func TestPublishAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	b, addr := benchBroker(t)
	benchConn(t, addr, "sub", 1, "bench/+", "devices/#")
	benchConn(t, addr, "twice", 0, "bench/t", "bench/#")
	benchConn(t, addr, "shared", 0, "$share/g/bench/#")
	benchConn(t, addr, "pub", 0)
	c := b.sessions["pub"].owner
	bt := mqttserver.NewBatch()
	for _, test := range []struct {
		qos  mqtt.QoS
		want float64
	}{{0, 0}, {1, 2}} {
		p := &mqtt.Publish{Topic: []byte("bench/t"), Payload: make([]byte, 256), QoS: test.qos}
		got := alloctest.PerRun(100, test.want, func() { c.Publish(bt, p, mqttserver.Ack{}) })
		if got > test.want {
			t.Errorf("%v allocations at QoS %d", got, test.qos)
		}
	}
	bt.Flush()
}

// liveHeap returns the live heap.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestRetainedMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures memory")
	}
	const n = 100_000
	b, err := New(&Options{SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	before := liveHeap()
	for round := range 2 { // replacing must not cost more
		p := &mqtt.Publish{Payload: bytes.Repeat([]byte{byte(round)}, 256), Retain: true}
		for i := range n {
			p.Topic = fmt.Appendf(p.Topic[:0], "bench/retained/%d", i)
			if err := b.Publish(context.Background(), p); err != nil {
				t.Fatal(err)
			}
		}
		each := float64(liveHeap()-before) / n
		t.Logf("%.0f bytes for a retained message", each)
		if each > 400 {
			t.Errorf("%.0f bytes of live heap for a retained message of 256 bytes", each)
		}
	}
	runtime.KeepAlive(b)
}

func TestOfflineSessionMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures memory")
	}
	const n = 100_000
	b, err := New(&Options{SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	before := liveHeap()
	permit := Permissions(everything)
	for i := range n {
		s := &session{id: fmt.Sprint("client-", i), num: b.ids.Add(1), expiry: 3600}
		s.permit.Store(&permit)
		b.sessions[s.id] = s
		f := fmt.Sprint("devices/", i, "/cmd")
		b.subscribe(s, mqtt.Subscription{Filter: f}, f, makeOptions(mqtt.Subscription{Filter: f, QoS: 1}, 0, Allow), 0)
		s.expires = seconds(time.Now(), 3600)
		b.schedule(s)
	}
	each := float64(liveHeap()-before) / n
	t.Logf("%.0f bytes for a session that is away", each)
	if each > 700 {
		t.Errorf("%.0f bytes of live heap for a session with one subscription", each)
	}
	runtime.KeepAlive(b)
}

// TestRetainedDrain: a client that takes 100,000 retained messages loses none, and nothing holds them all as output.
func TestRetainedDrain(t *testing.T) {
	const n = 100_000
	for _, qos := range []mqtt.QoS{0, 1} {
		run(t, fmt.Sprint("QoS ", qos), nil, func(w *world) {
			payload := strings.Repeat("x", 256)
			for i := range n {
				w.publish(fmt.Sprint("r/", i, "=", payload), 1, true)
			}
			s := w.connect("s")
			s.automatic()
			s.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "r/#", QoS: qos}}})
			for range 1000 {
				w.pass(time.Millisecond)
				if s.count() == n {
					break
				}
			}
			seen := make(map[string]bool)
			for _, q := range s.all() {
				seen[string(q.(*mqtt.Publish).Topic)] = true
			}
			if len(seen) != n || w.server.Stats().MessagesDropped != 0 {
				t.Errorf("%d of %d messages, %d dropped", len(seen), n, w.server.Stats().MessagesDropped)
			}
		})
	}
}

// count returns how many packets wait.
func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}
