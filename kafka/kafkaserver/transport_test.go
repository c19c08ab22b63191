package kafkaserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	mathrand "math/rand"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// certificate makes a certificate; parent nil makes an authority.
func certificate(t *testing.T, name string, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), BasicConstraintsValid: true, IsCA: parent == nil,
	}
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pool(c *tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.Leaf)
	return p
}

// dialTLS connects; certificates are the client's.
func dialTLS(t *testing.T, l *memnet.Listener, ca *tls.Certificate, certificates ...tls.Certificate) *peer {
	p := dial(t, l)
	p.nc = tls.Client(p.nc, &tls.Config{RootCAs: pool(ca), ServerName: "broker", Certificates: certificates})
	return p
}

func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certificate(t, "ca", nil)
		config := &tls.Config{Certificates: []tls.Certificate{*certificate(t, "broker", ca)}, ClientCAs: pool(ca),
			ClientAuth: tls.VerifyClientCertIfGiven}
		b := new(users)
		s := kafkaserver.New(b, nil)
		l := memListener(t, s, &kafkaserver.ListenerOptions{TLS: config})

		// Without a certificate; large requests and responses; the last response before the end.
		p := dialTLS(t, l, ca)
		if r := p.handshake("none", 1); len(r.Mechanisms) != 4 || r.Mechanisms[3] != "OAUTHBEARER" {
			t.Error(r.Mechanisms)
		}
		p.ended()
		p = dialTLS(t, l, ca)
		go p.nc.Write(p.produce(3 << 20))
		p.receive(1, new(kafkawire.ProduceResponse), 7)
		if conn := b.conns[0]; conn.Principal() != kafkaserver.Anonymous || conn.TLS() == nil {
			t.Error(conn.Principal())
		}

		// With one.
		p = dialTLS(t, l, ca, *certificate(t, "app", ca))
		p.beat()
		if got := b.conns[1].Principal().String(); got != "User:CN=app,O=Example" {
			t.Error(got)
		}

		// SASL on top of it.
		p = dialTLS(t, l, ca, *certificate(t, "app", ca))
		p.exchange("SCRAM-SHA-256", "secret")
		p.beat()
		if got := b.conns[2].Principal().String(); got != "User:alice" {
			t.Error(got)
		}

		// No TLS at all.
		plain := dial(t, l)
		plain.write(plain.encode(&kafkawire.HeartbeatRequest{}, 4))
		if f, err := plain.frame(); err == nil {
			t.Errorf("%q", f)
		}
	})
}

func TestCertificateUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := certificate(t, "ca", nil)
		b := new(backend)
		b.login = func(a *kafkaserver.Auth) (kafkaserver.Login, error) {
			if a.User == "" {
				return kafkaserver.Login{}, errTest
			}
			return kafkaserver.Login{}, nil
		}
		s := kafkaserver.New(b, &kafkaserver.Options{CertificateUser: func(c *x509.Certificate) string { return c.Subject.CommonName }})
		l := memListener(t, s, &kafkaserver.ListenerOptions{TLS: &tls.Config{
			Certificates: []tls.Certificate{*certificate(t, "broker", ca)}, ClientCAs: pool(ca), ClientAuth: tls.VerifyClientCertIfGiven}})
		p := dialTLS(t, l, ca, *certificate(t, "app", ca))
		p.beat()
		if got := b.conns[0].Principal().String(); got != "User:app" {
			t.Error(got)
		}
		p = dialTLS(t, l, ca)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.ended()
	})
}

func TestProxyProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		s := kafkaserver.New(b, &kafkaserver.Options{Limits: kafkaserver.Limits{MaxConnectionsPerIP: 1}})
		l := memListener(t, s, &kafkaserver.ListenerOptions{ProxyProtocol: true})
		from := func(addr string) *peer {
			p := dial(t, l)
			p.write([]byte("PROXY TCP4 " + addr + " 198.51.100.4 5555 9093\r\n"))
			return p
		}
		p := from("203.0.113.7")
		p.beat()
		c := b.conns[0]
		if c.RemoteAddr().String() != "203.0.113.7:5555" || c.LocalAddr().String() != "198.51.100.4:9093" {
			t.Error(c.RemoteAddr(), c.LocalAddr())
		}
		if host, port := c.Advertised(); host != "198.51.100.4" || port != 9093 {
			t.Error(host, port)
		}
		from("203.0.113.8").beat()
		from("203.0.113.7").ended()
		bare := dial(t, l)
		bare.write(bare.encode(&kafkawire.HeartbeatRequest{}, 4))
		bare.ended()
	})
}

