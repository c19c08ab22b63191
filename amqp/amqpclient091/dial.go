package amqpclient091

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
)

const (
	schemePlain = "amqp"
	schemeTLS   = "amqps"
)

// server is one of the servers in Options.
type server struct {
	uri *URI
	url *url.URL // for dialers and users
}

// newServer parses and checks a server's URL.
func (c *config) newServer(s string) (*server, error) {
	u, err := ParseURI(s)
	if err != nil {
		return nil, err
	}
	srv := &server{uri: u, url: u.url()}
	if len(u.Ignored) > 0 {
		c.Logger.Warn("parameters without a meaning in a URL", "server", srv.url.Redacted(), "parameters", u.Ignored)
	}
	if c.Dialers[u.Scheme] != nil {
		return srv, nil
	}
	switch u.Scheme {
	case schemePlain:
	case schemeTLS:
		if _, err := c.tlsConfig(u); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("amqpclient091: server %s: no dialer for the scheme %q", u, u.Scheme)
	}
	return srv, nil
}

// dial makes a connection to a server.
func (c *config) dial(ctx context.Context, s *server) (net.Conn, error) {
	if f := c.Dialers[s.uri.Scheme]; f != nil {
		return f(ctx, cloneURL(s.url))
	}
	raw, err := c.dialNet(ctx, s.uri.address())
	if err != nil || s.uri.Scheme == schemePlain {
		return raw, err
	}
	cfg, err := c.tlsConfig(s.uri)
	if err != nil {
		raw.Close()
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

func (c *config) dialNet(ctx context.Context, address string) (net.Conn, error) {
	if c.DialContext != nil {
		return c.DialContext(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// tlsConfig returns the configuration for a server. Files are read each time, so that new certificates count.
func (c *config) tlsConfig(u *URI) (*tls.Config, error) {
	cfg := c.TLS.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if u.CACertFile != "" && cfg.RootCAs == nil {
		pem, err := os.ReadFile(u.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("amqpclient091: cacertfile: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("amqpclient091: cacertfile: no certificate in %s", u.CACertFile)
		}
	}
	if u.CertFile != "" && len(cfg.Certificates) == 0 && cfg.GetClientCertificate == nil {
		cert, err := tls.LoadX509KeyPair(u.CertFile, u.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("amqpclient091: certfile: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if u.VerifyNone {
		cfg.InsecureSkipVerify = true
	}
	if cfg.ServerName == "" {
		cfg.ServerName = orDefault(u.ServerName, orDefault(u.Host, "localhost"))
		if u.NoServerName {
			withoutServerName(cfg)
		}
	}
	return cfg, nil
}

// withoutServerName makes the handshake send no server name. Its certificate is still checked against the name in cfg.
func withoutServerName(cfg *tls.Config) {
	name := cfg.ServerName
	cfg.ServerName = ""
	if cfg.InsecureSkipVerify {
		return
	}
	cfg.InsecureSkipVerify = true
	next, roots := cfg.VerifyConnection, cfg.RootCAs
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool()}
		if cfg.Time != nil {
			o.CurrentTime = cfg.Time()
		}
		for _, cert := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		if next != nil {
			return next(s)
		}
		return nil
	}
}
