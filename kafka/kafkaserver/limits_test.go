package kafkaserver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// sized is a request of n bytes without its size.
func (p *peer) sized(n int) []byte {
	p.t.Helper()
	b := p.encode(&kafkawire.HeartbeatRequest{}, 3)
	b = p.encode(&kafkawire.HeartbeatRequest{MemberID: strings.Repeat("m", min(n-len(b)+4, math.MaxInt16))}, 3)
	return b
}

// produce is a request of about n bytes.
func (p *peer) produce(n int) []byte {
	p.t.Helper()
	return p.encode(&kafkawire.ProduceRequest{Acks: 1, TopicData: []kafkawire.ProduceRequestTopic{{
		Name: "t", PartitionData: []kafkawire.ProduceRequestPartition{{Records: make([]byte, n)}}}}}, 7)
}

// TestRequestSize ends connections that announce requests of illegal sizes.
func TestRequestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, new(backend), &kafkaserver.Options{Limits: kafkaserver.Limits{MaxRequest: 2 << 20}})
		announce := func(p *peer, n int32) {
			p.write(binary.BigEndian.AppendUint32(nil, uint32(n)))
		}
		for _, n := range []int32{-1, math.MinInt32, 2<<20 + 1, math.MaxInt32} {
			p := dial(t, l)
			announce(p, n)
			p.ended()
			p = dial(t, l)
			p.beat()
			announce(p, n)
			p.ended()
		}
		for n := range int32(8) { // no room for a header
			p := dial(t, l)
			p.write(append(binary.BigEndian.AppendUint32(nil, uint32(n)), make([]byte, n)...))
			p.ended()
		}
		for _, login := range []func(a *kafkaserver.Auth) (kafkaserver.Login, error){
			nil, func(*kafkaserver.Auth) (kafkaserver.Login, error) { return kafkaserver.Login{}, errTest },
		} {
			b := &backend{login: login}
			_, l := serve(t, b, nil)
			p := dial(t, l)
			announce(p, 512<<10+1)
			if login != nil { // the client is not let in, or may send that much
				p.ended()
				continue
			}
			synctest.Wait()
			if p.write(make([]byte, 2)); len(b.ends()) != 0 {
				t.Error("a client that needs not authenticate may not begin with a large request")
			}
		}
	})
}

// TestElements: requests with more elements than MaxElements are not decoded, nor headers with more tagged fields.
func TestElements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			limit, n int
			refused  bool
		}{{10, 10, false}, {10, 11, true}, {0, 200_000, false}, {0, 200_001, true}, {-1, 200_001, false}} {
			header := kafkawire.RequestHeader{Version: 10, CorrelationID: 1}
			tagged := header
			for i := range c.n {
				tagged.UnknownTags = append(tagged.UnknownTags, kafkawire.Tag{ID: uint32(i)})
			}
			crowded := &kafkawire.MetadataRequest{Topics: make([]kafkawire.MetadataRequestTopic, c.n)}
			for i, f := range [][]byte{frame(t, header, crowded), frame(t, tagged, new(kafkawire.MetadataRequest))} {
				b := &backend{handle: func(r *kafkaserver.Request) {
					if err := r.Decode(kafkawire.NewRequest(r.Key)); err != nil {
						r.Fail(err)
						return
					}
					r.Reply(kafkawire.NewResponse(r.Key))
				}}
				_, l := serve(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{MaxElements: c.limit}})
				p := dial(t, l)
				p.beat()
				p.write(f)
				if !c.refused {
					p.receive(1, new(kafkawire.MetadataResponse), 10)
					continue
				}
				p.ended()
				if list := b.ends(); len(list) != 1 || !errors.Is(list[0], kafkawire.ErrElements) {
					t.Error(c, i, list)
				}
			}
		}
	})
}

