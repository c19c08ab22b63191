package amqpserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wsconn"
)

// also makes a server serve one more listener.
func also(s *amqpserver.Server, o *amqpserver.ListenerOptions) *memnet.Listener {
	l := memnet.Listen("other")
	go s.Serve(l, o)
	return l
}

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

// roundTrip gets a message of n bytes back.
func (p *peer) roundTrip(n int) {
	p.t.Helper()
	p.send(1, &amqp091.ChannelOpen{}, &amqp091.QueueDeclare{Queue: "q"}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true})
	p.expect(`1 channel.open-ok()`, `1 queue.declare-ok(queue="q")`, `1 basic.consume-ok(consumer-tag="c")`)
	go p.publish(1, "q", strings.Repeat("x", n))
	p.next()
	p.next()
	for got := 0; got < n; {
		f, ok := p.read()
		if !ok {
			p.t.Fatal("the end")
		}
		got += len(f.Payload)
	}
}

func (p *peer) bye() {
	p.t.Helper()
	p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
	p.expect(`0 connection.close-ok()`, "EOF")
	p.nc.Close()
}

func TestTLS(t *testing.T) {
	ca := certificate(t, "authority", nil)
	server, client := certificate(t, "server", ca), certificate(t, "client", ca)
	config := &tls.Config{Certificates: []tls.Certificate{*server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool(ca)}
	for _, v := range []struct {
		name, user string
		o          *amqpserver.Options
	}{
		{"distinguished name", "CN=client,O=Example", nil},
		{"common name", "client", &amqpserver.Options{CertificateUser: func(c *x509.Certificate) string { return c.Subject.CommonName }}},
	} {
		t.Run(v.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := new(queues)
				b.authenticate = func(a *amqpserver.Auth) (string, error) { return a.User, nil }
				s, _ := serve(t, b, v.o)
				l := also(s, &amqpserver.ListenerOptions{Name: "tls", TLS: config})
				dial := func(certs ...tls.Certificate) *peer {
					nc, err := l.Dial(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					tc := tls.Client(nc, &tls.Config{RootCAs: pool(ca), ServerName: "server", Certificates: certs})
					t.Cleanup(func() { tc.Close() })
					return &peer{t: t, nc: tc}
				}
				p := dial(*client)
				p.raw([]byte(amqp091.ProtocolHeader))
				if got := p.next(); !strings.Contains(got, `mechanisms="PLAIN AMQPLAIN EXTERNAL"`) {
					t.Error(got)
				}
				p.send(0, &amqp091.ConnectionStartOK{Mechanism: "EXTERNAL", Response: []byte("\x00*\x00*")})
				p.next()
				p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: 10, FrameMax: 131_072}, &amqp091.ConnectionOpen{VirtualHost: "/"})
				p.expect(`0 connection.open-ok()`)
				c := b.last().c
				equal(t, "user", c.User(), v.user)
				if c.TLS() == nil || c.Listener() != "tls" {
					t.Error("not that listener")
				}
				p.roundTrip(300_000)
				p.bye()

				other := dial()
				other.raw([]byte(amqp091.ProtocolHeader))
				if got := other.next(); !strings.Contains(got, `mechanisms="PLAIN AMQPLAIN"`) {
					t.Error(got)
				}
				other.nc.Close()
			})
		})
	}
}

func TestTLSHandshakeTimeout(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{*certificate(t, "s", nil)}}
	bubble(t, func(t *testing.T) {
		s, _ := serve(t, new(queues), nil)
		p := dial(t, also(s, &amqpserver.ListenerOptions{TLS: config}))
		p.ends(10 * time.Second)
		synctest.Wait()
		st := s.Stats()
		equal(t, "stats", []int64{st.Connections, st.Refused}, []int64{0, 1})
	})
}

func TestProxyProtocol(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, _ := serve(t, b, nil)
		l := also(s, &amqpserver.ListenerOptions{ProxyProtocol: true})
		p := dial(t, l)
		p.raw([]byte("PROXY TCP4 203.0.113.7 192.0.2.1 5555 5672\r\n"))
		p.login()
		p.roundTrip(10)
		c := b.last().c
		equal(t, "addresses", c.RemoteAddr().String()+" "+c.LocalAddr().String(), "203.0.113.7:5555 192.0.2.1:5672")
		bare := dial(t, l)
		bare.raw([]byte(amqp091.ProtocolHeader))
		bare.expect("EOF")
	})
}

