package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
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
	below := &upgrader{RoundTripper: t}
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: below, CheckRedirect: noRedirect},
		HTTPHeader:   o.Header,
		Subprotocols: o.Subprotocols,
	})
	if err != nil {
		return nil, err // the transport has closed the connection
	}
	c := newConn(ws, raw, resp.Header, resp.TLS, &options{readLimit: o.ReadLimit, closeTimeout: o.CloseTimeout, below: below.w, client: true})
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

// upgrader remembers the connection that the library takes over: with TLS, if there is any.
type upgrader struct {
	http.RoundTripper
	w io.Writer
}

// RoundTrip implements http.RoundTripper.
func (u *upgrader) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.RoundTripper.RoundTrip(r)
	if err == nil {
		u.w, _ = resp.Body.(io.Writer)
	}
	return resp, err
}
