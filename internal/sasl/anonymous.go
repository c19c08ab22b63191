package sasl

import (
	"context"
	"strings"
	"unicode/utf8"
)

// maxTrace is the longest trace information of ANONYMOUS, in characters (RFC 4505, section 2).
const maxTrace = 255

// AnonymousClient returns the client's side of ANONYMOUS (RFC 4505). trace says who it is, for the server's log: a mail
// address or any other text of up to 255 characters without NUL, or nothing.
func AnonymousClient(trace string) Client {
	c := &initial{response: []byte(trace)}
	if c.err = checkTrace(trace); c.err != nil {
		c.response = nil
	}
	return c
}

// AnonymousServer returns the server's side of ANONYMOUS, which lets everybody in. trace, which may be nil, is called
// with what the client says about itself: anything.
func AnonymousServer(trace func(string)) Server {
	return &oneStep{accept: func(_ context.Context, response []byte) (string, error) {
		m, err := text(response, 4*maxTrace)
		if err == nil {
			err = checkTrace(m)
		}
		if err == nil && trace != nil {
			trace(m)
		}
		return "", err
	}}
}

func checkTrace(trace string) error {
	if utf8.RuneCountInString(trace) > maxTrace || strings.Contains(trace, "\x00") || !utf8.ValidString(trace) {
		return fail(CodeInvalidEncoding, "trace information is not up to %d characters of UTF-8 without NUL", maxTrace)
	}
	return nil
}
