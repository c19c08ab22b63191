package quicnet

import (
	"crypto/tls"

	"github.com/quic-go/quic-go"
)

// source returns where the streams of a connection come from.
func (l *Listener) source(qc *quic.Conn) streamSource {
	if g := l.o.EarlyData; g != nil {
		return newEarlyServer(qc, g.budget)
	}
	return plainSource{qc}
}

// earlyRefused counts a ticket that the guard has refused.
func (l *Listener) earlyRefused(why EarlyRefusal) {
	if why == EarlyReplayed {
		l.group.stats.earlyReplayed.Add(1)
	} else {
		l.group.stats.earlyRejected.Add(1)
	}
}

// earlyTraced returns the configuration c of one handshake, made of base, so that the trace learns who replays.
func (l *Listener) earlyTraced(c, base *tls.Config, hello *tls.ClientHelloInfo) *tls.Config {
	t, g := l.o.Trace, l.o.EarlyData
	if g == nil || t == nil || t.Replayed == nil || hello.Conn == nil {
		return c
	}
	c = c.Clone()
	c.UnwrapSession = g.unwrap(base, func(why EarlyRefusal) {
		l.earlyRefused(why)
		if why == EarlyReplayed {
			t.Replayed(hello.Conn.RemoteAddr())
		}
	})
	return c
}

// earlyAccepted counts a connection that came with early data.
func (l *Listener) earlyAccepted(c *Conn) {
	if !c.qc.ConnectionState().Used0RTT {
		return
	}
	l.group.stats.earlyAccepted.Add(1)
	if t := l.o.Trace; t != nil && t.Early != nil {
		t.Early(c, true)
	}
}
