package mqttserver_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// muxed is a backend whose sessions know data streams: a message goes to everybody who subscribed to its topic, on the
// stream of the subscription.
type muxed struct {
	late bool // acknowledge by hand, see acks

	mu       sync.Mutex
	sessions []*muxSession
	acks     []mqttserver.Ack
}

type muxSession struct {
	m *muxed
	c *mqttserver.Conn

	mu      sync.Mutex
	subs    map[string]uint64
	got     []string
	results map[uint64][]mqttserver.Result
	gone    []uint64
	settled []string
	readies int
	closed  bool
}

func (m *muxed) Connect(_ context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
	s := &muxSession{m: m, c: c, subs: make(map[string]uint64), results: make(map[uint64][]mqttserver.Result)}
	m.mu.Lock()
	m.sessions = append(m.sessions, s)
	m.mu.Unlock()
	return &mqttserver.Accepted{Session: s, State: new(mqtt.State)}, nil
}

// last returns the session of the client that came last.
func (m *muxed) last() *muxSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[len(m.sessions)-1]
}

func (s *muxSession) Start(*mqttserver.Batch) {}

func (s *muxSession) Publish(b *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	s.mu.Lock()
	s.got = append(s.got, string(p.Payload))
	s.mu.Unlock()
	s.m.mu.Lock()
	sessions := slices.Clone(s.m.sessions)
	if s.m.late {
		s.m.acks = append(s.m.acks, ack)
	}
	s.m.mu.Unlock()
	for _, o := range sessions {
		o.mu.Lock()
		stream, ok := o.subs[string(p.Topic)]
		o.mu.Unlock()
		if ok {
			o.send(b, stream, &mqtt.Publish{Topic: bytes.Clone(p.Topic), Payload: bytes.Clone(p.Payload), QoS: p.QoS})
		}
	}
	if !s.m.late {
		ack.Done(b, mqtt.ReasonSuccess, nil)
	}
}

func (s *muxSession) send(b *mqttserver.Batch, stream uint64, p *mqtt.Publish) mqttserver.Result {
	r := s.c.PublishStream(b, stream, p, p)
	s.mu.Lock()
	s.results[stream] = append(s.results[stream], r)
	s.mu.Unlock()
	return r
}

// count returns how many messages for a stream had a result.
func (s *muxSession) count(stream uint64, r mqttserver.Result) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.results[stream] {
		if have == r {
			n++
		}
	}
	return n
}

func (s *muxSession) Subscribe(b *mqttserver.Batch, p *mqtt.Subscribe) { s.SubscribeStream(b, 0, p) }

func (s *muxSession) SubscribeStream(b *mqttserver.Batch, stream uint64, p *mqtt.Subscribe) {
	ack := &mqtt.Suback{ID: p.ID}
	s.mu.Lock()
	for _, f := range p.Filters {
		s.subs[f.Filter] = stream
		ack.Reasons = append(ack.Reasons, mqtt.ReasonCode(f.QoS))
	}
	s.mu.Unlock()
	s.c.Suback(b, ack)
}

func (s *muxSession) StreamClosed(_ *mqttserver.Batch, stream uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = append(s.gone, stream)
	for f, at := range s.subs {
		if at == stream {
			delete(s.subs, f)
		}
	}
}

func (s *muxSession) Unsubscribe(b *mqttserver.Batch, p *mqtt.Unsubscribe) {
	s.c.Unsuback(b, &mqtt.Unsuback{ID: p.ID, Reasons: make([]mqtt.ReasonCode, len(p.Filters))})
}

func (s *muxSession) Settled(_ *mqttserver.Batch, ref any, reason mqtt.ReasonCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, fmt.Sprintf("%s %v", ref.(*mqtt.Publish).Payload, reason))
}

func (s *muxSession) Resend(ref any) (*mqtt.Publish, bool) {
	p := *ref.(*mqtt.Publish)
	return &p, true
}

func (s *muxSession) Ready(*mqttserver.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readies++
}

func (s *muxSession) Closed(error, *mqtt.Disconnect) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.sessions = slices.DeleteFunc(s.m.sessions, func(o *muxSession) bool { return o == s })
}

