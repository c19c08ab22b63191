package amqpserver

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"

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
	trace      Trace
	logger     *slog.Logger
	chunks     *netserve.Chunks
	readers    sync.Pool
	batches    sync.Pool
	door       *netserve.Door[*Conn] // its lock is taken before that of a Conn
	past       Stats                 // of connections that have ended, but for their numbers; under the door's lock
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
		logger:     o.Logger,
		chunks:     netserve.NewChunks(),
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
	s.door = netserve.NewDoor[*Conn](netserve.DoorOptions{
		Closed: ErrServerClosed, Timeout: s.limits.HandshakeTimeout, Max: s.limits.MaxConnections,
		Subprotocols: []string{"amqp"}, Origins: o.WebSocketOrigins, Logger: s.logger, Start: s.start,
	})
	return s
}

// Shutdown stops listening and closes the connections with CONNECTION_FORCED; those that are not open yet end at once. It
// waits until the clients are gone, or until ctx ends; then it closes what is left, like Close, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	e := amqp091.HardError(amqp091.ConnectionForced, "broker forced connection closure with reason 'shutdown'")
	idle, conns := s.door.Stop()
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
	idle, conns := s.door.Stop()
	s.door.Close()
	for _, c := range conns {
		c.Abort()
	}
	<-idle
	return nil
}

// draining reports whether the server is shutting down.
func (s *Server) draining() bool { return s.door.Stopping() }

// remove ends a connection.
func (s *Server) remove(c *Conn) {
	s.door.Remove(c, func() (refused bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.past.add(&c.counts)
		return !c.opened
	})
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