// frame returns a request as it travels.
func frame(t *testing.T, h kafkawire.RequestHeader, m kafkawire.Request) []byte {
	t.Helper()
	b, err := kafkawire.AppendRequest(nil, h, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLargeRequests come whole, whatever the pieces.
func TestLargeRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		b := &backend{handle: func(r *kafkaserver.Request) {
			got.Write(r.Body)
			r.ReplyNothing()
		}}
		s, l := serve(t, b, nil)
		p := dial(t, l)
		var all, want []byte
		for i, n := range []int{20, 1 << 10, 70 << 10, 3 << 20, 100, 64 << 10, 9 << 20, 32 << 10, 5 << 20, 20} {
			f := p.produce(n)
			binary.LittleEndian.PutUint64(f[len(f)-n/2-8:], uint64(i)+0x1234567)
			all = append(all, f...)
			want = append(want, f[4+8+2+4:]...)
		}
		for at, n := 0, 1; at < len(all); at, n = at+n, n*3%100_000+1 {
			p.write(all[at:min(at+n, len(all))])
		}
		synctest.Wait()
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%d bytes instead of %d", got.Len(), len(want))
		}
		if s.MemoryInUse() != 0 {
			t.Errorf("%d bytes are in use", s.MemoryInUse())
		}
	})
}

// TestAnnounced: a size alone takes no memory; more comes with what arrives.
func TestAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := serve(t, new(backend), nil)
		p := dial(t, l)
		p.beat()
		p.write(binary.BigEndian.AppendUint32(nil, 90<<20))
		sent := 0
		for n := 1; sent < 20<<20; n *= 2 {
			p.write(make([]byte, n))
			sent += n
			synctest.Wait()
			if used := s.MemoryInUse(); used > int64(max(3*sent, 128<<10)) {
				t.Fatalf("%d bytes for %d that were sent", used, sent)
			}
		}
		p.nc.Close()
		synctest.Wait()
		if s.MemoryInUse() != 0 {
			t.Errorf("%d bytes are in use", s.MemoryInUse())
		}
	})
}

// TestInflight: who has too many requests in process is not read, and goes on when the first are answered.
func TestInflight(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits kafkaserver.Limits
		size   int
		held   int
	}{
		{"requests", kafkaserver.Limits{}, 10, 64},
		{"fewer requests", kafkaserver.Limits{MaxInflight: 3}, 10, 3},
		{"bytes", kafkaserver.Limits{InflightBytes: 100 << 10}, 10 << 10, 10},
		{"one", kafkaserver.Limits{InflightBytes: 1}, 10 << 10, 1},
		{"large ones", kafkaserver.Limits{InflightBytes: 3 << 20}, 1 << 20, 3},
		{"memory", kafkaserver.Limits{MemoryLimit: 1 << 20}, 300 << 10, 4},
		{"no limits", kafkaserver.Limits{InflightBytes: -1, MaxInflight: -1, MemoryLimit: -1}, 10 << 10, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := new(backend)
				b.handle = b.hold
				s, l := serve(t, b, &kafkaserver.Options{Limits: c.limits})
				p := dial(t, l)
				const total = 200
				go func() {
					for range total {
						if _, err := p.nc.Write(p.produce(c.size)); err != nil {
							return
						}
					}
				}()
				for got := 0; got < total; {
					held := b.release()
					if want := min(c.held, total-got); len(held) != want {
						t.Fatalf("%d requests in process after %d, want %d", len(held), got, want)
					}
					if st := s.Stats(); st.Inflight != int64(len(held)) || (st.Paused == 1) != (got+len(held) < total) {
						t.Fatalf("%+v", st)
					}
					got += len(held)
					for _, r := range held {
						r.Reply(new(kafkawire.ProduceResponse))
						var m kafkawire.ProduceResponse
						p.receive(r.CorrelationID, &m, 7)
					}
				}
				p.nc.Close()
				synctest.Wait()
				if s.MemoryInUse() != 0 {
					t.Errorf("%d bytes are in use", s.MemoryInUse())
				}
			})
		})
	}
}

