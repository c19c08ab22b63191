package kafkaclient

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// streamCluster is a cluster that clients reach with streams, and what came on which stream.
type streamCluster struct {
	*fakeCluster

	mu   sync.Mutex
	seen []streamRequest
	cuts []func()
}

type streamRequest struct {
	stream int64
	key    kafkawire.APIKey
	early  bool
	parts  []int32
}

func newStreamCluster(t *testing.T, early bool) *streamCluster {
	t.Cleanup(func() { time.Sleep(time.Second) }) // for answers that take long
	c := &streamCluster{fakeCluster: newFakeCluster(t, 1)}
	b := c.brokers[0]
	b.ln.OnDial(func(int) (*memnet.Options, error) {
		return &memnet.Options{Protocol: streamsProtocol, Early: early}, nil
	})
	b.script = c.see
	return c
}

func (c *streamCluster) see(r *fakeRequest) kafkawire.Response {
	x := streamRequest{key: r.header.Key}
	m, _ := r.conn.(*memnet.Conn)
	if s, ok := r.conn.(*streamConn); ok {
		x.stream = s.ID()
		m = s.nc.(*memnet.Conn)
	}
	select {
	case <-m.Confirmed():
	default:
		x.early = true
	}
	if p, ok := r.req.(*kafkawire.ProduceRequest); ok {
		for _, t := range p.TopicData {
			for _, d := range t.PartitionData {
				x.parts = append(x.parts, d.Index)
			}
		}
	}
	c.mu.Lock()
	c.seen = append(c.seen, x)
	c.mu.Unlock()
	if r.header.Key == kafkawire.KeyFetch {
		time.Sleep(100 * time.Millisecond)
		f := r.req.(*kafkawire.FetchRequest)
		return &kafkawire.FetchResponse{SessionID: max(f.SessionID, 7)}
	}
	return nil
}

// came returns what came, by stream.
func (c *streamCluster) came(key kafkawire.APIKey) map[int64][]streamRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[int64][]streamRequest)
	for _, x := range c.seen {
		if x.key == key {
			out[x.stream] = append(out[x.stream], x)
		}
	}
	return out
}

func (c *streamCluster) streamOptions() *Options {
	return &Options{Addrs: []string{"kafka+quic://" + fakeAddr(0)}, Dialers: map[string]DialFunc{"kafka+quic": func(ctx context.Context, u *url.URL) (net.Conn, error) {
		return c.dial(ctx, "", u.Host)
	}}}
}

// TestStreams: what goes on which stream of one connection.
func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStreamCluster(t, false)
		leaders := make([]kafkawire.BrokerID, 32)
		c.topic("a", leaders...)
		o := c.streamOptions()
		o.ProduceStreams = 4
		cl := c.client(o)
		p := newTestProducer(t, cl, &ProducerOptions{Partitioner: ManualPartitioner})
		for round := range 3 {
			var list []*Record
			for i := range leaders {
				list = append(list, &Record{Topic: "a", Partition: int32(i), Value: []byte(fmt.Sprint(round))})
			}
			if err := p.Produce(t.Context(), list...); err != nil {
				t.Fatal(err)
			}
		}
		var consumers []*Consumer
		for i := range 2 {
			k, err := cl.NewConsumer(&ConsumerOptions{Assign: map[kafka.TopicPartition]Start{{Topic: "a", Partition: int32(i)}: StartAt(0)}})
			if err != nil {
				t.Fatal(err)
			}
			consumers = append(consumers, k)
		}
		time.Sleep(time.Second)
		stream := make(map[int32]int64)
		produced := c.came(kafkawire.KeyProduce)
		for id, list := range produced {
			for _, x := range list {
				for _, i := range x.parts {
					if before, ok := stream[i]; ok && before != id || id == 0 {
						t.Errorf("partition %d on the streams %d and %d", i, before, id)
					}
					stream[i] = id
				}
			}
		}
		fetched := c.came(kafkawire.KeyFetch)
		if len(stream) != len(leaders) || len(produced) != 4 || len(fetched) != 2 || fetched[0] != nil {
			t.Errorf("%d partitions, %d streams to produce on, fetches on %v", len(stream), len(produced), fetched)
		}
		for id := range fetched {
			if produced[id] != nil {
				t.Errorf("producing and fetching on stream %d", id)
			}
		}
		for _, key := range []kafkawire.APIKey{kafkawire.KeyAPIVersions, kafkawire.KeyMetadata, kafkawire.KeyInitProducerID} {
			if got := c.came(key); len(got) != 1 || got[0] == nil {
				t.Errorf("%v: %v", key, got)
			}
		}
		if n := len(c.came(kafkawire.KeyAPIVersions)[0]); n != 2 { // to the address of the application, and to the broker
			t.Errorf("%d questions for versions", n)
		}
		if s := cl.Stats(); s.Connections != 2 || s.Streams != 6 || s.Connects != 2 {
			t.Errorf("%+v", s)
		}
		for _, k := range consumers {
			k.Close()
		}
		synctest.Wait()
		if s := cl.Stats(); s.Streams != 4 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour)
		if s := cl.Stats(); s.Streams != 0 || s.Connections > 1 {
			t.Errorf("idle: %+v", s)
		}
	})
}

