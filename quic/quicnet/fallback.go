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
	return d.race(ctx, net.JoinHostPort(host, port), s.alpn, tcp)
}

// race dials QUIC, and TLS over TCP some time later.
func (d *Dialer) race(ctx context.Context, address string, alpn []string, tcp string) (net.Conn, error) {
	if tcp == "" {
		c, err := d.dial(ctx, address, alpn)
		if err != nil {
			return nil, &FallbackError{QUIC: err}
		}
		return c, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	overQUIC, overTLS := make(chan result, 1), make(chan result, 1)
	go func() {
		c, err := d.dial(ctx, address, alpn)
		if err != nil {
			overQUIC <- result{nil, err}
			return
		}
		overQUIC <- result{c, nil}
	}()
	delay := time.NewTimer(orDefault(d.FallbackDelay, 250*time.Millisecond))
	defer delay.Stop()
	var failed FallbackError
	started, left := false, 1
	fallBack := func() {
		if started {
			return
		}
		started = true
		left++
		go func() {
			c, err := d.dialTLS(ctx, tcp)
			if err != nil {
				overTLS <- result{nil, err}
				return
			}
			overTLS <- result{c, nil}
		}()
	}
	drop := func(loser chan result) {
		go func() {
			if r := <-loser; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
	}
	for left > 0 {
		select {
		case <-delay.C:
			fallBack()
		case r := <-overQUIC:
			left--
			if r.err == nil {
				if started && failed.TLS == nil {
					drop(overTLS)
				}
				return r.conn, nil
			}
			failed.QUIC = r.err
			fallBack()
		case r := <-overTLS:
			left--
			if r.err == nil {
				d.group.stats.fallbacks.Add(1)
				if t := d.Trace; t != nil && t.Fallback != nil {
					t.Fallback(tcp, failed.QUIC)
				}
				if failed.QUIC == nil {
					drop(overQUIC)
				}
				return r.conn, nil
			}
			failed.TLS = r.err
		}
	}
	return nil, &failed
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
