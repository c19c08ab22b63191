package amqpserver

import (
	"net"
	"net/http"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// Serve accepts connections from l until the server is closed or l fails, and closes l. It returns ErrServerClosed after
// Shutdown or Close. o may be nil. A server may serve several listeners at a time.
func (s *Server) Serve(l net.Listener, o *ListenerOptions) error {
	return s.door.Serve(l, (*netserve.ListenerOptions)(o))
}

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) {
	s.door.ServeConn(nc, (*netserve.ListenerOptions)(o))
}

// Handler returns a handler that serves AMQP over WebSocket, for an http.Server of one's own with any path. Clients must
// offer the subprotocol "amqp". The connections do not end with the http.Server; they end with this one. o may be nil;
// of its fields only Name counts.
func (s *Server) Handler(o *ListenerOptions) http.Handler {
	return s.door.Handler((*netserve.ListenerOptions)(o))
}

// start serves AMQP on a connection that came through the door.
func (s *Server) start(nc net.Conn, o *netserve.ListenerOptions, _ uint8, deadline time.Time) {
	c := newConn(s, nc, (*ListenerOptions)(o))
	if !s.door.Add(c) {
		nc.Close()
		return
	}
	c.open(deadline)
}
