package amqpserver

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("amqpserver: server closed")

// LargeBody is the size in bytes up to which the body of a message is copied into the output of each connection. Longer
// ones are sent from where they are.
const LargeBody = 4 << 10

// Server serves AMQP 0-9-1 connections for a [Backend]. Make one with [New]. It is safe for concurrent use.
type Server struct{}

// New returns a server for a backend. It does nothing until Serve is called. o may be nil.
func New(backend Backend, o *Options) *Server { panic("not yet") }

// Serve accepts connections from l until the server is closed or l fails, and closes l. It returns ErrServerClosed after
// Shutdown or Close. o may be nil. A server may serve several listeners at a time.
func (s *Server) Serve(l net.Listener, o *ListenerOptions) error { panic("not yet") }

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) { panic("not yet") }

// Handler returns a handler that serves AMQP over WebSocket, for an http.Server of one's own with any path. Clients must
// offer the subprotocol "amqp". The connections do not end with the http.Server; they end with this one. o may be nil;
// of its fields only Name counts.
func (s *Server) Handler(o *ListenerOptions) http.Handler { panic("not yet") }

// Shutdown stops listening and closes the connections with CONNECTION_FORCED. It waits until the clients are gone, or
// until ctx ends; then it closes what is left, like Close, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error { panic("not yet") }

// Close stops listening and closes all connections. It waits for calls of the backend that are under way, not for
// clients.
func (s *Server) Close() error { panic("not yet") }
