package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	conn net.Conn
}

func (s *streamConn) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s *streamConn) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// stream waits for the next stream that the client opens.
func (p *peer) stream() *peer {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	st, err := p.nc.(netio.Streams).AcceptStream(ctx)
	if err != nil {
		p.t.Fatalf("no stream: %v", err)
	}
	return &peer{t: p.t, nc: &streamConn{st, p.nc}, v: p.v}
}

// noStream checks that the client opens no further stream.
func (p *peer) noStream() {
	p.t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Nanosecond)
	defer cancel()
	if st, err := p.nc.(netio.Streams).AcceptStream(ctx); err == nil {
		p.t.Fatalf("stream %d, want none", st.ID())
	}
}

// complete goes through the exchange of a message that came.
func (p *peer) complete(m *mqtt.Publish) {
	p.t.Helper()
	switch id := m.ID; m.QoS {
	case mqtt.QoS1:
		p.send(&mqtt.Puback{ID: id})
	case mqtt.QoS2:
		p.send(&mqtt.Pubrec{ID: id})
		p.expect(fmt.Sprintf("PUBREL id=%d", id))
		p.send(&mqtt.Pubcomp{ID: id})
	}
}

// reset resets a stream.
func (p *peer) reset() { p.nc.(*streamConn).Stream.(interface{ Reset() }).Reset() }

// props returns user properties.
func props(pairs ...string) (p mqtt.Properties) {
	for i := 0; i < len(pairs); i += 2 {
		p = p.AppendUser(pairs[i], pairs[i+1])
	}
	return p
}

var keeps = mqtt.Connack{Properties: props(propStreams, propKeep)}

