package kafkaserver_test

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// streamBackend is a backend whose streams have sessions of their own.
type streamBackend struct {
	*backend

	mu   sync.Mutex
	ends []string
}

func (b *streamBackend) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	if _, err := b.backend.Connect(c); err != nil {
		return nil, err
	}
	return &streamSession{session{b.backend}, b, 0}, nil
}

type streamSession struct {
	session
	b  *streamBackend
	id int64
}

func (s *streamSession) Stream(id int64) (kafkaserver.Session, error) {
	return &streamSession{s.session, s.b, id}, nil
}

func (s *streamSession) Handle(r *kafkaserver.Request) {
	if r.Stream() != s.id {
		r.Fail(fmt.Errorf("stream %d in the session of %d", r.Stream(), s.id))
		return
	}
	s.session.Handle(r)
}

func (s *streamSession) Closed(cause error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.ends = append(s.b.ends, fmt.Sprint(s.id, " ", cause))
}

// ended returns which sessions have ended since the last call, and why.
func (b *streamBackend) ended() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	ends := b.ends
	b.ends = nil
	return ends
}

// streamPeer is a peer over a connection with streams.
type streamPeer struct {
	peer
	conn *memnet.Conn
}

func dialStreams(t testing.TB, l *memnet.Listener, o *memnet.Options) *streamPeer {
	t.Helper()
	if o == nil {
		o = new(memnet.Options)
	}
	o.Protocol = kafkaserver.StreamsProtocol
	l.OnDial(func(int) (*memnet.Options, error) { return o, nil })
	p := dial(t, l)
	return &streamPeer{*p, p.nc.(*memnet.Conn)}
}

// netStream is a stream as a peer plays it.
type netStream struct {
	netio.Stream
	*memnet.Conn
}

func (s netStream) Read(b []byte) (int, error)         { return s.Stream.Read(b) }
func (s netStream) Write(b []byte) (int, error)        { return s.Stream.Write(b) }
func (s netStream) Close() error                       { return s.Stream.Close() }
func (s netStream) CloseWrite() error                  { return s.Stream.CloseWrite() }
func (s netStream) ID() int64                          { return s.Stream.ID() }
func (s netStream) SetDeadline(t time.Time) error      { return s.Stream.SetDeadline(t) }
func (s netStream) SetReadDeadline(t time.Time) error  { return s.Stream.SetReadDeadline(t) }
func (s netStream) SetWriteDeadline(t time.Time) error { return s.Stream.SetWriteDeadline(t) }

// open opens a stream.
func (p *streamPeer) open() *peer {
	p.t.Helper()
	s, err := p.conn.OpenStream(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return &peer{t: p.t, nc: netStream{s, p.conn}}
}

var (
	_ net.Conn             = netStream{}
	_ kafkaserver.Streamer = (*streamSession)(nil)
)

var (
	beat     = &kafkawire.HeartbeatRequest{}
	versions = &kafkawire.APIVersionsRequest{ClientSoftwareName: "test", ClientSoftwareVersion: "1"}
)

// silent checks that nothing comes for a time.
func (p *peer) silent(d time.Duration) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(d))
	if b, err := p.frame(); err == nil || errors.Is(err, io.EOF) {
		p.t.Fatalf("%x, %v instead of silence", b, err)
	}
	p.nc.SetReadDeadline(time.Time{})
}

