package kafkawire

import (
	"errors"
	"strconv"
)

// The reasons for which coding fails, beside those of package codec. Compare with [errors.Is].
var (
	// ErrVersion means that the message lacks the version.
	ErrVersion = errors.New("version is not supported")

	// ErrField means that the version lacks a field that is set.
	ErrField = errors.New("the version lacks this field")

	// ErrNull means that something is null that cannot be.
	ErrNull = errors.New("cannot be null")

	// ErrLong means that a string or array is too long to be written.
	ErrLong = errors.New("too long")

	// ErrElements means that there are more elements than DecodeLimited was told to take.
	ErrElements = errors.New("too many elements")

	// ErrTags means that tagged fields are not in order, there twice, or known ones among the unknown.
	ErrTags = errors.New("illegal tagged fields")

	// ErrTrailing means that there are bytes after the end of a message or field.
	ErrTrailing = errors.New("bytes after the end")
)

// Error is the error of Append and Decode.
type Error struct {
	// Message is the name of the Go type.
	Message string

	// Version is the version asked for.
	Version int16

	// Field is the way to the field, such as "Topics.Partitions.LeaderEpoch", when it is known.
	Field string

	// Rest is, with [ErrTrailing], how many bytes there are after a message that was decoded whole. It is 0 where a field has
	// too many. Brokers pass over such bytes in requests, as Apache Kafka does: librdkafka 2.16 sends some.
	Rest int

	// Err is the reason: one of this package, or an error of package codec with the offset in the input.
	Err error
}

// Error returns everything in words.
func (e *Error) Error() string {
	s := "kafkawire: "
	if e.Message != "" {
		s += e.Message + " version " + strconv.Itoa(int(e.Version)) + ": "
	}
	if e.Field != "" {
		s += e.Field + ": "
	}
	return s + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }
