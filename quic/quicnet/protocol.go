package quicnet

import (
	"net"
	"slices"
	"sync"
)

// Protocol returns a net.Listener for the connections whose clients asked for one of these names (ALPN, RFC 7301). It
// is what a server's Serve takes. A name belongs to the last net.Listener that was made for it. Of several names
// that a client asks for, the one that was first an argument of Protocol wins; a client that asks only for names that
// nobody serves is refused with the TLS alert no_application_protocol.
//
// Accept returns *Conn. Closing the net.Listener ends its Accept and its names, closes the connections that waited to
// be accepted, and leaves the others and the Listener alone.
func (l *Listener) Protocol(alpn ...string) net.Listener {
	backlog := max(1, orDefault(l.o.Backlog, 128))
	p := &protocolListener{l: l, queue: make(chan *Conn, backlog), closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		p.end()
		return p
	}
	for _, name := range alpn {
		if l.protocols[name] == nil {
			l.names = append(l.names, name)
		}
		l.protocols[name] = p
	}
	l.buildTLS()
	return p
}

// protocolListener is the net.Listener of some protocols.
type protocolListener struct {
	l      *Listener
	queue  chan *Conn
	closed chan struct{}

	mu  sync.Mutex
	off bool
}

// push queues a connection for Accept.
func (p *protocolListener) push(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return false
	}
	select {
	case p.queue <- c:
		return true
	default:
		return false
	}
}

// Accept waits for the next connection.
func (p *protocolListener) Accept() (net.Conn, error) {
	select {
	case <-p.closed:
	default:
		select {
		case c := <-p.queue:
			return c, nil
		case <-p.closed:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "quic", Addr: p.Addr(), Err: net.ErrClosed}
}

// Close ends Accept and the protocol's names.
func (p *protocolListener) Close() error {
	p.l.mu.Lock()
	for name, q := range p.l.protocols {
		if p == q {
			delete(p.l.protocols, name)
			p.l.names = slices.DeleteFunc(p.l.names, func(n string) bool { return n == name })
		}
	}
	if !p.l.closed {
		p.l.buildTLS()
	}
	p.l.mu.Unlock()
	if !p.end() {
		return &net.OpError{Op: "close", Net: "quic", Addr: p.Addr(), Err: net.ErrClosed}
	}
	return nil
}

// end closes p and what waits in it. It returns false when that was done before.
func (p *protocolListener) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return false
	}
	p.off = true
	close(p.closed)
	for {
		select {
		case c := <-p.queue:
			go c.Abort(CodeOverload, "the server is closing")
		default:
			return true
		}
	}
}

// Addr returns the address of the socket.
func (p *protocolListener) Addr() net.Addr { return p.l.Addr() }