// publishAsync publishes and fails the test when that is not possible.
func publishAsync(t testing.TB, c *Client, m *Message) *Publication {
	t.Helper()
	p, err := c.PublishAsync(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// streaming returns a client with those Streams and its peer, connected.
func streaming(t *testing.T, o Options, ack mqtt.Connack) (*network, *Client, *peer) {
	t.Helper()
	n := newNetwork(t, "a")
	if o.Streams == nil {
		o.Streams = &Streams{}
	}
	o.KeepAlive = -1
	c := n.client(&o, "a")
	p := n.connect("a", ack)
	if err := c.Connected(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n, c, p
}

func TestStreamPolicies(t *testing.T) {
	tests := []struct {
		name    string
		streams Streams
		publish []Message
		want    []string // by stream: "" is stream 0, in the order in which streams are opened
		on      []int    // of each message
	}{
		{"topic", Streams{}, []Message{{Topic: "a"}, {Topic: "b"}, {Topic: "a", QoS: 1}, {Topic: "b"}, {Topic: "c"}}, nil, []int{1, 2, 1, 2, 3}},
		{"group", Streams{Policy: StreamPerGroup, Group: func(topic string) string { return topic[:1] }},
			[]Message{{Topic: "a/1"}, {Topic: "a/2", QoS: 2}, {Topic: "b/1"}, {Topic: "a/3"}}, nil, []int{1, 1, 2, 1}},
		{"group of stream 0", Streams{Policy: StreamPerGroup, Group: func(topic string) string { return topic[1:] }},
			[]Message{{Topic: "a"}, {Topic: "bx"}, {Topic: "c"}}, nil, []int{0, 1, 0}},
		{"priority", Streams{Policy: StreamPerPriority},
			[]Message{{Topic: "a"}, {Topic: "a", Priority: 7}, {Topic: "b", Priority: 1}, {Topic: "c", Priority: 200}, {Topic: "d"}},
			nil, []int{0, 1, 2, 1, 0}},
		{"limit", Streams{Max: 2}, []Message{{Topic: "x1"}, {Topic: "x2"}, {Topic: "x3"}, {Topic: "x1"}, {Topic: "x3"}}, nil, nil},
		{"off", Streams{Max: -1}, []Message{{Topic: "a"}, {Topic: "b"}}, nil, []int{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, c, p := streaming(t, Options{Streams: &tt.streams}, mqtt.Connack{})
				peers := []*peer{p}
				of := make(map[string]int)
				for i, m := range tt.publish {
					m.Payload = fmt.Append(nil, i)
					publishAsync(t, c, &m)
					want := 0
					if tt.on != nil {
						want = tt.on[i]
					} else if on, ok := of[m.Topic]; ok {
						want = on
					} else {
						want = min(len(peers), tt.streams.Max)
						if len(peers) > tt.streams.Max { // it shares one
							want = int(hash(m.Topic)%uint32(tt.streams.Max)) + 1
							for at, q := range peers {
								if at > 0 && c.out.others.all[want-1].s.id == uint64(q.nc.(*streamConn).ID()) {
									want = at
									break
								}
							}
						}
						of[m.Topic] = want
					}
					if want == len(peers) {
						peers = append(peers, p.stream())
					}
					q := peers[want]
					got, ok := q.receive().(*mqtt.Publish)
					if !ok || string(got.Payload) != fmt.Sprint(i) || string(got.Topic) != m.Topic {
						t.Fatalf("message %d: got %v on stream %d", i, got, want)
					}
					q.complete(got)
				}
				p.noStream()
				synctest.Wait()
				s := c.Stats()
				if s.Streams != len(peers)-1 || s.StreamsOpened != uint64(len(peers)-1) || s.Inflight != 0 || s.Queued != 0 {
					t.Errorf("%d streams, stats %+v", len(peers)-1, s)
				}
				if i, _ := c.Info(); i.Streams != (tt.streams.Max >= 0) || i.StreamsKept || i.Datagrams {
					t.Errorf("info %+v", i)
				}
			})
		})
	}
}

func TestStreamOptions(t *testing.T) {
	for _, o := range []Streams{
		{Policy: 3}, {Policy: StreamPerGroup}, {Group: func(string) string { return "" }},
	} {
		if _, err := New(&Options{Servers: []string{"mqtt://x"}, Streams: &o}); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// TestStalledStream: a stream of which the server does not read stops no other, although it takes what it can get of the
// output buffer, of those in flight and of the queue; and the bytes that wait are bounded.
func TestStalledStream(t *testing.T) {
	for qos := range mqtt.QoS(3) {
		t.Run(fmt.Sprint("QoS", qos), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				n.hosts["a"].OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Capacity: 1 << 10}, nil })
				c := n.client(&Options{
					Streams: &Streams{}, KeepAlive: -1,
					Limits: Limits{OutputBuffer: 64 << 10, MaxInflight: 100},
					Queue:  Queue{Messages: 1000},
				}, "a")
				p := n.connect("a", mqtt.Connack{})
				if err := c.Connected(t.Context()); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var blocked atomic.Int32
				for i := range 3 { // several stalled ones
					go func() {
						for {
							m := &Message{Topic: fmt.Sprint("stalled", i), Payload: make([]byte, 1000), QoS: qos}
							if _, err := c.PublishAsync(ctx, m); err != nil {
								blocked.Add(1)
								return
							}
						}
					}()
				}
				for range 3 {
					p.stream()
				}
				synctest.Wait()
				c.mu.Lock()
				if limit := c.o.Limits.OutputBuffer + 2000; c.conn.waiting > limit || c.conn.waiting < limit/2 && qos == 0 {
					t.Errorf("%d bytes wait", c.conn.waiting)
				}
				c.mu.Unlock()
				if s := c.Stats(); s.Queued > 1000 || s.Queued < 500 {
					t.Errorf("%d messages wait", s.Queued)
				}
				var q *peer
				for i := range 500 {
					start := time.Now()
					pub := publishAsync(t, c, &Message{Topic: "moves", Payload: fmt.Append(nil, i), QoS: qos})
					if q == nil {
						q = p.stream()
					}
					got, ok := q.receive().(*mqtt.Publish)
					if !ok || string(got.Payload) != fmt.Sprint(i) {
						t.Fatalf("got %v", got)
					}
					q.complete(got)
					if err := pub.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
					if d := time.Since(start); d > 0 {
						t.Fatalf("message %d took %v", i, d)
					}
				}
				cancel()
				synctest.Wait()
				if n := blocked.Load(); n != 3 {
					t.Errorf("%d publishers of the stalled streams waited, want 3", n)
				}
			})
		})
	}
}

