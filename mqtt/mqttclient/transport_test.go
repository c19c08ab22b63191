package mqttclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/wsconn"
	"github.com/quartet-mq/quartet/mqtt"
)

// exchange lets a client publish to and receive from a peer on any transport.
func exchange(t *testing.T, o *Options, accept func() net.Conn) {
	t.Helper()
	wait := async(func() *Client {
		c, err := Dial(t.Context(), o.Servers[0], &Options{DialContext: o.DialContext, TLS: o.TLS, Version: mqtt.Version5})
		if err != nil {
			t.Error(err)
		}
		return c
	})
	nc := accept()
	defer nc.Close()
	p := &peer{t: t, nc: nc}
	p.connect()
	p.send(&mqtt.Connack{})
	c := wait()
	if c == nil {
		return
	}
	s := subscribe(p, c, nil, mqtt.Subscription{Filter: "#"})
	big := make([]byte, 300_000)
	sent := async(func() error { return c.Publish(t.Context(), &Message{Topic: "t", Payload: big, QoS: 1}) })
	q := p.receive().(*mqtt.Publish)
	if len(q.Payload) != len(big) {
		t.Errorf("server got %d bytes", len(q.Payload))
	}
	p.send(&mqtt.Puback{ID: q.ID})
	if err := sent(); err != nil {
		t.Error(err)
	}
	go p.send(message("t", string(big), 0, 0))
	if m := next(t, s); len(m.Payload) != len(big) {
		t.Errorf("client got %d bytes", len(m.Payload))
	}
	if err := c.Disconnect(t.Context(), nil); err != nil {
		t.Error(err)
	}
	p.expect("DISCONNECT", "end")
}

// acceptOn accepts one connection.
func acceptOn(t *testing.T, l net.Listener) func() net.Conn {
	return func() net.Conn {
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
}

// memDial returns a DialContext that leads to l and notes the address.
func memDial(l *memnet.Listener, address *string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		*address = addr
		return l.Dial(ctx)
	}
}

// certificate returns the TLS configurations of a server and of a client that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.Listener.Close()
	s.Listener = memnet.Listen("certificate")
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: pool}
}

func TestTransports(t *testing.T) {
	t.Run("mqtt", func(t *testing.T) {
		for server, want := range map[string]string{
			"mqtt://example.com": "example.com:1883", "tcp://[::1]:99": "[::1]:99",
		} {
			l := memnet.Listen("tcp")
			var address string
			exchange(t, &Options{Servers: []string{server}, DialContext: memDial(l, &address)}, acceptOn(t, l))
			if address != want {
				t.Errorf("%s leads to %s", server, address)
			}
		}
	})
	t.Run("mqtts", func(t *testing.T) {
		server, client := certificate(t)
		l := memnet.Listen("tls")
		var address string
		o := &Options{Servers: []string{"mqtts://example.com"}, DialContext: memDial(l, &address), TLS: client}
		exchange(t, o, acceptOn(t, tls.NewListener(l, server)))
		if address != "example.com:8883" {
			t.Errorf("address is %s", address)
		}
		// a server whose name is not in its certificate
		go func() {
			if nc, err := l.Accept(); err == nil {
				tls.Server(nc, server).Handshake()
				nc.Close()
			}
		}()
		_, err := Dial(t.Context(), "ssl://evil.example.org", &Options{DialContext: o.DialContext, TLS: client})
		if _, ok := err.(*tls.CertificateVerificationError); !ok {
			t.Errorf("false name: %v", err)
		}
	})
	t.Run("unix", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "socket")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		exchange(t, &Options{Servers: []string{"unix://" + path}}, acceptOn(t, l))
	})
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Run("MQTT-6.0.0-3", func(t *testing.T) {
				l := memnet.Listen(scheme)
				conns := make(chan net.Conn)
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/mqtt" {
						t.Errorf("path is %s", r.URL.Path)
					}
					nc, err := wsconn.Accept(w, r, &wsconn.AcceptOptions{Subprotocols: []string{"mqtt"}})
					if err != nil {
						t.Error(err)
						return
					}
					conns <- nc
				}))
				s.Listener.Close()
				s.Listener = l
				o := &Options{Servers: []string{scheme + "://example.com/mqtt"}}
				if scheme == "wss" {
					s.StartTLS()
					pool := x509.NewCertPool()
					pool.AddCert(s.Certificate())
					o.TLS = &tls.Config{RootCAs: pool}
				} else {
					s.Start()
				}
				defer s.Close()
				var address string
				o.DialContext = memDial(l, &address)
				exchange(t, o, func() net.Conn { return <-conns })
				want := map[string]string{"ws": "example.com:80", "wss": "example.com:443"}[scheme]
				if address != want {
					t.Errorf("address is %s", address)
				}
			})
		})
	}
}

// TestDialHonoursContext: an attempt to connect ends with its time.
func TestDialHonoursContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	o := &Options{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	if _, err := Dial(ctx, "mqtt://example.com", o); err != context.DeadlineExceeded {
		t.Errorf("error is %v", err)
	}
}