func TestStreams(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared=", shared), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain := &backend{}
				var mu sync.Mutex
				var seen []string
				plain.handle = func(r *kafkaserver.Request) {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, fmt.Sprint(r.Stream(), " ", r.CorrelationID))
					if r.Key == kafkawire.KeyMetadata {
						plain.hold(r)
						return
					}
					r.Reply(kafkawire.NewResponse(r.Key))
				}
				many := &streamBackend{backend: plain}
				var b kafkaserver.Backend = many
				if shared {
					b = plain
				}
				srv, l := serve(t, b, nil)
				p := dialStreams(t, l, nil)
				p.call(versions, 3)
				p.beat()
				one, two := p.open(), p.open()
				// A request that waits holds up its own stream, and no other one.
				slow := one.send(&kafkawire.MetadataRequest{}, 8)
				behind := one.send(beat, 4)
				two.beat()
				p.beat()
				two.beat()
				synctest.Wait()
				if got := srv.Stats(); got.Streams != 2 || got.Inflight != 2 || got.Connections != 1 {
					t.Errorf("%+v", got)
				}
				for _, r := range plain.release() {
					r.Reply(&kafkawire.MetadataResponse{})
				}
				one.receive(slow, &kafkawire.MetadataResponse{}, 8)
				one.receive(behind, &kafkawire.HeartbeatResponse{}, 4)
				slices.Sort(seen) // the order is that of each stream
				if want := []string{"0 2", "0 3", "4 1", "4 2", "8 1", "8 2"}; !slices.Equal(seen, want) {
					t.Errorf("%q, want %q", seen, want)
				}

				// The client ends a stream: it gets what it has asked for, then the end.
				slow = one.send(&kafkawire.MetadataRequest{}, 8)
				one.nc.(netStream).CloseWrite()
				one.silent(time.Second)
				for _, r := range plain.release() {
					r.Reply(&kafkawire.MetadataResponse{})
				}
				one.receive(slow, &kafkawire.MetadataResponse{}, 8)
				one.ended()
				if got := many.ended(); !shared && !slices.Equal(got, []string{"4 <nil>"}) || shared && got != nil {
					t.Errorf("%q", got)
				}
				two.beat()
				if got := srv.Stats(); got.Streams != 1 {
					t.Errorf("%+v", got)
				}
				p.nc.Close()
				if got := many.ended(); !shared && !slices.Equal(got, []string{"8 <nil>", "0 <nil>"}) || shared && got != nil {
					t.Errorf("%q", got)
				}
				if shared && len(plain.ends()) != 1 {
					t.Errorf("%v", plain.ends())
				}
				if got := srv.Stats(); got.Streams != 0 || got.Connections != 0 || srv.MemoryInUse() != 0 {
					t.Errorf("%+v, %d bytes", got, srv.MemoryInUse())
				}
			})
		})
	}
}

// TestStreamsNeedTheName has a connection whose protocol is not that of streams: they are not looked at.
func TestStreamsNeedTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, &backend{}, nil)
		p := dialStreams(t, l, &memnet.Options{})
		_ = p
		l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: "kafka"}, nil })
		q := dial(t, l)
		other := &streamPeer{*q, q.nc.(*memnet.Conn)}
		other.beat()
		s := other.open()
		s.send(beat, 4)
		s.silent(time.Hour / 12)
	})
}

// TestStreamsWaitForAuthentication opens streams before the client is let in.
func TestStreamsWaitForAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, newUsers(), &kafkaserver.Options{RequireSASL: true})
		p := dialStreams(t, l, nil)
		s := p.open()
		id := s.send(beat, 4)
		s.silent(time.Second)
		p.call(versions, 3)
		s.silent(time.Second)
		p.call(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
		s.silent(time.Second)
		p.call(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)
		s.receive(id, &kafkawire.HeartbeatResponse{}, 4)

		// Nobody else authenticates.
		s.send(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
		s.ended()
		p.ended()

		// Not for ever.
		p = dialStreams(t, l, nil)
		s = p.open()
		s.send(beat, 4)
		begun := time.Now()
		p.ended()
		if d := time.Since(begun); d != 10*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestStreamsOfAnonymous opens a stream where SASL is not demanded.
func TestStreamsOfAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logins := 0 // the server asks for one connection at a time, and these are one after another
		b := &backend{login: func(a *kafkaserver.Auth) (kafkaserver.Login, error) {
			logins++
			if a.Mechanism == "" && logins > 1 {
				return kafkaserver.Login{}, errTest
			}
			return kafkaserver.Login{}, nil
		}}
		_, l := serve(t, b, nil)
		p := dialStreams(t, l, nil)
		s := p.open()
		id := s.send(beat, 4)
		s.silent(time.Second) // the client may still use SASL
		p.call(versions, 3)
		s.receive(id, &kafkawire.HeartbeatResponse{}, 4)
		p.beat()
		if logins != 1 {
			t.Errorf("%d logins", logins)
		}

		// One that begins with SASL after all: the stream waits for the end of that.
		p = dialStreams(t, l, nil)
		p.call(versions, 3)
		p.call(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
		s = p.open()
		id = s.send(beat, 4)
		s.silent(time.Second)
		p.call(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)
		s.receive(id, &kafkawire.HeartbeatResponse{}, 4)

		// One that is not let in.
		p = dialStreams(t, l, nil)
		p.call(versions, 3)
		s = p.open()
		s.nc.Write(s.encode(beat, 4)) // perhaps the connection has ended already
		p.ended()
		s.ended()
	})
}

