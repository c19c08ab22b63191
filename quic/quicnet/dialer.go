package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Dialer makes QUIC connections. The zero value works for servers whose certificates the system trusts. All its
// connections share one UDP socket, which is opened with the first of them and closed soon after the last. A Dialer must
// not be copied or changed after first use. All methods may be called concurrently.
type Dialer struct {
	Config

	// PacketConn is the socket to use. The caller closes it, after Shutdown has returned. The default is a UDP socket
	// on a port that the system chooses.
	PacketConn net.PacketConn

	// ListenPacket opens a socket when one is needed, for remote. The default is a UDP socket on all addresses.
	ListenPacket func(ctx context.Context, remote net.Addr) (net.PacketConn, error)

	// Resolve returns the addresses of a host. The default asks net.DefaultResolver.
	Resolve func(ctx context.Context, host string) ([]net.IP, error)

	// FallbackDelay is how long DialURL waits for QUIC before it tries TLS over TCP too. The default is 250 ms;
	// negative never tries it.
	FallbackDelay time.Duration

	// Fallback returns the TCP address for TLS in the place of a QUIC address, or nothing for none. The default is the
	// port that TLS has in the scheme (mqtt 8883, amqp 5671, kafka 9094) where the URL has the default port of QUIC,
	// and else the same number.
	Fallback func(scheme, host, port string) string

	// FallbackTLS is the configuration of TLS over TCP. The default is TLS.
	FallbackTLS *tls.Config

	// DialTCP makes the TCP connection of the fallback. The default is that of net.Dialer.
	DialTCP func(ctx context.Context, network, address string) (net.Conn, error)

	// EarlyData is how many bytes are written on a connection before its handshake is complete, on all streams together
	// (0-RTT); what is written beyond waits for Conn.Confirmed. It takes a ticket of an earlier connection and a server
	// with a Guard. Dial then returns before the server has answered, a round trip sooner. What the server refuses is
	// sent again. The default is none; 16 KiB is what a Guard takes.
	//
	// Somebody who has recorded early data can send it again, and a server without a guard may take it. Only a client
	// that knows (netio.EarlyData) may dial with it: mqttclient, amqpclient091 and kafkaclient of this module keep what
	// must not be repeated until Confirmed, see docs/quic-0rtt.md.
	EarlyData int

	// Store keeps session tickets and address tokens for later connections, also those of another process if it is a
	// DirStore. It takes the place of TLS.ClientSessionCache. The default is a MemoryStore with EarlyData, and
	// otherwise none.
	Store Store

	// Paths say how connections follow the network, see PathOptions. Nil is the defaults where the Dialer opens the
	// sockets itself; with ListenPacket connections follow only if Paths.Route is set, and with PacketConn never.
	Paths *PathOptions

	group group
	early dialEarly

	mu       sync.Mutex
	closed   bool
	socket   *socket // the last one that was opened or moved to
	watching bool    // the network is watched
}

// Dial makes a QUIC connection to address, "host:port", for a protocol (ALPN, RFC 7301). It tries the
// addresses of the host in turn, 250 ms apart, and takes the first that answers. It returns when the handshake is
// complete, or before it with EarlyData. The server learns of the connection with the first byte that is written.
func (d *Dialer) Dial(ctx context.Context, alpn, address string) (*Conn, error) {
	return d.dial(ctx, address, []string{alpn})
}

// dial makes a connection for the first of the names that the server knows.
func (d *Dialer) dial(ctx context.Context, address string, alpn []string) (*Conn, error) {
	host, addrs, err := d.resolve(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "quic", Err: err}
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	tlsConfig := d.tlsConfig(host, alpn)
	attempts := make([]attempt, len(addrs))
	for i, addr := range addrs {
		attempts[i] = func(ctx context.Context) (net.Conn, error) {
			c, err := asConn(d.dialAddr(ctx, addr, address, tlsConfig))
			if err != nil {
				err = &net.OpError{Op: "dial", Net: "quic", Addr: addr, Err: err}
			}
			return c, err
		}
	}
	c, _, errs := race(ctx, addressDelay, attempts...)
	switch {
	case c != nil:
		return c.(*Conn), nil
	case len(errs) == 1:
		return nil, errs[0]
	}
	return nil, errors.Join(errs...)
}

