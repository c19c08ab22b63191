package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// DialOptions configure Dial.
type DialOptions struct {
	// Subprotocols are offered to the server, which must choose one of them.
	Subprotocols []string

	// Header is added to the request, for instance for authentication.
	Header http.Header

	// TLS configures wss; nil means the defaults.
	TLS *tls.Config

	// NetDial makes the connection below, without TLS; nil means TCP to the host and port of the URL.
	NetDial func(ctx context.Context) (net.Conn, error)

	// ReadLimit and CloseTimeout are those of AcceptOptions.
	ReadLimit    int64
	CloseTimeout time.Duration
}

// Dial connects to a ws or wss URL. The context bounds the handshake only.
func Dial(ctx context.Context, url string, o *DialOptions) (*Conn, error) {
	var raw net.Conn
	t := &http.Transport{
		TLSClientConfig: o.TLS,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			if o.NetDial != nil {
				c, err = o.NetDial(ctx)
			} else {
				c, err = new(net.Dialer).DialContext(ctx, network, addr)
			}
			raw = c
			return c, err
		},
		DisableKeepAlives: true,
	}
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: t, CheckRedirect: noRedirect},
		HTTPHeader:   o.Header,
		Subprotocols: o.Subprotocols,
	})
	if err != nil {
		return nil, err // the transport has closed the connection
	}
	c := newConn(ws, raw, resp.Header, resp.TLS, &options{o.ReadLimit, o.CloseTimeout})
	if len(o.Subprotocols) > 0 && ws.Subprotocol() == "" {
		_ = c.close(websocket.StatusProtocolError)
		return nil, errSubprotocol
	}
	return c, nil
}

// noRedirect makes a redirect an error: the caller names the server that it trusts.
func noRedirect(*http.Request, []*http.Request) error {
	return errors.New("wsconn: the server redirects")
}