// muxWorld is a server for muxed on a network in memory.
func muxWorld(t *testing.T, m *muxed, o *mqttserver.Options, lo *mqttserver.ListenerOptions, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, srv: mqttserver.New(m, o), l: memnet.Listen("mem")}
		done := make(chan error)
		go func() { done <- w.srv.Serve(w.l, lo) }()
		defer func() {
			w.srv.Close()
			if err := <-done; err != mqttserver.ErrServerClosed {
				t.Errorf("Serve returned %v", err)
			}
			if st := w.srv.Stats(); st.Buffered != 0 || st.Connections != 0 {
				t.Errorf("left after the end: %+v", st)
			}
		}()
		f(w)
	})
}

// streamConn is a stream as a net.Conn.
type streamConn struct {
	netio.Stream
	net.Conn
}

func (s streamConn) Read(b []byte) (int, error)         { return s.Stream.Read(b) }
func (s streamConn) Write(b []byte) (int, error)        { return s.Stream.Write(b) }
func (s streamConn) Close() error                       { return s.Stream.Close() }
func (s streamConn) SetDeadline(t time.Time) error      { return s.Stream.SetDeadline(t) }
func (s streamConn) SetReadDeadline(t time.Time) error  { return s.Stream.SetReadDeadline(t) }
func (s streamConn) SetWriteDeadline(t time.Time) error { return s.Stream.SetWriteDeadline(t) }

// open opens a data stream of a connection.
func (p *peer) open() *peer {
	p.t.Helper()
	s, err := p.nc.(netio.Streams).OpenStream(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	d := newPeer(p.t, streamConn{s, p.nc})
	d.v = p.v
	return d
}

func (p *peer) id() uint64 { return uint64(p.nc.(streamConn).ID()) }

func (p *peer) reset() { p.nc.(streamConn).Stream.(interface{ Reset() }).Reset() }

func (p *peer) closeWrite() { p.nc.(interface{ CloseWrite() error }).CloseWrite() }

// silent checks that nothing comes.
func (p *peer) silent() {
	p.t.Helper()
	synctest.Wait()
	p.nc.SetReadDeadline(time.Now())
	if n, err := p.nc.Read(make([]byte, 1)); n > 0 || err == nil {
		p.t.Fatal("something came")
	}
	p.nc.SetReadDeadline(time.Time{})
}

func subscribe(id uint16, filter string, qos mqtt.QoS) *mqtt.Subscribe {
	return &mqtt.Subscribe{ID: id, Filters: []mqtt.Subscription{{Filter: filter, QoS: qos}}}
}

func keep(name, value string) mqtt.Properties { return mqtt.Properties(nil).AppendUser(name, value) }

// Acknowledgements return on the stream of what they acknowledge, and messages come on that of their subscription.
func TestDataStreams(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version311, mqtt.Version5} {
		m := new(muxed)
		muxWorld(t, m, nil, nil, func(w *world) {
			c := w.client(&mqtt.Connect{ClientID: "c", Version: v})
			a, b := c.open(), c.open()
			a.send(subscribe(1, "a", mqtt.QoS2))
			a.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{2}})
			b.send(subscribe(2, "b", mqtt.QoS2))
			b.expect(&mqtt.Suback{ID: 2, Reasons: []mqtt.ReasonCode{2}})
			c.send(subscribe(3, "0", mqtt.QoS2))
			c.expect(&mqtt.Suback{ID: 3, Reasons: []mqtt.ReasonCode{2}})

			a.send(publishTo("b", "one", mqtt.QoS1, 4), publishTo("0", "zero", mqtt.QoS0, 0))
			a.expect(&mqtt.Puback{ID: 4})
			b.expect(publishTo("b", "one", mqtt.QoS1, 1))
			b.send(&mqtt.Puback{ID: 1})
			c.expect(publishTo("0", "zero", mqtt.QoS0, 0))

			b.send(publishTo("a", "two", mqtt.QoS2, 4))
			b.expect(&mqtt.Pubrec{ID: 4})
			b.send(&mqtt.Pubrel{ID: 4})
			b.expect(&mqtt.Pubcomp{ID: 4})
			a.expect(publishTo("a", "two", mqtt.QoS2, 2))
			a.send(&mqtt.Pubrec{ID: 2})
			a.expect(&mqtt.Pubrel{ID: 2})
			a.send(&mqtt.Pubcomp{ID: 2})

			b.send(&mqtt.Unsubscribe{ID: 5, Filters: []string{"b"}})
			if u, ok := b.recv().(*mqtt.Unsuback); !ok || u.ID != 5 {
				t.Errorf("no UNSUBACK on the stream of the request")
			}
			c.send(&mqtt.Pingreq{})
			c.expect(&mqtt.Pingresp{})
			a.silent()
			b.silent()
			s := m.last()
			if want := []string{"one Success", "two Success"}; !slices.Equal(s.settled, want) {
				t.Errorf("settled %v, want %v", s.settled, want)
			}
			if st := w.srv.Stats(); st.Streams != 2 || s.c.Stats().Streams != 2 {
				t.Errorf("%d streams counted", st.Streams)
			}
			c.nc.Close()
		})
	}
}

