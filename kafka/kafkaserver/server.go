package kafkaserver

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("kafkaserver: server closed")

// Server serves Kafka connections for a [Backend]. Make one with [New]. It is safe for concurrent use.
type Server struct {
	backend     Backend
	scram       SCRAM // the backend, or nil
	limits      Limits
	mechanisms  []string
	requireSASL bool
	certUser    func(*x509.Certificate) string
	advertise   string
	trace       Trace
	logger      *slog.Logger
	epoch       time.Time
	secret      []byte // for users that do not exist
	chunks      *netserve.Chunks
	readers     sync.Pool
	memory      memory
	counts      keyCounts
	ctx         context.Context // ends at Close
	cancel      context.CancelFunc
	stopping    atomic.Bool

	mu        sync.Mutex // taken before that of a Conn
	listeners map[net.Listener]struct{}
	begun     map[net.Conn]struct{} // no Conn yet: PROXY protocol, TLS
	conns     map[*Conn]struct{}
	peers     map[netip.Addr]int
	open      int   // connections that count, those of begun too
	past      Stats // of connections that have ended
	idle      chan struct{}
}

// New returns a server for a backend. It does nothing until Serve is called. o may be nil.
func New(backend Backend, o *Options) *Server {
	if o == nil {
		o = new(Options)
	}
	s := &Server{
		backend:     backend,
		limits:      o.Limits.withDefaults(),
		mechanisms:  o.Mechanisms,
		requireSASL: o.RequireSASL,
		certUser:    o.CertificateUser,
		advertise:   o.Advertise,
		logger:      o.Logger,
		epoch:       time.Now(),
		secret:      make([]byte, 32),
		chunks:      netserve.NewChunks(),
		listeners:   make(map[net.Listener]struct{}),
		begun:       make(map[net.Conn]struct{}),
		conns:       make(map[*Conn]struct{}),
		peers:       make(map[netip.Addr]int),
	}
	rand.Read(s.secret)
	s.scram, _ = backend.(SCRAM)
	s.memory.limit = s.limits.MemoryLimit
	if o.Trace != nil {
		s.trace = *o.Trace
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Shutdown stops listening and reads no more requests. It waits until those in process are answered and the clients have
// taken the responses, or until ctx ends; then it closes what is left, like Close, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	idle, conns := s.stop()
	for _, c := range conns {
		c.drain()
	}
	select {
	case <-idle:
		return s.Close()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Close())
	}
}

// Close stops listening and closes all connections. It waits for calls of the backend that are under way, not for
// clients.
func (s *Server) Close() error {
	idle, conns := s.stop()
	s.cancel()
	for _, c := range conns {
		c.Close()
	}
	<-idle
	return nil
}

// stop stops listening. It returns the connections and a channel that is closed when there is none any more.
func (s *Server) stop() (idle <-chan struct{}, conns []*Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for nc := range s.begun {
		nc.Close()
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
		if s.open == 0 {
			close(s.idle)
		}
	}
	for c := range s.conns {
		conns = append(conns, c)
	}
	return s.idle, conns
}

// draining reports whether the server is shutting down.
func (s *Server) draining() bool { return s.stopping.Load() }

// admit counts a new connection. It is false when it is to be closed at once.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.past.Accepted++
	if s.open >= s.limits.MaxConnections {
		s.past.Refused++
		return false
	}
	s.open++
	return true
}

// release ends the count of a connection, with s.mu held.
func (s *Server) release() {
	s.open--
	if s.open == 0 && s.idle != nil {
		close(s.idle)
	}
}

// add adds a connection that was counted before. It is false when the server is stopped, or has too many from its address.
func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() || c.peer.IsValid() && s.peers[c.peer] >= s.limits.MaxConnectionsPerIP {
		s.past.Refused++
		s.release()
		return false
	}
	if c.peer.IsValid() {
		s.peers[c.peer]++
	}
	s.conns[c] = struct{}{}
	return true
}

// remove ends a connection.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	s.past.add(&c.counts)
	if !c.authentic {
		s.past.Refused++
	}
	c.mu.Unlock()
	delete(s.conns, c)
	if c.peer.IsValid() {
		if s.peers[c.peer]--; s.peers[c.peer] == 0 {
			delete(s.peers, c.peer)
		}
	}
	s.release()
}

func (s *Server) takeReader() *reader {
	if rd, ok := s.readers.Get().(*reader); ok {
		return rd
	}
	return &reader{buf: make([]byte, readSize)}
}

func (s *Server) giveReader(rd *reader) { s.readers.Put(rd) }
