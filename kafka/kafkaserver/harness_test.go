package kafkaserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"encoding/binary"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// echo is a backend whose requests are answered as a test says. It lets everybody in unless login says otherwise.
type echo struct {
	login  func(a *kafkaserver.Auth) (kafkaserver.Login, error)
	handle func(r *kafkaserver.Request)
	apis   kafkaserver.APIs

	mu     sync.Mutex
	closed []error
	conns  []*kafkaserver.Conn
}

var errTest = errors.New("the test says no")

func (e *echo) APIs() *kafkaserver.APIs {
	if e.apis.Versions == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, k := range []kafkawire.APIKey{kafkawire.KeyProduce, kafkawire.KeyFetch, kafkawire.KeyMetadata, kafkawire.KeyHeartbeat} {
			e.apis.Versions = append(e.apis.Versions, kafkaserver.APIVersion{Key: k, Min: k.MinVersion(), Max: k.MaxVersion()})
		}
		e.apis.NodeID = -1
	}
	return &e.apis
}

func (e *echo) Authenticate(_ context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	if e.login != nil {
		return e.login(a)
	}
	return kafkaserver.Login{}, nil
}

func (e *echo) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
	return &echoSession{e, c}, nil
}

type echoSession struct {
	e *echo
	c *kafkaserver.Conn
}

func (s *echoSession) Handle(r *kafkaserver.Request) {
	if s.e.handle != nil {
		s.e.handle(r)
		return
	}
	r.Reply(kafkawire.NewResponse(r.Key))
}

func (s *echoSession) Closed(cause error) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.closed = append(s.e.closed, cause)
}

// serve serves a backend in memory until the end of the test.
func serve(t *testing.T, b kafkaserver.Backend, o *kafkaserver.Options) (*kafkaserver.Server, *memnet.Listener) {
	t.Helper()
	l := memnet.Listen("192.0.2.9:9092")
	s := kafkaserver.New(b, o)
	go s.Serve(l, nil)
	t.Cleanup(func() { s.Close() })
	return s, l
}

// bubble runs a test in a bubble whose cleanups run in it, too.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t) })
}

// peer is a client that a test plays.
type peer struct {
	t    testing.TB
	nc   net.Conn
	next int32
}

func dial(t testing.TB, l *memnet.Listener) *peer {
	t.Helper()
	nc, err := l.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc}
}

// send sends a request and returns its number.
func (p *peer) send(m kafkawire.Request, version int16) int32 {
	p.t.Helper()
	p.next++
	b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version, CorrelationID: p.next, ClientID: []byte("test")}, m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(b)
	return p.next
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// frame reads a response.
func (p *peer) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.nc, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(p.nc, b)
	return b, err
}

// receive reads the response to request number id.
func (p *peer) receive(id int32, m kafkawire.Response, version int16) {
	p.t.Helper()
	b, err := p.frame()
	if err != nil {
		p.t.Fatalf("no response: %v", err)
	}
	got, body, err := kafkawire.DecodeResponseHeader(b, m.Key(), version)
	if err != nil {
		p.t.Fatal(err)
	}
	if got != id {
		p.t.Fatalf("response %d, want %d", got, id)
	}
	if err := m.Decode(body, version); err != nil {
		p.t.Fatal(err)
	}
}

// call sends a request and reads the response.
func (p *peer) call(m kafkawire.Request, version int16) kafkawire.Response {
	p.t.Helper()
	r := m.NewResponse()
	p.receive(p.send(m, version), r, version)
	return r
}

// ended checks that the server has ended the connection.
func (p *peer) ended() {
	p.t.Helper()
	if b, err := p.frame(); err == nil {
		p.t.Fatalf("a response instead of the end: %x", b)
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		p.t.Fatal(err)
	}
}

func isReset(err error) bool { return fmt.Sprint(err) != "" && !errors.Is(err, io.ErrUnexpectedEOF) }
