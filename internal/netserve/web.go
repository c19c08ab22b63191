package netserve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Web is an HTTP server for connections that were accepted elsewhere and that its handler takes over, as that of WebSocket
// does. Those that it does not take over are limited in number and in time. Close ends it.
type Web struct {
	server http.Server
	given  chan net.Conn
	done   chan struct{}
	max    int

	mu     sync.Mutex
	conns  map[net.Conn]any // not taken over, with what Give was given
	closed bool
}

// NewWeb returns a Web. The handler gets what Give was given. timeout is how long a connection may take for a request, for
// its answer, and until the next request. max is how many connections there may be that are not taken over.
func NewWeb(handler func(w http.ResponseWriter, r *http.Request, value any), timeout time.Duration, max int) *Web {
	w := &Web{given: make(chan net.Conn), done: make(chan struct{}), max: max, conns: make(map[net.Conn]any)}
	w.server = http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			handler(rw, r, r.Context().Value(givenKey{}))
		}),
		ReadTimeout:    timeout,
		WriteTimeout:   timeout,
		IdleTimeout:    timeout,
		MaxHeaderBytes: 64 << 10,
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			w.mu.Lock()
			defer w.mu.Unlock()
			return context.WithValue(ctx, givenKey{}, w.conns[nc])
		},
		ConnState: func(nc net.Conn, s http.ConnState) {
			if s == http.StateHijacked || s == http.StateClosed {
				w.forget(nc)
			}
		},
	}
	go w.server.Serve((*funnel)(w))
	return w
}

// givenKey is the key of the value of Give in the context of a request.
type givenKey struct{}

// Give hands a connection over. It closes the connection when there are too many, and after Close.
func (w *Web) Give(nc net.Conn, value any) {
	w.mu.Lock()
	ok := !w.closed && len(w.conns) < w.max
	if ok {
		w.conns[nc] = value
	}
	w.mu.Unlock()
	if ok {
		select {
		case w.given <- nc:
			return
		case <-w.done:
			w.forget(nc)
		}
	}
	nc.Close()
}

func (w *Web) forget(nc net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, nc)
}

// Close closes the connections that are not taken over.
func (w *Web) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.done)
	}
	w.mu.Unlock()
	w.server.Close()
}

// funnel is a Web as the net.Listener of its server.
type funnel Web

// Accept implements net.Listener.
func (f *funnel) Accept() (net.Conn, error) {
	select {
	case nc := <-f.given:
		return nc, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It does nothing.
func (f *funnel) Close() error { return nil }

// Addr implements net.Listener. There is none.
func (f *funnel) Addr() net.Addr { return nil }
