// Package proxyproto reads the PROXY protocol, versions 1 and 2, with which a proxy or load balancer tells a server
// whom it speaks for. The standard is haproxy's proxy-protocol.txt.
package proxyproto

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// DefaultTimeout is how long Wrap waits for a header when the options do not say.
const DefaultTimeout = 5 * time.Second

// Options configure Wrap; nil means the defaults.
type Options struct {
	// Timeout bounds the wait for the header; zero means DefaultTimeout, negative no limit.
	Timeout time.Duration

	// From are the addresses of the proxies; connections from elsewhere, Unix sockets too, are refused. Empty means
	// that everybody who can connect is trusted to be a proxy.
	From []netip.Prefix
}

// Conn is a connection whose header has been read.
type Conn struct {
	net.Conn
	header *Header
}

// Wrap reads the header that conn must begin with, and no byte more. It returns a connection whose addresses are those
// that the header gives, if it gives any. The result has the methods of Conn, and is a syscall.Conn if conn is one.
//
// Wrap sets the read deadline and leaves none. On error the caller closes conn.
func Wrap(conn net.Conn, o *Options) (net.Conn, error) {
	if o == nil {
		o = new(Options)
	}
	if !o.trusts(conn.RemoteAddr()) {
		return nil, fmt.Errorf("proxyproto: %v is no known proxy", conn.RemoteAddr())
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	if timeout > 0 {
		if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return nil, err
		}
	}
	h, err := ReadHeader(conn)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c := &Conn{conn, h}
	if sc, ok := conn.(syscall.Conn); ok {
		return &rawConn{c, sc}, nil
	}
	return c, nil
}

// trusts reports whether a header from this address is believed.
func (o *Options) trusts(remote net.Addr) bool {
	if len(o.From) == 0 {
		return true
	}
	ap, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return false
	}
	for _, p := range o.From {
		if p.Contains(ap.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// Header returns what the proxy said.
func (c *Conn) Header() *Header { return c.header }

// RemoteAddr returns the address of the proxy's peer when the header gives it, else that of the proxy.
func (c *Conn) RemoteAddr() net.Addr {
	if c.header.Source != nil {
		return c.header.Source
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr returns the address at the proxy when the header gives it, else the own one.
func (c *Conn) LocalAddr() net.Addr {
	if c.header.Destination != nil {
		return c.header.Destination
	}
	return c.Conn.LocalAddr()
}

// rawConn is a Conn over a syscall.Conn.
type rawConn struct {
	*Conn
	raw syscall.Conn
}

// SyscallConn implements syscall.Conn.
func (c *rawConn) SyscallConn() (syscall.RawConn, error) { return c.raw.SyscallConn() }