// TestStreamsUnavailable: on a connection without streams there is only the one, and the order holds.
func TestStreamsUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		o := n.options(&Options{Streams: &Streams{Keep: true, Datagrams: true}}, "a")
		o.Dialers["mem"] = plain(o.Dialers["mem"])
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer time.Sleep(2 * closeTimeout)
		defer c.Close()
		for i := range 6 { // queued in lanes
			publishAsync(t, c, &Message{Topic: fmt.Sprint(i % 2), Payload: fmt.Append(nil, i), QoS: 1})
		}
		p := n.accept("a")
		if q := p.connect(); len(q.Properties) > 0 && q.Properties.Has(mqtt.PropUserProperty) {
			t.Errorf("%v", q)
		}
		p.send(&keeps)
		last := map[string]string{}
		for i := range 12 {
			if i >= 6 {
				publishAsync(t, c, &Message{Topic: fmt.Sprint(i % 2), Payload: fmt.Appendf(nil, "%d", i), QoS: 1})
			}
			q := p.receive().(*mqtt.Publish)
			p.send(&mqtt.Puback{ID: q.ID})
			if a, b := last[string(q.Topic)], string(q.Payload); len(a) > len(b) || len(a) == len(b) && a >= b {
				t.Errorf("%s after %s", b, a)
			}
			last[string(q.Topic)] = string(q.Payload)
		}
		synctest.Wait()
		if s := c.Stats(); s.StreamsOpened != 0 || s.Queued+s.Inflight != 0 {
			t.Errorf("%+v", s)
		}
		if i, _ := c.Info(); i.Streams || i.Datagrams {
			t.Errorf("%+v", i)
		}
	})
}

// plain hides what conns have besides net.Conn.
func plain(dial DialFunc) DialFunc {
	return func(ctx context.Context, u *url.URL) (net.Conn, error) {
		nc, err := dial(ctx, u)
		if err != nil {
			return nil, err
		}
		return struct{ net.Conn }{nc}, nil
	}
}

// limited is a conn of which the peer allows only some streams.
type limited struct {
	*memnet.Conn
	left chan struct{}
}

func (l *limited) OpenStream(ctx context.Context) (netio.Stream, error) {
	select {
	case <-l.left:
		return l.Conn.OpenStream(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestStreamLimit: what gets no stream in time takes stream 0.
func TestStreamLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		left := make(chan struct{}, 10)
		left <- struct{}{}
		o := n.options(&Options{Streams: &Streams{Idle: 5 * time.Second}}, "a")
		o.Dialers["mem"] = func(ctx context.Context, u *url.URL) (net.Conn, error) {
			nc, err := n.dial(ctx, u)
			if err != nil {
				return nil, err
			}
			return &limited{nc.(*memnet.Conn), left}, nil
		}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer time.Sleep(2 * closeTimeout)
		defer c.Close()
		p := n.connect("a", mqtt.Connack{})
		publishAsync(t, c, &Message{Topic: "a"})
		a := p.stream()
		a.expect(`PUBLISH qos=0 topic="a"`)
		start := time.Now()
		publishAsync(t, c, &Message{Topic: "b", Payload: []byte("1")})
		publishAsync(t, c, &Message{Topic: "b", Payload: []byte("2")})
		p.expect(`PUBLISH qos=0 topic="b" payload=1:"1"`, `PUBLISH qos=0 topic="b" payload=1:"2"`)
		if d := time.Since(start); d != streamPatience {
			t.Errorf("took %v", d)
		}
		publishAsync(t, c, &Message{Topic: "b", Payload: []byte("3")})
		p.expect(`PUBLISH qos=0 topic="b" payload=1:"3"`)
		a.expect("end") // idle
		a.nc.Close()
		time.Sleep(10 * time.Second)
		left <- struct{}{}
		publishAsync(t, c, &Message{Topic: "b", Payload: []byte("4")})
		p.stream().expect(`PUBLISH qos=0 topic="b" payload=1:"4"`)
	})
}

