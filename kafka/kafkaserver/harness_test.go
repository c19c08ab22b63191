package kafkaserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// backend answers requests as a test says. It lets everybody in unless login says otherwise.
type backend struct {
	login  func(a *kafkaserver.Auth) (kafkaserver.Login, error)
	handle func(r *kafkaserver.Request)
	apis   *kafkaserver.APIs
	refuse error         // of Connect
	over   chan struct{} // closed with the first session, if it is there

	mu     sync.Mutex
	conns  []*kafkaserver.Conn
	closed []error
	held   []*kafkaserver.Request
}

var errTest = errors.New("the test says no")

// keys are the requests that a backend takes whose test does not say.
var keys = []kafkawire.APIKey{kafkawire.KeyProduce, kafkawire.KeyFetch, kafkawire.KeyMetadata, kafkawire.KeyHeartbeat}

func (b *backend) APIs() *kafkaserver.APIs {
	if b.apis != nil {
		return b.apis
	}
	apis := &kafkaserver.APIs{NodeID: -1}
	for _, k := range keys {
		apis.Versions = append(apis.Versions, kafkaserver.APIVersion{Key: k, Min: k.MinVersion(), Max: k.MaxVersion()})
	}
	return apis
}

func (b *backend) Authenticate(_ context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	if b.login != nil {
		return b.login(a)
	}
	return kafkaserver.Login{}, nil
}

func (b *backend) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, c)
	if b.refuse != nil {
		return nil, b.refuse
	}
	return &session{b}, nil
}

type session struct{ b *backend }

func (s *session) Handle(r *kafkaserver.Request) {
	if s.b.handle != nil {
		s.b.handle(r)
		return
	}
	r.Reply(kafkawire.NewResponse(r.Key))
}

func (s *session) Closed(cause error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.b.closed = append(s.b.closed, cause); s.b.over != nil && len(s.b.closed) == 1 {
		close(s.b.over)
	}
}

// hold keeps a request for later.
func (b *backend) hold(r *kafkaserver.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = append(b.held, r)
}

// release returns the requests that were held.
func (b *backend) release() []*kafkaserver.Request {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.held
	b.held = nil
	return held
}

// end returns the causes of the sessions that have ended.
func (b *backend) ends() []error {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// serve serves a backend in memory until the end of the test.
func serve(t testing.TB, b kafkaserver.Backend, o *kafkaserver.Options) (*kafkaserver.Server, *memnet.Listener) {
	t.Helper()
	s := kafkaserver.New(b, o)
	return s, memListener(t, s, nil)
}

// memListener makes a server listen in memory until the end of the test.
func memListener(t testing.TB, s *kafkaserver.Server, o *kafkaserver.ListenerOptions) *memnet.Listener {
	l := memnet.Listen("192.0.2.9:9092")
	go s.Serve(l, o)
	t.Cleanup(func() { s.Close() })
	return l
}

// peer is a client that a test plays.
type peer struct {
	t    testing.TB
	nc   net.Conn
	last int32 // number of the last request
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

// encode returns a request as it travels.
func (p *peer) encode(m kafkawire.Request, version int16) []byte {
	p.t.Helper()
	p.last++
	b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version, CorrelationID: p.last, ClientID: []byte("test")}, m)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// send sends a request and returns its number.
func (p *peer) send(m kafkawire.Request, version int16) int32 {
	p.t.Helper()
	p.write(p.encode(m, version))
	return p.last
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// frame reads what follows a size.
func (p *peer) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.nc, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.nc, b); err != nil {
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return b, nil
}

// receive reads the response to a request.
func (p *peer) receive(id int32, m kafkawire.Response, version int16) {
	p.t.Helper()
	b, err := p.frame()
	if err != nil {
		p.t.Fatalf("no response %d: %v", id, err)
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

// beat makes sure that the server still serves.
func (p *peer) beat() {
	p.t.Helper()
	p.call(&kafkawire.HeartbeatRequest{}, 4)
}

// ended checks that the server ends the connection with no further response.
func (p *peer) ended() {
	p.t.Helper()
	b, err := p.frame()
	switch {
	case err == nil:
		p.t.Fatalf("a response instead of the end: %x", b)
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.t.Fatalf("the end is in a response: %v", err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		p.t.Fatal(err)
	}
}
