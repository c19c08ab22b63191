package mqttclient_test

import (
	"context"
	"errors"
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
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// resetting is a conn whose streams end at random.
type resetting struct {
	*memnet.Conn
	mu      sync.Mutex
	streams []netio.Stream
}

func (r *resetting) OpenStream(ctx context.Context) (netio.Stream, error) {
	s, err := r.Conn.OpenStream(ctx)
	if err == nil {
		r.mu.Lock()
		r.streams = append(r.streams, s)
		r.mu.Unlock()
	}
	return s, err
}

// reset resets a stream.
func (r *resetting) reset(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) > 0 {
		r.streams[n%len(r.streams)].(interface{ Reset() }).Reset()
	}
}

// streamNetwork is a broker whose connections and streams are cut at random.
type streamNetwork struct {
	network
	conns []*resetting
}

func (n *streamNetwork) dial(ctx context.Context, _ *url.URL) (net.Conn, error) {
	nc, err := n.l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	r := &resetting{Conn: nc.(*memnet.Conn)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, r)
	return r, nil
}

// trouble resets a stream, or a connection now and then.
func (n *streamNetwork) trouble() {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := len(n.conns) - 1 - n.rand.IntN(4)
	if i < 0 {
		return
	}
	if n.rand.IntN(10) == 0 {
		n.conns[i].Abort()
	} else {
		n.conns[i].reset(n.rand.IntN(100))
	}
}

// TestCutStreams publishes through a broker over several streams, which end at random, as connections do. With Keep QoS 1
// loses nothing, QoS 2 neither loses nor repeats, and the order of each topic holds. Without it a message of QoS 2 may
// fail, and then may or may not have come.
func TestCutStreams(t *testing.T) {
	for s := range *runs {
		for _, keep := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { cutStreams(t, *seed+s, keep) })
			if t.Failed() {
				t.Fatalf("keep %v, -seed %d", keep, *seed+s)
			}
		}
	}
}