// TestStreamReset has a client that abandons a stream, with requests in process.
func TestStreamReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := &backend{}
		b := &streamBackend{backend: plain}
		plain.handle = func(r *kafkaserver.Request) {
			if r.Stream() == 4 {
				plain.hold(r)
				return
			}
			r.Reply(kafkawire.NewResponse(r.Key))
		}
		srv, l := serve(t, b, nil)
		p := dialStreams(t, l, nil)
		p.beat()
		one, two := p.open(), p.open()
		one.send(beat, 4)
		one.send(beat, 4)
		one.write([]byte{0, 0, 0, 9, 1})
		two.beat()
		one.nc.Close()
		if got := b.ended(); len(got) != 1 || got[0] == "4 <nil>" {
			t.Errorf("%q", got)
		}
		for _, r := range plain.release() {
			r.Reply(kafkawire.NewResponse(r.Key))
		}
		two.beat()
		p.beat()
		synctest.Wait()
		if got := srv.Stats(); got.Streams != 1 || got.Inflight != 0 || got.Buffered != 0 {
			t.Errorf("%+v", got)
		}
		// What the protocol has no answer for ends the connection.
		two.write([]byte{0xff, 0xff, 0xff, 0xff})
		p.ended()
		p.nc.Close()
		if got := b.ended(); len(got) != 2 || srv.MemoryInUse() != 0 {
			t.Errorf("%q, %d bytes", got, srv.MemoryInUse())
		}
	})
}

// TestStreamLimits holds the limits that are for all streams of a connection.
func TestStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := &kafkawire.MetadataResponse{ClusterID: new(string(bytes.Repeat([]byte("x"), 30_000)))}
		plain := &backend{}
		plain.handle = func(r *kafkaserver.Request) {
			switch r.Key {
			case kafkawire.KeyMetadata:
				r.Reply(big)
			case kafkawire.KeyProduce:
				plain.hold(r)
			default:
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		srv, l := serve(t, &streamBackend{backend: plain}, &kafkaserver.Options{Limits: kafkaserver.Limits{
			OutputLimit: 100_000, InflightBytes: 10_000, MaxStreams: 2, MaxInflight: 3,
		}})
		p := dialStreams(t, l, &memnet.Options{Capacity: 10_000})
		p.beat()
		one, two, three := p.open(), p.open(), p.open()
		three.send(beat, 4)
		three.silent(time.Second) // one too many

		// Output that a client does not take: of all streams together.
		for range 3 {
			one.send(&kafkawire.MetadataRequest{}, 8)
			two.send(&kafkawire.MetadataRequest{}, 8)
		}
		synctest.Wait()
		if got := srv.Stats(); got.Buffered < 100_000 || got.Buffered > 160_000 {
			t.Errorf("%+v", got)
		}
		id := p.send(beat, 4)
		p.silent(time.Second)
		for i := range int32(3) {
			one.receive(i+1, &kafkawire.MetadataResponse{}, 8)
			two.receive(i+1, &kafkawire.MetadataResponse{}, 8)
		}
		p.receive(id, &kafkawire.HeartbeatResponse{}, 4)

		// Bytes in process.
		records := make([]byte, 8000)
		produce := &kafkawire.ProduceRequest{Acks: 1, TopicData: []kafkawire.ProduceRequestTopic{{Name: "t",
			PartitionData: []kafkawire.ProduceRequestPartition{{Records: records}}}}}
		go one.send(produce, 9)
		go two.send(produce, 9)
		synctest.Wait()
		if got := srv.Stats(); got.InflightBytes < 16_000 {
			t.Errorf("%+v", got)
		}
		id = p.send(beat, 4)
		p.silent(time.Second)
		held := plain.release()
		held[0].Reply(&kafkawire.ProduceResponse{})
		p.receive(id, &kafkawire.HeartbeatResponse{}, 4)
		held[1].Reply(&kafkawire.ProduceResponse{})

		// A stream that ends makes room for the next.
		one.nc.(netStream).CloseWrite()
		three.receive(1, &kafkawire.HeartbeatResponse{}, 4)
	})
}

