package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	xquic "golang.org/x/net/quic"

	"github.com/quartet-mq/quartet/quic/quicnet"
)

// xnetStream flushes: a stream of x/net keeps what is written until its buffer is full.
type xnetStream struct{ *xquic.Stream }

func (s xnetStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	if err == nil {
		err = s.Flush()
	}
	return n, err
}

func (s xnetStream) CloseWrite() error { s.Stream.CloseWrite(); return nil }

// xnetTLS asks for a protocol.
func xnetTLS(c *tls.Config, alpn string) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{alpn}
	return c
}

// xnetDial connects a client of x/net.
func xnetDial(t *testing.T, k *quicKeys, alpn string, to net.Addr) *xquic.Conn {
	t.Helper()
	e, err := xquic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		e.Close(ended)
	})
	c, err := e.Dial(quicContext(t), "udp", to.String(), &xquic.Config{
		TLSConfig: xnetTLS(k.client, alpn), HandshakeTimeout: quicTimeout, MaxIdleTimeout: quicTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// xnetServe is an echo on x/net.
func xnetServe(t *testing.T, k *quicKeys, alpn string, validate bool) net.Addr {
	t.Helper()
	e, err := xquic.Listen("udp", "127.0.0.1:0", &xquic.Config{
		TLSConfig: xnetTLS(k.server, alpn), RequireAddressValidation: validate,
		HandshakeTimeout: quicTimeout, MaxIdleTimeout: quicTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		e.Close(ctx)
	})
	go func() {
		for {
			c, err := e.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					s, err := c.AcceptStream(ctx)
					if err != nil {
						return
					}
					go func() {
						io.Copy(xnetStream{s}, s)
						s.CloseWrite()
					}()
				}
			}()
		}
	}()
	return net.UDPAddrFromAddrPort(e.LocalAddr())
}

