package mqttserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/mqtt"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("mqttserver: server closed")

// Server serves MQTT connections for a [Backend]. Make one with [New]. It is safe for concurrent use.
type Server struct {
	backend   Backend
	limits    Limits
	config    mqtt.Config
	reference string
	moved     bool
	origins   []string
	trace     Trace
	logger    *slog.Logger
	epoch     time.Time
	memory    memory
	chunks    *netserve.Chunks
	readers   sync.Pool
	batches   sync.Pool
	ctx       context.Context // ends at Close
	cancel    context.CancelFunc
	stopping  atomic.Bool

	mu        sync.Mutex // taken before that of a Conn
	listeners map[net.Listener]struct{}
	web       *netserve.Web         // for WebSocket; nil before it is needed
	begun     map[net.Conn]struct{} // no Conn yet: PROXY protocol, TLS
	conns     map[*Conn]struct{}
	open      int   // connections that count, those of begun too
	clock     int64 // connect rate: when the last connection would have been due, in nanoseconds since the epoch
	past      Stats // of connections that have ended
	idle      chan struct{}
}

// New returns a server for a backend. It does nothing until Serve is called. o may be nil.
func New(backend Backend, o *Options) *Server {
	if o == nil {
		o = new(Options)
	}
	s := &Server{
		backend:   backend,
		limits:    o.Limits.withDefaults(),
		reference: o.ServerReference,
		moved:     o.ServerMoved,
		origins:   o.WebSocketOrigins,
		logger:    o.Logger,
		epoch:     time.Now(),
		chunks:    netserve.NewChunks(),
		listeners: make(map[net.Listener]struct{}),
		begun:     make(map[net.Conn]struct{}),
		conns:     make(map[*Conn]struct{}),
	}
	if o.Trace != nil {
		s.trace = *o.Trace
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.config = s.limits.config()
	s.memory.init(&o.Limits, s.epoch)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Shutdown stops listening and ends the connections: version 5 clients get a DISCONNECT with ReasonServerShuttingDown,
// or with the server reference of the options; clients that have no CONNACK yet are closed. It waits until all output
// is written and the clients are gone, or until ctx ends; then it closes what is left, like Close, and returns ctx's
// error.
func (s *Server) Shutdown(ctx context.Context) error {
	d := &mqtt.Disconnect{Reason: mqtt.ReasonServerShuttingDown}
	if s.reference != "" {
		d.Reason = mqtt.ReasonUseAnotherServer
		if s.moved {
			d.Reason = mqtt.ReasonServerMoved
		}
		d.Properties = d.Properties.AppendString(mqtt.PropServerReference, s.reference)
	}
	idle, conns := s.stop()
	for _, c := range conns {
		if c.decided() {
			c.Disconnect(nil, d)
		} else {
			c.Close()
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

// admit counts a new connection. refuse is the reason code with which its CONNECT is to be refused, 0 for none; ok is
// false when it is to be closed at once.
func (s *Server) admit() (refuse mqtt.ReasonCode, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return 0, false
	}
	now := int64(time.Since(s.epoch))
	if rate := int64(s.limits.ConnectRate); rate > 0 {
		clock := max(s.clock, now) + int64(time.Second)/rate
		if clock-now > int64(time.Second) {
			refuse = mqtt.ReasonConnectionRateExceeded
		} else {
			s.clock = clock
		}
	}
	if s.open >= s.limits.MaxConnections {
		refuse = mqtt.ReasonServerBusy
	}
	if refuse != 0 && s.open >= s.limits.MaxConnections+refusals {
		return refuse, false
	}
	s.open++
	s.past.Accepted++
	return refuse, true
}

// refusals is how many connections beyond MaxConnections are open until they were told that they are refused.
const refusals = 256

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
	if !c.accepted {
		s.past.Refused++
	}
	c.mu.Unlock()
	delete(s.conns, c)
	s.release()
}

// decided reports whether the connection had its CONNACK.
func (c *Conn) decided() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

func (s *Server) takeReader() *reader {
	if rd, ok := s.readers.Get().(*reader); ok {
		return rd
	}
	rd := &reader{buf: make([]byte, readSize), batch: NewBatch()}
	rd.dec.MaxSize, rd.dec.From = s.limits.MaxPacketSize, mqtt.Client
	return rd
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
	clear(b.late)
	b.late = b.late[:0]
	s.batches.Put(b)
}

// log reports what the backend did wrong.
func (c *Conn) log(msg string, err error) {
	c.srv.logger.Warn(msg, "remote", c.nc.RemoteAddr(), "client", c.clientID, "err", err)
}
