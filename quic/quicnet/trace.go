package quicnet

import (
	"net"
	"time"
)

// Trace observes connections. Nil functions are not called. The functions are called from the goroutines of the
// connections, some of them concurrently: they must not wait, and must not call anything but Stats and the addresses
// of the Conn.
type Trace struct {
	// Connected is called when a handshake is complete, with the time that it took, for connections that have a first
	// stream.
	Connected func(c *Conn, took time.Duration)

	// Closed is called when a connection is gone. The reason wraps an *Error, whose Kind is KindApplication and whose
	// Code is CodeOK after Close.
	Closed func(c *Conn, reason error)

	// Retry is called when a client is asked to prove its address, and Refused when it is refused for MaxHandshakes or
	// MaxConns. The address may be forged.
	Retry, Refused func(addr net.Addr)

	// Moved is called when the peer of a server, or a client's own path, has another address than before.
	Moved func(c *Conn, from, to net.Addr)

	// Probed is called on a client when the server was asked for an answer over another path, with the local address
	// there. Without an error the connection moves. NoPath is called before a connection ends because none is left.
	Probed func(c *Conn, local net.Addr, took time.Duration, err error)
	NoPath func(c *Conn)

	// Early is called when it is known what becomes of early data (0-RTT): on the client for each connection that tried,
	// on the server for each that was accepted. Replayed is called on the server when a ticket is seen again.
	Early    func(c *Conn, accepted bool)
	Replayed func(addr net.Addr)

	// StreamOpened is called for each further stream, of this side or of the peer, and StreamClosed when it is forgotten.
	StreamOpened, StreamClosed func(c *Conn, id int64)

	// DatagramDropped is called for a datagram that was not sent, or, received, not taken because too many were waiting.
	DatagramDropped func(c *Conn, size int, received bool)

	// PacketLost is called for each packet that counts as lost.
	PacketLost func(c *Conn)

	// KeyUpdated is called when the keys have changed after the handshake (RFC 9001, section 6): of this side's own
	// accord or with the peer.
	KeyUpdated func(c *Conn, byPeer bool)

	// Fallback is called when DialURL ends with TLS over TCP. The error of QUIC is nil when it was only slower.
	Fallback func(address string, quic error)
}

// packets reports whether something is observed that only quic-go's trace of packets tells.
func (t *Trace) packets() bool {
	return t != nil && (t.DatagramDropped != nil || t.PacketLost != nil || t.KeyUpdated != nil)
}
