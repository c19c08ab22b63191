package mqttserver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	trace     Trace
	logger    *slog.Logger
	epoch     time.Time
	memory    memory
	chunks    *netserve.Chunks
	readers   sync.Pool
	batches   sync.Pool
	datagrams sync.Pool
	door      *netserve.Door[*Conn] // its lock is taken before that of a Conn
	past      Stats                 // of connections that have ended, but for their numbers; under the door's lock
	clock     int64                 // connect rate: when the last one would have been due, in nanoseconds since the epoch; under the door's lock
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
		logger:    o.Logger,
		epoch:     time.Now(),
		chunks:    netserve.NewChunks(),
	}
	if o.Trace != nil {
		s.trace = *o.Trace
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.config = s.limits.config()
	s.memory.init(&o.Limits, s.epoch)
	s.door = netserve.NewDoor[*Conn](netserve.DoorOptions{
		Closed: ErrServerClosed, Timeout: s.limits.ConnectTimeout, Max: s.limits.MaxConnections, Told: refusals, Refuse: s.refuse,
		Subprotocols: []string{"mqtt", "mqttv3.1"}, Origins: o.WebSocketOrigins, Logger: s.logger, Start: s.startWeb,
	})
	return s
}

// refusals is how many connections beyond MaxConnections are open until they were told that they are refused.
const refusals = 256

// refuse returns with what the CONNECT of a new connection is to be refused, 0 for no reason.
func (s *Server) refuse(full bool) (why uint8) {
	now := int64(time.Since(s.epoch))
	if rate := int64(s.limits.ConnectRate); rate > 0 {
		clock := max(s.clock, now) + int64(time.Second)/rate
		if clock-now > int64(time.Second) {
			why = uint8(mqtt.ReasonConnectionRateExceeded)
		} else {
			s.clock = clock
		}
	}
	if full {
		why = uint8(mqtt.ReasonServerBusy)
	}
	return why
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
	idle, conns := s.door.Stop()
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
	idle, conns := s.door.Stop()
	s.door.Close()
	for _, c := range conns {
		c.Close()
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
		if c.ext != nil {
			c.ext.addTo(&s.past)
		}
		return !c.accepted
	})
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
