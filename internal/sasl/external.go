package sasl

import (
	"context"
	"strings"
)

// ExternalClient returns the client's side of EXTERNAL (RFC 4422, appendix A): the client is known by other means, such
// as its certificate. authzid is who it wants to be, empty for whoever the server takes it for.
func ExternalClient(authzid string) Client {
	c := &initial{response: []byte(authzid)}
	if strings.Contains(authzid, "\x00") {
		c.response, c.err = nil, fail(CodeInvalidEncoding, "NUL in the authorisation identity")
	}
	return c
}

// ExternalServer returns the server's side of EXTERNAL for a client that is known as user by other means; empty when it
// is not, and then it is refused with [CodeInvalidProof].
func ExternalServer(user string) Server {
	return &oneStep{accept: func(_ context.Context, response []byte) (string, error) {
		authzid, err := text(response, maxSCRAM)
		switch {
		case err != nil:
			return "", err
		case strings.Contains(authzid, "\x00"):
			return "", fail(CodeInvalidEncoding, "NUL in the authorisation identity")
		case user == "":
			return "", fail(CodeInvalidProof, "the client is not known by other means")
		}
		return user, authorized(authzid, user)
	}}
}
