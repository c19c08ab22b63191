package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections a listener holds that nobody has accepted.
const backlog = 128

// Listener is a net.Listener that is reached with its own Dial. It is safe for concurrent use.
type Listener struct {
	addr    Addr
	pending chan *Conn
	done    chan struct{}

	mu     sync.Mutex
	closed bool
	dials  int
	onDial func(n int) (*Options, error)
}

// Listen returns a listener with an address that may be any text. Two listeners may have the same one: there is no
// shared name space.
func Listen(addr string) *Listener {
	return &Listener{addr: Addr(addr), pending: make(chan *Conn, backlog), done: make(chan struct{})}
}

// OnDial sets a function that is called at each Dial, with how many there were before. It returns the Options of the
// new connection, which may be nil, or an error that refuses it.
func (l *Listener) OnDial(f func(n int) (*Options, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onDial = f
}

// Dial connects to the listener. It waits for the latency of both directions and while the backlog is full, and fails
// with ECONNREFUSED once the listener is closed. The conn is a *Conn.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	o, n, err := l.options()
	if err != nil {
		return nil, l.dialError(err)
	}
	client, server := newConns(o, Addr(fmt.Sprintf("192.0.2.1:%d", 1024+n%64000)), l.addr)
	if o != nil && o.ToServer.Latency+o.ToClient.Latency > 0 {
		t := time.NewTimer(o.ToServer.Latency + o.ToClient.Latency)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, l.dialError(err)
	}
	select {
	case l.pending <- server:
	case <-l.done:
	case <-ctx.Done():
		return nil, l.dialError(ctx.Err())
	}
	if l.isClosed() {
		client.Abort()
		return nil, l.dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return client, nil
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *Listener) options() (o *Options, n int, err error) {
	l.mu.Lock()
	n, f := l.dials, l.onDial
	l.dials++
	l.mu.Unlock()
	if f != nil {
		o, err = f(n)
	}
	return o, n, err
}

func (l *Listener) dialError(err error) error {
	return &net.OpError{Op: "dial", Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// Accept waits for the next connection. The conn is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	if !l.isClosed() {
		select {
		case <-l.done:
		case c := <-l.pending:
			return c, nil
		}
	}
	return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

// Close stops the listener and resets connections that nobody has accepted.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case c := <-l.pending:
			c.Abort()
		default:
			return nil
		}
	}
}

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.addr }
