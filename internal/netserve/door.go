package netserve

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/wsconn"
)

// ListenerOptions is what a [Door] needs to know of a listener. Servers have the same type under a name of their own.
type ListenerOptions struct {
	Name          string // for logs
	TLS           *tls.Config
	WebSocket     bool
	ProxyProtocol bool
}

// DoorOptions configure a [Door].
type DoorOptions struct {
	// Closed is what Serve returns after Stop.
	Closed error
	// Timeout is how long what comes before the protocol may take, and the protocol's own handshake after that.
	Timeout time.Duration
	// Max is how many connections there may be, Told how many beyond that are let in to be told that they are refused.
	Max, Told int
	// Refuse returns why a new connection is to be refused, 0 for no reason; full says that there are Max already. It is called
	// with the door's lock held. Nil refuses those that are too many, with 1.
	Refuse func(full bool) (why uint8)
	// Subprotocols and Origins are those of WebSocket.
	Subprotocols, Origins []string
	Logger                *slog.Logger
	// Accepted sets options of a TCP connection, before anything else is done with it. It may be nil.
	Accepted func(*net.TCPConn)
	// Start serves a connection.
	Start Start
}

// Start serves a connection that came through a [Door], on a goroutine of its own. It calls Add first. The handshake ends at the
// deadline.
type Start func(nc net.Conn, o *ListenerOptions, refuse uint8, deadline time.Time)

// Door is what the connections of a server come through. It has the server's listeners, does what comes before the protocol (PROXY
// protocol, TLS, WebSocket), limits and counts connections, and knows those that there are. C is the server's type of them. It is
// safe for concurrent use.
type Door[C comparable] struct {
	o        DoorOptions
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	stopping atomic.Bool

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	web       *Web                  // for WebSocket; nil before it is needed
	begun     map[net.Conn]struct{} // no C yet: PROXY protocol, TLS
	conns     map[C]struct{}
	counts    Counts
	idle      chan struct{}
}

// Counts count connections.
type Counts struct {
	Open     int   // now
	Accepted int64 // since the beginning, those that were refused too
	Refused  int64
}

// NewDoor returns a door.
func NewDoor[C comparable](o DoorOptions) *Door[C] {
	d := &Door[C]{
		o: o, listeners: make(map[net.Listener]struct{}), begun: make(map[net.Conn]struct{}), conns: make(map[C]struct{}),
	}
	if o.Refuse == nil {
		d.o.Refuse = func(full bool) uint8 {
			if full {
				return 1
			}
			return 0
		}
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Context returns a context that ends with Close.
func (d *Door[C]) Context() context.Context { return d.ctx }

// Stopping reports whether Stop was called.
func (d *Door[C]) Stopping() bool { return d.stopping.Load() }

// Stop closes the listeners, and what has not begun to speak the protocol. It returns the connections, and a channel that is closed
// when there is none any more.
func (d *Door[C]) Stop() (idle <-chan struct{}, conns []C) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping.Store(true)
	for l := range d.listeners {
		l.Close()
	}
	for nc := range d.begun {
		nc.Close()
	}
	if d.idle == nil {
		d.idle = make(chan struct{})
		if d.counts.Open == 0 {
			close(d.idle)
		}
	}
	for c := range d.conns {
		conns = append(conns, c)
	}
	return d.idle, conns
}

// Close ends the context, and the handshakes of WebSocket. Call Stop before.
func (d *Door[C]) Close() {
	d.cancel()
	d.mu.Lock()
	web := d.web // there will be no other one
	d.mu.Unlock()
	if web != nil {
		web.Close()
	}
}

// Serve accepts connections from l until Stop is called or l fails, and closes l. o may be nil.
func (d *Door[C]) Serve(l net.Listener, o *ListenerOptions) error {
	return d.ServeStart(l, o, d.o.Start)
}

// ServeStart is Serve with a Start of the listener's own, for a listener without WebSocket.
func (d *Door[C]) ServeStart(l net.Listener, o *ListenerOptions, start Start) error {
	if o == nil {
		o = new(ListenerOptions)
	}
	defer l.Close()
	if !d.listen(l) {
		return d.o.Closed
	}
	defer d.unlisten(l)
	err := Accept(l, d.Stopping, func(pause time.Duration, err error) {
		d.o.Logger.Warn("cannot accept a connection", "listener", o.Name, "err", err, "pause", pause)
	}, func(nc net.Conn) { d.ServeConnStart(nc, o, start) })
	if err == nil {
		err = d.o.Closed
	}
	return err
}

func (d *Door[C]) listen(l net.Listener) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping.Load() {
		return false
	}
	d.listeners[l] = struct{}{}
	return true
}

func (d *Door[C]) unlisten(l net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.listeners, l)
}