// A session that knows no streams gets its messages on stream 0.
func TestDataStreamsOfPlainSession(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		a := c.open()
		a.send(subscribe(1, "t", mqtt.QoS1))
		a.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{1}})
		a.send(publishTo("t", "x", mqtt.QoS0, 0))
		c.expect(publishTo("t", "x", mqtt.QoS0, 0))
		a.nc.Close()
		c.send(publishTo("t", "y", mqtt.QoS0, 0))
		c.expect(publishTo("t", "y", mqtt.QoS0, 0))
	})
}

// What comes on data streams before CONNACK waits for it.
func TestDataStreamsBeforeConnack(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.dial()
		c.v = mqtt.Version5
		var streams []*peer
		for i := range 20 {
			d := c.open()
			d.send(publishTo("t", fmt.Sprint(i), mqtt.QoS1, uint16(i+1)))
			streams = append(streams, d)
		}
		synctest.Wait()
		c.connect(&mqtt.Connect{ClientID: "c"})
		for i, d := range streams {
			d.expect(&mqtt.Puback{ID: uint16(i + 1)})
		}
		if got := m.last().got; len(got) != 20 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// Packets of the control stream are a protocol error on data streams.
func TestControlPacketsOnDataStreams(t *testing.T) {
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{ClientID: "x", Version: mqtt.Version5}, &mqtt.Connack{}, &mqtt.Pingreq{}, &mqtt.Pingresp{}, &mqtt.Disconnect{},
		&mqtt.Auth{Reason: mqtt.ReasonReauthenticate}, &mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0}}, &mqtt.Unsuback{ID: 1, Reasons: []mqtt.ReasonCode{0}},
	} {
		m := new(muxed)
		muxWorld(t, m, nil, nil, func(w *world) {
			c := w.client(&mqtt.Connect{ClientID: "c"})
			s := m.last()
			d, d2 := c.open(), c.open()
			d2.send(publishTo("t", "x", mqtt.QoS0, 0))
			d.send(p) // ends all
			c.expectDisconnect(mqtt.ReasonProtocolError)
			c.nc.Close()
			synctest.Wait()
			if !s.closed {
				t.Errorf("%v: the session goes on", p)
			}
		})
	}
}

func TestMalformedPacketOnDataStream(t *testing.T) {
	muxWorld(t, new(muxed), nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		d := c.open()
		d.write([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff})
		c.expectDisconnect(mqtt.ReasonMalformedPacket)
	})
}

