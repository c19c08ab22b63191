package mqttserver

import (
	"net"
	"net/http"
	"time"

	"github.com/quartet-mq/quartet/internal/netserve"
	"github.com/quartet-mq/quartet/mqtt"
)

// Serve accepts connections from l until the server is closed or l fails, and closes l. It returns ErrServerClosed after
// Shutdown or Close. o may be nil. A server may serve several listeners at a time.
func (s *Server) Serve(l net.Listener, o *ListenerOptions) error {
	door, start := s.through(o)
	if door.WebSocket {
		return s.door.Serve(l, door)
	}
	return s.door.ServeStart(l, door, start)
}

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) {
	door, start := s.through(o)
	if door.WebSocket {
		s.door.ServeConn(nc, door)
		return
	}
	s.door.ServeConnStart(nc, door, start)
}

// through returns what the door has to know of a listener, and what follows it when that is not WebSocket.
func (s *Server) through(o *ListenerOptions) (*netserve.ListenerOptions, netserve.Start) {
	if o == nil {
		o = new(ListenerOptions)
	}
	return &netserve.ListenerOptions{Name: o.Name, TLS: o.TLS, WebSocket: o.WebSocket, ProxyProtocol: o.ProxyProtocol},
		func(nc net.Conn, _ *netserve.ListenerOptions, refuse uint8, deadline time.Time) {
			s.start(nc, o, refuse, deadline)
		}
}

// Handler returns a handler that serves MQTT over WebSocket (section 6), for an http.Server of one's own with any path.
// Clients must offer the subprotocol "mqtt" (or "mqttv3.1"). The connections do not end with the http.Server; they end
// with this one. o may be nil; of its fields only Name counts.
func (s *Server) Handler(o *ListenerOptions) http.Handler {
	door, _ := s.through(o)
	return s.door.Handler(door)
}

// startWeb serves a connection of WebSocket.
func (s *Server) startWeb(nc net.Conn, o *netserve.ListenerOptions, refuse uint8, deadline time.Time) {
	s.start(nc, &ListenerOptions{Name: o.Name}, refuse, deadline)
}

// start serves MQTT on a connection that came through the door.
func (s *Server) start(nc net.Conn, o *ListenerOptions, refuse uint8, deadline time.Time) {
	c := newConn(s, nc, o)
	c.refuse = mqtt.ReasonCode(refuse)
	if !s.door.Add(c) {
		nc.Close()
		return
	}
	c.open(deadline)
}