// TestQUICOfXNetClient has the client of golang.org/x/net use our server.
func TestQUICOfXNetClient(t *testing.T) {
	k := newQUICKeys(t)
	open := func(c *xquic.Conn) func() (quicStream, error) {
		return func() (quicStream, error) {
			s, err := c.NewStream(t.Context())
			return xnetStream{s}, err
		}
	}
	t.Run("streams and key update", func(t *testing.T) {
		e := newEcho(t, k, "mqtt", nil)
		c := xnetDial(t, k, "mqtt", e.Addr())
		if p := c.ConnectionState().NegotiatedProtocol; p != "mqtt" {
			t.Errorf("the protocol is %q", p)
		}
		s, err := c.NewStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checkEcho(t, xnetStream{s}, 2<<20)
		checkStreams(t, open(c))
		if e.qlog.count(keyUpdated) == 0 {
			t.Error("no key update in 2 MiB")
		}
	})
	t.Run("the server's close", func(t *testing.T) {
		e := newEcho(t, k, "mqtt", nil)
		c := xnetDial(t, k, "mqtt", e.Addr())
		s, err := c.NewStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (xnetStream{s}).Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		server := <-e.conns
		if b, err := s.ReadByte(); err != nil || b != 'x' {
			t.Fatal(b, err)
		}
		want := noise(300_000)
		if _, err := server.Write(want); err != nil {
			t.Fatal(err)
		}
		server.Close()
		got, err := io.ReadAll(s)
		if err != nil || string(got) != string(want) {
			t.Fatalf("%d bytes of %d before the server's close: %v", len(got), len(want), err)
		}
		s.CloseWrite()
		ended := &xquic.ConnectionCloseError{}
		if err := c.Wait(t.Context()); !errors.As(err, &ended) || ended.Code != 0 {
			t.Errorf("the connection ended with %v", err)
		}
	})
	t.Run("the client's close", func(t *testing.T) {
		l, err := quicnet.Listen("udp", "127.0.0.1:0", &quicnet.ListenOptions{Config: quicConfig(k.server)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		accept := l.Protocol("mqtt")
		c := xnetDial(t, k, "mqtt", l.Addr())
		s, err := c.NewStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := noise(300_000)
		go func() {
			s.Write(want)
			s.CloseWrite()
		}()
		server, err := accept.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); err != nil || string(got) != string(want) {
			t.Fatalf("%d bytes of %d: %v", len(got), len(want), err)
		}
		c.Abort(nil)
		if _, err := server.(*quicnet.Conn).AcceptStream(t.Context()); err == nil {
			t.Error("a stream after the client's close")
		}
		server.Close()
	})
	t.Run("Retry", func(t *testing.T) {
		e := newEcho(t, k, "mqtt", &quicnet.ListenOptions{RetryAbove: -1})
		n := newNAT(t, e.Addr())
		c := xnetDial(t, k, "mqtt", n.LocalAddr())
		s, err := c.NewStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checkEcho(t, xnetStream{s}, 10_000)
		if r := n.retries.Load(); r == 0 {
			t.Error("no Retry packet")
		}
	})
	t.Run("rebinding", func(t *testing.T) {
		e := newEcho(t, k, "mqtt", nil)
		n := newNAT(t, e.Addr())
		c := xnetDial(t, k, "mqtt", n.LocalAddr())
		checkRebinding(t, e, n, open(c))
	})
	t.Run("wrong protocol", func(t *testing.T) {
		e := newEcho(t, k, "mqtt", nil)
		x, err := xquic.Listen("udp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			ended, end := context.WithCancel(context.Background())
			end()
			x.Close(ended)
		}()
		_, err = x.Dial(quicContext(t), "udp", e.Addr().String(), &xquic.Config{TLSConfig: xnetTLS(k.client, "smtp")})
		if err == nil {
			t.Error("a connection for a protocol that is not served")
		}
	})
}

// checkRebinding moves a client while it has a stream open: the server has to notice and to go on.
func checkRebinding(t *testing.T, e *echo, n *nat, open func() (quicStream, error)) {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	talk := func(what string) {
		t.Helper()
		if _, err := s.Write([]byte(what)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, b); err != nil || string(b) != what {
			t.Fatalf("%q came back as %q: %v", what, b, err)
		}
	}
	talk("one.")
	server := <-e.conns
	before := server.RemoteAddr().String()
	n.rebind(t)
	talk("two.")
	checkEcho(t, s, 200_000)
	for begin := time.Now(); server.RemoteAddr().String() == before; time.Sleep(time.Millisecond) {
		if time.Since(begin) > quicTimeout {
			t.Fatalf("the server still takes the client for %s", before)
		}
	}
	checkStreams(t, open)
}

// TestQUICOfXNetServer has our client use the server of golang.org/x/net.
func TestQUICOfXNetServer(t *testing.T) {
	k := newQUICKeys(t)
	dial := func(t *testing.T, to net.Addr, q *qlogs) *quicnet.Conn {
		t.Helper()
		d := &quicnet.Dialer{Config: quicConfig(k.client)}
		d.Qlog = q.open
		c, err := d.Dial(quicContext(t), "mqtt", to.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Close()
			if err := d.Shutdown(quicContext(t)); err != nil && t.Context().Err() == nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		return c
	}
	t.Run("streams and key update", func(t *testing.T) {
		var q qlogs
		c := dial(t, xnetServe(t, k, "mqtt", false), &q)
		if c.Protocol() != "mqtt" {
			t.Errorf("the protocol is %q", c.Protocol())
		}
		checkEcho(t, c, 2<<20)
		checkStreams(t, netioStreams(t.Context(), c))
		if q.count(keyUpdated) == 0 {
			t.Error("no key update in 2 MiB")
		}
	})
	t.Run("Retry", func(t *testing.T) {
		n := newNAT(t, xnetServe(t, k, "mqtt", true))
		c := dial(t, n.LocalAddr(), new(qlogs))
		checkEcho(t, c, 10_000)
		if n.retries.Load() == 0 {
			t.Error("no Retry packet")
		}
	})
	t.Run("wrong protocol", func(t *testing.T) {
		d := &quicnet.Dialer{Config: quicConfig(k.client)}
		if c, err := d.Dial(quicContext(t), "smtp", xnetServe(t, k, "mqtt", false).String()); err == nil {
			c.Close()
			t.Error("a connection for a protocol that is not served")
		} else if tlsErr := (*quicnet.Error)(nil); !errors.As(err, &tlsErr) {
			t.Errorf("the error is %v", err)
		}
	})
}