// A stream that ends in the midst of a packet, and all other ways to end, leave the others alone.
func TestDataStreamEnds(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		whole, err := mqtt.Append(nil, publishTo("t", "cut", mqtt.QoS1, 9), mqtt.Version5)
		if err != nil {
			t.Fatal(err)
		}
		var ids []uint64
		for i, end := range []func(d *peer){
			(*peer).reset, (*peer).closeWrite, func(d *peer) { d.nc.Close() },
			func(d *peer) { d.write(whole[:1]); d.reset() },
			func(d *peer) { d.write(whole[:len(whole)-1]); d.closeWrite() },
			func(d *peer) { d.write(whole[:len(whole)-1]); d.reset() },
		} {
			d := c.open()
			topic := fmt.Sprint(i)
			d.send(subscribe(1, topic, mqtt.QoS0))
			d.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0}})
			ids = append(ids, d.id())
			end(d)
			synctest.Wait()
			c.send(publishTo(topic, "late", mqtt.QoS0, 0), &mqtt.Pingreq{})
			c.expect(&mqtt.Pingresp{})
		}
		s := m.last()
		if !slices.Equal(s.gone, ids) || len(s.subs) != 0 {
			t.Errorf("streams %v have ended, want %v; subscriptions %v", s.gone, ids, s.subs)
		}
		if slices.Contains(s.got, "cut") {
			t.Error("a message came that was not whole")
		}
		if r := s.c.PublishStream(nil, ids[0], publishTo("x", "", mqtt.QoS1, 0), nil); r != mqttserver.Gone {
			t.Errorf("publishing on a stream that has ended: %v", r)
		}
	})
}

// What came before the end of the client's side of a stream is answered.
func TestAnswersAfterEndOfStream(t *testing.T) {
	m := &muxed{late: true}
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		d := c.open()
		d.send(publishTo("t", "x", mqtt.QoS1, 7), publishTo("t", "y", mqtt.QoS1, 8))
		d.closeWrite()
		time.Sleep(time.Second)
		if len(m.last().gone) != 0 {
			t.Fatal("the stream has ended too early")
		}
		m.acks[1].Done(nil, mqtt.ReasonSuccess, nil)
		m.acks[0].Done(nil, mqtt.ReasonSuccess, nil)
		d.expect(&mqtt.Puback{ID: 7}, &mqtt.Puback{ID: 8})
		d.expectEnd()
		synctest.Wait()
		if len(m.last().gone) != 1 {
			t.Error("the stream goes on")
		}
	})
}

// The identifiers of a stream that has ended are free at once, and what is acknowledged late does not acknowledge a message
// that has such an identifier now.
func TestIdentifiersOfEndedStream(t *testing.T) {
	for _, noticed := range []bool{false, true} {
		for _, qos := range []mqtt.QoS{mqtt.QoS1, mqtt.QoS2} {
			m := &muxed{late: true}
			muxWorld(t, m, nil, nil, func(w *world) {
				c := w.client(&mqtt.Connect{ClientID: "c"})
				a, b := c.open(), c.open()
				a.send(publishTo("t", "old", qos, 1))
				synctest.Wait()
				if noticed {
					a.reset()
					synctest.Wait()
				}
				b.send(publishTo("t", "new", qos, 1))
				synctest.Wait()
				if got := m.last().got; !slices.Equal(got, []string{"old", "new"}) {
					t.Fatalf("got %v", got)
				}
				m.acks[0].Done(nil, mqtt.ReasonSuccess, nil)
				b.silent()
				m.acks[1].Done(nil, mqtt.ReasonSuccess, nil)
				if qos == mqtt.QoS1 {
					b.expect(&mqtt.Puback{ID: 1})
				} else {
					b.expect(&mqtt.Pubrec{ID: 1})
					b.send(&mqtt.Pubrel{ID: 1})
					b.expect(&mqtt.Pubcomp{ID: 1})
				}
			})
		}
	}
}

// Messages that are in flight on a stream that ends are settled, those of others are not.
func TestFlightOfEndedStream(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		a, b := c.open(), c.open()
		for i, d := range []*peer{a, b} {
			d.send(subscribe(1, fmt.Sprint(i), mqtt.QoS2))
			d.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{2}})
		}
		c.send(publishTo("0", "a1", mqtt.QoS1, 1), publishTo("1", "b1", mqtt.QoS1, 2), publishTo("0", "a2", mqtt.QoS2, 3))
		synctest.Wait()
		a.reset()
		synctest.Wait()
		s := m.last()
		if want := []string{"a1 Unspecified error", "a2 Unspecified error"}; !slices.Equal(s.settled, want) {
			t.Errorf("settled %q, want %q", s.settled, want)
		}
		b.nc.Close()
		c.nc.Close()
		synctest.Wait()
		if len(s.settled) != 3 {
			t.Errorf("settled %q", s.settled)
		}
	})
}

