package amqpserver

import (
	"net"
	"net/http"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/internal/wsconn"
)

// Serve accepts connections from l until the server is closed or l fails, and closes l. It returns ErrServerClosed after
// Shutdown or Close. o may be nil. A server may serve several listeners at a time.
func (s *Server) Serve(l net.Listener, o *ListenerOptions) error {
	if o == nil {
		o = new(ListenerOptions)
	}
	defer l.Close()
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer s.unlisten(l)
	err := netserve.Accept(l, s.draining, func(pause time.Duration, err error) {
		s.logger.Warn("cannot accept a connection", "listener", o.Name, "err", err, "pause", pause)
	}, func(nc net.Conn) { s.begin(nc, o) })
	if err == nil {
		err = ErrServerClosed
	}
	return err
}

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) {
	if o == nil {
		o = new(ListenerOptions)
	}
	s.begin(nc, o)
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// begin starts a connection.
func (s *Server) begin(nc net.Conn, o *ListenerOptions) {
	if !s.admit() {
		nc.Close()
		return
	}
	s.mu.Lock()
	s.begun[nc] = struct{}{}
	s.mu.Unlock()
	deadline := s.deadline()
	go func() {
		inner, err := netserve.Unwrap(s.ctx, nc, o.ProxyProtocol, o.TLS, deadline)
		s.mu.Lock()
		delete(s.begun, nc)
		if err != nil || o.WebSocket {
			if err != nil {
				s.past.Refused++
			} else {
				s.past.Accepted-- // counted again when the handshake is done
			}
			s.release()
		}
		s.mu.Unlock()
		switch {
		case err != nil:
			s.logger.Debug("connection failed", "listener", o.Name, "remote", nc.RemoteAddr(), "err", err)
			nc.Close()
		case o.WebSocket:
			s.giveWeb(inner, o)
		default:
			s.start(inner, o, deadline)
		}
	}()
}

func (s *Server) deadline() time.Time { return time.Now().Add(min(s.limits.HandshakeTimeout, 1<<55)) }

// start serves AMQP on a connection that was counted.
func (s *Server) start(nc net.Conn, o *ListenerOptions, deadline time.Time) {
	c := newConn(s, nc, o)
	if !s.add(c) {
		nc.Close()
		return
	}
	c.open(deadline)
}

// Handler returns a handler that serves AMQP over WebSocket, for an http.Server of one's own with any path. Clients must
// offer the subprotocol "amqp". The connections do not end with the http.Server; they end with this one. o may be nil;
// of its fields only Name counts.
func (s *Server) Handler(o *ListenerOptions) http.Handler {
	if o == nil {
		o = new(ListenerOptions)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.upgrade(w, r, o) })
}

// upgrade does the WebSocket handshake and starts a connection.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, o *ListenerOptions) {
	if !s.admit() {
		http.Error(w, "server is busy", http.StatusServiceUnavailable)
		return
	}
	nc, err := wsconn.Accept(w, r, &wsconn.AcceptOptions{Subprotocols: []string{"amqp"}, Origins: s.origins})
	if err != nil {
		s.logger.Debug("WebSocket handshake failed", "listener", o.Name, "remote", r.RemoteAddr, "err", err)
		s.mu.Lock()
		s.past.Refused++
		s.release()
		s.mu.Unlock()
		return
	}
	go s.start(nc, o, s.deadline())
}

// giveWeb hands a connection to the HTTP server, for its WebSocket handshake. Connections before it are limited apart from
// others, by the same number.
func (s *Server) giveWeb(nc net.Conn, o *ListenerOptions) {
	s.mu.Lock()
	if s.stopping.Load() {
		s.mu.Unlock()
		nc.Close()
		return
	}
	if s.web == nil {
		s.web = netserve.NewWeb(func(w http.ResponseWriter, r *http.Request, o any) {
			s.upgrade(w, r, o.(*ListenerOptions))
		}, min(s.limits.HandshakeTimeout, 1<<55), s.limits.MaxConnections)
	}
	web := s.web
	s.mu.Unlock()
	web.Give(nc, o)
}
