package mqttserver_test

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
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wsconn"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// served is what the bubble's listener is replaced by: a server with one more listener.
func (w *world) serve(o *mqttserver.ListenerOptions) *memnet.Listener {
	l := memnet.Listen("other")
	go w.srv.Serve(l, o)
	return l
}

func (w *world) dialTo(l *memnet.Listener) net.Conn {
	w.t.Helper()
	nc, err := l.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	return nc
}

// certificate makes a certificate; parent nil makes an authority.
func certificate(t *testing.T, name string, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
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

// roundTrip connects and gets a message of n bytes back.
func (p *peer) roundTrip(n int) {
	p.t.Helper()
	p.connect(&mqtt.Connect{ClientID: "c"})
	p.subscribe("t", 1)
	m := publishTo("t", strings.Repeat("x", n), 1, 9)
	p.send(m)
	got := map[mqtt.PacketType]mqtt.Packet{}
	for range 2 {
		pk := p.recv()
		if m, ok := pk.(*mqtt.Publish); ok && len(m.Payload) != n {
			p.t.Fatalf("payload of %d bytes came back as %d", n, len(m.Payload))
		}
		got[pk.Type()] = pk
	}
	if got[mqtt.TypePublish] == nil || got[mqtt.TypePuback] == nil {
		p.t.Fatalf("got %v", got)
	}
}

// TestTLS: mutual TLS, the identity at the backend, certificates that change, and DISCONNECT before the end.
func TestTLS(t *testing.T) {
	ca := certificate(t, "authority", nil)
	var current atomic.Pointer[tls.Certificate]
	current.Store(certificate(t, "server one", ca))
	client := certificate(t, "client", ca)
	config := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
		ClientAuth:     tls.RequireAndVerifyClientCert, ClientCAs: pool(ca),
	}
	bubble(t, nil, nil, func(w *world) {
		l := w.serve(&mqttserver.ListenerOptions{Name: "tls", TLS: config})
		dial := func(name string) *peer {
			tc := tls.Client(w.dialTo(l), &tls.Config{RootCAs: pool(ca), ServerName: name, Certificates: []tls.Certificate{*client}})
			w.t.Cleanup(func() { tc.Close() })
			if err := tc.Handshake(); err != nil {
				w.t.Fatal(err)
			}
			return newPeer(w.t, tc)
		}
		p := dial("server one")
		p.roundTrip(100_000)
		c := w.router.last().c
		if st := c.TLS(); st == nil || st.PeerCertificates[0].Subject.CommonName != "client" || c.Listener() != "tls" {
			w.t.Errorf("identity: %v", st)
		}
		current.Store(certificate(t, "server two", ca))
		second := dial("server two")
		second.roundTrip(10)
		p.send(&mqtt.Pingreq{})
		if pk := p.recv(); pk.Type() != mqtt.TypePublish { // the message of the second goes to both
			w.t.Errorf("got %v", pk)
		}
		p.expect(&mqtt.Pingresp{})
		p.send(&mqtt.Connack{})
		p.expectDisconnect(mqtt.ReasonProtocolError)
		stranger := tls.Client(w.dialTo(l), &tls.Config{RootCAs: pool(ca), ServerName: "server two"})
		if _, err := stranger.Write([]byte{0}); err == nil {
			_, err = stranger.Read(make([]byte, 1))
			if err == nil {
				w.t.Error("a client without certificate is let in")
			}
		}
	})
}

func TestTLSHandshakeTimeout(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{*certificate(t, "s", nil)}}
	bubble(t, nil, nil, func(w *world) {
		nc := w.dialTo(w.serve(&mqttserver.ListenerOptions{TLS: config}))
		begin := time.Now()
		nc.Read(make([]byte, 1))
		if d := time.Since(begin); d != 10*time.Second {
			w.t.Errorf("closed after %v", d)
		}
		synctest.Wait()
		if st := w.srv.Stats(); st.Connections != 0 || st.Refused != 1 {
			w.t.Errorf("%+v", st)
		}
	})
}

func TestProxyProtocol(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		l := w.serve(&mqttserver.ListenerOptions{Name: "proxied", ProxyProtocol: true})
		nc := w.dialTo(l)
		nc.Write([]byte("PROXY TCP4 203.0.113.7 192.0.2.1 5555 1883\r\n"))
		newPeer(w.t, nc).roundTrip(10)
		if c := w.router.last().c; c.RemoteAddr().String() != "203.0.113.7:5555" || c.LocalAddr().String() != "192.0.2.1:1883" {
			w.t.Errorf("addresses %v, %v", c.RemoteAddr(), c.LocalAddr())
		}
		bare := newPeer(w.t, w.dialTo(l))
		bare.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c"})
		bare.expectEnd()
	})
}

