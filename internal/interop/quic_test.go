package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// quicTimeout ends what hangs, on a busy machine, too.
const quicTimeout = time.Minute

// quicConfig is the configuration of our end, which has time.
func quicConfig(c *tls.Config) quicnet.Config {
	return quicnet.Config{TLS: c, HandshakeTimeout: quicTimeout}
}

// freeUDP returns an address that nobody uses.
func freeUDP(t *testing.T) net.Addr {
	t.Helper()
	addrs, release, err := peer.Ports("udp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addrs[0]))
}

// quicKeys are certificates for both ends, as files and as configurations.
type quicKeys struct {
	ca, cert, key  string
	server, client *tls.Config
}

func newQUICKeys(t *testing.T) *quicKeys {
	t.Helper()
	k := new(quicKeys)
	var err error
	if k.ca, k.cert, k.key, err = peer.WriteCerts(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(k.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	k.server = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	k.client = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	return k
}

// quicContext bounds a test.
func quicContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), quicTimeout)
	t.Cleanup(cancel)
	return ctx
}

// An echo is a server on quicnet that returns what comes on each stream and in each datagram.
type echo struct {
	*quicnet.Listener
	conns chan *quicnet.Conn // those that came
	qlog  qlogs
}

// newEcho serves a protocol. o may be nil.
func newEcho(t *testing.T, k *quicKeys, alpn string, o *quicnet.ListenOptions) *echo {
	t.Helper()
	if o == nil {
		o = new(quicnet.ListenOptions)
	}
	e := &echo{conns: make(chan *quicnet.Conn, 100)}
	o.Config = quicConfig(k.server)
	o.Qlog = e.qlog.open
	var err error
	if e.Listener, err = quicnet.Listen("udp", "127.0.0.1:0", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	l := e.Protocol(alpn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.conns <- c.(*quicnet.Conn)
			go e.serve(c.(*quicnet.Conn))
		}
	}()
	return e
}

func (e *echo) serve(c *quicnet.Conn) {
	go func() {
		for {
			b, err := c.ReceiveDatagram(context.Background())
			if err != nil {
				return
			}
			c.SendDatagram(b)
		}
	}()
	go func() {
		for {
			s, err := c.AcceptStream(context.Background())
			if err != nil {
				return
			}
			go func() {
				io.Copy(s, s)
				s.CloseWrite()
			}()
		}
	}()
	io.Copy(c, c)
	c.CloseWrite()
}

// qlogs collects what connections write to their traces.
type qlogs struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (q *qlogs) open(quicnet.QlogInfo) io.WriteCloser { return qlogWriter{q} }

type qlogWriter struct{ *qlogs }

func (w qlogWriter) Close() error { return nil }

func (w qlogWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(b)
}

// count counts a text in all traces.
func (q *qlogs) count(s string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return bytes.Count(q.all.Bytes(), []byte(s))
}

// keyUpdated is in the events of a key update: local_update and remote_update, which are not those of the handshake.
const keyUpdated = `_update"`

// A stream is what the tests use of the streams of all peers.
type quicStream interface {
	io.ReadWriter
	CloseWrite() error
}

// noise returns n bytes that do not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8(sha256.Sum256([]byte(fmt.Sprint(n))))
	r.Read(b)
	return b
}

// checkEcho writes n bytes, ends the stream and reads them back to the end.
func checkEcho(t *testing.T, s quicStream, n int) {
	t.Helper()
	if d, ok := s.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(time.Now().Add(quicTimeout))
	}
	want := noise(n)
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(want)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err := errors.Join(err, <-sent); err != nil {
		t.Errorf("%d bytes there and back: %v", n, err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, or other ones", len(got), n)
	}
}

// checkBytes is checkEcho without the end of the answer.
func checkBytes(t *testing.T, s quicStream, n int) {
	t.Helper()
	if d, ok := s.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(time.Now().Add(quicTimeout))
	}
	want, got := noise(n), make([]byte, n)
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(want)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	_, err := io.ReadFull(s, got)
	if err := errors.Join(err, <-sent); err != nil {
		t.Errorf("%d bytes there and back: %v", n, err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("other bytes than the %d that were sent came back", n)
	}
}

// checkStreams does checkEcho on several streams at a time.
func checkStreams(t *testing.T, open func() (quicStream, error)) {
	t.Helper()
	checkStreamsWith(t, checkEcho, open)
}

// checkStreamsWith does check on several streams at a time.
func checkStreamsWith(t *testing.T, check func(t *testing.T, s quicStream, n int), open func() (quicStream, error)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s, err := open()
			if err != nil {
				t.Errorf("stream %d: %v", i, err)
				return
			}
			check(t, s, 1+i*5000)
		})
	}
	wg.Wait()
}

// netioStreams opens streams of a Conn.
func netioStreams(ctx context.Context, c netio.Streams) func() (quicStream, error) {
	return func() (quicStream, error) { return c.OpenStream(ctx) }
}

// A nat passes packets between clients and a server and may give the clients another address, as a home router does.
type nat struct {
	net.PacketConn
	server netip.AddrPort

	mu       sync.Mutex
	up       *net.UDPConn
	client   net.Addr
	rebounds int

	retries atomic.Int64 // Retry packets that passed
}

// newNAT returns one for a server. It serves one client.
func newNAT(t *testing.T, server net.Addr) *nat {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nat{PacketConn: pc, server: netip.MustParseAddrPort(server.String())}
	n.rebind(t)
	t.Cleanup(func() {
		n.Close()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.up.Close()
	})
	go func() {
		b := make([]byte, 1<<16)
		for {
			k, from, err := n.ReadFrom(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			n.up.WriteToUDPAddrPort(b[:k], n.server)
			n.mu.Unlock()
		}
	}()
	return n
}

// rebind gives the client another address.
func (n *nat) rebind(t *testing.T) {
	t.Helper()
	up, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up != nil {
		n.up.Close()
		n.rebounds++
	}
	n.up = up
	go n.down(up)
}

// down passes the server's packets to the client.
func (n *nat) down(up *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		k, err := up.Read(b)
		if err != nil {
			return
		}
		if isRetry(b[:k]) {
			n.retries.Add(1)
		}
		n.mu.Lock()
		n.WriteTo(b[:k], n.client)
		n.mu.Unlock()
	}
}

// isRetry looks at the long header of version 1 (RFC 9000, section 17.2.5).
func isRetry(b []byte) bool {
	return len(b) > 5 && b[0]&0xf0 == 0xf0 && hex.EncodeToString(b[1:5]) == "00000001"
}
