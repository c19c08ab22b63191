package kafka

import "github.com/quartet-mq/quartet/kafka/kafkawire"

// Error is an error with a code of the protocol.
type Error struct {
	// Code is what the wire says, or would say, about it.
	Code kafkawire.ErrorCode

	// Text says more, for people. It may be empty.
	Text string

	// Remote tells that the peer said so.
	Remote bool
}

// Error returns everything in words.
func (e *Error) Error() string {
	s := e.Code.Error()
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Remote {
		s += " (said by the peer)"
	}
	return s
}

// Unwrap returns e.Code, so that errors.Is(err, kafkawire.ErrCorruptMessage) works.
func (e *Error) Unwrap() error { return e.Code }

func corrupt(text string) error {
	return &Error{Code: kafkawire.ErrCorruptMessage, Text: text}
}

func invalid(text string) error {
	return &Error{Code: kafkawire.ErrInvalidRecord, Text: text}
}