// TestProxyProtocolTLS: the header comes before TLS.
func TestProxyProtocolTLS(t *testing.T) {
	cert := certificate(t, "s", nil)
	bubble(t, nil, nil, func(w *world) {
		l := w.serve(&mqttserver.ListenerOptions{ProxyProtocol: true, TLS: &tls.Config{Certificates: []tls.Certificate{*cert}}})
		nc := w.dialTo(l)
		nc.Write([]byte("PROXY TCP4 203.0.113.7 192.0.2.1 5555 8883\r\n"))
		tc := tls.Client(nc, &tls.Config{RootCAs: pool(cert), ServerName: "s"})
		newPeer(w.t, tc).roundTrip(10)
		if c := w.router.last().c; c.RemoteAddr().String() != "203.0.113.7:5555" || c.TLS() == nil {
			w.t.Errorf("address %v, TLS %v", c.RemoteAddr(), c.TLS())
		}
		tc.Close()
	})
}

func dialWS(t *testing.T, url string, dial func(context.Context) (net.Conn, error), protocols ...string) (*peer, error) {
	t.Helper()
	nc, err := wsconn.Dial(context.Background(), url, &wsconn.DialOptions{Subprotocols: protocols, NetDial: dial})
	if err != nil {
		return nil, err
	}
	return newPeer(t, nc), nil
}

func TestWebSocket(t *testing.T) {
	t.Run("MQTT-6.0.0-1", func(t *testing.T) {
		bubble(t, nil, nil, func(w *world) {
			l := w.serve(&mqttserver.ListenerOptions{Name: "ws", WebSocket: true})
			p, err := dialWS(w.t, "ws://host/any/path", l.Dial, "mqtt")
			if err != nil {
				w.t.Fatal(err)
			}
			p.roundTrip(100_000)
			if c := w.router.last().c; c.Listener() != "ws" {
				w.t.Errorf("listener %q", c.Listener())
			}
			p.send(&mqtt.Connack{})
			p.expectDisconnect(mqtt.ReasonProtocolError)
			if _, err := dialWS(w.t, "ws://host/", l.Dial, "soap"); err == nil {
				w.t.Error("another subprotocol is accepted")
			}
			p.nc.Close()
		})
	})
}

// TestHandler serves WebSocket from an http.Server, on a loopback port.
func TestHandler(t *testing.T) {
	r := new(router)
	srv := mqttserver.New(r, nil)
	defer srv.Close()
	mux := http.NewServeMux()
	mux.Handle("/mqtt", srv.Handler(&mqttserver.ListenerOptions{Name: "handler"}))
	web := httptest.NewServer(mux)
	defer web.Close()
	p, err := dialWS(t, "ws"+strings.TrimPrefix(web.URL, "http")+"/mqtt", nil, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	p.roundTrip(1000)
	if c := r.last().c; c.Listener() != "handler" || c.TLS() != nil {
		t.Errorf("listener %q", c.Listener())
	}
	p.nc.Close()
}

// TestSockets runs over TCP and Unix sockets at a time, on one server.
func TestSockets(t *testing.T) {
	srv := mqttserver.New(new(router), nil)
	defer srv.Close()
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Skip(err)
		}
		go srv.Serve(l, nil)
		nc, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, nc)
		p.roundTrip(500_000)
		p.send(&mqtt.Connack{})
		p.expectDisconnect(mqtt.ReasonProtocolError)
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
	bubble(t, nil, nil, func(w *world) {
		gone := errors.New("gone")
		begin := time.Now()
		err := w.srv.Serve(&failing{memnet.Listen("x"), []error{syscall.EMFILE, syscall.ENFILE, gone}}, nil)
		if err != gone || time.Since(begin) != 15*time.Millisecond {
			w.t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestServeAfterClose(t *testing.T) {
	srv := mqttserver.New(new(router), nil)
	srv.Close()
	if err := srv.Serve(memnet.Listen("x"), nil); err != mqttserver.ErrServerClosed {
		t.Error(err)
	}
	near, far := memnet.Pipe()
	srv.ServeConn(far, nil)
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("a connection is served after Close")
	}
}
