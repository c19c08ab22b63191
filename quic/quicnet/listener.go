package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// ListenOptions shape a Listener.
type ListenOptions struct {
	Config

	// RetryAbove is how many handshakes may be under way before further clients first have to prove their address
	// with a Retry packet (RFC 9000, section 8.1.2), which costs them a round trip and keeps forged addresses out.
	// Without it a server sends at most three times what it got to an address that is not proved (section 8.1). The
	// default is 128; negative asks every client.
	RetryAbove int

	// MaxHandshakes is how many handshakes may be under way; further clients are refused. The default is 4096.
	MaxHandshakes int

	// MaxConns is how many connections there may be; further clients are refused. The default, zero, is no limit.
	MaxConns int

	// Backlog is how many connections wait in each net.Listener for Accept; further ones are closed with CodeOverload.
	// The default is 128.
	Backlog int

	// StatelessResetKey lets a server that was started anew tell clients that it has forgotten their connections
	// (RFC 9000, section 10.3), where they else wait for the idle timeout. It must stay the same, be random and secret,
	// and may be shared by servers behind one address only if they issue distinct connection ids.
	StatelessResetKey *[32]byte

	// TokenKey protects the tokens by which clients prove their address (RFC 9000, section 8.1). The default is a new
	// random key; servers that stand in for each other share one.
	TokenKey *[32]byte

	// EarlyData lets clients send early data (0-RTT), each ticket once. Without a guard none is taken. The server must
	// know (netio.EarlyData): those of this module handle nothing before Conn.Confirmed that must not be repeated, see
	// docs/quic-0rtt.md.
	EarlyData *Guard

	// ConnectionIDs makes the connection ids that clients send to. The default is 8 random bytes.
	ConnectionIDs ConnectionIDs
}

// ConnectionIDs makes connection ids, so that a load balancer can send the packets of a connection to the same server
// after its client moved to another address, which one that looks at addresses and ports alone cannot. An id usually
// has the server's number in it, encrypted, and random bytes (draft-ietf-quic-load-balancers). Ids must be unique, and
// nobody who watches may be able to tell that two of them belong to the same connection. The methods may be called
// concurrently.
type ConnectionIDs interface {
	// NewConnectionID returns a new id, always of Len bytes.
	NewConnectionID() ([]byte, error)

	// Len is the length of the ids, 4 to 20.
	Len() int
}

// Listener receives QUIC connections on one UDP socket and hands them out by protocol. All methods may be called
// concurrently.
type Listener struct {
	o       ListenOptions
	tr      *quic.Transport
	ql      *quic.EarlyListener
	pc      net.PacketConn
	ownPC   bool // pc is ours to close
	group   group
	pending atomic.Int64 // handshakes under way

	tlsConfig atomic.Pointer[tls.Config] // what handshakes use; made anew by each Protocol

	mu        sync.Mutex
	closed    bool
	protocols map[string]*protocolListener
	names     []string // of protocols, in order of preference

	open      context.Context // ends with Close
	shut      context.CancelFunc
	accepting chan struct{}  // closed when accept has returned
	welcoming sync.WaitGroup // connections without a first stream
	down      chan struct{}  // closed when the socket is given back
	closing   sync.Once
}

// Listen opens a UDP socket and returns a Listener on it. The network is "udp", "udp4" or "udp6".
func Listen(network, address string, o *ListenOptions) (*Listener, error) {
	addr, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	pc, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	l, err := newListener(pc, o, true)
	if err != nil {
		pc.Close()
		return nil, err
	}
	return l, nil
}

// NewListener returns a Listener on a socket of the caller, who closes it after the Listener's Shutdown has returned.
// Nobody else may use it until then.
func NewListener(pc net.PacketConn, o *ListenOptions) (*Listener, error) {
	return newListener(pc, o, false)
}

func newListener(pc net.PacketConn, o *ListenOptions, own bool) (*Listener, error) {
	l := &Listener{pc: pc, ownPC: own, protocols: make(map[string]*protocolListener),
		accepting: make(chan struct{}), down: make(chan struct{})}
	l.open, l.shut = context.WithCancel(context.Background())
	if o != nil {
		l.o = *o
	}
	if l.o.TLS == nil {
		return nil, configError("a Listener needs Config.TLS")
	}
	if err := l.o.check(); err != nil {
		return nil, err
	}
	if l.o.MaxStreams < 0 {
		l.o.MaxStreams = 1
	}
	l.buildTLS()
	l.tr = &quic.Transport{
		Conn:                pc,
		ConnectionIDLength:  connectionIDLen,
		StatelessResetKey:   (*quic.StatelessResetKey)(l.o.StatelessResetKey),
		TokenGeneratorKey:   (*quic.TokenGeneratorKey)(l.o.TokenKey),
		VerifySourceAddress: l.verifyAddress,
		ConnContext:         l.admit,
	}
	if ids := l.o.ConnectionIDs; ids != nil {
		if ids.Len() < 4 || ids.Len() > 20 {
			return nil, configError("connection ids have 4 to 20 bytes")
		}
		l.tr.ConnectionIDGenerator = idGenerator{ids}
	}
	ql, err := l.tr.ListenEarly(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: l.configFor,
	}, l.quicConfig())
	if err != nil {
		return nil, errOf(err)
	}
	l.ql = ql
	go l.accept()
	return l, nil
}

// connectionIDLen is the length of the connection ids that this package makes.
const connectionIDLen = 8

// quicConfig returns the configuration of every connection.
func (l *Listener) quicConfig() *quic.Config {
	q := l.o.quic()
	q.Allow0RTT = l.o.EarlyData != nil
	return q
}

