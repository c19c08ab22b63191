package kafkaclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
)

// dial makes a connection to a broker.
func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	if f := c.o.Dialers[c.o.scheme]; f != nil {
		return f(ctx, &url.URL{Scheme: c.o.scheme, Host: addr})
	}
	nc, err := c.o.Dial(ctx, "tcp", addr)
	if err != nil || c.o.scheme == "kafka" {
		return nc, err
	}
	config := c.o.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	t := tls.Client(nc, config)
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return t, nil
}