// TestStreamsOfPartitions: the partitions of topics are spread.
func TestStreamsOfPartitions(t *testing.T) {
	c, err := newConfig(&Options{Addrs: []string{"x://a"}, Dialers: map[string]DialFunc{"x": func(context.Context, *url.URL) (net.Conn, error) { return nil, nil }}})
	if err != nil {
		t.Fatal(err)
	}
	p := &Producer{c: &Client{o: c}}
	var counts [8]int
	for topic := range 100 {
		for i := range int32(80) {
			g := p.group(kafkawire.TopicName(fmt.Sprintf("topic-%x", sha256.Sum256([]byte{byte(topic)}))), i)
			counts[g]++
		}
	}
	for g, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("group %d has %d of 8000", g, n)
		}
	}
}

// TestStreamsEnd: when a stream or the connection ends, what was on it goes on elsewhere, once.
func TestStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStreamCluster(t, false)
		c.topic("a", 0, 0, 0, 0)
		cl := c.client(c.streamOptions())
		p := newTestProducer(t, cl, &ProducerOptions{Partitioner: ManualPartitioner})
		k, err := cl.NewConsumer(&ConsumerOptions{Assign: map[kafka.TopicPartition]Start{{Topic: "a"}: StartAt(0)}})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		n := 0
		c.scripted(func(r *fakeRequest) kafkawire.Response {
			resp := c.see(r)
			if r.header.Key == kafkawire.KeyProduce {
				c.mu.Lock()
				n++
				cut := n%5 == 0
				if n%20 == 0 {
					c.cuts = append(c.cuts, r.b.cut)
				}
				cuts := c.cuts
				c.cuts = nil
				c.mu.Unlock()
				for _, f := range cuts {
					f() // all connections
				}
				if cut {
					resp = r.b.answer(r) // it is in the log, and nobody knows
					r.conn.Close()
				}
			}
			return resp
		})
		for i := range 100 {
			var list []*Record
			for j := range int32(4) {
				list = append(list, &Record{Topic: "a", Partition: j, Value: []byte(fmt.Sprint(i))})
			}
			if err := p.Produce(t.Context(), list...); err != nil {
				t.Fatal(err)
			}
		}
		for j := range int32(4) {
			got := c.log("a", j)
			for i, v := range got {
				if v != fmt.Sprint(i) {
					t.Fatalf("partition %d: %v", j, got)
				}
			}
			if len(got) != 100 {
				t.Errorf("partition %d has %d records", j, len(got))
			}
		}
		time.Sleep(5 * time.Second)
		if s := k.Stats(); s.Fetches < 10 {
			t.Errorf("%+v", s)
		}
		cl.Close()
		synctest.Wait()
		if s := cl.Stats(); s.Streams != 0 || s.Connections != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestEarlyData: what is written before the end of the handshake changes nothing when it is repeated, unless the application
