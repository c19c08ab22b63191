package netio

import (
	"context"
	"io"
	"time"
)

// Streams is implemented by a net.Conn that carries more than its own byte stream, such as a QUIC connection. A shell
// finds it by assertion. The conn itself is the first bidirectional stream that the client opened, stream 0.
//
// All methods may be called concurrently. Closing the conn ends every stream and makes waiting calls return an error
// that wraps net.ErrClosed.
type Streams interface {
	// OpenStream opens a bidirectional stream. It waits while the peer's limit of open streams is reached. The peer
	// may learn of the stream only with its first byte.
	OpenStream(ctx context.Context) (Stream, error)

	// AcceptStream waits for the next stream that the peer opens.
	AcceptStream(ctx context.Context) (Stream, error)

	// SendDatagram sends one datagram, unreliably and without waiting, and does not keep b. It fails when b is larger
	// than the path allows.
	SendDatagram(b []byte) error

	// ReceiveDatagram waits for the next datagram. The caller owns the slice.
	ReceiveDatagram(ctx context.Context) ([]byte, error)
}

// Stream is one extra stream of a connection. Reads may run concurrently with writes.
type Stream interface {
	// Reader returns io.EOF once the peer has closed its sending side and everything was read.
	io.Reader

	// Writer waits for flow control.
	io.Writer

	// Closer ends both directions: bytes already written are still delivered, bytes not yet read are dropped.
	io.Closer

	// CloseWrite ends the sending side only.
	CloseWrite() error

	// ID is the number of the stream in its connection, numbered as in RFC 9000, section 2.1.
	ID() int64

	// SetDeadline, SetReadDeadline and SetWriteDeadline work as those of net.Conn.
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// EarlyData is implemented by a net.Conn whose first bytes may be a replay (0-RTT data: RFC 8446, section 8, and RFC 9001,
// section 5.6). A conn without it is confirmed from the start.
type EarlyData interface {
	// Confirmed is closed once the handshake is complete. What a server has read before may be sent a second time by
	// somebody who recorded it, and so may what a client has written before.
	Confirmed() <-chan struct{}
}

// Negotiated is implemented by a net.Conn that agreed with its peer on a protocol.
type Negotiated interface {
	// Protocol returns the name of the protocol (ALPN, RFC 7301), or nothing.
	Protocol() string
}
