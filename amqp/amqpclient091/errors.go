package amqpclient091

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Errors that callers branch on. What the server refused is an *amqp091.Error with Remote set; errors.Is(err,
// net.ErrClosed) asks whether the connection, the channel or the client is gone.
var (
	// ErrClosed: the client was closed, or gave up; then the error wraps the reason, too.
	ErrClosed error = goneError("amqpclient091: client is closed")
	// ErrNotConnected: there is no connection, and the call does not wait for one.
	ErrNotConnected error = goneError("amqpclient091: not connected")
	// ErrChannelClosed: the channel was closed, by Close or by the server; then the error wraps its reason, too.
	ErrChannelClosed error = goneError("amqpclient091: channel is closed")
	// ErrStale: the channel on which the delivery came is gone, because the connection was lost or somebody closed the
	// channel. The server delivers the message again.
	ErrStale error = goneError("amqpclient091: the channel of the delivery is gone")
	// ErrSettled: the delivery was acknowledged or rejected before.
	ErrSettled = errors.New("amqpclient091: the delivery is settled")
	// ErrNacked: the server could not take responsibility for the message (basic.nack), for example because a queue is
	// full. When the message was for several queues, others may have it.
	ErrNacked = errors.New("amqpclient091: the server has refused the message")
	// ErrCanceled: the server has ended the consumer, for example because the queue was deleted.
	ErrCanceled = errors.New("amqpclient091: the server has ended the consumer")
	// ErrOverflow: a consumer without acknowledgements (AckNone) got more than it has room for.
	ErrOverflow = errors.New("amqpclient091: the buffer of the consumer is full")
	// ErrTooManyChannels: the server or the client's limit allows no further channel.
	ErrTooManyChannels = errors.New("amqpclient091: too many channels")
	// ErrTransactionLost: the connection was lost while something was not committed, so it never will be. Rollback, or
	// the Commit that returns this error, begins a new transaction.
	ErrTransactionLost = errors.New("amqpclient091: the transaction was lost with the connection")
	// ErrNoTransactions: the channel is not in mode Transactions.
	ErrNoTransactions = errors.New("amqpclient091: the channel has no transactions")
)

// ReturnedError says that a mandatory message was routed to no queue, and that the server has dropped it.
type ReturnedError struct {
	Code       amqp091.Code // amqp091.NoRoute
	Text       string       // the server's words
	Exchange   string
	RoutingKey string
}

// Error returns the text.
func (e *ReturnedError) Error() string {
	return fmt.Sprintf("amqpclient091: message to exchange %q with routing key %q was returned: %d %s: %s",
		e.Exchange, e.RoutingKey, uint16(e.Code), e.Code, e.Text)
}

// UnknownError says that the connection or the channel was lost after something was sent and before the server has
// answered: nobody knows whether the server got it. For a message, see ChannelOptions.Republish.
type UnknownError struct {
	Err error // why the answer is missing
}

// Error returns the text.
func (e *UnknownError) Error() string { return "amqpclient091: outcome unknown: " + e.Err.Error() }

// Unwrap returns why the answer is missing.
func (e *UnknownError) Unwrap() error { return e.Err }

// BlockedError says that ctx has ended while the server took no messages (connection.blocked).
type BlockedError struct {
	Reason string // the server's words, such as "low on memory"
	Err    error  // the cause of ctx
}

// Error returns the text.
func (e *BlockedError) Error() string {
	return "amqpclient091: the server takes no messages (" + e.Reason + "): " + e.Err.Error()
}

// Unwrap returns the cause of ctx.
func (e *BlockedError) Unwrap() error { return e.Err }

// RecoveryError says what could not be put back in its place after a reconnection.
type RecoveryError struct {
	What string // "exchange", "queue", "binding", "channel" or "consumer"
	Name string
	Err  error // mostly an *amqp091.Error
}

// Error returns the text.
func (e *RecoveryError) Error() string {
	return "amqpclient091: recovery of " + e.What + " " + e.Name + ": " + e.Err.Error()
}

// Unwrap returns why.
func (e *RecoveryError) Unwrap() error { return e.Err }

// MechanismError says that the server offers no SASL mechanism that the client may use.
type MechanismError struct {
	Wanted, Offered []string
}

// Error returns the text.
func (e *MechanismError) Error() string {
	return "amqpclient091: server offers SASL mechanisms " + strings.Join(e.Offered, ", ") + ", not " +
		strings.Join(e.Wanted, " or ")
}

// blames reports whether err is what the server said of a method of that kind, with which it closed the connection or the
// channel.
func blames(err error, id amqp091.MethodID) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Remote && e.Method == id
}

// goneError is an error that wraps net.ErrClosed.
type goneError string

func (e goneError) Error() string { return string(e) }
func (e goneError) Unwrap() error { return net.ErrClosed }

// endError is the end of a client that gave up, or of a channel that the server closed.
type endError struct{ end, cause error }

func (e *endError) Error() string   { return e.end.Error() + ": " + e.cause.Error() }
func (e *endError) Unwrap() []error { return []error{e.end, e.cause} }

// ended returns end, with its cause if there is one.
func ended(end, cause error) error {
	if cause == nil {
		return end
	}
	return &endError{end, cause}
}

// unsentError marks an error of a message that never left the client.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// SafeToRetry reports whether err, returned by Publish, Call, Publication.Wait or Publication.Err, leaves no doubt that
// the message reached no queue, so that publishing it again cannot deliver it twice: it never left the client, or the
// server refused or returned it. It is false for ErrNacked, since of several queues some may have taken the message.
func SafeToRetry(err error) bool {
	if _, ok := errors.AsType[*unsentError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*UnknownError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*ReturnedError](err); ok {
		return true
	}
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Remote
}

// DefaultRetry is the default of Options.Retry. It gives up when trying again is pointless: the server does not accept
// the credentials or the SASL mechanism, does not know the virtual host or does not let the user in there, or speaks no
// AMQP 0-9-1. It goes on after everything else.
func DefaultRetry(err error) bool {
	if _, ok := errors.AsType[*MechanismError](err); ok {
		return false
	}
	e, ok := errors.AsType[*amqp091.Error](err)
	if !ok || !e.Remote || !e.Hard {
		return true
	}
	switch e.Code {
	case amqp091.AccessRefused, amqp091.InvalidPath, amqp091.NotImplemented:
		return e.Method != 0 && e.Method.Class() != amqp091.IDConnectionStart.Class()
	case amqp091.NotAllowed:
		return e.Method != amqp091.IDConnectionOpen
	}
	return true
}
