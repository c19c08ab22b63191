package quicnet

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"time"
)

// scheme is what a URL scheme stands for.
type scheme struct {
	port    string // of QUIC
	tlsPort string
	alpn    []string // in order of preference
}

// schemeOf returns what a URL scheme stands for.
func schemeOf(name string) (scheme, bool) {
	switch name {
	case "mqtt+quic":
		return scheme{"14567", "8883", []string{"mqtt"}}, true
	case "amqp+quic":
		return scheme{"5671", "5671", []string{"amqp-streams/1", "amqp"}}, true
	case "kafka+quic":
		return scheme{"9094", "9094", []string{"kafka-streams/1", "kafka"}}, true
	}
	return scheme{}, false
}

// DialURL makes a connection to the server of a URL, for Options.Dialers of our clients. The schemes, default ports and
// protocols are
//
//	mqtt+quic    14567  mqtt
//	amqp+quic     5671  amqp-streams/1, amqp
//	kafka+quic    9094  kafka-streams/1, kafka
//
// It tries QUIC first. When that fails, or has not succeeded after FallbackDelay, it tries TLS over TCP too, since some
// networks let no UDP through; the first that succeeds wins. It never falls back to plain text. The result is a *Conn or
// a *tls.Conn. When neither succeeds the error is a *FallbackError.
func (d *Dialer) DialURL(ctx context.Context, u *url.URL) (net.Conn, error) {
	s, ok := schemeOf(u.Scheme)
	if !ok {
		return nil, configError("no protocol for the scheme " + u.Scheme + "; see Dialer.For")
	}
	return d.dialURL(ctx, u, s)
}

// For returns a function like DialURL that asks for these protocols whatever the scheme, such as "amqp" alone for AMQP 1.0,
// which has no profile of streams. A scheme that DialURL does not know needs a port in the URL.
func (d *Dialer) For(alpn ...string) func(context.Context, *url.URL) (net.Conn, error) {
	return func(ctx context.Context, u *url.URL) (net.Conn, error) {
		s, _ := schemeOf(u.Scheme)
		s.alpn = alpn
		return d.dialURL(ctx, u, s)
	}
}

func (d *Dialer) dialURL(ctx context.Context, u *url.URL, s scheme) (net.Conn, error) {
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = s.port
	}
	if host == "" || port == "" {
		return nil, configError("the URL " + u.Redacted() + " has no host or no port")
	}
	tcp := ""
	switch {
	case d.FallbackDelay < 0:
	case d.Fallback != nil:
		tcp = d.Fallback(u.Scheme, host, port)
	case port == s.port:
		tcp = net.JoinHostPort(host, s.tlsPort)
	default:
		tcp = net.JoinHostPort(host, port)
	}
	return d.dialFallback(ctx, net.JoinHostPort(host, port), s.alpn, tcp)
}

// dialFallback dials QUIC, and TLS over TCP some time later if there is an address for that.
func (d *Dialer) dialFallback(ctx context.Context, address string, alpn []string, tcp string) (net.Conn, error) {
	quic := func(ctx context.Context) (net.Conn, error) { return asConn(d.dial(ctx, address, alpn)) }
	if tcp == "" {
		c, err := quic(ctx)
		if err != nil {
			return nil, &FallbackError{QUIC: err}
		}
		return c, nil
	}
	tls := func(ctx context.Context) (net.Conn, error) { return asConn(d.dialTLS(ctx, tcp)) }
	c, winner, errs := race(ctx, orDefault(d.FallbackDelay, 250*time.Millisecond), quic, tls)
	if c == nil {
		return nil, &FallbackError{QUIC: errs[0], TLS: errs[1]}
	}
	if winner == 1 {
		d.group.stats.fallbacks.Add(1)
		if t := d.Trace; t != nil && t.Fallback != nil {
			t.Fallback(tcp, errs[0])
		}
	}
	return c, nil
}

// asConn returns a conn of some type as a net.Conn that is nil with an error.
func asConn[C net.Conn](c C, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// dialTLS makes a TLS connection over TCP.
func (d *Dialer) dialTLS(ctx context.Context, address string) (*tls.Conn, error) {
	dial := d.DialTCP
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{}
	switch {
	case d.FallbackTLS != nil:
		c = d.FallbackTLS.Clone()
	case d.TLS != nil:
		c = d.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address)
	}
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}