// buildTLS makes the configuration of handshakes anew, with the names of the protocols there are. It is called with
// l.mu held, or before anybody else knows l.
func (l *Listener) buildTLS() {
	l.tlsConfig.Store(l.serverTLS(l.o.TLS))
}

// serverTLS returns the configuration that handshakes use in the place of base.
func (l *Listener) serverTLS(base *tls.Config) *tls.Config {
	c := base.Clone()
	if l.o.EarlyData != nil {
		c = l.o.EarlyData.config(base, l.earlyRefused)
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	c.GetConfigForClient = nil
	c.NextProtos = nil
	c.NextProtos = slices.Clone(l.names)
	return c
}

var errNoProtocol = errors.New("quicnet: no protocol is served")

// configFor returns the configuration of one handshake.
func (l *Listener) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if choose := l.o.TLS.GetConfigForClient; choose != nil {
		c, err := choose(hello)
		if err != nil {
			return nil, err
		}
		if c != nil {
			l.mu.Lock()
			made := l.serverTLS(c)
			l.mu.Unlock()
			return l.served(made, c, hello)
		}
	}
	return l.served(l.tlsConfig.Load(), l.o.TLS, hello)
}

// served returns the configuration made from base for one handshake, unless there is no protocol to agree on.
func (l *Listener) served(made, base *tls.Config, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(made.NextProtos) == 0 { // crypto/tls would agree to none
		return nil, errNoProtocol
	}
	return l.earlyTraced(made, base, hello), nil
}

// Addr returns the address of the socket.
func (l *Listener) Addr() net.Addr { return l.pc.LocalAddr() }

// accept hands out connections until the listener is closed, or its socket fails, which closes it.
func (l *Listener) accept() {
	defer close(l.accepting)
	for {
		qc, err := l.ql.Accept(context.Background())
		if err != nil {
			if l.close() {
				l.o.logger().Error("the socket failed", "address", l.Addr(), "error", errOf(err))
			}
			return
		}
		l.welcoming.Go(func() { l.welcome(qc) })
	}
}

// welcome waits for the first stream of a connection and hands it to its protocol.
func (l *Listener) welcome(qc *quic.Conn) {
	adm := qc.Context().Value(admissionKey{}).(*admission)
	defer adm.end() // with a first stream, or without one, it is no handshake any more
	ctx, cancel := context.WithTimeout(qc.Context(), l.o.handshakeTimeout())
	defer cancel()
	defer context.AfterFunc(l.open, cancel)()
	src := l.source(qc)
	q, err := src.acceptStream(ctx)
	if err != nil {
		switch {
		case qc.Context().Err() != nil:
		case l.open.Err() != nil:
			_ = qc.CloseWithError(quic.ApplicationErrorCode(CodeOverload), "the server is closing")
		default:
			l.group.stats.silent.Add(1)
			l.o.logger().Debug("a client opened no stream", "remote", qc.RemoteAddr())
			_ = qc.CloseWithError(quic.ApplicationErrorCode(CodeControl), "no stream was opened")
		}
		return
	}
	if most := l.o.MaxConns; most > 0 && !l.group.reserve(most) { // others came meanwhile
		l.refused(qc.RemoteAddr())
		_ = qc.CloseWithError(quic.ApplicationErrorCode(CodeOverload), "too many connections")
		return
	}
	c := newConn(qc, src, q, &l.o.Config, nil, &l.group, adm.start)
	adm.conn.Store(c)
	l.earlyAccepted(c)
	name := c.Protocol()
	l.mu.Lock()
	p := l.protocols[name]
	l.mu.Unlock()
	if p == nil || !p.push(c) {
		l.group.stats.overloaded.Add(1)
		l.o.logger().Warn("nobody accepts a connection", "remote", c.RemoteAddr(), "protocol", name)
		c.Abort(CodeOverload, "too many connections")
	}
}

// Close ends the Listener and its net.Listeners. It never waits: no client is let in from now on, the connections there
// are close as Conn.Close says, and then the socket closes.
func (l *Listener) Close() error {
	if !l.close() {
		return net.ErrClosed
	}
	return nil
}

// Shutdown closes the Listener and waits until its connections have delivered what was written and the socket is
// closed. When ctx ends before that, they are ended at once and the error is that of ctx.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.close()
	err := l.group.wait(ctx)
	if err != nil {
		l.group.abort(CodeAborted, "")
	}
	<-l.down
	return err
}

func (l *Listener) close() bool {
	first := false
	l.closing.Do(func() {
		first = true
		l.mu.Lock()
		l.closed = true
		all := l.protocols
		l.protocols, l.names = nil, nil
		l.mu.Unlock()
		for _, p := range all {
			p.end()
		}
		l.shut()
		l.group.close()
		go l.end()
	})
	return first
}

// end closes the socket when all connections are gone.
func (l *Listener) end() {
	defer close(l.down)
	_ = l.ql.Close()
	<-l.accepting
	l.welcoming.Wait()
	l.group.close()
	_ = l.group.wait(context.Background())
	_ = l.tr.Close()
	if l.ownPC {
		_ = l.pc.Close()
	}
}

// idGenerator makes connection ids for quic-go.
type idGenerator struct{ ConnectionIDs }

func (g idGenerator) GenerateConnectionID() (quic.ConnectionID, error) {
	b, err := g.NewConnectionID()
	if err == nil && len(b) != g.Len() {
		err = configError("a connection id has another length than ConnectionIDs.Len")
	}
	if err != nil {
		return quic.ConnectionID{}, err
	}
	return quic.ConnectionIDFromBytes(b), nil
}

func (g idGenerator) ConnectionIDLen() int { return g.Len() }
