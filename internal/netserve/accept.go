package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/proxyproto"
)

// Accept accepts connections from l and calls begin for each, until l fails. When the system is out of something it tries
// again after a pause, of which it tells paused first. It returns nil when stopped says that l was closed on purpose.
func Accept(l net.Listener, stopped func() bool, paused func(pause time.Duration, err error), begin func(net.Conn)) error {
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			begin(nc)
		case stopped():
			return nil
		case !exhausted(err):
			return err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			paused(pause, err)
			time.Sleep(pause)
		}
	}
}

// exhausted reports whether Accept may work again in a while.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Unwrap does what comes before the protocol or HTTP on a connection: the header of the PROXY protocol if proxy is set, then
// the handshake of TLS if there is a configuration, or if nc is a *tls.Conn. It ends at the deadline and with ctx.
func Unwrap(ctx context.Context, nc net.Conn, proxy bool, config *tls.Config, deadline time.Time) (net.Conn, error) {
	if proxy {
		inner, err := proxyproto.Wrap(nc, &proxyproto.Options{Timeout: max(time.Until(deadline), 1)})
		if err != nil {
			return nil, err
		}
		nc = inner
	}
	t, ok := nc.(*tls.Conn)
	if config != nil {
		t, ok = tls.Server(nc, config), true
	}
	if !ok {
		return nc, nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return t, t.HandshakeContext(ctx)
}
