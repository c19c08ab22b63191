package kafkaserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestAPIVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{apis: &kafkaserver.APIs{
			Versions: []kafkaserver.APIVersion{{Key: kafkawire.KeyProduce, Min: 0, Max: 13}, {Key: kafkawire.KeyMetadata, Max: 13}},
			Features: []kafkaserver.Feature{{Name: "transaction.version", Max: 2, Level: 2}}, Epoch: 7,
			ClusterID: "mine", NodeID: 3,
		}}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		for version := int16(0); version <= kafkawire.KeyAPIVersions.MaxVersion(); version++ {
			r := p.call(software(version), version).(*kafkawire.APIVersionsResponse)
			var got []int16
			for _, k := range r.APIKeys {
				got = append(got, k.APIKey, k.MinVersion, k.MaxVersion)
			}
			if want := []int16{0, 0, 13, 3, 0, 13, 17, 0, 1, 18, 0, 5, 36, 0, 2}; r.ErrorCode != 0 || !slices.Equal(got, want) {
				t.Fatalf("version %d: %v, %v", version, r.ErrorCode, got)
			}
			if version >= 3 && (r.FinalizedFeaturesEpoch != 7 || len(r.FinalizedFeatures) != 1) || version >= 4 != (len(r.SupportedFeatures) == 1) {
				t.Errorf("version %d: %+v", version, r)
			}
		}
		p.call(&kafkawire.MetadataRequest{}, 9)
		if name, version := b.conns[0].ClientSoftware(); name != "a-client" || version != "1.0" {
			t.Errorf("software %q %q", name, version)
		}
	})
}

// software is a request with what has to be in it.
func software(version int16) *kafkawire.APIVersionsRequest {
	q := &kafkawire.APIVersionsRequest{NodeID: -1}
	if version >= 3 {
		q.ClientSoftwareName, q.ClientSoftwareVersion = "a-client", "1.0"
	}
	return q
}

// TestAPIVersionsUnknown: a version that is not known is answered in version 0, with the error and the versions.
func TestAPIVersionsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, new(backend), nil)
		p := dial(t, l)
		h := kafkawire.RequestHeader{Key: kafkawire.KeyAPIVersions, Version: 99, CorrelationID: 5, ClientID: []byte("new")}
		frame, _ := h.Append(make([]byte, 4))
		frame = append(frame, "what a later version has"...)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		p.write(frame)
		var r kafkawire.APIVersionsResponse
		p.receive(5, &r, 0)
		if r.ErrorCode != kafkawire.ErrUnsupportedVersion || len(r.APIKeys) != len(keys)+3 {
			t.Errorf("%+v", r)
		}
		p.beat()
	})
}

func TestAPIVersionsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.apis = b.APIs()
		b.apis.ClusterID, b.apis.NodeID = "mine", 3
		_, l := serve(t, b, nil)
		p := dial(t, l)
		for _, c := range []struct {
			name, version string
			cluster       *string
			node          kafkawire.BrokerID
			want          kafkawire.ErrorCode
		}{
			{"ok", "1", nil, -1, 0},
			{"ok", "1", nil, 4, 0},
			{"ok", "1", new("mine"), 3, 0},
			{"ok", "1", new("mine"), -1, kafkawire.ErrRebootstrapRequired},
			{"ok", "1", new("another"), 3, kafkawire.ErrRebootstrapRequired},
			{"ok", "1", new("mine"), 4, kafkawire.ErrRebootstrapRequired},
			{"", "1", nil, -1, kafkawire.ErrInvalidRequest},
			{"ok", "", nil, -1, kafkawire.ErrInvalidRequest},
			{"-ok", "1", nil, -1, kafkawire.ErrInvalidRequest},
			{"ok", "1.", nil, -1, kafkawire.ErrInvalidRequest},
			{"o k", "1", nil, -1, kafkawire.ErrInvalidRequest},
			{"ö", "1", nil, -1, kafkawire.ErrInvalidRequest},
			{"o-.k", "1.2-rc3", nil, -1, 0},
		} {
			q := &kafkawire.APIVersionsRequest{ClientSoftwareName: c.name, ClientSoftwareVersion: c.version, ClusterID: c.cluster, NodeID: c.node}
			if r := p.call(q, 5).(*kafkawire.APIVersionsResponse); r.ErrorCode != c.want {
				t.Errorf("%+v: %v", c, r.ErrorCode)
			}
		}
	})
}

// TestOrder answers many pipelined requests in any order, some not at all; the responses come in the order of the requests.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seed = 5
		rnd := rand.New(rand.NewSource(seed))
		b := new(backend)
		b.handle = func(r *kafkaserver.Request) {
			if r.CorrelationID%7 == 0 {
				r.Reply(&kafkawire.HeartbeatResponse{ThrottleTimeMs: r.CorrelationID})
			} else {
				b.hold(r)
			}
		}
		s, l := serve(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{MaxInflight: 1000}})
		p := dial(t, l)
		for range 50 {
			var frames []byte
			first := p.last + 1
			for range 1 + rnd.Intn(100) {
				frames = append(frames, p.encode(&kafkawire.HeartbeatRequest{MemberID: strings.Repeat("m", rnd.Intn(200))}, 4)...)
			}
			p.write(frames)
			held := b.release()
			rnd.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
			var silent []int32
			for _, r := range held {
				if rnd.Intn(10) == 0 {
					silent = append(silent, r.CorrelationID)
					r.ReplyNothing()
				} else {
					go r.Reply(&kafkawire.HeartbeatResponse{ThrottleTimeMs: r.CorrelationID})
				}
				if rnd.Intn(10) == 0 {
					synctest.Wait()
				}
			}
			for id := first; id <= p.last; id++ {
				if slices.Contains(silent, id) {
					continue
				}
				var m kafkawire.HeartbeatResponse
				p.receive(id, &m, 4)
				if m.ThrottleTimeMs != id {
					t.Fatalf("seed %d: response %d says %d", seed, id, m.ThrottleTimeMs)
				}
			}
		}
		synctest.Wait()
		if st := s.Stats(); st.Requests != int64(p.last) || st.Inflight != 0 || st.InflightBytes != 0 || st.Buffered != 0 {
			t.Errorf("%+v", st)
		}
		if k := s.RequestStats(kafkawire.KeyHeartbeat); k.Requests != int64(p.last) {
			t.Errorf("%+v", k)
		}
	})
}

// TestSplices puts data between the parts of a response and takes it back when it is sent.
func TestSplices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seed = 6
		rnd := rand.New(rand.NewSource(seed))
		var owned counter
		var splices []kafkaserver.Splice
		var want []byte
		b := &backend{handle: func(r *kafkaserver.Request) {
			out := r.Start()
			splices, want = nil, nil
			for range rnd.Intn(5) {
				head := make([]byte, rnd.Intn(1<<uint(rnd.Intn(14))))
				rnd.Read(head)
				out = append(out, head...)
				data := make([]byte, rnd.Intn(1<<uint(rnd.Intn(20))))
				rnd.Read(data)
				owned.Add(1)
				splices = append(splices, kafkaserver.Splice{At: len(out), Data: data, Owner: &owned})
				want = append(append(want, head...), data...)
			}
			out = append(out, "end"...)
			want = append(want, "end"...)
			r.ReplyEncoded(out, splices...)
		}}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		for range 200 {
			id := p.send(&kafkawire.FetchRequest{}, 12)
			got, err := p.frame()
			if err != nil {
				t.Fatal(err)
			}
			n, body, err := kafkawire.DecodeResponseHeader(got, kafkawire.KeyFetch, 12)
			if n != id || err != nil || string(body) != string(want) {
				t.Fatalf("seed %d: response %d of %d bytes, want %d of %d", seed, n, len(body), id, len(want))
			}
		}
		synctest.Wait()
		if n := owned.Load(); n != 0 {
			t.Errorf("%d pieces are still owned", n)
		}
	})
}

// counter counts pieces of data that are not released.
type counter struct{ atomic.Int64 }

func (c *counter) Release() { c.Add(-1) }