// TestStreamStalls has clients that are too slow on a stream.
func TestStreamStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := &backend{}
		plain.handle = func(r *kafkaserver.Request) {
			r.Reply(&kafkawire.MetadataResponse{ClusterID: new(string(bytes.Repeat([]byte("x"), 30_000)))})
		}
		b := &streamBackend{backend: plain}
		_, l := serve(t, b, nil)
		for _, stall := range []func(s *peer){
			func(s *peer) { s.write([]byte{0, 0, 1}) },
			func(s *peer) { s.write([]byte{0, 0, 1, 0, 7}) },
			func(s *peer) { s.send(&kafkawire.MetadataRequest{}, 8) },
		} {
			p := dialStreams(t, l, &memnet.Options{Capacity: 4000})
			p.call(versions, 3)
			s := p.open()
			begun := time.Now()
			stall(s)
			p.ended()
			if d := time.Since(begun); d < 50*time.Second || d > 2*time.Minute {
				t.Errorf("ended after %v", d)
			}
			b.ended()
		}
		// One where a stream does something is not idle.
		p := dialStreams(t, l, nil)
		p.call(versions, 3)
		s := p.open()
		for range 5 {
			time.Sleep(9 * time.Minute)
			s.call(&kafkawire.MetadataRequest{}, 8)
		}
		begun := time.Now()
		p.ended()
		if d := time.Since(begun).Round(time.Minute); d != 10*time.Minute {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestStreamsShutdown shuts a server down while requests of streams are in process.
func TestStreamsShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := &backend{}
		plain.handle = func(r *kafkaserver.Request) { plain.hold(r) }
		b := &streamBackend{backend: plain}
		srv, l := serve(t, b, nil)
		p := dialStreams(t, l, nil)
		p.call(versions, 3)
		one, two := p.open(), p.open()
		one.send(beat, 4)
		two.send(beat, 4)
		two.send(beat, 4)
		held := plain.release()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(context.Background()) }()
		synctest.Wait()
		one.send(beat, 4) // too late
		for _, r := range held {
			p.silent(time.Second)
			r.Reply(&kafkawire.HeartbeatResponse{})
		}
		one.receive(1, &kafkawire.HeartbeatResponse{}, 4)
		two.receive(1, &kafkawire.HeartbeatResponse{}, 4)
		two.receive(2, &kafkawire.HeartbeatResponse{}, 4)
		one.ended()
		two.ended()
		p.ended()
		p.nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := b.ended(); len(got) != 3 {
			t.Errorf("%q", got)
		}
	})
}

// TestStreamsClose closes a server while clients do all sorts of things.
func TestStreamsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := &backend{}
		plain.handle = func(r *kafkaserver.Request) {
			if r.Key == kafkawire.KeyMetadata {
				plain.hold(r)
				return
			}
			r.Reply(&kafkawire.HeartbeatResponse{})
		}
		b := &streamBackend{backend: plain}
		srv, l := serve(t, b, nil)
		for range 3 {
			p := dialStreams(t, l, nil)
			p.call(versions, 3)
			for range 5 {
				s := p.open()
				s.beat()
				s.send(&kafkawire.MetadataRequest{}, 8)
			}
			p.open().write([]byte{0, 0, 0, 99, 0})
		}
		synctest.Wait()
		srv.Close()
		if got := b.ended(); len(got) != 3*5+3 && len(got) != 3*5 {
			t.Errorf("%d: %q", len(got), got)
		}
		for _, r := range plain.release() {
			r.Reply(&kafkawire.MetadataResponse{})
		}
		if got := srv.Stats(); got.Connections+got.Streams+got.Inflight+got.Buffered != 0 || srv.MemoryInUse() != 0 {
			t.Errorf("%+v, %d bytes", got, srv.MemoryInUse())
		}
	})
}