// ServeConn serves one connection, and returns at once. o may be nil.
func (d *Door[C]) ServeConn(nc net.Conn, o *ListenerOptions) { d.ServeConnStart(nc, o, d.o.Start) }

// ServeConnStart is ServeConn with a Start of the connection's own, without WebSocket.
func (d *Door[C]) ServeConnStart(nc net.Conn, o *ListenerOptions, start Start) {
	if o == nil {
		o = new(ListenerOptions)
	}
	refuse, ok := d.admit(nc)
	if !ok {
		nc.Close()
		return
	}
	if tcp, ok := nc.(*net.TCPConn); ok && d.o.Accepted != nil {
		d.o.Accepted(tcp)
	}
	deadline := d.deadline()
	go func() {
		inner, err := Unwrap(d.ctx, nc, o.ProxyProtocol, o.TLS, deadline)
		d.mu.Lock()
		delete(d.begun, nc)
		switch {
		case err != nil:
			d.release(true)
		case o.WebSocket:
			d.counts.Accepted-- // counted again when the handshake is done
			d.release(false)
		}
		d.mu.Unlock()
		switch {
		case err != nil:
			d.o.Logger.Debug("connection failed", "listener", o.Name, "remote", nc.RemoteAddr(), "err", err)
			nc.Close()
		case o.WebSocket:
			d.giveWeb(inner, o)
		default:
			start(inner, o, refuse, deadline)
		}
	}()
}

func (d *Door[C]) deadline() time.Time { return time.Now().Add(min(d.o.Timeout, 1<<55)) }

// admit counts a new connection. refuse is why it is to be refused; ok is false when it is to be closed at once. nc, unless it is
// nil, does not speak the protocol yet.
func (d *Door[C]) admit(nc net.Conn) (refuse uint8, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping.Load() {
		return 0, false
	}
	refuse = d.o.Refuse(d.counts.Open >= d.o.Max)
	d.counts.Accepted++
	if refuse != 0 && d.counts.Open-d.o.Told >= d.o.Max {
		d.counts.Refused++
		return refuse, false
	}
	d.counts.Open++
	if nc != nil {
		d.begun[nc] = struct{}{}
	}
	return refuse, true
}

// release ends the count of a connection. d.mu is held.
func (d *Door[C]) release(refused bool) {
	if refused {
		d.counts.Refused++
	}
	d.counts.Open--
	if d.counts.Open == 0 && d.idle != nil {
		close(d.idle)
	}
}

// Add adds a connection that is to begin. It is false when there is to be none any more: whoever calls it closes nc.
func (d *Door[C]) Add(c C) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping.Load() {
		d.release(true)
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

// Remove takes a connection out that has ended. before is called with the lock held, and reports whether the connection counts as
// one that was refused.
func (d *Door[C]) Remove(c C, before func() (refused bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	refused := before()
	delete(d.conns, c)
	d.release(refused)
}

// Look calls f with the lock held.
func (d *Door[C]) Look(f func(conns map[C]struct{}, n Counts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d.conns, d.counts)
}

// Handler returns a handler that does the handshake of WebSocket and serves the connections. o may be nil.
func (d *Door[C]) Handler(o *ListenerOptions) http.Handler {
	if o == nil {
		o = new(ListenerOptions)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.upgrade(w, r, o) })
}

// upgrade does the handshake of WebSocket and starts a connection.
func (d *Door[C]) upgrade(w http.ResponseWriter, r *http.Request, o *ListenerOptions) {
	refuse, ok := d.admit(nil)
	if !ok {
		http.Error(w, "server is busy", http.StatusServiceUnavailable)
		return
	}
	nc, err := wsconn.Accept(w, r, &wsconn.AcceptOptions{Subprotocols: d.o.Subprotocols, Origins: d.o.Origins})
	if err != nil {
		d.o.Logger.Debug("WebSocket handshake failed", "listener", o.Name, "remote", r.RemoteAddr, "err", err)
		d.mu.Lock()
		d.release(true)
		d.mu.Unlock()
		return
	}
	go d.o.Start(nc, o, refuse, d.deadline())
}

// giveWeb hands a connection to the HTTP server, for its WebSocket handshake. Connections before it are limited apart from
// others, by the same number.
func (d *Door[C]) giveWeb(nc net.Conn, o *ListenerOptions) {
	d.mu.Lock()
	if d.stopping.Load() {
		d.mu.Unlock()
		nc.Close()
		return
	}
	if d.web == nil {
		d.web = NewWeb(func(w http.ResponseWriter, r *http.Request, o any) {
			d.upgrade(w, r, o.(*ListenerOptions))
		}, min(d.o.Timeout, 1<<55), d.o.Max)
	}
	web := d.web
	d.mu.Unlock()
	web.Give(nc, o)
}
