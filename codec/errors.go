package codec

import (
	"errors"
	"strconv"
)

// The reasons for which a [Reader] fails. Compare with [errors.Is].
var (
	// ErrShort means that the input ends before the value does.
	ErrShort = errors.New("input is too short")

	// ErrLimit means that a length or count is larger than a limit, or than
	// the input can hold.
	ErrLimit = errors.New("limit exceeded")

	// ErrSyntax means that the bytes are not a legal encoding, such as a
	// variable byte integer that is too long.
	ErrSyntax = errors.New("illegal encoding")
)

// Error is the error of a [Reader]: why and where reading stopped.
type Error struct {
	// Offset is the position in the input, in bytes from its start, of the
	// value that could not be read.
	Offset int

	// Err is the reason: ErrShort, ErrLimit, ErrSyntax, or what was given to
	// [Reader.Fail].
	Err error
}

// Error returns the reason and the offset in words.
func (e *Error) Error() string {
	return e.Err.Error() + " at offset " + strconv.Itoa(e.Offset)
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }
