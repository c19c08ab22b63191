package kafkaserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// orderBackend answers now or later, and notes what goes on on each stream: calls one at a time, and none after the end.
type orderBackend struct {
	*backend
	t    *testing.T
	mu   sync.Mutex
	rnd  *rand.Rand
	open int
}

func (b *orderBackend) n(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rnd.IntN(n)
}

func (b *orderBackend) Connect(*kafkaserver.Conn) (kafkaserver.Session, error) {
	return b.session(0), nil
}

func (b *orderBackend) session(id int64) *orderSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return &orderSession{b: b, id: id}
}

type orderSession struct {
	b  *orderBackend
	id int64

	mu     sync.Mutex
	last   int32
	inside bool
	closed bool
}

func (s *orderSession) Stream(id int64) (kafkaserver.Session, error) { return s.b.session(id), nil }

func (s *orderSession) Handle(r *kafkaserver.Request) {
	s.mu.Lock()
	if s.inside || s.closed || r.Stream() != s.id || r.CorrelationID <= s.last {
		s.b.t.Errorf("stream %d: request %d of stream %d after %d, inside %v, closed %v", s.id, r.CorrelationID, r.Stream(), s.last, s.inside, s.closed)
	}
	s.inside, s.last = true, r.CorrelationID
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inside = false
		s.mu.Unlock()
	}()
	m := &kafkawire.MetadataResponse{ClusterID: new(string(bytes.Repeat([]byte("x"), s.b.n(20_000))))}
	switch s.b.n(4) {
	case 0:
		time.Sleep(time.Duration(s.b.n(5)) * time.Millisecond)
		r.Reply(m)
	case 1:
		time.AfterFunc(time.Duration(s.b.n(200))*time.Millisecond, func() { r.Reply(m) })
	case 2:
		go r.Reply(m)
	default:
		r.Reply(m)
	}
}

func (s *orderSession) Closed(error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.inside {
		s.b.t.Errorf("stream %d: Closed twice, or within a request", s.id)
	}
	s.closed = true
	s.b.mu.Lock()
	s.b.open--
	s.b.mu.Unlock()
}

// TestStreamsStress has clients with many streams that send, stop to read, end streams and connections at any time. Each response
// is the next one of its stream, and at last nothing is left.
func TestStreamsStress(t *testing.T) {
	responses := int64(0)
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			t.Log("seed", seed)
			b := &orderBackend{backend: &backend{}, t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
			srv, l := serve(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{
				OutputLimit: 40_000, InflightBytes: 200_000, MemoryLimit: 2 << 20, MaxStreams: 6, MaxInflight: 8, StallTimeout: 5 * time.Second,
			}})
			l.OnDial(func(int) (*memnet.Options, error) {
				return &memnet.Options{Protocol: kafkaserver.StreamsProtocol, Capacity: 1000 + b.n(50_000)}, nil
			})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					nc, err := l.Dial(context.Background())
					if err != nil {
						return // the server is closed
					}
					conn := nc.(*memnet.Conn)
					var streams sync.WaitGroup
					streams.Go(func() { playStream(t, b, conn, true) })
					for range 1 + b.n(10) {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						s, err := conn.OpenStream(ctx)
						cancel()
						if err != nil {
							break
						}
						streams.Go(func() { playStream(t, b, s, false) })
					}
					if b.n(2) == 0 {
						time.Sleep(time.Duration(b.n(2000)) * time.Millisecond)
						nc.Close()
					}
					streams.Wait()
					nc.Close()
				})
			}
			if b.n(2) == 0 {
				time.Sleep(time.Duration(b.n(1500)) * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(b.n(3000))*time.Millisecond)
				srv.Shutdown(ctx)
				cancel()
			}
			wg.Wait()
			srv.Close()
			time.Sleep(time.Minute) // what is answered late
			synctest.Wait()
			if got := srv.Stats(); got.Connections+got.Streams+got.Inflight+got.InflightBytes+got.Buffered != 0 || srv.MemoryInUse() != 0 || b.open != 0 {
				t.Errorf("%+v, %d bytes, %d sessions", got, srv.MemoryInUse(), b.open)
			}
			responses += srv.Stats().Responses
		})
	}
	if responses < 1000 {
		t.Errorf("only %d responses", responses)
	}
}

// playStream sends requests on a stream and reads the responses, until somebody ends it.
func playStream(t *testing.T, b *orderBackend, s interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
}, main bool) {
	const most = 60
	n := 1 + b.n(most)
	half := b.n(2) == 0
	go func() {
		for i := range n {
			size := 8
			if b.n(10) == 0 {
				size = b.n(150_000)
			}
			h := kafkawire.RequestHeader{Version: 8, CorrelationID: int32(i + 1), ClientID: bytes.Repeat([]byte("c"), min(size, 30_000))}
			m, err := kafkawire.AppendRequest(nil, h, &kafkawire.MetadataRequest{})
			if err == nil && main && i == 0 {
				h.Version = 3
				m, err = kafkawire.AppendRequest(nil, h, versions)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if extra := size - len(m); extra > 0 { // bytes behind a message are ignored
				m = append(m, make([]byte, extra)...)
				binary.BigEndian.PutUint32(m, uint32(len(m)-4))
			}
			if b.n(50) == 0 && !main {
				m = m[:b.n(len(m))]
				s.Write(m)
				s.Close()
				return
			}
			if _, err := s.Write(m); err != nil {
				return
			}
			if b.n(5) == 0 {
				time.Sleep(time.Duration(b.n(20)) * time.Millisecond)
			}
		}
		if half && !main {
			s.CloseWrite()
		}
	}()
	for i := range n {
		if b.n(30) == 0 {
			time.Sleep(time.Duration(b.n(1500)) * time.Millisecond)
		}
		if b.n(100) == 0 && !main {
			break
		}
		s.SetReadDeadline(time.Now().Add(2 * time.Minute))
		var head [8]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			break
		}
		if id := binary.BigEndian.Uint32(head[4:]); id != uint32(i+1) {
			t.Errorf("response %d, want %d", id, i+1)
			break
		}
		if _, err := io.CopyN(io.Discard, s, int64(binary.BigEndian.Uint32(head[:]))-4); err != nil {
			break
		}
	}
	if !main {
		s.Close()
	}
}