// TestFetches: one fetch of a connection is in process at a time; what comes after the second one waits with it.
func TestFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = b.hold
		_, l := serve(t, b, nil)
		p := dial(t, l)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.send(&kafkawire.FetchRequest{}, 12)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.send(&kafkawire.FetchRequest{}, 12)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		held := b.release()
		if len(held) != 3 {
			t.Fatalf("%d requests in process", len(held))
		}
		held[1].Reply(new(kafkawire.FetchResponse))
		if held = append(held, b.release()...); len(held) != 5 {
			t.Fatalf("%d requests in process", len(held))
		}
		p.nc.Close()
	})
}

// TestMemory: the requests of one connection keep others from sending large ones, but not small ones.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			if r.Key == kafkawire.KeyProduce {
				b.hold(r)
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		s, l := serve(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{MemoryLimit: 1 << 20}})
		first, second, third := dial(t, l), dial(t, l), dial(t, l)
		first.write(first.produce(1 << 20))
		first.write(first.sized(100)[:10]) // and one that is not whole
		synctest.Wait()
		go second.nc.Write(second.produce(100 << 10))
		third.beat()
		held := b.release()
		if len(held) != 1 {
			t.Fatalf("%d requests in process", len(held))
		}
		third.beat()
		if st := s.Stats(); st.Paused != 2 {
			t.Errorf("%+v", st)
		}
		held[0].ReplyNothing()
		if held = b.release(); len(held) != 1 {
			t.Fatalf("%d requests in process", len(held))
		}
		if st := s.Stats(); st.Paused != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestSlowReader: who takes no responses is not read any more, and closed in the end. Others go on.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			if r.Key == kafkawire.KeyFetch {
				r.ReplyEncoded(r.Start(), kafkaserver.Splice{At: 8, Data: make([]byte, 300<<10)})
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		s, l := serve(t, b, nil)
		p, other := dial(t, l), dial(t, l)
		p.beat()
		go func() {
			for {
				if _, err := p.nc.Write(p.encode(&kafkawire.FetchRequest{}, 12)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if st := s.Stats(); st.Buffered < 1<<20 || st.Buffered > 3<<19 || st.Paused != 1 {
			t.Errorf("%+v", st)
		}
		start := time.Now()
		other.beat()
		for len(b.ends()) == 0 && time.Since(start) < time.Hour {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d < 59*time.Second || d > 121*time.Second {
			t.Errorf("closed after %v", d)
		}
		if st := s.Stats(); st.Buffered != 0 || st.Connections != 1 {
			t.Errorf("%+v", st)
		}
		other.beat()
	})
}

// TestSlowReaderRecovers: who takes the responses late gets them all.
func TestSlowReaderRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			r.ReplyEncoded(r.Start(), kafkaserver.Splice{At: 8, Data: bytes.Repeat([]byte{byte(r.CorrelationID)}, 300<<10)})
		}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		const total = 50
		go func() {
			for range total {
				p.nc.Write(p.encode(&kafkawire.FetchRequest{}, 11))
			}
		}()
		for i := range total {
			time.Sleep(10 * time.Second)
			f, err := p.frame()
			if err != nil || len(f) != 4+300<<10 || f[100] != byte(i+1) {
				t.Fatalf("response %d: %d bytes, %v", i, len(f), err)
			}
		}
	})
}

func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, limits := range []kafkaserver.Limits{{MaxConnections: 2}, {MaxConnectionsPerIP: 2}} {
			s, l := serve(t, new(backend), &kafkaserver.Options{Limits: limits})
			a, b := dial(t, l), dial(t, l)
			a.beat()
			b.beat()
			dial(t, l).ended()
			a.nc.Close()
			synctest.Wait()
			c := dial(t, l)
			c.beat()
			if st := s.Stats(); st.Connections != 2 || st.Accepted != 4 || st.Refused != 1 {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestIdle ends connections on which nothing moves and nothing is in process.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			if r.CorrelationID == 3 {
				b.hold(r)
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		p.beat()
		time.Sleep(9*time.Minute + 59*time.Second)
		p.beat()
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		time.Sleep(time.Hour)
		b.release()[0].Reply(new(kafkawire.HeartbeatResponse))
		p.receive(3, new(kafkawire.HeartbeatResponse), 0)
		start := time.Now()
		p.ended()
		if d := time.Since(start); d < 9*time.Minute || d > 11*time.Minute {
			t.Errorf("ended after %v", d)
		}
		if ends := b.ends(); len(ends) != 1 || !errors.Is(ends[0], net.ErrClosed) {
			t.Error(ends)
		}
	})
}