// Where it was agreed, what is in flight on a stream that ends comes again on stream 0, and what came there is not taken a
// second time.
func TestKeptStreams(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.dial()
		ack := c.connect(&mqtt.Connect{ClientID: "c", Properties: keep("quartet-streams", "keep")})
		if v, _ := userProperty(ack.Properties, "quartet-streams"); v != "keep" {
			t.Fatalf("CONNACK is %v", ack)
		}
		s := m.last()
		if !s.c.KeepsStreams() {
			t.Fatal("not kept")
		}
		a := c.open()
		a.send(subscribe(1, "t", mqtt.QoS2))
		a.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{2}})
		a.send(publishTo("x", "in", mqtt.QoS2, 5))
		a.expect(&mqtt.Pubrec{ID: 5})
		c.send(publishTo("t", "one", mqtt.QoS1, 6), publishTo("t", "two", mqtt.QoS2, 7), publishTo("t", "three", mqtt.QoS2, 8))
		c.expect(&mqtt.Puback{ID: 6}, &mqtt.Pubrec{ID: 7}, &mqtt.Pubrec{ID: 8})
		a.expect(publishTo("t", "one", mqtt.QoS1, 1), publishTo("t", "two", mqtt.QoS2, 2), publishTo("t", "three", mqtt.QoS2, 3))
		a.send(&mqtt.Pubrec{ID: 2})
		a.expect(&mqtt.Pubrel{ID: 2})
		a.reset()
		again := publishTo("t", "one", mqtt.QoS1, 1)
		again.Dup = true
		third := publishTo("t", "three", mqtt.QoS2, 3)
		third.Dup = true
		c.expect(&mqtt.Pubrel{ID: 2}, again, third)
		c.send(&mqtt.Puback{ID: 1}, &mqtt.Pubcomp{ID: 2}, &mqtt.Pubrec{ID: 3})
		c.expect(&mqtt.Pubrel{ID: 3})
		c.send(&mqtt.Pubcomp{ID: 3})

		b := c.open()
		in := publishTo("x", "in", mqtt.QoS2, 5)
		in.Dup = true
		b.send(in)
		b.expect(&mqtt.Pubrec{ID: 5})
		b.send(&mqtt.Pubrel{ID: 5})
		b.expect(&mqtt.Pubcomp{ID: 5})
		synctest.Wait()
		if want := []string{"in", "one", "two", "three"}; !slices.Equal(s.got, want) {
			t.Errorf("got %v, want %v", s.got, want)
		}
		if want := []string{"one Success", "two Success", "three Success"}; !slices.Equal(s.settled, want) {
			t.Errorf("settled %q", s.settled)
		}
	})
}

func userProperty(props mqtt.Properties, name string) (string, bool) {
	for q := range props.All() {
		if k, v := q.User(); string(k) == name && q.ID == mqtt.PropUserProperty {
			return string(v), true
		}
	}
	return "", false
}

// Nothing is confirmed that was not asked for, or that does not fit.
func TestStreamsAreNotAgreed(t *testing.T) {
	for _, props := range []mqtt.Properties{
		nil, keep("quartet-streams", "Keep"), keep("quartet-stream", "keep"), keep("quartet-datagrams", "1"),
		keep("quartet-streams", "keep").AppendUint32(mqtt.PropMaximumPacketSize, 30),
	} {
		m := new(muxed)
		muxWorld(t, m, nil, nil, func(w *world) {
			c := w.dial()
			ack := c.connect(&mqtt.Connect{ClientID: "c", Properties: props})
			if ack.Properties.Has(mqtt.PropUserProperty) {
				t.Errorf("%v is answered by %v", props, ack)
			}
			if m.last().c.KeepsStreams() {
				t.Errorf("%v: streams are kept", props)
			}
		})
	}
}

