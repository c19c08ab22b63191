package sasl

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Code says what went wrong. The codes of SCRAM are those of RFC 5802, section 7, that go over the wire; a server may
// send others.
type Code string

// The codes of RFC 5802. The other mechanisms use the first three.
const (
	CodeInvalidEncoding Code = "invalid-encoding" // the message does not parse
	CodeInvalidProof    Code = "invalid-proof"    // wrong password, wrong token, or no such user
	CodeOther           Code = "other-error"

	CodeInvalidUsername        Code = "invalid-username-encoding"
	CodeUnknownUser            Code = "unknown-user" // of a peer only
	CodeNoResources            Code = "no-resources" // of a peer only
	CodeExtension              Code = "extensions-not-supported"
	CodeBindingMismatch        Code = "channel-bindings-dont-match"
	CodeBindingSupported       Code = "server-does-support-channel-binding" // the client was made to believe that it does not
	CodeBindingNotSupported    Code = "channel-binding-not-supported"
	CodeBindingTypeUnsupported Code = "unsupported-channel-binding-type"
)

// The codes that stay on this side.
const (
	CodeNotAuthorized    Code = "not-authorized"    // the client wants to act for somebody else
	CodeServerUnverified Code = "server-unverified" // the server did not prove that it knows the password
	CodeIterations       Code = "iterations"        // an iteration count that is too low or too high
	CodeUnprepared       Code = "unprepared"        // a name or password that Prepare refuses
	CodeOutOfStep        Code = "out-of-step"       // Step was called after the end
)

// Error is why an exchange failed.
type Error struct {
	Code   Code
	Reason string // for people of this side, may be empty
	Remote bool   // the peer said it
}

// Error returns the code and the reason.
func (e *Error) Error() string {
	s := "sasl: "
	if e.Remote {
		s = "sasl: peer: "
	}
	s += string(e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is reports whether target is an *Error with the same code and no reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Reason == ""
}

func fail(code Code, format string, args ...any) error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func errOutOfStep() error { return fail(CodeOutOfStep, "the exchange is over") }

// The bounds of messages, in bytes. A password may be a token.
const (
	maxSCRAM   = 4 << 10
	maxMessage = 64 << 10
)

// text returns a message as a string if it is UTF-8 of at most limit bytes.
func text(message []byte, limit int) (string, error) {
	switch {
	case len(message) > limit:
		return "", fail(CodeInvalidEncoding, "message of %d bytes; at most %d", len(message), limit)
	case !utf8.Valid(message):
		return "", fail(CodeInvalidEncoding, "message is not UTF-8")
	}
	return string(message), nil
}

// authorized checks an authorisation identity.
func authorized(authzid, user string) error {
	if authzid != "" && authzid != user {
		return fail(CodeNotAuthorized, "%q wants to act as %q", user, authzid)
	}
	return nil
}

// escape writes a name as a saslname (RFC 5802, section 5.1).
func escape(name string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name) }

// unescape reads a saslname.
func unescape(s string) (name string, ok bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "=")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), true
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
}