// has said that it may.
func TestEarlyData(t *testing.T) {
	for _, optIn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newStreamCluster(t, true)
			c.topic("a", 0)
			var mu sync.Mutex
			var conns []*memnet.Conn
			o := c.streamOptions()
			o.EarlyProduce = optIn
			dial := o.Dialers["kafka+quic"]
			o.Dialers["kafka+quic"] = func(ctx context.Context, u *url.URL) (net.Conn, error) {
				nc, err := dial(ctx, u)
				if err == nil {
					mu.Lock()
					conns = append(conns, nc.(*memnet.Conn))
					mu.Unlock()
				}
				return nc, err
			}
			confirm := func() {
				mu.Lock()
				defer mu.Unlock()
				for _, m := range conns {
					m.Confirm()
				}
				conns = nil
			}
			cl := c.client(o)
			idempotent := newTestProducer(t, cl, nil)
			confirmed := make(chan struct{})
			go func() {
				defer close(confirmed)
				if err := idempotent.Produce(t.Context(), &Record{Topic: "a", Value: []byte("first")}); err != nil {
					t.Error(err)
				}
			}()
			for range 5 {
				time.Sleep(time.Second)
				confirm()
			}
			<-confirmed
			// Now there is an identity: after the connection was lost the producer has what it needs.
			c.brokers[0].cut()
			time.Sleep(5 * time.Second)
			c.mu.Lock()
			c.seen = nil
			c.mu.Unlock()
			plain := newTestProducer(t, cl, &ProducerOptions{NoIdempotence: true})
			var all sync.WaitGroup
			for _, p := range []*Producer{idempotent, plain} {
				all.Go(func() {
					if err := p.Produce(t.Context(), &Record{Topic: "a", Value: []byte("later")}); err != nil {
						t.Error(err)
					}
				})
			}
			k, err := cl.NewConsumer(&ConsumerOptions{Group: "g", Assign: map[kafka.TopicPartition]Start{{Topic: "a"}: StartAt(0)}})
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_ = k.CommitOffsets(ctx, map[kafka.TopicPartition]CommitOffset{{Topic: "a"}: {Offset: 1}})
			})
			time.Sleep(10 * time.Second)
			early := make(map[kafkawire.APIKey]int)
			c.mu.Lock()
			for _, x := range c.seen {
				if x.early {
					early[x.key]++
				}
			}
			c.mu.Unlock()
			want := []kafkawire.APIKey{kafkawire.KeyAPIVersions, kafkawire.KeyFetch, kafkawire.KeyFindCoordinator, kafkawire.KeyMetadata}
			if optIn {
				want = append(want, kafkawire.KeyProduce)
			}
			var got []string
			for key := range early {
				if !slices.Contains(want, key) {
					t.Errorf("%v was early data", key)
				}
				got = append(got, key.String())
			}
			slices.Sort(got)
			if early[kafkawire.KeyFetch] != 1 || (early[kafkawire.KeyProduce] == 1) != optIn {
				t.Errorf("early: %s, %v", strings.Join(got, " "), early)
			}
			for range 10 {
				confirm()
				time.Sleep(time.Second)
			}
			all.Wait()
			if got := c.log("a", 0); len(got) != 3 {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestEarlyCredentials: SASL waits for the end of the handshake.
func TestEarlyCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStreamCluster(t, true)
		o := c.streamOptions()
		o.SASL = Plain("u", "p")
		o.APITimeout, o.ConnectTimeout = 5*time.Second, time.Second
		cl := c.client(o)
		if _, err := cl.Admin().Cluster(t.Context()); err == nil {
			t.Error("no error")
		}
		if n := len(c.came(kafkawire.KeySASLHandshake)) + len(c.came(kafkawire.KeySASLAuthenticate)); n > 0 || len(c.came(kafkawire.KeyAPIVersions)) == 0 {
			t.Errorf("%d requests with credentials", n)
		}
	})
}
