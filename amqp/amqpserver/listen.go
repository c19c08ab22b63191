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
	web := s.web(o)
	err := netserve.Accept(l, s.draining, func(pause time.Duration, err error) {
		s.logger.Warn("cannot accept a connection", "listener", o.Name, "err", err, "pause", pause)
	}, func(nc net.Conn) { s.begin(nc, o, web) })
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
	s.begin(nc, o, s.web(o))
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

// begin starts a connection. web is not nil when it is WebSocket.
func (s *Server) begin(nc net.Conn, o *ListenerOptions, web *netserve.Funnel) {
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
		if err != nil || web != nil {
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
		case web != nil:
			web.Give(inner)
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
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	})
}

// web returns a funnel to an HTTP server for the WebSocket connections of a listener, nil when it has none.
func (s *Server) web(o *ListenerOptions) *netserve.Funnel {
	if !o.WebSocket {
		return nil
	}
	f := netserve.NewFunnel(s.ctx.Done())
	web := &http.Server{Handler: s.Handler(o), ReadHeaderTimeout: min(s.limits.HandshakeTimeout, 1<<55)}
	s.mu.Lock()
	s.webs[web] = struct{}{}
	s.mu.Unlock()
	go web.Serve(f)
	return f
}
