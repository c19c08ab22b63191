package kafkaserver

import (
	"net"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
)

// ListenAndServe listens on a TCP address, such as "127.0.0.1:9092", and serves it. See [Server.Serve].
func (s *Server) ListenAndServe(addr string, o *ListenerOptions) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(l, o)
}

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
	deadline := time.Now().Add(s.limits.HandshakeTimeout)
	go func() {
		inner, err := netserve.Unwrap(s.ctx, nc, o.ProxyProtocol, o.TLS, deadline)
		s.mu.Lock()
		delete(s.begun, nc)
		if err != nil {
			s.past.Refused++
			s.release()
		}
		s.mu.Unlock()
		if err != nil {
			s.logger.Debug("connection failed", "listener", o.Name, "remote", nc.RemoteAddr(), "err", err)
			nc.Close()
			return
		}
		s.start(inner, o)
	}()
}

// start serves a connection that was counted.
func (s *Server) start(nc net.Conn, o *ListenerOptions) {
	c := newConn(s, nc, o)
	if !s.add(c) {
		nc.Close()
		return
	}
	if f := s.trace.Open; f != nil {
		f(c)
	}
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
	go c.loop()
}