// TestAnsweredTwice: the second answer does nothing.
func TestAnsweredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{handle: func(r *kafkaserver.Request) {
			r.ReplyEncoded(append(r.Start(), "one"...))
			r.ReplyEncoded(append(r.Start(), "two"...))
			r.ReplyNothing()
		}}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		for range 3 {
			p.send(&kafkawire.HeartbeatRequest{}, 0)
			if f, err := p.frame(); err != nil || string(f[4:]) != "one" {
				t.Fatalf("%q, %v", f, err)
			}
		}
	})
}

// TestUnknownRequests ends connections whose requests have a key or version that is not taken.
func TestUnknownRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.apis = b.APIs()
		b.apis.Versions[0].Min = 0 // what old clients are told of Produce
		b.apis.Versions[2].Max = 5
		_, l := serve(t, b, nil)
		for _, h := range []kafkawire.RequestHeader{
			{Key: kafkawire.KeyProduce, Version: 2}, {Key: kafkawire.KeyProduce, Version: 14}, {Key: kafkawire.KeyProduce, Version: -1},
			{Key: kafkawire.KeyMetadata, Version: 6}, {Key: kafkawire.KeyListGroups}, {Key: 95}, {Key: -1}, {Key: 32767, Version: 32767},
			{Key: kafkawire.KeySASLHandshake, Version: 2}, {Key: kafkawire.KeySASLAuthenticate, Version: -1},
		} {
			p := dial(t, l)
			p.beat()
			frame, err := h.Append(make([]byte, 4))
			if err != nil {
				t.Fatal(err)
			}
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			p.write(frame)
			p.ended()
			if ends := b.ends(); !errors.Is(ends[len(ends)-1], kafkawire.ErrUnsupportedVersion) || !errors.Is(ends[len(ends)-1], net.ErrClosed) {
				t.Errorf("%v version %d: %v", h.Key, h.Version, ends[len(ends)-1])
			}
		}
	})
}

// TestFail closes the connection; what was answered before arrives.
func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{handle: func(r *kafkaserver.Request) {
			if r.CorrelationID == 3 {
				r.Fail(errTest)
			} else {
				r.Reply(kafkawire.NewResponse(r.Key))
			}
		}}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		var frames []byte
		for range 4 {
			frames = append(frames, p.encode(&kafkawire.HeartbeatRequest{}, 0)...)
		}
		p.write(frames)
		for id := range int32(2) {
			p.receive(id+1, new(kafkawire.HeartbeatResponse), 0)
		}
		p.ended()
		p.nc.Close()
		if ends := b.ends(); len(ends) != 1 || !errors.Is(ends[0], errTest) {
			t.Error(ends)
		}
	})
}

// TestBytesAfterTheEnd of a request are ignored, those after a field are not.
func TestBytesAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		b := &backend{handle: func(r *kafkaserver.Request) {
			m := kafkawire.NewRequest(r.Key)
			errs = append(errs, r.Decode(m))
			if h, ok := m.(*kafkawire.HeartbeatRequest); ok && h.MemberID != "m" {
				t.Errorf("%+v", h)
			}
			r.Reply(kafkawire.NewResponse(r.Key))
		}}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		const version = 4
		plain := p.encode(&kafkawire.HeartbeatRequest{MemberID: "m"}, version)
		more := append(p.encode(&kafkawire.HeartbeatRequest{MemberID: "m"}, version), 0, 1, 2)
		binary.BigEndian.PutUint32(more, uint32(len(more)-4))
		inside := p.encode(&kafkawire.HeartbeatRequest{MemberID: "m"}, version)
		inside[len(inside)-1] = 7 // so many tagged fields, and no bytes for them
		p.write(slices.Concat(plain, more, inside))
		for id := range int32(3) {
			p.receive(id+1, new(kafkawire.HeartbeatResponse), version)
		}
		if len(errs) != 3 || errs[0] != nil || errs[1] != nil || errs[2] == nil {
			t.Error(errs)
		}
	})
}

