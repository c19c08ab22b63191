package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// tlsServer is the server's TCP side: it shakes hands after a delay, and answers "tls" to whoever connects.
type tlsServer struct {
	delay  time.Duration
	refuse error
	config *tls.Config

	mu    sync.Mutex
	dials []string
	open  int // conns that the dialer has not closed
}

func (s *tlsServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	s.dials = append(s.dials, network+" "+address)
	s.mu.Unlock()
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.refuse != nil {
		return nil, s.refuse
	}
	ours, theirs := net.Pipe()
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	go func() {
		conn := tls.Server(theirs, s.config)
		io.WriteString(conn, "tls")
		io.Copy(io.Discard, theirs)
		theirs.Close()
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	return ours, nil
}

func (s *tlsServer) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func toServer(host string) func(context.Context, string) ([]net.IP, error) {
	return func(_ context.Context, h string) ([]net.IP, error) {
		if h != host {
			return nil, errors.New("no such host")
		}
		return []net.IP{net.IPv4(10, 0, 0, 1)}, nil
	}
}

// blocked makes a network let no UDP through.
func blocked(netip.AddrPort, netip.AddrPort, []byte) bool { return true }

// fallback runs f with a dialer for a server at "broker" that is reached by QUIC and by TCP.
func fallback(t *testing.T, s *tlsServer, d *Dialer, f func(e *env, u *url.URL)) {
	if s.config == nil {
		s.config = serverTLS()
	}
	d.Resolve, d.DialTCP = toServer("broker"), s.dial
	d.TLS = &tls.Config{RootCAs: testAuthority().pool}
	bubble(t, nil, d, func(e *env) {
		l := e.listener.Protocol("mqtt")
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "quic")
			}
		}()
		f(e, &url.URL{Scheme: "mqtt+quic", Host: "broker"})
	})
}

// answer returns what the server of a conn says.
func answer(e *env, c net.Conn) string {
	e.Helper()
	defer c.Close()
	if _, ok := c.(*Conn); ok {
		c.Write([]byte{1})
	}
	b := make([]byte, 8)
	n, err := c.Read(b)
	if err != nil {
		e.Fatal(err)
	}
	return string(b[:n])
}

func TestQUICWins(t *testing.T) {
	s := &tlsServer{}
	fallback(t, s, &Dialer{}, func(e *env, u *url.URL) {
		c, err := e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if got := answer(e, c); got != "quic" {
			e.Error(got)
		}
		if len(s.dials) != 0 {
			e.Errorf("dialled %v", s.dials)
		}
	})
}

// TestUDPBlocked gets through over TLS after the delay, and at once when UDP fails at once.
func TestUDPBlocked(t *testing.T) {
	s := &tlsServer{delay: 30 * time.Millisecond}
	var told []string
	d := &Dialer{Config: Config{Trace: &Trace{Fallback: func(a string, err error) {
		if err != nil {
			a += " after an error"
		}
		told = append(told, a)
	}}}}
	fallback(t, s, d, func(e *env, u *url.URL) {
		e.net.set(func(n *packetNet) { n.drop = blocked })
		start := time.Now()
		c, err := e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if took := time.Since(start); took != 280*time.Millisecond {
			e.Errorf("it took %v", took)
		}
		if _, ok := c.(*tls.Conn); !ok || answer(e, c) != "tls" {
			e.Errorf("%T", c)
		}

		u.Scheme, u.Host = "kafka+quic", "broker:14567" // which the server does not speak over QUIC
		e.net.set(func(n *packetNet) { n.drop = nil })
		start = time.Now()
		c, err = e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond || answer(e, c) != "tls" {
			e.Errorf("it took %v", took)
		}
		if got := strings.Join(s.dials, ", "); got != "tcp broker:8883, tcp broker:14567" {
			e.Error(got)
		}
		if got := strings.Join(told, ", "); got != "broker:8883, broker:14567 after an error" || e.dialer.Stats().Fallbacks != 2 {
			e.Error(got)
		}
	})
}

// TestQUICWinsLate starts TLS, which is slower all the same: its conn is closed.
func TestQUICWinsLate(t *testing.T) {
	s := &tlsServer{}
	fallback(t, s, &Dialer{FallbackDelay: rtt / 2}, func(e *env, u *url.URL) {
		e.dialer.DialTCP = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := s.dial(context.WithoutCancel(ctx), network, address)
			pause(time.Second) // the connection comes when nobody wants it any more
			return c, err
		}
		c, err := e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if got := answer(e, c); got != "quic" || len(s.dials) != 1 {
			e.Error(got, s.dials)
		}
		pause(2 * time.Second)
		if s.left() != 0 {
			e.Error("the other connection is open")
		}
	})
}

// TestTLSWins while QUIC is slow: its connection is closed.
func TestTLSWins(t *testing.T) {
	s := &tlsServer{}
	fallback(t, s, &Dialer{}, func(e *env, u *url.URL) {
		e.net.set(func(n *packetNet) { n.delay = 200 * time.Millisecond })
		c, err := e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if got := answer(e, c); got != "tls" {
			e.Error(got)
		}
		pause(time.Minute)
		if n := e.dialer.Stats().Conns + e.listener.Stats().Conns; n != 0 {
			e.Errorf("%d QUIC connections are left", n)
		}
	})
}

