package amqpserver

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("amqpserver: server closed")

// Server serves AMQP 0-9-1 connections for a [Backend]. Make one with [New]. It is safe for concurrent use.
type Server struct {
	backend    Backend
	limits     Limits
	config     amqp091.Config
	mechanisms []string
	certUser   func(*x509.Certificate) string
	origins    []string
	trace      Trace
	logger     *slog.Logger
	chunks     *netserve.Chunks
	readers    sync.Pool
	batches    sync.Pool
	ctx        context.Context // ends at Close
	cancel     context.CancelFunc
	stopping   atomic.Bool

	mu        sync.Mutex // taken before that of a Conn
	listeners map[net.Listener]struct{}
	web       *netserve.Web         // for WebSocket; nil before it is needed
	begun     map[net.Conn]struct{} // no Conn yet: PROXY protocol, TLS
	conns     map[*Conn]struct{}
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
		backend:    backend,
		limits:     o.Limits.withDefaults(),
		mechanisms: o.Mechanisms,
		certUser:   o.CertificateUser,
		origins:    o.WebSocketOrigins,
		logger:     o.Logger,
		chunks:     netserve.NewChunks(),
		listeners:  make(map[net.Listener]struct{}),
		begun:      make(map[net.Conn]struct{}),
		conns:      make(map[*Conn]struct{}),
	}
	if o.Mechanisms == nil {
		s.mechanisms = []string{"PLAIN", "AMQPLAIN", "EXTERNAL"}
	}
	if o.Trace != nil {
		s.trace = *o.Trace
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.config = s.limits.config()
	s.config.Properties = properties(o.Properties)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Shutdown stops listening and closes the connections with CONNECTION_FORCED; those that are not open yet end at once. It
// waits until the clients are gone, or until ctx ends; then it closes what is left, like Close, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	e := amqp091.HardError(amqp091.ConnectionForced, "broker forced connection closure with reason 'shutdown'")
	idle, conns := s.stop()
	for _, c := range conns {
		if c.isOpen() {
			c.Close(nil, e)
		} else {
			c.Abort()
		}
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
	s.mu.Lock()
	web := s.web // there will be no other one
	s.mu.Unlock()
	if web != nil {
		web.Close()
	}
	for _, c := range conns {
		c.Abort()
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
	if s.open >= s.limits.MaxConnections {
		s.past.Accepted++
		s.past.Refused++
		return false
	}
	s.open++
	s.past.Accepted++
	return true
}

// release ends the count of a connection, with s.mu held.
func (s *Server) release() {
	s.open--
	if s.open == 0 && s.idle != nil {
		close(s.idle)
	}
}

// add adds a connection that was counted before. It is false when the server is stopped.
func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.begun, c.nc)
	if s.stopping.Load() {
		s.past.Refused++
		s.release()
		return false
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
	if !c.opened {
		s.past.Refused++
	}
	c.mu.Unlock()
	delete(s.conns, c)
	s.release()
}

// isOpen reports whether the connection had its connection.open-ok.
func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

func (s *Server) takeReader() *reader {
	if rd, ok := s.readers.Get().(*reader); ok {
		return rd
	}
	return &reader{buf: make([]byte, readSize), batch: NewBatch()}
}

func (s *Server) giveReader(rd *reader) { s.readers.Put(rd) }

// takeBatch returns a batch that is not a reader's. It is given back flushed.
func (s *Server) takeBatch() *Batch {
	if b, ok := s.batches.Get().(*Batch); ok {
		return b
	}
	return NewBatch()
}

func (s *Server) giveBatch(b *Batch) {
	b.slow = 0
	s.batches.Put(b)
}

// log reports what the backend did wrong.
func (c *Conn) log(msg string, err error) {
	c.srv.logger.Warn(msg, "remote", c.nc.RemoteAddr(), "user", c.user, "err", err)
}