func dialWS(t *testing.T, url string, dial func(context.Context) (net.Conn, error), protocols ...string) (*peer, error) {
	t.Helper()
	nc, err := wsconn.Dial(context.Background(), url, &wsconn.DialOptions{Subprotocols: protocols, NetDial: dial})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc}, nil
}

func TestWebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, _ := serve(t, b, nil)
		l := also(s, &amqpserver.ListenerOptions{Name: "ws", WebSocket: true})
		p, err := dialWS(t, "ws://host/any/path", l.Dial, "amqp")
		if err != nil {
			t.Fatal(err)
		}
		p.login()
		p.roundTrip(300_000)
		equal(t, "listener", b.last().c.Listener(), "ws")
		p.bye()
		if _, err := dialWS(t, "ws://host/", l.Dial, "soap"); err == nil {
			t.Error("another subprotocol is accepted")
		}
	})
}

// TestWebSocketClose has a client that sends on behind its connection.close: the connection stays open until the client has seen
// the end, since one that is closed with input unread may be reset, and close-ok lost.
func TestWebSocketClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serve(t, new(queues), nil)
		l := also(s, &amqpserver.ListenerOptions{WebSocket: true})
		p, err := dialWS(t, "ws://host/", l.Dial, "amqp")
		if err != nil {
			t.Fatal(err)
		}
		p.login()
		p.send(0, &amqp091.ConnectionClose{ReplyCode: 200})
		for range 5 {
			time.Sleep(time.Second)
			if _, err := p.nc.Write(make([]byte, 1000)); err != nil {
				t.Fatal("the connection is closed before the client has seen the end:", err)
			}
		}
		p.expect(`0 connection.close-ok()`, "EOF")
		synctest.Wait()
		equal(t, "connections", s.Stats().Connections, 0)
	})
}

// TestHandler serves WebSocket from an http.Server, on a loopback port.
func TestHandler(t *testing.T) {
	b := new(queues)
	s := amqpserver.New(b, nil)
	defer s.Close()
	mux := http.NewServeMux()
	mux.Handle("/amqp", s.Handler(&amqpserver.ListenerOptions{Name: "handler"}))
	web := httptest.NewServer(mux)
	defer web.Close()
	p, err := dialWS(t, "ws"+strings.TrimPrefix(web.URL, "http")+"/amqp", nil, "amqp")
	if err != nil {
		t.Fatal(err)
	}
	p.login()
	p.roundTrip(1000)
	equal(t, "listener", b.last().c.Listener(), "handler")
	p.nc.Close()
}

// TestSockets runs over TCP and Unix sockets at a time, on one server.
func TestSockets(t *testing.T) {
	s := amqpserver.New(new(queues), nil)
	defer s.Close()
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Skip(err)
		}
		go s.Serve(l, nil)
		nc, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{t: t, nc: nc}
		p.login()
		p.roundTrip(3_000_000)
		p.bye()
	}
}

// failing is a listener that fails in ways that may pass, and then for good.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}

func TestAcceptErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serve(t, new(queues), nil)
		gone := errors.New("gone")
		begin := time.Now()
		err := s.Serve(&failing{memnet.Listen("x"), []error{syscall.EMFILE, syscall.ENFILE, gone}}, nil)
		if err != gone || time.Since(begin) != 15*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestServeAfterClose(t *testing.T) {
	s := amqpserver.New(new(queues), nil)
	s.Close()
	if err := s.Serve(memnet.Listen("x"), nil); err != amqpserver.ErrServerClosed {
		t.Error(err)
	}
	near, far := memnet.Pipe()
	s.ServeConn(far, nil)
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("a connection is served after Close")
	}
}

// TestSlowTLS: a client that takes its output slowly is not one that takes none.
func TestSlowTLS(t *testing.T) {
	cert := certificate(t, "server", nil)
	bubble(t, func(t *testing.T) {
		b := new(queues)
		s, _ := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{Heartbeat: -1, SlowTimeout: 10 * time.Second, AuthFailureDelay: -1, HandshakeTimeout: time.Hour}})
		l := also(s, &amqpserver.ListenerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{*cert}}})
		l.OnDial(func(int) (*memnet.Options, error) {
			return &memnet.Options{Capacity: 4 << 10, ToClient: memnet.Link{BytesPerSecond: 5000}}, nil
		})
		nc, err := l.Dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		tc := tls.Client(nc, &tls.Config{RootCAs: pool(cert), ServerName: "server"})
		t.Cleanup(func() { tc.Close() })
		p := &peer{t: t, nc: tc}
		p.login()
		p.roundTrip(300_000)
		p.bye()
	})
}