// TestClosed: causes of the end.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		s, l := serve(t, b, nil)
		p := dial(t, l)
		p.beat()
		p.nc.Close()
		if ends := b.ends(); len(ends) != 1 || ends[0] != nil {
			t.Error(ends)
		}
		p = dial(t, l)
		p.beat()
		p.write([]byte{0, 0})
		p.nc.Close()
		if ends := b.ends(); len(ends) != 2 || !errors.Is(ends[1], net.ErrClosed) {
			t.Error(ends)
		}
		p = dial(t, l)
		p.beat()
		b.conns[2].Close()
		p.ended()
		if ends := b.ends(); len(ends) != 3 || !errors.Is(ends[2], net.ErrClosed) {
			t.Error(ends)
		}
		b.refuse = errTest
		p = dial(t, l)
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		p.ended()
		p.nc.Close()
		synctest.Wait()
		if st := s.Stats(); st.Connections != 0 || st.Accepted != 4 || st.Refused != 0 || len(b.ends()) != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// TestAnswerAfterEnd: answers to what was in process when the connection ended do nothing but free memory.
func TestAnswerAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = b.hold
		s, l := serve(t, b, nil)
		p := dial(t, l)
		for range 5 {
			p.send(&kafkawire.HeartbeatRequest{}, 0)
		}
		held := b.release()
		ctx := held[0].Conn.Context()
		p.nc.Close()
		if ends := b.ends(); len(held) != 5 || len(ends) != 1 || ctx.Err() == nil {
			t.Fatal(len(held), ends, ctx.Err())
		}
		var owned counter
		owned.Add(1)
		held[1].ReplyEncoded(held[1].Start(), kafkaserver.Splice{Data: []byte("x"), Owner: &owned})
		held[4].Fail(errTest)
		held[0].Reply(new(kafkawire.HeartbeatResponse))
		held[2].ReplyNothing()
		held[3].Reply(new(kafkawire.HeartbeatResponse))
		if owned.Load() != 0 {
			t.Error("the data were not released")
		}
		if s.MemoryInUse() != 0 {
			t.Errorf("%d bytes are in use", s.MemoryInUse())
		}
	})
}

// TestShutdown waits for what is in process.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = b.hold
		s, l := serve(t, b, nil)
		quiet, busy := dial(t, l), dial(t, l)
		busy.send(&kafkawire.HeartbeatRequest{}, 0)
		held := b.release()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		quiet.ended()
		synctest.Wait()
		busy.write(busy.encode(&kafkawire.HeartbeatRequest{}, 0)) // too late
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Shutdown does not wait: %v", err)
		default:
		}
		held[0].Reply(new(kafkawire.HeartbeatResponse))
		busy.receive(1, new(kafkawire.HeartbeatResponse), 0)
		busy.ended()
		busy.nc.Close()
		quiet.nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(b.release()) != 0 {
			t.Error("a request was handled after Shutdown")
		}
		if _, err := l.Dial(context.Background()); err == nil {
			t.Error("the server still listens")
		}
	})
}

// TestShutdownEnds when the context does.
func TestShutdownEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		b.handle = b.hold
		s, l := serve(t, b, nil)
		p := dial(t, l)
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		b.release()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		p.ended()
		if len(b.ends()) != 1 {
			t.Error("the session has not ended")
		}
	})
}

// TestDrain tells sessions to answer what waits.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(drained)
		b.handle = b.hold
		s, l := serve(t, b, nil)
		idle, p := dial(t, l), dial(t, l)
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		p.send(&kafkawire.HeartbeatRequest{}, 0)
		synctest.Wait()
		go func() {
			p.receive(1, new(kafkawire.HeartbeatResponse), 0)
			p.receive(2, new(kafkawire.HeartbeatResponse), 0)
			p.ended()
			p.nc.Close()
			idle.nc.Close()
		}()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// drained is a backend whose sessions answer what was held when the server shuts down.
type drained struct{ backend }

func (d *drained) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	s, err := d.backend.Connect(c)
	return &drainedSession{s.(*session)}, err
}

type drainedSession struct{ *session }

func (s *drainedSession) Drain() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, r := range s.b.held {
		r.Reply(kafkawire.NewResponse(r.Key))
	}
}
