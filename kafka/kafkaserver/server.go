package kafkaserver

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
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
	door        *netserve.Door[*Conn] // its lock is taken before that of a Conn
	past        Stats                 // of connections that have ended, but for their numbers; under the door's lock

	mu    sync.Mutex
	peers map[netip.Addr]int
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
	s.door = netserve.NewDoor[*Conn](netserve.DoorOptions{
		Closed: ErrServerClosed, Timeout: s.limits.HandshakeTimeout, Max: s.limits.MaxConnections, Logger: s.logger,
		Accepted: s.setSendBuffer,
	})
	return s
}

// Shutdown stops listening and reads no more requests. It waits until those in process are answered and the clients have
// taken the responses, or until ctx ends; then it closes what is left, like Close, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	idle, conns := s.door.Stop()
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
	idle, conns := s.door.Stop()
	s.door.Close()
	for _, c := range conns {
		c.Close()
	}
	<-idle
	return nil
}

// enter counts a connection of an address. It is false when there are too many.
func (s *Server) enter(peer netip.Addr) bool {
	if !peer.IsValid() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[peer] >= s.limits.MaxConnectionsPerIP {
		return false
	}
	s.peers[peer]++
	return true
}

// leave ends what enter began.
func (s *Server) leave(peer netip.Addr) {
	if !peer.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[peer]--; s.peers[peer] == 0 {
		delete(s.peers, peer)
	}
}

// remove ends a connection.
func (s *Server) remove(c *Conn) {
	s.leave(c.peer)
	s.door.Remove(c, func() (refused bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.past.add(&c.counts)
		return !c.authentic
	})
}

func (s *Server) takeReader() *reader {
	if rd, ok := s.readers.Get().(*reader); ok {
		return rd
	}
	return &reader{buf: make([]byte, readSize)}
}

func (s *Server) giveReader(rd *reader) { s.readers.Put(rd) }