// A stream that is not read takes a part of the room only, whatever the QoS, and stops neither other streams nor other
// connections. All streams together have no more than the hard limit.
func TestStalledStream(t *testing.T) {
	const hard = 1 << 20
	for _, qos := range []mqtt.QoS{mqtt.QoS0, mqtt.QoS1} {
		m := new(muxed)
		muxWorld(t, m, &mqttserver.Options{Limits: mqttserver.Limits{HardLimit: hard, SoftLimit: hard / 4}}, nil, func(w *world) {
			c, pub := w.client(&mqtt.Connect{ClientID: "c"}), w.client(&mqtt.Connect{ClientID: "pub"})
			s := m.sessions[0]
			other := w.client(&mqtt.Connect{ClientID: "other"})
			other.subscribe("free", mqtt.QoS0)
			var stalled []*peer
			for i := range 5 {
				d := c.open()
				d.send(subscribe(1, fmt.Sprintf("s%d", i), qos))
				d.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{mqtt.ReasonCode(qos)}})
				stalled = append(stalled, d)
			}
			live := c.open()
			live.send(subscribe(1, "free", qos))
			live.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{mqtt.ReasonCode(qos)}})
			m.sessions[2].subs["free"] = 0

			payload := string(make([]byte, 3000))
			b := mqttserver.NewBatch()
			for i := range stalled {
				for range hard / 3000 * 2 {
					s.send(b, stalled[i].id(), publishTo("s", payload, qos, 0))
				}
				b.Flush()
				if st := s.c.Stats(); st.Buffered > hard+4000 {
					t.Fatalf("%d bytes wait", st.Buffered)
				}
			}
			for i, d := range stalled {
				sent, want := s.count(d.id(), mqttserver.Sent), hard/3000>>(i+1)
				if sent < want-25 || sent > want+50 {
					t.Errorf("%d messages for stalled stream %d, want about %d", sent, i, want)
				}
			}
			synctest.Wait()
			before := s.readies
			for i := range 200 { // whoever sends it waits for nothing
				begin := time.Now()
				pub.send(publishTo("free", fmt.Sprint(i), mqtt.QoS0, 0))
				live.expect(publishTo("free", fmt.Sprint(i), mqtt.QoS0, 0))
				other.expect(publishTo("free", fmt.Sprint(i), mqtt.QoS0, 0))
				c.send(&mqtt.Pingreq{})
				c.expect(&mqtt.Pingresp{})
				if d := time.Since(begin); d > 0 {
					t.Fatalf("message %d took %v", i, d)
				}
			}
			if s.readies != before {
				t.Error("told of room before there was some")
			}
			// The first one reads again: it gets everything that was sent, in order.
			d := stalled[0]
			for range s.count(d.id(), mqttserver.Sent) {
				p, ok := d.recv().(*mqtt.Publish)
				if !ok {
					t.Fatal("no message")
				}
				if qos == mqtt.QoS1 {
					d.send(&mqtt.Puback{ID: p.ID})
				}
			}
			synctest.Wait()
			if qos == mqtt.QoS1 && s.readies == before {
				t.Error("not told that there is room")
			}
		})
	}
}

// One stream has half of what may be in flight at most.
func TestFlightIsShared(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c", Properties: mqtt.Properties(nil).AppendUint16(mqtt.PropReceiveMaximum, 100)})
		s := m.last()
		a, b := c.open(), c.open()
		a.send(&mqtt.Puback{ID: 1}) // the server learns of the stream
		b.send(&mqtt.Puback{ID: 1})
		synctest.Wait()
		batch := mqttserver.NewBatch()
		for range 200 {
			s.send(batch, a.id(), publishTo("t", "", mqtt.QoS1, 0))
		}
		for range 200 {
			s.send(batch, b.id(), publishTo("t", "", mqtt.QoS2, 0))
		}
		batch.Flush()
		if n, k := s.count(a.id(), mqttserver.Sent), s.count(b.id(), mqttserver.Sent); n != 50 || k != 25 {
			t.Fatalf("%d and %d messages in flight", n, k)
		}
		if r := s.c.Publish(nil, publishTo("t", "", mqtt.QoS1, 0), publishTo("", "", 0, 0)); r != mqttserver.Sent {
			t.Errorf("stream 0: %v", r)
		}
		p := a.recv().(*mqtt.Publish)
		a.send(&mqtt.Puback{ID: p.ID})
		synctest.Wait()
		if s.readies == 0 {
			t.Error("the session is not told that the stream may have another message")
		}
	})
}