// TestStall ends connections that do not go on with a request that they have begun.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		_, l := serve(t, b, nil)
		for _, n := range []int{1, 3, 4, 10, 100, 80 << 10} {
			p := dial(t, l)
			p.beat()
			f := p.produce(100 << 10)
			for _, b := range f[:min(n, 3)] { // slow is not stalled
				time.Sleep(50 * time.Second)
				p.write([]byte{b})
			}
			if n > 3 {
				p.write(f[3:n])
			}
			start := time.Now()
			p.ended()
			if d := time.Since(start); d < time.Minute || d > 2*time.Minute {
				t.Errorf("%d bytes: ended after %v", n, d)
			}
		}
	})
}

// TestAdvertised is what clients are told.
func TestAdvertised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ server, listener, want string }{
			{"", "", "192.0.2.9 9092"},
			{"broker:1", "", "broker 1"},
			{"broker:1", "[2001:db8::1]:65535", "2001:db8::1 65535"},
			{"socket", "", "socket 0"},
			{"host:65536", "", "host:65536 0"},
		} {
			b := new(backend)
			s := kafkaserver.New(b, &kafkaserver.Options{Advertise: c.server})
			l := memListener(t, s, &kafkaserver.ListenerOptions{Name: "main", Advertise: c.listener})
			p := dial(t, l)
			p.beat()
			conn := b.conns[0]
			host, port := conn.Advertised()
			if got := fmt.Sprint(host, " ", port); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if conn.Listener() != "main" || conn.LocalAddr().String() != "192.0.2.9:9092" || conn.RemoteAddr().String() == "" || conn.TLS() != nil {
				t.Errorf("%q %v %v", conn.Listener(), conn.LocalAddr(), conn.RemoteAddr())
			}
		}
	})
}

// TestAnswersBehind: responses that wait for one before them are not more than the client may leave lying.
func TestAnswersBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		answered := 0
		b.handle = func(r *kafkaserver.Request) {
			if r.Key == kafkawire.KeyHeartbeat {
				b.hold(r)
				return
			}
			answered++
			r.Reply(&kafkawire.MetadataResponse{ClusterID: new(strings.Repeat("x", 30_000))})
		}
		s, l := serve(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{OutputLimit: 100_000}})
		p := dial(t, l)
		first := p.send(&kafkawire.HeartbeatRequest{}, 4)
		const n = 20
		for range n {
			p.send(&kafkawire.MetadataRequest{}, 8)
		}
		held := b.release()
		if answered != 4 {
			t.Errorf("%d answers are held", answered)
		}
		if got := s.Stats(); got.Buffered < 100_000 || got.Buffered > 130_000 || got.Paused != 1 {
			t.Errorf("%+v", got)
		}
		held[0].Reply(&kafkawire.HeartbeatResponse{})
		p.receive(first, &kafkawire.HeartbeatResponse{}, 4)
		for i := range int32(n) {
			p.receive(first+1+i, &kafkawire.MetadataResponse{}, 8)
		}
		synctest.Wait()
		if got := s.Stats(); got.Buffered != 0 || got.Inflight != 0 {
			t.Errorf("%+v", got)
		}
		// An end with answers that are held leaves nothing behind.
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.send(&kafkawire.MetadataRequest{}, 8)
		held = b.release()
		p.nc.Close()
		synctest.Wait()
		held[0].Reply(&kafkawire.HeartbeatResponse{})
		if got := s.Stats(); got.Buffered != 0 || s.MemoryInUse() != 0 {
			t.Errorf("%+v", got)
		}
	})
}
