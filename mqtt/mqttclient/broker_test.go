package mqttclient_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

var (
	seed = flag.Uint64("seed", 1, "first seed of TestCutConnections")
	runs = flag.Uint64("runs", 20, "how many seeds it tries")
)

// network is a broker whose connections are cut at random.
type network struct {
	l *memnet.Listener

	mu    sync.Mutex
	rand  *rand.Rand
	calm  bool
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, _ *url.URL) (net.Conn, error) {
	nc, err := n.l.Dial(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.conns = append(n.conns, nc)
	}
	return nc, err
}

// options gives each connection latency, and most of them an end after some bytes.
func (n *network) options(int) (*memnet.Options, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	link := memnet.Link{Latency: time.Duration(n.rand.IntN(5)) * time.Millisecond}
	o := &memnet.Options{ToServer: link, ToClient: link}
	if n.calm {
		return o, nil
	}
	o.Capacity = 100 + n.rand.IntN(2000)
	o.ToServer.Fault = memnet.CutAfter(n.rand.IntN(1500))
	o.ToClient.Fault = memnet.CutAfter(n.rand.IntN(1500))
	return o, nil
}

// TestCutConnections publishes through a broker while connections end at random bytes: QoS 1 loses nothing, QoS 2 neither
// loses nor repeats, and the order holds.
func TestCutConnections(t *testing.T) {
	for s := range *runs {
		for _, v := range []mqtt.Version{mqtt.Version311, mqtt.Version5} {
			synctest.Test(t, func(t *testing.T) { cutConnections(t, *seed+s, v) })
			if t.Failed() {
				t.Fatalf("version %v, -seed %d", v, *seed+s)
			}
		}
	}
}

func cutConnections(t *testing.T, seed uint64, v mqtt.Version) {
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := &network{l: memnet.Listen("broker"), rand: rand.New(rand.NewPCG(seed, 0))}
	n.l.OnDial(n.options)
	srv := mqttserver.New(b, nil)
	go srv.Serve(n.l, nil)
	defer srv.Close()
	client := func(id string) *mqttclient.Client {
		c, err := mqttclient.New(&mqttclient.Options{
			Servers: []string{"mem://broker"}, Dialers: map[string]mqttclient.DialFunc{"mem": n.dial},
			ClientID: id, Version: v, Resume: true, // so that a lost CONNACK does not lose the session
			Backoff: mqttclient.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond, Seed: seed},
			Limits:  mqttclient.Limits{MaxInflight: 10, ReceiveMaximum: 10},
			Retry:   func(error) bool { return true },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pub, sub := client("pub"), client("sub")
	defer time.Sleep(3 * time.Second) // for the connections to end
	defer pub.Close()
	defer sub.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	const total = 150
	s, err := sub.Subscribe(ctx, nil, mqtt.Subscription{Filter: "t/+", QoS: mqtt.QoS2})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range total {
			for qos := mqtt.QoS1; qos <= mqtt.QoS2; qos++ {
				m := &mqttclient.Message{Topic: fmt.Sprintf("t/%d", qos), Payload: fmt.Append(nil, i), QoS: qos}
				if _, err := pub.PublishAsync(ctx, m); err != nil {
					t.Error(err)
				}
			}
		}
		for range 200 {
			time.Sleep(10 * time.Millisecond)
			n.mu.Lock()
			if i := n.rand.IntN(20); i < len(n.conns) {
				n.conns[len(n.conns)-1-i].(*memnet.Conn).Abort()
			}
			n.mu.Unlock()
		}
		n.mu.Lock()
		n.calm = true
		n.mu.Unlock()
	}()
	got := make(map[string][]string)
	for m, err := range s.Messages(ctx) {
		if err != nil {
			t.Errorf("after %d and %d messages: %v", len(got["t/1"]), len(got["t/2"]), err)
			break
		}
		got[m.Topic] = append(got[m.Topic], string(m.Payload))
		if len(got["t/2"]) == total && slices.Contains(got["t/1"], fmt.Sprint(total-1)) {
			break
		}
	}
	once := compact(got["t/1"])
	for i := range total {
		if want := fmt.Sprint(i); i >= len(once) || once[i] != want {
			t.Fatalf("QoS 1: %v has not %s at its place", once, want)
		} else if got["t/2"][i] != want {
			t.Fatalf("QoS 2: %v has not %s at its place", got["t/2"], want)
		}
	}
}

// compact returns the first occurrences.
func compact(all []string) (once []string) {
	seen := make(map[string]bool)
	for _, s := range all {
		if !seen[s] {
			once = append(once, s)
		}
		seen[s] = true
	}
	return once
}

// TestConcurrentUse calls everything from many goroutines, while connections are cut.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		n := &network{l: memnet.Listen("broker"), rand: rand.New(rand.NewPCG(1, 0)), calm: true}
		n.l.OnDial(n.options)
		srv := mqttserver.New(b, nil)
		go srv.Serve(n.l, nil)
		defer srv.Close()
		c, err := mqttclient.Dial(t.Context(), "mem://broker", &mqttclient.Options{
			Dialers: map[string]mqttclient.DialFunc{"mem": n.dial},
			Backoff: mqttclient.Backoff{Min: time.Millisecond, Max: time.Millisecond},
			Limits:  mqttclient.Limits{OutputBuffer: 1000, MaxInflight: 5, ReceiveMaximum: 5},
			Queue:   mqttclient.Queue{Messages: 10},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer time.Sleep(3 * time.Second)
		defer c.Close()
		var wg sync.WaitGroup
		for g := range 8 {
			r := rand.New(rand.NewPCG(2, uint64(g)))
			wg.Go(func() {
				for range 100 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(100))*time.Millisecond)
					use(ctx, c, r)
					cancel()
				}
			})
		}
		for range 50 {
			time.Sleep(5 * time.Millisecond)
			n.mu.Lock()
			n.conns[len(n.conns)-1].(*memnet.Conn).Abort()
			n.mu.Unlock()
		}
		wg.Wait()
		if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "end", QoS: 2}); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.Queued != 0 || s.QueuedBytes != 0 || s.Connects < 10 {
			t.Errorf("stats are %+v", s)
		}
	})
}

// use does something with a client.
func use(ctx context.Context, c *mqttclient.Client, r *rand.Rand) {
	topic := fmt.Sprintf("t/%d", r.IntN(4))
	m := &mqttclient.Message{Topic: topic, Payload: make([]byte, r.IntN(500)), QoS: mqtt.QoS(r.IntN(3))}
	switch r.IntN(6) {
	case 0, 1:
		c.Publish(ctx, m)
	case 2:
		c.PublishAsync(ctx, m)
	case 3:
		c.Request(ctx, m)
	default:
		o := &mqttclient.SubscribeOptions{ManualAck: r.IntN(2) == 0, Buffer: 1 + r.IntN(10), Stream: r.IntN(2) == 0}
		s, err := c.Subscribe(ctx, o, mqtt.Subscription{Filter: "t/#", QoS: 2}, mqtt.Subscription{Filter: topic, QoS: 1})
		if err != nil {
			return
		}
		for m := range s.Messages(ctx) {
			if m == nil || r.IntN(10) == 0 {
				break
			}
			m.Ack()
		}
		if r.IntN(2) == 0 {
			s.Unsubscribe(ctx)
		}
		s.Close()
	}
}
