package quicnet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// authority is a certificate authority of the tests, with a certificate of the server and one of a client.
type authority struct {
	pool           *x509.CertPool
	server, client tls.Certificate
}

var testAuthority = sync.OnceValue(func() *authority {
	// Valid around the time of a synctest bubble and around now.
	from, to := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootKey := key()
	sign := func(c *x509.Certificate, pub, parentKey *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, root, &pub.PublicKey, parentKey)
		if err != nil {
			panic(err)
		}
		return der
	}
	rootDER := sign(root, rootKey, rootKey)
	parsed, err := x509.ParseCertificate(rootDER)
	if err != nil {
		panic(err)
	}
	a := &authority{pool: x509.NewCertPool()}
	a.pool.AddCert(parsed)
	leaf := func(serial int64, name string, usage x509.ExtKeyUsage) tls.Certificate {
		k := key()
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
			DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
		return tls.Certificate{Certificate: [][]byte{sign(c, k, rootKey)}, PrivateKey: k}
	}
	a.server = leaf(2, "broker", x509.ExtKeyUsageServerAuth)
	a.client = leaf(3, "device-7", x509.ExtKeyUsageClientAuth)
	return a
})

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{testAuthority().server}}
}

func clientTLS() *tls.Config { return &tls.Config{RootCAs: testAuthority().pool, ServerName: "broker"} }

// env is a listener and a dialer on a network in memory, inside a synctest bubble.
type env struct {
	*testing.T
	net      *packetNet
	listener *Listener
	dialer   *Dialer
	pc       *packetConn // the dialer's socket
}

const (
	serverAddr = "10.0.0.1:14567"
	clientAddr = "10.0.1.1:5000"
	rtt        = 20 * time.Millisecond
)

// bubble runs f in a synctest bubble with an env, which is shut down at the end.
func bubble(t *testing.T, lo *ListenOptions, d *Dialer, f func(e *env)) {
	t.Helper()
	testAuthority()
	synctest.Test(t, func(t *testing.T) {
		e := &env{T: t, net: newPacketNet(rtt / 2), dialer: d}
		if lo == nil {
			lo = &ListenOptions{}
		}
		if lo.TLS == nil {
			lo.TLS = serverTLS()
		}
		pc := e.net.listen(serverAddr)
		var err error
		if e.listener, err = NewListener(pc, lo); err != nil {
			t.Fatal(err)
		}
		if e.dialer == nil {
			e.dialer = &Dialer{}
		}
		if e.dialer.TLS == nil {
			e.dialer.TLS = clientTLS()
		}
		if e.dialer.ListenPacket == nil {
			e.dialer.ListenPacket = func(context.Context, net.Addr) (net.PacketConn, error) {
				e.pc = e.net.listen(clientAddr)
				return e.pc, nil
			}
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			e.dialer.Shutdown(ctx)
			e.listener.Shutdown(ctx)
			pc.Close()
			pause(time.Minute) // closed connections keep timers for a while
		}()
		f(e)
	})
}

// pause lets the time of the bubble pass.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// pair returns both ends of a connection, on which nothing but the client's first byte was sent.
func (e *env) pair(l net.Listener, alpn string) (client, server *Conn) {
	e.Helper()
	client = e.dial(alpn)
	if _, err := client.Write([]byte{'!'}); err != nil {
		e.Fatal(err)
	}
	server = e.accept(l)
	if _, err := server.Read(make([]byte, 1)); err != nil {
		e.Fatal(err)
	}
	return client, server
}

func (e *env) dial(alpn string) *Conn {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), 30*time.Second)
	defer cancel()
	c, err := e.dialer.Dial(ctx, alpn, serverAddr)
	if err != nil {
		e.Fatal(err)
	}
	return c
}

func (e *env) accept(l net.Listener) *Conn {
	e.Helper()
	c, err := l.Accept()
	if err != nil {
		e.Fatal(err)
	}
	return c.(*Conn)
}
