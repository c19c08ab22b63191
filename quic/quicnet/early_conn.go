package quicnet

import (
	"context"
	"errors"

	"github.com/quic-go/quic-go"
)

// streamSource is where the streams of a Conn come from: quic-go's connection, with or without early data.
type streamSource interface {
	openStream(context.Context) (byteStream, error)
	acceptStream(context.Context) (byteStream, error)

	// confirmed is closed once the handshake is complete, and what the server has refused is sent again.
	confirmed() <-chan struct{}

	// protocol is the name that is going to be agreed on, or nothing if that was done.
	protocol() string
}

var (
	_ streamSource = plainSource{}
	_ streamSource = (*earlyClient)(nil)
	_ streamSource = (*earlyServer)(nil)
)

// plainSource is a connection without early data.
type plainSource struct{ qc *quic.Conn }

func (s plainSource) openStream(ctx context.Context) (byteStream, error) {
	return noNil(s.qc.OpenStreamSync(ctx))
}

func (s plainSource) acceptStream(ctx context.Context) (byteStream, error) {
	return noNil(s.qc.AcceptStream(ctx))
}

func (s plainSource) confirmed() <-chan struct{} { return s.qc.HandshakeComplete() }

func (s plainSource) protocol() string { return "" }

// noNil keeps a nil pointer out of an interface.
func noNil(q *quic.Stream, err error) (byteStream, error) {
	if err != nil {
		return nil, err
	}
	return q, nil
}

// errEarlyDatagram is returned for datagrams that cannot be sent again if the server refuses them.
var errEarlyDatagram = errors.New("quicnet: no datagrams before the handshake is complete")

// handshaken reports whether the handshake is complete, although what was refused may not have been sent again yet.
func (c *Conn) handshaken() bool {
	select {
	case <-c.qc.HandshakeComplete():
		return true
	default:
		return false
	}
}

// awaitConfirmed waits until Confirmed is closed.
func (c *Conn) awaitConfirmed(ctx context.Context) error {
	select {
	case <-c.src.confirmed():
		return nil
	case <-c.qc.Context().Done():
		return context.Cause(c.qc.Context())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// traceEarly tells the trace of a client what becomes of its early data.
func (c *Conn) traceEarly() {
	e, ok := c.src.(*earlyClient)
	if t := c.cfg.Trace; ok && t != nil && t.Early != nil {
		go func() {
			select {
			case <-e.settled:
				t.Early(c, !e.refused)
			case <-e.gone:
			}
		}()
	}
}
