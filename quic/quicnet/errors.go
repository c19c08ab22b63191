package quicnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/quic-go/quic-go"
)

// Code is an error code of the application, for a connection or a stream (RFC 9000, section 20.2). Codes 0 to 2 are
// those that EMQX sends on a connection.
type Code uint64

// The codes that this package sends.
const (
	CodeOK       Code = 0 // the connection or stream is done
	CodeControl  Code = 1 // the client did not open its first stream, or that stream is gone
	CodeOverload Code = 2 // the server takes no more connections
	CodeAborted  Code = 3 // Abort was called
)

// Kind says what ended a connection or stream.
type Kind uint8

// The kinds of an Error.
const (
	KindApplication Kind = iota + 1 // CONNECTION_CLOSE by the application, Code is its code
	KindTransport                   // CONNECTION_CLOSE by the transport, Code is one of RFC 9000, section 20.1
	KindTLS                         // the handshake failed, Code is the alert (RFC 8446, section 6.2)
	KindStream                      // RESET_STREAM or STOP_SENDING, Code is the application's code
	KindIdle                        // nothing was heard for the idle timeout
	KindHandshake                   // the handshake took too long
	KindReset                       // stateless reset: the peer has forgotten the connection
	KindVersion                     // no common version of QUIC
	KindEarly                       // the server rejected early data, which must be sent again
)

var kindNames = [...]string{"", "closed by the application", "transport error", "TLS alert", "stream reset", "idle timeout",
	"handshake timeout", "stateless reset", "no common version", "early data rejected"}

// String returns a short description.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// Error is why a connection or a stream ended. Reads, writes and the calls of netio.Streams return it inside a
// *net.OpError. All kinds but KindStream and KindEarly are of the connection and wrap net.ErrClosed. An error of kind
// KindIdle or KindHandshake is a timeout (net.Error). What a peer does abruptly is also a syscall.ECONNRESET for
// errors.Is: a reset stream, a stateless reset, and CONNECTION_CLOSE with any code but 0.
type Error struct {
	Kind   Kind
	Code   uint64
	Stream int64  // for KindStream
	Remote bool   // the peer said it
	Reason string // free text, which a peer may have chosen: up to about 1 KiB
}

// Error returns the kind, code, origin and reason.
func (e *Error) Error() string {
	s := "quic: " + e.Kind.String()
	switch e.Kind {
	case KindApplication, KindTransport, KindTLS:
		s += fmt.Sprintf(" %#x", e.Code)
	case KindStream:
		s += fmt.Sprintf(" %#x on stream %d", e.Code, e.Stream)
	}
	if e.Remote {
		s += " (by the peer)"
	}
	if e.Reason != "" {
		s += fmt.Sprintf(": %q", e.Reason)
	}
	return s
}

// Unwrap returns net.ErrClosed for errors of a connection.
func (e *Error) Unwrap() error {
	if e.Kind == KindStream || e.Kind == KindEarly {
		return nil
	}
	return net.ErrClosed
}

// Is reports whether target is syscall.ECONNRESET and the peer ended it abruptly.
func (e *Error) Is(target error) bool {
	if target != syscall.ECONNRESET {
		return false
	}
	return e.Kind == KindReset || e.Remote && (e.Kind == KindStream || e.Code != 0)
}

// Timeout reports whether nothing was heard from the peer for too long.
func (e *Error) Timeout() bool { return e.Kind == KindIdle || e.Kind == KindHandshake }

// Temporary returns false.
func (e *Error) Temporary() bool { return false }

// DatagramTooLargeError is returned by Conn.SendDatagram.
type DatagramTooLargeError struct {
	Size int // of the datagram that was to be sent
	Max  int // what the path and the peer take now
}

// Error says both sizes.
func (e *DatagramTooLargeError) Error() string {
	return fmt.Sprintf("quic: a datagram of %d bytes, where %d fit", e.Size, e.Max)
}

// FallbackError is returned by Dialer.DialURL when neither QUIC nor TLS over TCP reached the server. It wraps both.
type FallbackError struct {
	QUIC error
	TLS  error // nil when it was not tried
}

// Error joins both.
func (e *FallbackError) Error() string {
	if e.TLS == nil {
		return fmt.Sprintf("quicnet: dial over QUIC: %v", e.QUIC)
	}
	return fmt.Sprintf("quicnet: dial over QUIC: %v; over TLS: %v", e.QUIC, e.TLS)
}

// Unwrap returns both.
func (e *FallbackError) Unwrap() []error {
	if e.TLS == nil {
		return []error{e.QUIC}
	}
	return []error{e.QUIC, e.TLS}
}

// configError is a mistake of the caller.
type configError string

func (e configError) Error() string { return "quicnet: " + string(e) }

// errOf returns what an error of quic-go means. Its types go no further than here.
func errOf(err error) error {
	switch err {
	case nil, io.EOF, context.Canceled, context.DeadlineExceeded:
		return err
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		return &Error{Kind: KindStream, Code: uint64(e.ErrorCode), Stream: int64(e.StreamID), Remote: e.Remote}
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &Error{Kind: KindApplication, Code: uint64(e.ErrorCode), Remote: e.Remote, Reason: e.ErrorMessage}
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		t := &Error{Kind: KindTransport, Code: uint64(e.ErrorCode), Remote: e.Remote, Reason: e.ErrorMessage}
		if e.ErrorCode.IsCryptoError() {
			t.Kind, t.Code = KindTLS, t.Code-0x100
		}
		if !e.Remote { // the local cause, such as an x509 error
			if inner := localCause(e); inner != nil {
				return fmt.Errorf("%w: %w", t, inner)
			}
		}
		return t
	}
	for _, k := range []struct {
		is   bool
		kind Kind
	}{
		{isType[*quic.IdleTimeoutError](err), KindIdle},
		{isType[*quic.HandshakeTimeoutError](err), KindHandshake},
		{isType[*quic.StatelessResetError](err), KindReset},
		{isType[*quic.VersionNegotiationError](err), KindVersion},
		{errors.Is(err, quic.Err0RTTRejected), KindEarly},
	} {
		if k.is {
			return &Error{Kind: k.kind, Remote: k.kind == KindReset || k.kind == KindEarly}
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, quic.ErrTransportClosed), errors.Is(err, quic.ErrServerClosed):
		return net.ErrClosed
	}
	return err
}

// localCause returns the error that made this side send a transport error, or nil.
func localCause(e *quic.TransportError) error {
	for _, inner := range e.Unwrap() {
		if inner != nil && inner != net.ErrClosed {
			return inner
		}
	}
	return nil
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