// TestBothFail returns both errors, typed.
func TestBothFail(t *testing.T) {
	refused := errors.New("refused")
	s := &tlsServer{refuse: refused, delay: time.Second}
	fallback(t, s, &Dialer{}, func(e *env, u *url.URL) {
		e.net.set(func(n *packetNet) { n.drop = blocked })
		_, err := e.dialer.DialURL(e.Context(), u)
		var (
			both *FallbackError
			q    *Error
		)
		if !errors.As(err, &both) || !errors.Is(err, refused) || !errors.As(both.QUIC, &q) || !q.Timeout() {
			e.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(e.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := e.dialer.DialURL(ctx, u); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("got %v", err)
		}
	})
}

// TestNeverPlain is a server on TCP that cannot show a certificate: the dial fails.
func TestNeverPlain(t *testing.T) {
	s := &tlsServer{config: &tls.Config{}}
	fallback(t, s, &Dialer{}, func(e *env, u *url.URL) {
		e.net.set(func(n *packetNet) { n.drop = blocked })
		if c, err := e.dialer.DialURL(e.Context(), u); err == nil {
			e.Errorf("got a %T", c)
		}
		pause(time.Second)
		if s.left() != 0 {
			e.Error("a TCP connection is open")
		}
	})
}

// TestNoFallback turns it off, as a whole and by address.
func TestNoFallback(t *testing.T) {
	s := &tlsServer{}
	for _, d := range []*Dialer{
		{FallbackDelay: -1},
		{Fallback: func(scheme, host, port string) string { return "" }},
	} {
		fallback(t, s, d, func(e *env, u *url.URL) {
			e.net.set(func(n *packetNet) { n.drop = blocked })
			_, err := e.dialer.DialURL(e.Context(), u)
			var both *FallbackError
			if !errors.As(err, &both) || both.TLS != nil || len(s.dials) != 0 {
				e.Errorf("got %v, dialled %v", err, s.dials)
			}
		})
	}
}

// TestFallbackAddresses are the TCP addresses of URLs.
func TestFallbackAddresses(t *testing.T) {
	for u, want := range map[string]string{
		"mqtt+quic://broker":       "tcp broker:8883",
		"mqtt+quic://broker:14567": "tcp broker:8883",
		"mqtt+quic://broker:443":   "tcp broker:443",
		"amqp+quic://broker":       "tcp broker:5671",
		"kafka+quic://broker":      "tcp broker:9094",
	} {
		s := &tlsServer{}
		fallback(t, s, &Dialer{FallbackDelay: 1}, func(e *env, _ *url.URL) {
			parsed, err := url.Parse(u)
			if err != nil {
				e.Fatal(err)
			}
			c, err := e.dialer.DialURL(e.Context(), parsed)
			if err != nil {
				e.Fatal(err)
			}
			defer c.Close()
			if got := strings.Join(s.dials, ", "); got != want {
				e.Errorf("%s: %q, want %q", u, got, want)
			}
		})
	}
	d := &Dialer{}
	for _, u := range []url.URL{{Scheme: "mqtt", Host: "h"}, {Scheme: "mqtt+quic"}} {
		if _, err := d.DialURL(t.Context(), &u); err == nil {
			t.Errorf("%s was taken", &u)
		}
	}
	if _, err := d.For("x")(t.Context(), &url.URL{Scheme: "x", Host: "h"}); err == nil {
		t.Error("a URL without a port was taken")
	}
}

// TestFor asks for the caller's protocols.
func TestFor(t *testing.T) {
	fallback(t, &tlsServer{}, &Dialer{FallbackDelay: -1}, func(e *env, u *url.URL) {
		u.Scheme, u.Host = "amqp+quic", "broker:14567"
		c, err := e.dialer.For("none", "mqtt")(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if c.(*Conn).Protocol() != "mqtt" || answer(e, c) != "quic" {
			e.Error(c.(*Conn).Protocol())
		}
	})
}

// TestSecondAddress has a host with an address that does not answer: the next one is tried after 250 ms.
func TestSecondAddress(t *testing.T) {
	fallback(t, &tlsServer{}, &Dialer{FallbackDelay: -1}, func(e *env, u *url.URL) {
		e.dialer.Resolve = func(context.Context, string) ([]net.IP, error) {
			return []net.IP{net.IPv4(10, 0, 0, 99), net.IPv4(10, 0, 0, 1)}, nil
		}
		start := time.Now()
		c, err := e.dialer.DialURL(e.Context(), u)
		if err != nil {
			e.Fatal(err)
		}
		if took := time.Since(start); took != addressDelay+rtt || answer(e, c) != "quic" {
			e.Errorf("it took %v", took)
		}
		e.dialer.Resolve = func(context.Context, string) ([]net.IP, error) { return nil, nil }
		var none *net.AddrError
		if _, err := e.dialer.DialURL(e.Context(), u); !errors.As(err, &none) {
			e.Errorf("got %v", err)
		}
	})
}