func cutStreams(t *testing.T, seed uint64, keep bool) {
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := &streamNetwork{network: network{l: memnet.Listen("broker"), rand: rand.New(rand.NewPCG(seed, 1)), calm: true}}
	n.l.OnDial(func(int) (*memnet.Options, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		link := memnet.Link{Latency: time.Duration(n.rand.IntN(200)) * time.Millisecond}
		return &memnet.Options{ToServer: link, ToClient: link, Capacity: 100 + n.rand.IntN(2000)}, nil
	})
	srv := mqttserver.New(b, nil)
	go srv.Serve(n.l, nil)
	defer srv.Close()
	client := func(id string) *mqttclient.Client {
		c, err := mqttclient.New(&mqttclient.Options{
			Servers: []string{"mem://broker"}, Dialers: map[string]mqttclient.DialFunc{"mem": n.dial},
			ClientID: id, Version: mqtt.Version5, Resume: true,
			Backoff: mqttclient.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond, Seed: seed},
			Limits:  mqttclient.Limits{MaxInflight: 10, ReceiveMaximum: 10, OutputBuffer: 1000},
			Streams: &mqttclient.Streams{Max: 3, Keep: keep, Idle: 2 * time.Second},
			Retry:   func(error) bool { return true },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pub, sub := client("pub"), client("sub")
	defer time.Sleep(20 * time.Second) // for the connections to end
	defer pub.Close()
	defer sub.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	o := &mqttclient.SubscribeOptions{Stream: keep && seed%2 == 0}
	s, err := sub.Subscribe(ctx, o, mqtt.Subscription{Filter: "t/#", QoS: mqtt.QoS2})
	if err != nil {
		t.Fatal(err)
	}
	const total = 60
	var got [4][]string
	var received sync.WaitGroup
	reading, stop := context.WithCancel(ctx)
	defer stop()
	received.Go(func() {
		for m, err := range s.Messages(reading) {
			if err != nil {
				if reading.Err() == nil {
					t.Error(err)
				}
				return
			}
			topic := m.Topic[2] - '0'
			got[topic] = append(got[topic], string(m.Payload))
		}
	})
	var pubs [4][total]*mqttclient.Publication
	var publishers sync.WaitGroup
	for topic := range pubs {
		publishers.Go(func() {
			for i := range total {
				m := &mqttclient.Message{Topic: fmt.Sprintf("t/%d", topic), Payload: fmt.Append(nil, i), QoS: mqtt.QoS(1 + topic%2)}
				p, err := pub.PublishAsync(ctx, m)
				if err != nil {
					t.Error(err)
					return
				}
				pubs[topic][i] = p
				time.Sleep(time.Duration(i%7) * 50 * time.Millisecond)
			}
		})
	}
	var failed [4]map[string]bool
	publishers.Go(func() {
		for range 40 {
			n.mu.Lock()
			d := time.Duration(n.rand.IntN(600)) * time.Millisecond
			n.mu.Unlock()
			time.Sleep(d)
			n.trouble()
		}
	})
	publishers.Wait()
	for topic := range pubs {
		failed[topic] = make(map[string]bool)
		for i, p := range pubs[topic] {
			err := p.Wait(ctx)
			if err == nil {
				continue
			}
			failed[topic][fmt.Sprint(i)] = true
			if keep || topic%2 == 0 || !errors.Is(err, mqttclient.ErrStreamLost) {
				t.Errorf("message %d of topic %d: %v", i, topic, err)
			}
		}
	}
	time.Sleep(time.Minute) // whatever is under way arrives
	stop()
	received.Wait()
	for topic, got := range got {
		check(t, topic, got, failed[topic], total, !o.Stream)
	}
	if st := pub.Stats(); st.StreamsOpened < 2 {
		t.Errorf("%+v", st)
	}
}

// check checks what came of a topic.
func check(t *testing.T, topic int, got []string, failed map[string]bool, total int, ordered bool) {
	t.Helper()
	once := compact(got)
	if topic%2 == 1 && len(once) < len(got) {
		t.Errorf("topic %d of QoS 2: something came twice in %v", topic, got)
	}
	last := -1
	for _, p := range once {
		var i int
		fmt.Sscan(p, &i)
		if ordered && i < last {
			t.Errorf("topic %d: %d after %d", topic, i, last)
		}
		last = i
	}
	for i := range total {
		if p := fmt.Sprint(i); !failed[p] && !slices.Contains(once, p) {
			t.Errorf("topic %d: %s did not come, of %d that came", topic, p, len(once))
		}
	}
}

// TestEarlyBroker: a broker takes early data as far as it was told to, whatever a client sends.
func TestEarlyBroker(t *testing.T) {
	for _, takes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			l := memnet.Listen("broker")
			l.OnDial(func(int) (*memnet.Options, error) {
				return &memnet.Options{Early: true, ToServer: memnet.Link{Latency: time.Second}}, nil
			})
			srv := mqttserver.New(b, nil)
			go srv.Serve(l, &mqttserver.ListenerOptions{EarlyPublish: takes})
			defer srv.Close()
			var conn *memnet.Conn
			dial := func(ctx context.Context, _ *url.URL) (net.Conn, error) {
				nc, err := l.Dial(ctx)
				if err == nil {
					conn = nc.(*memnet.Conn)
				}
				return nc, err
			}
			c, err := mqttclient.New(&mqttclient.Options{
				Servers: []string{"mem://broker"}, Dialers: map[string]mqttclient.DialFunc{"mem": dial}, EarlyPublish: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer time.Sleep(10 * time.Second)
			defer c.Close()
			if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "t"}); err != nil {
				t.Fatal(err)
			}
			if err := c.Connected(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := srv.Stats().MessagesReceived; got != map[bool]int64{true: 1}[takes] {
				t.Errorf("takes %v: %d messages in early data", takes, got)
			}
			conn.Confirm()
			if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "t", QoS: 2}); err != nil {
				t.Fatal(err)
			}
			if got := srv.Stats().MessagesReceived; got != 2 {
				t.Errorf("takes %v: %d messages", takes, got)
			}
		})
	}
}

// TestConcurrentUseOfStreams is TestConcurrentUse with streams and datagrams, while streams and connections end.
func TestConcurrentUseOfStreams(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll, SysInterval: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			n := &streamNetwork{network: network{l: memnet.Listen("broker"), rand: rand.New(rand.NewPCG(1, 2)), calm: true}}
			n.l.OnDial(n.options)
			srv := mqttserver.New(b, nil)
			go srv.Serve(n.l, &mqttserver.ListenerOptions{Datagrams: true})
			defer srv.Close()
			c, err := mqttclient.Dial(t.Context(), "mem://broker", &mqttclient.Options{
				Dialers: map[string]mqttclient.DialFunc{"mem": n.dial},
				Backoff: mqttclient.Backoff{Min: time.Millisecond, Max: time.Millisecond},
				Limits:  mqttclient.Limits{OutputBuffer: 1000, MaxInflight: 5, ReceiveMaximum: 5},
				Queue:   mqttclient.Queue{Messages: 10},
				Streams: &mqttclient.Streams{Max: 4, Idle: 20 * time.Millisecond, Keep: keep, Datagrams: keep},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer time.Sleep(20 * time.Second)
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
			for range 100 {
				time.Sleep(20 * time.Millisecond)
				n.trouble()
			}
			wg.Wait()
			time.Sleep(time.Minute)
			if err := c.Publish(t.Context(), &mqttclient.Message{Topic: "end", QoS: 2}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if s := c.Stats(); s.Queued != 0 || s.QueuedBytes != 0 || s.Inflight != 0 || s.Streams != 0 || s.StreamsOpened < 4 {
				t.Errorf("stats are %+v", s)
			}
		})
	}
}
