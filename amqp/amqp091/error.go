package amqp091

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is the error of this protocol. A server's backend returns one to close the channel or the connection with its
// code.
type Error struct {
	Code   Code
	Text   string   // for people, without the name of the code; sent as reply-text after it
	Method MethodID // the method that was the cause; zero: none
	Hard   bool     // closes the connection, otherwise only the channel
	Remote bool     // the peer said it
	Err    error    // the cause, may be nil; never sent
}

// SoftError returns an error that closes the channel.
func SoftError(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// HardError returns an error that closes the connection.
func HardError(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...), Hard: true}
}

// RemoteError returns the error that a peer said with connection.close, hard, or channel.close. The name of the code,
// with which RabbitMQ begins replyText, is not part of Text.
func RemoteError(c Code, replyText string, method MethodID, hard bool) *Error {
	text := replyText
	if rest, ok := strings.CutPrefix(text, c.String()); ok {
		if after, ok := strings.CutPrefix(rest, " - "); ok || rest == "" {
			text = after
		}
	}
	return &Error{Code: c, Text: text, Method: method, Hard: hard, Remote: true}
}

// Error returns the number and the name of the code, the text and the cause, such as
// "404 NOT_FOUND - no queue 'q' in vhost '/'".
func (e *Error) Error() string {
	s := utoa(uint64(e.Code)) + " " + e.replyText()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// ReplyText returns what goes on the wire, as RabbitMQ writes it: the name of the code, " - " and the text, cut to 255
// bytes.
func (e *Error) ReplyText() string { return CutShort(e.replyText()) }

func (e *Error) replyText() string {
	if e.Text == "" {
		return e.Code.String()
	}
	return e.Code.String() + " - " + e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code and no other detail, so that
// errors.Is(err, &amqp091.Error{Code: amqp091.NotFound}) asks for a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Code: e.Code}
}

// CutShort makes a short string of a text for people: what is not UTF-8 is replaced, and it is cut to 255 bytes at the
// end of a character.
func CutShort(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= math.MaxUint8 {
		return s
	}
	n := math.MaxUint8
	for n > math.MaxUint8-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

var (
	errUTF8        = errors.New("malformed UTF-8 in a short string")
	errTrailing    = errors.New("bytes after the end")
	errFieldType   = errors.New("unknown type of field")
	errDepth       = errors.New("tables and arrays are nested too deeply")
	errFlags       = errors.New("property flags that do not exist")
	errOtherMethod = errors.New("another method")
)

// errFrame returns a FRAME_ERROR.
func errFrame(text string) error { return &Error{Code: FrameError, Text: text, Hard: true} }

// errEncode returns the error of a value that cannot be sent.
func errEncode(text string) error { return &Error{Code: SyntaxError, Text: text, Hard: true} }

// withMethod sets the method of an *Error that was just made.
func withMethod(err error, id MethodID) error {
	if e, ok := err.(*Error); ok {
		e.Method = id
	}
	return err
}

func utoa(v uint64) string { return strconv.FormatUint(v, 10) }
