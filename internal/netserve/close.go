package netserve

import (
	"crypto/tls"
	"net"

	"github.com/quartet-mq/quartet/internal/wsconn"
)

// Close closes a connection without waiting. Some transports say goodbye and wait until it is taken: they do so in a
// goroutine of their own.
func Close(nc net.Conn) {
	switch nc.(type) {
	case *tls.Conn, *wsconn.Conn:
		go nc.Close()
	default:
		nc.Close()
	}
}

// CloseWrite ends the sending side of a connection without waiting, or closes a connection that cannot do that.
func CloseWrite(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok {
		Close(nc)
		return
	}
	switch nc.(type) {
	case *tls.Conn, *wsconn.Conn: // they write
		go half.CloseWrite()
	default:
		half.CloseWrite()
	}
}

// maxPart is the size of a record of TLS.
const maxPart = 16 << 10

// Part returns how much of b to write at a time under a deadline that a slow peer must not miss: all of it where a Write that
// the deadline cut short may be followed by another one.
func Part(nc net.Conn, b []byte) []byte {
	if Resumable(nc) {
		return b
	}
	return b[:min(len(b), maxPart)]
}

// Resumable reports whether a Write that a deadline cut short may be followed by another one.
func Resumable(nc net.Conn) bool {
	switch nc.(type) {
	case *tls.Conn, *wsconn.Conn:
		return false
	}
	return true
}
