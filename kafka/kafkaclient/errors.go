package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Errors that callers branch on. What a broker said is a *kafka.Error with Remote set: errors.Is(err,
// kafkawire.ErrTopicAuthorizationFailed) asks for a code. errors.Is(err, net.ErrClosed) asks whether the client is gone.
var (
	// ErrClosed: the client, producer or consumer was closed.
	ErrClosed error = goneError("kafkaclient: closed")
	// ErrTimeout: it took longer than the options allow. What was asked for may have happened.
	ErrTimeout error = timeoutError("kafkaclient: timeout")
	// ErrUnsupported: the broker is too old for the request, or for what is in it.
	ErrUnsupported = errors.New("kafkaclient: the broker does not support this")
	// ErrProtocol: the broker sent what it must not send.
	ErrProtocol = errors.New("kafkaclient: protocol error")
	// ErrNoBroker: there is no broker with this number.
	ErrNoBroker = errors.New("kafkaclient: no such broker")
)

// goneError is an error that wraps net.ErrClosed.
type goneError string

func (e goneError) Error() string { return string(e) }
func (e goneError) Unwrap() error { return net.ErrClosed }

// timeoutError is an error that is a context.DeadlineExceeded, too.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Timeout() bool        { return true }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// ConnError says that a connection could not be made, or ended before the response came. Then it is open whether the
// broker did what it was asked for, unless Unsent is set.
type ConnError struct {
	Broker kafkawire.BrokerID // -1 for one of Options.Addrs
	Addr   string
	Unsent bool // no byte of the request has left
	Err    error
}

// Error returns the text.
func (e *ConnError) Error() string {
	if e.Broker < 0 {
		return fmt.Sprintf("kafkaclient: %s: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("kafkaclient: broker %d at %s: %v", e.Broker, e.Addr, e.Err)
}

// Unwrap returns why.
func (e *ConnError) Unwrap() error { return e.Err }

// Retriable reports whether what failed with err can succeed when it is tried again: no connection, or an error of a
// broker that passes. The client has tried for as long as its options allow.
func Retriable(err error) bool {
	if err == nil || Fatal(err) || errors.Is(err, net.ErrClosed) {
		return false
	}
	if code, ok := errors.AsType[kafkawire.ErrorCode](err); ok {
		return code.Retriable()
	}
	if _, ok := errors.AsType[*ConnError](err); ok {
		return !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrUnsupported)
	}
	return errors.Is(err, ErrTimeout)
}

// Fatal reports whether err ends the producer, consumer or client that returned it: it is fenced, not allowed, or set up
// wrongly, and whatever it does next will fail in the same way.
func Fatal(err error) bool {
	if _, ok := errors.AsType[*fatalError](err); ok {
		return true
	}
	if Abortable(err) {
		return false
	}
	code, ok := errors.AsType[kafkawire.ErrorCode](err)
	return ok && code.Fatal()
}

// Abortable reports whether err, returned by a transactional producer or for one of its records, means that the transaction
// cannot be committed: after Abort the producer can begin another one.
func Abortable(err error) bool {
	_, ok := errors.AsType[*abortableError](err)
	return ok
}

// abortableError marks an error as the end of a transaction.
type abortableError struct{ err error }

func (e *abortableError) Error() string { return e.err.Error() }
func (e *abortableError) Unwrap() error { return e.err }

// fatalError marks an error as the end of its producer.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// remote is the error for a code of a broker, nil for none.
func remote(code kafkawire.ErrorCode, text *string) error {
	if code == 0 {
		return nil
	}
	e := &kafka.Error{Code: code, Remote: true}
	if text != nil {
		e.Text = *text
	}
	return e
}

// unsupported says which request the broker is too old for.
func unsupported(key kafkawire.APIKey) error {
	return fmt.Errorf("%w: %v", ErrUnsupported, key)
}

// protocolError says what the broker did wrong.
func protocolError(text string) error { return fmt.Errorf("%w: %s", ErrProtocol, text) }

// ended makes the end of a connection an error that is not mistaken for that of something else.
func ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed) && !errors.Is(err, ErrClosed):
		return errHungUp
	}
	return err
}

var errHungUp = errors.New("the connection was closed")
