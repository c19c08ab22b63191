package amqpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/proxyproto"
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
	var delay time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.begin(nc, o, web)
		case s.draining():
			return ErrServerClosed
		case !exhausted(err):
			return err
		default:
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.logger.Warn("cannot accept a connection", "listener", o.Name, "err", err, "pause", delay)
			time.Sleep(delay)
		}
	}
}

// ServeConn serves one connection that is there already, and returns at once. o may be nil.
func (s *Server) ServeConn(nc net.Conn, o *ListenerOptions) {
	if o == nil {
		o = new(ListenerOptions)
	}
	s.begin(nc, o, s.web(o))
}

// exhausted reports whether Accept may work again in a while.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
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
func (s *Server) begin(nc net.Conn, o *ListenerOptions, web *funnel) {
	if !s.admit() {
		nc.Close()
		return
	}
	s.mu.Lock()
	s.begun[nc] = struct{}{}
	s.mu.Unlock()
	deadline := s.deadline()
	go func() {
		inner, err := s.unwrap(nc, o, deadline)
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
			web.give(inner)
		default:
			s.start(inner, o, deadline)
		}
	}()
}

func (s *Server) deadline() time.Time { return time.Now().Add(min(s.limits.HandshakeTimeout, 1<<55)) }

// unwrap does what comes before AMQP or HTTP on a connection.
func (s *Server) unwrap(nc net.Conn, o *ListenerOptions, deadline time.Time) (net.Conn, error) {
	if o.ProxyProtocol {
		inner, err := proxyproto.Wrap(nc, &proxyproto.Options{Timeout: max(time.Until(deadline), 1)})
		if err != nil {
			return nil, err
		}
		nc = inner
	}
	t, ok := nc.(*tls.Conn)
	if o.TLS != nil {
		t, ok = tls.Server(nc, o.TLS), true
	}
	if !ok {
		return nc, nil
	}
	ctx, cancel := context.WithDeadline(s.ctx, deadline)
	defer cancel()
	return t, t.HandshakeContext(ctx)
}

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

// funnel is a net.Listener for connections that others have accepted.
type funnel struct {
	conns chan net.Conn
	done  <-chan struct{}
	addr  net.Addr
}

// web returns a funnel to an HTTP server for the WebSocket connections of a listener, nil when it has none.
func (s *Server) web(o *ListenerOptions) *funnel {
	if !o.WebSocket {
		return nil
	}
	f := &funnel{conns: make(chan net.Conn), done: s.ctx.Done()}
	web := &http.Server{Handler: s.Handler(o), ReadHeaderTimeout: min(s.limits.HandshakeTimeout, 1<<55)}
	s.mu.Lock()
	s.webs[web] = struct{}{}
	s.mu.Unlock()
	go web.Serve(f)
	return f
}

// give hands a connection over.
func (f *funnel) give(nc net.Conn) {
	select {
	case f.conns <- nc:
	case <-f.done:
		nc.Close()
	}
}

// Accept implements net.Listener.
func (f *funnel) Accept() (net.Conn, error) {
	select {
	case nc := <-f.conns:
		return nc, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *funnel) Close() error { return nil }

// Addr implements net.Listener.
func (f *funnel) Addr() net.Addr { return f.addr }