// tlsConfig returns the configuration of a handshake with host.
func (d *Dialer) tlsConfig(host string, alpn []string) *tls.Config {
	c := &tls.Config{}
	if d.TLS != nil {
		c = d.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	c.NextProtos = alpn
	return c
}

// quicConfig returns the configuration of every connection.
func (d *Dialer) quicConfig() *quic.Config {
	return d.quic()
}

// dialAddr makes a connection to one address.
func (d *Dialer) dialAddr(ctx context.Context, addr *net.UDPAddr, address string, tlsConfig *tls.Config) (*Conn, error) {
	route, err := d.routeOf(addr)
	if err != nil { // before a ticket is spent
		d.group.stats.failed.Add(1)
		return nil, err
	}
	s, err := d.acquireSocket(ctx, addr)
	if err != nil {
		return nil, err
	}
	r := d.resumption(address, tlsConfig)
	start, obs := time.Now(), new(observer)
	dial := s.tr.Dial
	if r.early {
		dial = s.tr.DialEarly
	}
	qc, err := dial(context.WithValue(ctx, observerKey{}, obs), addr, r.tls, r.quic)
	if err != nil {
		if errors.Is(err, quic.ErrTransportClosed) { // the socket has failed: the next dial opens another one
			go s.close()
		}
		s.release()
		d.group.stats.failed.Add(1)
		return nil, errOf(err)
	}
	src := d.source(qc, r)
	q, err := src.openStream(ctx)
	if err != nil {
		_ = qc.CloseWithError(quic.ApplicationErrorCode(CodeControl), "")
		s.release()
		d.group.stats.failed.Add(1)
		return nil, errOf(err)
	}
	p := newPath(d, s, route)
	c := newConn(qc, src, q, &d.Config, p, &d.group, start)
	obs.conn.Store(c)
	c.traceEarly()
	context.AfterFunc(qc.Context(), p.end)
	d.watchPaths()
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		c.Abort(CodeAborted, "")
		return nil, net.ErrClosed
	}
	return c, nil
}

// resolve returns the host and the UDP addresses of "host:port".
func (d *Dialer) resolve(ctx context.Context, address string) (host string, addrs []*net.UDPAddr, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return "", nil, err
	}
	if ip := net.ParseIP(host); ip != nil {
		return host, []*net.UDPAddr{{IP: ip, Port: port}}, nil
	}
	if d.Resolve != nil {
		ips, err := d.Resolve(ctx, host)
		for _, ip := range ips {
			addrs = append(addrs, &net.UDPAddr{IP: ip, Port: port})
		}
		return host, addrs, noAddress(host, addrs, err)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	for _, ip := range ips {
		addrs = append(addrs, &net.UDPAddr{IP: ip.IP, Port: port, Zone: ip.Zone})
	}
	return host, addrs, noAddress(host, addrs, err)
}

func noAddress(host string, addrs []*net.UDPAddr, err error) error {
	if err == nil && len(addrs) == 0 {
		return &net.AddrError{Err: "no address", Addr: host}
	}
	return err
}

// acquireSocket returns the dialer's socket, held, and opens one if there is none.
func (d *Dialer) acquireSocket(ctx context.Context, remote net.Addr) (*socket, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, net.ErrClosed
	}
	if d.socket != nil && d.socket.acquire() {
		return d.socket, nil
	}
	s, err := d.openSocket(ctx, remote)
	if err != nil {
		return nil, err
	}
	s.acquire()
	d.socket = s
	return s, nil
}

// openSocket opens a socket without a holder.
func (d *Dialer) openSocket(ctx context.Context, remote net.Addr) (*socket, error) {
	switch {
	case d.PacketConn != nil:
		return newSocket(d.PacketConn, false), nil
	case d.ListenPacket != nil:
		pc, err := d.ListenPacket(ctx, remote)
		if err != nil {
			return nil, err
		}
		return newSocket(pc, true), nil
	}
	pc, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	return newSocket(outageConn{pc}, true), nil
}

// Shutdown closes all connections, waits until they have delivered what was written, and closes the socket. When ctx ends
// before that, they are ended at once and the error is that of ctx. The Dialer dials no more.
func (d *Dialer) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	s := d.socket
	d.mu.Unlock()
	d.group.close()
	err := d.group.wait(ctx)
	if err != nil {
		d.group.abort(CodeAborted, "")
	}
	if s != nil {
		s.close()
	}
	return err
}
