package mqttclient

import (
	"errors"
	"fmt"
	"net"

	"github.com/quartet-mq/quartet/mqtt"
)

// Errors that callers branch on. What the server refused is an *mqtt.Error with Remote set; errors.Is(err,
// net.ErrClosed) asks whether the connection or the client is gone.
var (
	// ErrClosed: the client was closed, or gave up; then the error wraps the reason, too.
	ErrClosed error = goneError("mqttclient: client is closed")
	// ErrNotConnected: there is no connection, and the call does not wait for one.
	ErrNotConnected error = goneError("mqttclient: not connected")
	// ErrUnsubscribed: the subscription was closed.
	ErrUnsubscribed error = goneError("mqttclient: subscription is closed")
	// ErrQueueFull: the message does not fit in the queue, or was dropped from it in favour of a later one.
	ErrQueueFull = errors.New("mqttclient: queue is full")
	// ErrExpired: the message's expiry interval ended before the message could be sent.
	ErrExpired = errors.New("mqttclient: message expired before it was sent")
	// ErrSessionLost: the server lost the session while a QoS 2 message was under way. The message may or may not have
	// been delivered; sending it again could deliver it twice.
	ErrSessionLost = errors.New("mqttclient: the server lost the session")
	// ErrStreamLost: the data stream on which a QoS 2 message was under way has ended, and the server does not keep what
	// was in flight there (Streams.Keep). The message may or may not have been delivered; sending it again could deliver
	// it twice.
	ErrStreamLost = errors.New("mqttclient: the stream has ended")
)

// ErrDirInUse: another client, perhaps of another process, has the directory. It comes in a *StorageError.
var ErrDirInUse = errors.New("mqttclient: the directory is in use")

// StorageError says that Options.Dir cannot be used, or failed while the client was at work. Then the client has given
// up: it promises nothing that it could not store. What was stored waits in the directory for the next client, so
// messages must not be published again: SafeToRetry does not hold.
type StorageError struct {
	Dir string
	Err error
}

// Error returns the text.
func (e *StorageError) Error() string {
	return "mqttclient: storage in " + e.Dir + ": " + e.Err.Error()
}

// Unwrap returns why.
func (e *StorageError) Unwrap() error { return e.Err }

// ClientIDError says that Options.Dir belongs to another client identifier.
type ClientIDError struct {
	Dir    string
	Stored string // to which it belongs
	Given  string // that of Options
}

// Error returns the text.
func (e *ClientIDError) Error() string {
	return fmt.Sprintf("mqttclient: %s belongs to the client identifier %q, not %q", e.Dir, e.Stored, e.Given)
}

// goneError is an error that wraps net.ErrClosed.
type goneError string

func (e goneError) Error() string { return string(e) }
func (e goneError) Unwrap() error { return net.ErrClosed }

// endError is the end of a client that gave up.
type endError struct{ cause error }

func (e *endError) Error() string   { return string(ErrClosed.(goneError)) + ": " + e.cause.Error() }
func (e *endError) Unwrap() []error { return []error{ErrClosed, e.cause} }

// unsentError marks an error of a message that never left the client.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// SafeToRetry reports whether err, returned by Publish, Request, Publication.Wait or Publication.Err, leaves no doubt
// that the message was not delivered, so that publishing it again cannot deliver it twice: it never left the client, or
// the server refused it.
func SafeToRetry(err error) bool {
	if _, ok := errors.AsType[*unsentError](err); ok {
		return true
	}
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && e.Remote && e.Code.IsError()
}

// DefaultRetry is the default of Options.Retry. It gives up when trying again is pointless: the server does not accept
// the credentials, the client identifier, the authentication method, the will message or the protocol, has banned the
// client, or another client took over the session. It goes on after everything else.
func DefaultRetry(err error) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	if !ok || !e.Remote {
		return true
	}
	switch e.Code {
	case mqtt.ReasonMalformedPacket, mqtt.ReasonProtocolError, mqtt.ReasonUnsupportedProtocolVersion,
		mqtt.ReasonClientIdentifierNotValid, mqtt.ReasonBadUserNameOrPassword, mqtt.ReasonNotAuthorized,
		mqtt.ReasonBanned, mqtt.ReasonBadAuthenticationMethod, mqtt.ReasonSessionTakenOver,
		mqtt.ReasonTopicNameInvalid, mqtt.ReasonPacketTooLarge, mqtt.ReasonPayloadFormatInvalid,
		mqtt.ReasonRetainNotSupported, mqtt.ReasonQoSNotSupported:
		return false
	}
	return true
}