// TestEarlyData has clients that send before their handshake is complete.
func TestEarlyData(t *testing.T) {
	idempotent := batch(t, &kafka.BatchOptions{Producer: &kafka.Producer{ID: 7}})
	produce := func(acks int16, batches ...[]byte) *kafkawire.ProduceRequest {
		q := &kafkawire.ProduceRequest{Acks: acks, TopicData: []kafkawire.ProduceRequestTopic{{Name: "t"}}}
		for _, b := range batches {
			q.TopicData[0].PartitionData = append(q.TopicData[0].PartitionData, kafkawire.ProduceRequestPartition{Records: b})
		}
		return q
	}
	transactional := produce(-1, idempotent)
	transactional.TransactionalID = new(kafkawire.TransactionalID("tx"))
	tests := []struct {
		name    string
		m       kafkawire.Request
		version int16
		option  bool // EarlyProduce
		early   bool
	}{
		{"APIVersions", versions, 3, false, true},
		{"Metadata of all", &kafkawire.MetadataRequest{}, 8, false, true},
		{"Metadata that may create", &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}},
			AllowAutoTopicCreation: true}, 8, false, false},
		{"Metadata that may not", &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}}}, 8, false, true},
		{"old Metadata", &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}},
			AllowAutoTopicCreation: true}, 1, false, false},
		{"Fetch", &kafkawire.FetchRequest{MaxBytes: 1 << 20, SessionEpoch: -1}, 11, false, true},
		{"Fetch of a session", &kafkawire.FetchRequest{MaxBytes: 1 << 20, SessionID: 5, SessionEpoch: 1}, 11, false, false},
		{"Heartbeat", beat, 4, true, false},
		{"SASLHandshake", &kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1, true, false},
		{"Produce", produce(-1, idempotent), 9, false, false},
		{"Produce with the option", produce(-1, idempotent, idempotent), 9, true, true},
		{"Produce without response", produce(0, idempotent), 9, true, false},
		{"Produce without producer", produce(-1, idempotent, batch(t, nil)), 9, true, false},
		{"Produce in a transaction", produce(-1, batch(t, &kafka.BatchOptions{Producer: &kafka.Producer{ID: 7}, Transactional: true})), 9, true, false},
		{"Produce with a transactional id", transactional, 9, true, false},
		{"Produce of nonsense", produce(-1, []byte("nonsense")), 9, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := kafkaserver.New(&backend{handle: func(r *kafkaserver.Request) {
					if q, ok := tt.m.(*kafkawire.ProduceRequest); ok && q.Acks == 0 && r.Key == q.Key() {
						r.ReplyNothing()
						return
					}
					m := kafkawire.NewResponse(r.Key)
					m.Reset()
					r.Reply(m)
				}}, nil)
				l := memListener(t, s, &kafkaserver.ListenerOptions{EarlyProduce: tt.option})
				p := dialStreams(t, l, &memnet.Options{Early: true})
				p.call(versions, 3)
				at := p.open()
				if tt.m.Key() == kafkawire.KeySASLHandshake {
					at = &p.peer
				}
				id := at.send(tt.m, tt.version)
				if !tt.early {
					requests := s.RequestStats(tt.m.Key()).Requests
					at.silent(time.Second)
					if got := s.RequestStats(tt.m.Key()).Requests; got != requests {
						t.Errorf("%d requests, not %d", got, requests)
					}
					p.open().call(&kafkawire.MetadataRequest{}, 8) // nobody else waits
					p.conn.Confirm()
				}
				if q, ok := tt.m.(*kafkawire.ProduceRequest); ok && q.Acks == 0 {
					id = at.send(beat, 4)
					at.receive(id, &kafkawire.HeartbeatResponse{}, 4)
					return
				}
				at.receive(id, tt.m.NewResponse(), tt.version)
			})
		})
	}
	t.Run("never", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l := serve(t, &backend{}, nil)
			p := dialStreams(t, l, &memnet.Options{Early: true})
			p.call(&kafkawire.MetadataRequest{}, 8)
			p.send(beat, 4)
			begun := time.Now()
			p.ended()
			if d := time.Since(begun); d != 10*time.Second {
				t.Errorf("ended after %v", d)
			}
		})
	})
}

// batch returns a batch of one record.
func batch(t *testing.T, o *kafka.BatchOptions) []byte {
	t.Helper()
	var w kafka.BatchWriter
	w.Add(1, nil, []byte("value"))
	b, err := w.Append(nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