// A stream that takes nothing for a long time is closed alone.
func TestSlowStreamIsClosed(t *testing.T) {
	m := new(muxed)
	o := &mqttserver.Options{Limits: mqttserver.Limits{SlowTimeout: 5 * time.Second}}
	muxWorld(t, m, o, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		s := m.last()
		a := c.open()
		a.send(&mqtt.Puback{ID: 1})
		synctest.Wait()
		b := mqttserver.NewBatch()
		for range 100 {
			s.send(b, a.id(), publishTo("t", string(make([]byte, 3000)), mqtt.QoS0, 0))
		}
		b.Flush()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !slices.Equal(s.gone, []uint64{a.id()}) {
			t.Errorf("streams %v have ended", s.gone)
		}
		c.send(&mqtt.Pingreq{})
		c.expect(&mqtt.Pingresp{})
		synctest.Wait()
		if n := s.c.Stats().Buffered; n != 0 {
			t.Errorf("%d bytes wait", n)
		}
	})
}

// Acknowledgements that a client does not take on a stream stop the reading of that stream only.
func TestStreamWithoutReader(t *testing.T) {
	m := new(muxed)
	o := &mqttserver.Options{Limits: mqttserver.Limits{HardLimit: 64 << 10, SoftLimit: 16 << 10}}
	muxWorld(t, m, o, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		a := c.open()
		go func() {
			b, _ := mqtt.Append(nil, publishTo("t", "", mqtt.QoS1, 1), mqtt.Version5)
			b = bytes.Repeat(b, 1000)
			for {
				if _, err := a.nc.Write(b); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		st := m.last().c.Stats()
		if st.Buffered == 0 || st.Buffered > 160<<10 {
			t.Errorf("%d bytes wait", st.Buffered)
		}
		b := c.open()
		b.send(publishTo("t", "", mqtt.QoS1, 2))
		b.expect(&mqtt.Puback{ID: 2})
		c.send(&mqtt.Pingreq{})
		c.expect(&mqtt.Pingresp{})
	})
}

// There are no more streams at a time than the limit says, and any number one after another.
func TestManyStreams(t *testing.T) {
	m := new(muxed)
	o := &mqttserver.Options{Limits: mqttserver.Limits{MaxStreams: 4}}
	muxWorld(t, m, o, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		s := m.last()
		var open []*peer
		for i := range 8 {
			d := c.open()
			d.send(publishTo("t", fmt.Sprint(i), mqtt.QoS1, uint16(i+1)))
			open = append(open, d)
		}
		synctest.Wait()
		if len(s.got) != 4 {
			t.Fatalf("%d streams are served", len(s.got))
		}
		for i, d := range open {
			d.expect(&mqtt.Puback{ID: uint16(i + 1)})
			d.nc.Close()
		}
		for i := range 2000 {
			d := c.open()
			d.send(publishTo("t", "x", mqtt.QoS1, 1))
			if i%2 == 0 {
				d.expect(&mqtt.Puback{ID: 1})
				d.nc.Close()
			} else {
				d.reset()
			}
		}
		synctest.Wait()
		if st := s.c.Stats(); st.Buffered != 0 || st.Streams != 2008 {
			t.Errorf("%+v", st)
		}
		c.send(&mqtt.Pingreq{})
		c.expect(&mqtt.Pingresp{})
	})
}

// Messages whose streams are gone wait for the backend in a limited number.
func TestOrphansAreLimited(t *testing.T) {
	m := &muxed{late: true}
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		var packets []mqtt.Packet
		for i := range 1000 {
			packets = append(packets, publishTo("t", "x", mqtt.QoS1, uint16(i+1)))
		}
		for range 30 {
			d := c.open()
			d.send(packets...)
			synctest.Wait()
			d.reset()
			synctest.Wait()
		}
		c.expectDisconnect(mqtt.ReasonQuotaExceeded)
		if n := len(m.acks); n > 18_000 {
			t.Errorf("%d messages wait", n)
		}
		for _, a := range m.acks {
			a.Done(nil, mqtt.ReasonSuccess, nil)
		}
	})
}

