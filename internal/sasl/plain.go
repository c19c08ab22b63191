package sasl

import (
	"context"
	"strings"
)

// VerifyPassword decides whether a password is right. For names that do not exist it should take as long as for others.
// A nil error lets the client in; [CodeInvalidProof] is the usual one. It may block until ctx ends.
type VerifyPassword func(ctx context.Context, user, password string) error

// PlainClient returns the client's side of PLAIN (RFC 4616). User name and password are UTF-8 without NUL; they go out
// as they are, without preparation, which is the server's task. The password goes in clear: the connection must be
// encrypted. The machine's error is [CodeInvalidEncoding].
func PlainClient(user, password string) Client {
	c := new(initial)
	if c.err = checkPlain(user, password); c.err == nil {
		c.response = []byte("\x00" + user + "\x00" + password)
	}
	return c
}

// PlainServer returns the server's side of PLAIN. Messages have 64 KiB at most. The authorisation identity, if there is
// one, must be the user name.
func PlainServer(verify VerifyPassword) Server {
	return &oneStep{accept: func(ctx context.Context, response []byte) (string, error) {
		m, err := text(response, maxMessage)
		if err != nil {
			return "", err
		}
		part := strings.Split(m, "\x00")
		if len(part) != 3 {
			return "", fail(CodeInvalidEncoding, "PLAIN has %d parts, not 3", len(part))
		}
		authzid, user, password := part[0], part[1], part[2]
		if err := checkPlain(user, password); err != nil {
			return "", err
		}
		if err := authorized(authzid, user); err != nil {
			return "", err
		}
		return user, verify(ctx, user, password)
	}}
}

// checkPlain checks what PLAIN can say.
func checkPlain(user, password string) error {
	switch {
	case user == "":
		return fail(CodeInvalidEncoding, "empty user name")
	case password == "":
		return fail(CodeInvalidEncoding, "empty password")
	case strings.Contains(user, "\x00"), strings.Contains(password, "\x00"):
		return fail(CodeInvalidEncoding, "NUL in user name or password")
	case len(user)+len(password)+2 > maxMessage:
		return fail(CodeInvalidEncoding, "user name and password are too long")
	}
	_, err := text([]byte(user+password), maxMessage)
	return err
}