// TestIdleStreams: they are closed, once nothing waits for an answer and the server has read everything.
func TestIdleStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{Streams: &Streams{Idle: 10 * time.Second}}, mqtt.Connack{})
		publishAsync(t, c, &Message{Topic: "a", QoS: 1})
		s1 := p.stream()
		q := s1.receive().(*mqtt.Publish)
		publishAsync(t, c, &Message{Topic: "b"})
		s2 := p.stream()
		s2.expect("PUBLISH")
		start := time.Now()
		s2.expect("end")
		if d := time.Since(start); d < 10*time.Second || d > 20*time.Second {
			t.Errorf("idle after %v", d)
		}
		publishAsync(t, c, &Message{Topic: "b", Payload: []byte("again")})
		p.noStream() // the order would not hold
		s2.nc.Close()
		p.stream().expect(`PUBLISH qos=0 topic="b" payload=5:"again"`)
		time.Sleep(time.Minute)
		s1.send(&mqtt.Puback{ID: q.ID})
		start = time.Now()
		s1.expect("end")
		if d := time.Since(start); d < 10*time.Second {
			t.Errorf("idle %v after the acknowledgement", d)
		}
		s1.nc.Close()
		time.Sleep(time.Minute) // the other one's end is not answered
		if s := c.Stats(); s.Streams != 0 || s.StreamsLost != 0 {
			t.Errorf("%+v", s)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if ls := &c.out.others; len(ls.order) != 0 || len(ls.keys) != 0 {
			t.Errorf("%d lanes are left", len(ls.order))
		}
	})
}

// TestStreamLost: without Keep the state of a stream dies with it: QoS 1 is published anew, QoS 2 fails.
func TestStreamLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, c, p := streaming(t, Options{}, keeps) // it was not asked for
		var pubs []*Publication
		for i := range 5 {
			pubs = append(pubs, publishAsync(t, c, &Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: mqtt.QoS(1 + i%2)}))
		}
		s := p.stream()
		other := publishAsync(t, c, &Message{Topic: "other", QoS: 2})
		o := p.stream()
		last := o.receive().(*mqtt.Publish)
		fourth := s.receive().(*mqtt.Publish).ID
		for range 3 {
			fourth = s.receive().(*mqtt.Publish).ID
		}
		s.receive()
		s.send(&mqtt.Pubrec{ID: fourth}) // of the second message of QoS 2
		s.expect(fmt.Sprintf("PUBREL id=%d", fourth))
		time.Sleep(time.Minute)
		s.reset()
		s = p.stream()
		for i, want := range []string{"0", "2", "4"} {
			q := s.receive().(*mqtt.Publish)
			if string(q.Payload) != want || q.Dup || q.QoS != 1 || q.ID <= 6 {
				t.Fatalf("got %v, want payload %s", q, want)
			}
			s.send(&mqtt.Puback{ID: q.ID})
			if err := pubs[2*i].Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := pubs[1].Wait(t.Context()); !errors.Is(err, ErrStreamLost) || SafeToRetry(err) {
			t.Errorf("QoS 2: %v", err)
		}
		if err := pubs[3].Wait(t.Context()); err != nil {
			t.Errorf("QoS 2 that the server had received: %v", err)
		}
		if st := c.Stats(); st.StreamsLost != 1 || st.Inflight != 1 {
			t.Errorf("%+v", st)
		}
		o.complete(last)
		if err := other.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		p.quiet()
	})
}
