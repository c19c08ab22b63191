package mqttclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/quartet-mq/quartet/internal/wsconn"
)

// transport is what a URL scheme stands for.
type transport uint8

const (
	transportNone transport = iota
	transportTCP
	transportTLS
	transportWS
	transportWSS
	transportUnix
)

// transportOf returns the transport of a scheme and its default port.
func transportOf(scheme string) (t transport, port string) {
	switch scheme {
	case "mqtt", "tcp":
		return transportTCP, "1883"
	case "mqtts", "ssl", "tls":
		return transportTLS, "8883"
	case "ws":
		return transportWS, "80"
	case "wss":
		return transportWSS, "443"
	case "unix":
		return transportUnix, ""
	}
	return transportNone, ""
}

// parseServer parses and checks a server's URL.
func (c *config) parseServer(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("mqttclient: server: %w", err)
	}
	if c.Dialers[u.Scheme] != nil {
		return u, nil
	}
	switch t, _ := transportOf(u.Scheme); {
	case t == transportNone:
		return nil, fmt.Errorf("mqttclient: server %s: no dialer for the scheme %q", u.Redacted(), u.Scheme)
	case t == transportUnix && u.Path == "" && u.Opaque == "" && u.Host == "", t != transportUnix && u.Hostname() == "":
		return nil, fmt.Errorf("mqttclient: server %s: no address", u.Redacted())
	}
	return u, nil
}

// dial makes a connection to a server.
func (c *config) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	if f := c.Dialers[u.Scheme]; f != nil {
		return f(ctx, u)
	}
	t, port := transportOf(u.Scheme)
	if t == transportUnix {
		return c.dialNet(ctx, "unix", u.Opaque+u.Host+u.Path)
	}
	address := hostPort(u, port)
	switch t {
	case transportTLS:
		return c.dialTLS(ctx, u, address)
	case transportWS, transportWSS:
		plain := *u
		plain.User, plain.Host = nil, address
		return wsconn.Dial(ctx, plain.String(), &wsconn.DialOptions{
			Subprotocols: []string{"mqtt"}, // [MQTT-6.0.0-3]
			TLS:          c.TLS,
			NetDial:      func(ctx context.Context) (net.Conn, error) { return c.dialNet(ctx, "tcp", address) },
			CloseTimeout: closeTimeout,
		})
	}
	return c.dialNet(ctx, "tcp", address)
}

func (c *config) dialNet(ctx context.Context, network, address string) (net.Conn, error) {
	if c.DialContext != nil {
		return c.DialContext(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (c *config) dialTLS(ctx context.Context, u *url.URL, address string) (net.Conn, error) {
	raw, err := c.dialNet(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	cfg := c.TLS.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// hostPort returns the address of a URL with the port of its scheme as the default.
func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// redirect returns where a server reference (section 4.11) points: the first of its entries, with the scheme and path of
// the server that gave it. It is nil when there is none.
func redirect(from *url.URL, reference string) *url.URL {
	entries := strings.Fields(reference)
	if len(entries) == 0 {
		return nil
	}
	to := *from
	if strings.Contains(entries[0], "://") {
		u, err := url.Parse(entries[0])
		if err != nil || u.Hostname() == "" {
			return nil
		}
		u.User = from.User
		return u
	}
	to.Host = entries[0]
	if strings.Count(to.Host, ":") > 1 && !strings.HasPrefix(to.Host, "[") {
		to.Host = "[" + to.Host + "]"
	}
	if u, err := url.Parse(to.String()); err != nil || u.Hostname() == "" {
		return nil
	}
	return &to
}