// tcp serves a backend on a loopback port and returns a client.
func tcp(t testing.TB, b kafkaserver.Backend, o *kafkaserver.Options) *peer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	s := kafkaserver.New(b, o)
	go s.Serve(l, nil)
	t.Cleanup(func() { s.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc}
}

// TestTCP is a conversation over TCP with large requests and responses.
func TestTCP(t *testing.T) {
	b := new(backend)
	b.handle = func(r *kafkaserver.Request) {
		if r.Key == kafkawire.KeyProduce {
			data := kafkaserver.NewBuffer(len(r.Body))
			copy(data.Bytes, r.Body)
			r.ReplyEncoded(r.Start(), kafkaserver.Splice{At: 8, Data: data.Bytes, Owner: data})
			return
		}
		r.Reply(kafkawire.NewResponse(r.Key))
	}
	p := tcp(t, b, nil)
	var frames [][]byte
	for i := range 40 {
		f := p.produce(1 + i*i*600)
		f[len(f)-1] = byte(i)
		frames = append(frames, f)
	}
	go func() {
		for _, f := range frames {
			p.nc.Write(f)
		}
	}()
	for i, want := range frames {
		f, err := p.frame()
		if err != nil || string(f[4:]) != string(want[4+8+2+4:]) {
			t.Fatalf("response %d: %d bytes, %v", i, len(f), err)
		}
	}
	p.beat()
}

// TestFilesInResponses sends parts of files between what is in memory, and one that is not there.
func TestFilesInResponses(t *testing.T) {
	data := make([]byte, 4<<20)
	mathrand.New(mathrand.NewSource(1)).Read(data)
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lent sync.WaitGroup
	b := &backend{over: make(chan struct{})}
	sends := make(chan bool, 1)
	b.handle = func(r *kafkaserver.Request) {
		if r.Key != kafkawire.KeyFetch {
			sends <- r.SendsFiles()
			r.Reply(kafkawire.NewResponse(r.Key))
			return
		}
		out := append(r.Start(), "abcdef"...)
		size := len(data)
		if r.CorrelationID == 22 {
			size++ // there is not so much
		}
		lent.Add(2)
		at := len(out)
		r.ReplyEncoded(out,
			kafkaserver.Splice{At: at - 5, File: file, Offset: 7, Size: int(r.CorrelationID) * 100, Owner: returned{&lent}},
			kafkaserver.Splice{At: at - 3, Data: data[:10_000]},
			kafkaserver.Splice{At: at, File: file, Size: size, Owner: returned{&lent}},
		)
	}
	p := tcp(t, b, nil)
	p.beat()
	if want := runtime.GOOS == "linux"; <-sends != want {
		t.Fatalf("SendsFiles is %v", !want)
	} else if !want {
		t.Skip("it sends no files")
	}
	for range 21 {
		p.send(new(kafkawire.FetchRequest), 12)
	}
	for i := 2; i <= 21; i++ {
		f, err := p.frame()
		if err != nil {
			t.Fatal(err)
		}
		want := "a" + string(data[7:7+i*100]) + "bc" + string(data[:10_000]) + "def" + string(data)
		if got := string(f[len(f)-len(want):]); got != want {
			t.Fatalf("response %d has other bytes", i)
		}
	}
	if _, err := p.frame(); err == nil {
		t.Error("a response with bytes that are not in the file")
	}
	<-b.over
	lent.Wait()
	if cause := b.closed[0]; !errors.Is(cause, io.ErrUnexpectedEOF) {
		t.Error(cause)
	}
}

// returned is done when a splice has given back what it had.
type returned struct{ n *sync.WaitGroup }

func (r returned) Release() { r.n.Done() }

func TestListenAndServe(t *testing.T) {
	s := kafkaserver.New(new(backend), nil)
	if err := s.ListenAndServe("no such address", nil); err == nil {
		t.Error("it listens")
	}
	s.Close()
	if err := s.ListenAndServe("127.0.0.1:0", nil); err != kafkaserver.ErrServerClosed {
		t.Error(err)
	}
}

// TestServeConn serves a connection that is there.
func TestServeConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := memnet.Pipe()
		s := kafkaserver.New(new(backend), nil)
		defer s.Close()
		s.ServeConn(server, nil)
		p := &peer{t: t, nc: client}
		p.beat()
		s.Shutdown(context.Background())
		other, end := memnet.Pipe()
		s.ServeConn(end, nil)
		(&peer{t: t, nc: other}).ended()
	})
}