// Each stream has its own order.
func TestOrderOfStreams(t *testing.T) {
	m := new(muxed)
	muxWorld(t, m, nil, nil, func(w *world) {
		c := w.client(&mqtt.Connect{ClientID: "c"})
		const streams, each = 8, 300
		var wg sync.WaitGroup
		for n := range streams {
			d := c.open()
			d.send(subscribe(uint16(n+1), fmt.Sprint(n), mqtt.QoS1))
			d.expect(&mqtt.Suback{ID: uint16(n + 1), Reasons: []mqtt.ReasonCode{1}})
			wg.Go(func() {
				for i := range each {
					d.send(publishTo(fmt.Sprint(n), fmt.Sprint(i), mqtt.QoS1, uint16(1000*(n+1)+i)))
				}
			})
			wg.Go(func() {
				acks, messages := 0, 0
				for acks+messages < 2*each {
					switch p := d.recv().(type) {
					case *mqtt.Puback:
						if int(p.ID) != 1000*(n+1)+acks {
							t.Errorf("stream %d: acknowledgement %d is of %d", n, acks, p.ID)
						}
						acks++
					case *mqtt.Publish:
						if string(p.Payload) != fmt.Sprint(messages) {
							t.Errorf("stream %d: message %d is %s", n, messages, p.Payload)
						}
						messages++
						d.send(&mqtt.Puback{ID: p.ID})
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if n := len(m.last().settled); n != streams*each {
			t.Errorf("%d messages are settled", n)
		}
	})
}

// The end of a connection ends its streams, from either side and however much is under way.
func TestConnectionEndsStreams(t *testing.T) {
	for _, end := range []func(c *peer, s *muxSession){
		func(c *peer, _ *muxSession) { c.send(&mqtt.Disconnect{}) },
		func(c *peer, _ *muxSession) { c.nc.Close() },
		func(c *peer, _ *muxSession) { c.nc.(*memnet.Conn).Abort() },
		func(_ *peer, s *muxSession) { s.c.Close() },
		func(_ *peer, s *muxSession) {
			s.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonSessionTakenOver})
		},
		func(c *peer, _ *muxSession) { c.closeWrite() },
	} {
		m := &muxed{late: true}
		muxWorld(t, m, nil, nil, func(w *world) {
			c := w.client(&mqtt.Connect{ClientID: "c"})
			s := m.last()
			for i := range 5 {
				d := c.open()
				d.send(subscribe(1, fmt.Sprint(i), mqtt.QoS1), publishTo("t", "x", mqtt.QoS1, uint16(i+2)))
				synctest.Wait()
				for range 100 {
					s.send(nil, d.id(), publishTo("t", string(make([]byte, 3000)), mqtt.QoS1, 0))
				}
				if i == 3 {
					d.closeWrite()
				}
			}
			synctest.Wait()
			end(c, s)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !s.closed {
				t.Error("the session goes on")
			}
			for _, a := range m.acks {
				a.Done(nil, mqtt.ReasonSuccess, nil)
			}
			if n := s.count(4, mqttserver.Sent); n == 0 || len(s.settled) < n {
				t.Errorf("%d messages sent on the first stream, %d settled", n, len(s.settled))
			}
		})
	}
}

// Shutdown tells clients, and waits for them.
func TestShutdownWithStreams(t *testing.T) {
	m := new(muxed)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, srv: mqttserver.New(m, nil), l: memnet.Listen("mem")}
		go w.srv.Serve(w.l, nil)
		c := w.client(&mqtt.Connect{ClientID: "c"})
		d := c.open()
		d.send(publishTo("t", "x", mqtt.QoS1, 1))
		d.expect(&mqtt.Puback{ID: 1})
		done := make(chan error)
		go func() { done <- w.srv.Shutdown(context.Background()) }()
		if p, ok := c.recv().(*mqtt.Disconnect); !ok || p.Reason != mqtt.ReasonServerShuttingDown {
			t.Errorf("got %v", p)
		}
		if _, err := c.next(); err != io.EOF {
			t.Error(err)
		}
		c.nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
