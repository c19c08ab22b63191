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
	door, start := s.through(o)
	return s.door.ServeStart(l, door, start)
}

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) {
	door, start := s.through(o)
	s.door.ServeConnStart(nc, door, start)
}

// through returns what the door has to know of a listener, and what follows it.
func (s *Server) through(o *ListenerOptions) (*netserve.ListenerOptions, netserve.Start) {
	if o == nil {
		o = new(ListenerOptions)
	}
	return &netserve.ListenerOptions{Name: o.Name, TLS: o.TLS, ProxyProtocol: o.ProxyProtocol},
		func(nc net.Conn, _ *netserve.ListenerOptions, _ uint8, _ time.Time) { s.start(nc, o) }
}

// start serves a connection that came through the door. One too many of its address is closed.
func (s *Server) start(nc net.Conn, o *ListenerOptions) {
	c := newConn(s, nc, o)
	if !s.door.Add(c) {
		nc.Close()
		return
	}
	if !s.enter(c.peer) {
		nc.Close()
		s.door.Remove(c, func() (refused bool) { return true })
		return
	}
	if f := s.trace.Open; f != nil {
		f(c)
	}
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
	go c.main.loop()
	if c.streams != nil {
		go c.acceptStreams()
	}
}
