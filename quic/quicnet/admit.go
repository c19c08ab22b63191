package quicnet

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// errRefused makes quic-go answer with CONNECTION_REFUSED.
var errRefused = errors.New("quicnet: too many connections")

type admissionKey struct{}

// admission is the place of one handshake among those under way.
type admission struct {
	observer // of the connection, if it is to be observed
	start    time.Time
	end      func()
}

// verifyAddress reports whether a client must prove its address first.
func (l *Listener) verifyAddress(addr net.Addr) bool {
	above := orDefault(l.o.RetryAbove, 128)
	if above < 0 || l.pending.Load() >= int64(above) {
		l.group.stats.retries.Add(1)
		if t := l.o.Trace; t != nil && t.Retry != nil {
			t.Retry(addr)
		}
		return true
	}
	return false
}

// admit counts a client that wants in, or refuses it. The context that it gets ends with the connection.
func (l *Listener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	limit := orDefault(l.o.MaxHandshakes, 4096)
	if l.pending.Add(1) > int64(limit) || l.o.MaxConns > 0 && l.group.len() >= l.o.MaxConns {
		l.pending.Add(-1)
		l.refused(info.RemoteAddr)
		return nil, errRefused
	}
	a := &admission{start: time.Now(), end: sync.OnceFunc(func() { l.pending.Add(-1) })}
	context.AfterFunc(ctx, a.end)
	ctx = context.WithValue(ctx, observerKey{}, &a.observer)
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// refused counts a client that was refused.
func (l *Listener) refused(addr net.Addr) {
	l.group.stats.refused.Add(1)
	if t := l.o.Trace; t != nil && t.Refused != nil {
		t.Refused(addr)
	}
}
