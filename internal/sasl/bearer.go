package sasl

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// kvsep separates the parts of a message of OAUTHBEARER.
const kvsep = "\x01"

// Bearer is what a client says in OAUTHBEARER.
type Bearer struct {
	// Token is the bearer token (RFC 6750, section 2.1), opaque for this package.
	Token string
	// Authzid is who the client wants to be; mostly empty.
	Authzid string
	// Extensions are further keys, made of letters, and values of printable ASCII, such as "host" and "port", or what
	// Kafka calls SASL extensions.
	Extensions map[string]string
}

// VerifyBearer decides whether a token is good and whose it is. The map is its own to keep. [CodeInvalidProof] is the
// usual error; the client is told "invalid_token" whatever the error is. It may block until ctx ends.
type VerifyBearer func(ctx context.Context, b *Bearer) (user string, err error)

// BearerClient returns the client's side of OAUTHBEARER (RFC 7628). The token goes in clear: the connection must be
// encrypted. When the server does not accept it the error is [CodeInvalidProof] with Remote set and the server's words
// as reason, and with it comes the response that the standard asks for.
func BearerClient(b *Bearer) Client { return &bearerClient{b: b} }

type bearerClient struct {
	b           *Bearer
	sent, ended bool
}

func (c *bearerClient) Step(challenge []byte) ([]byte, bool, error) {
	switch {
	case c.ended:
		return nil, false, errOutOfStep()
	case !c.sent:
		m := appendBearer(c.b)
		c.sent = true
		if got, err := parseBearer(m); err != nil || got.Token != c.b.Token || len(got.Extensions) != len(c.b.Extensions) {
			c.ended = true
			return nil, false, fail(CodeInvalidEncoding, "token, identity or extensions cannot be sent")
		}
		return m, true, nil
	}
	c.ended = true
	m, err := text(challenge, maxMessage)
	if err != nil {
		return nil, false, err
	}
	return []byte(kvsep), false, &Error{Code: CodeInvalidProof, Reason: m, Remote: true}
}

// appendBearer encodes a message, legal or not.
func appendBearer(b *Bearer) []byte {
	m := "n,"
	if b.Authzid != "" {
		m += "a=" + escape(b.Authzid)
	}
	m += "," + kvsep + "auth=Bearer " + b.Token + kvsep
	for _, k := range slices.Sorted(maps.Keys(b.Extensions)) {
		m += k + "=" + b.Extensions[k] + kvsep
	}
	return []byte(m + kvsep)
}

// BearerServer returns the server's side of OAUTHBEARER. Messages have 64 KiB at most. When verify refuses, the client
// gets a challenge that says so, and Step returns the error of verify after the client's answer to it.
func BearerServer(verify VerifyBearer) Server { return &bearerServer{verify: verify} }

type bearerServer struct {
	verify VerifyBearer
	asked  bool
	ended  bool
	failed error // of verify
	user   string
}

func (s *bearerServer) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.ended:
		return nil, false, errOutOfStep()
	case s.failed != nil:
		s.ended = true
		return nil, false, s.failed
	case response == nil && !s.asked:
		s.asked = true
		return []byte{}, false, nil
	}
	b, err := parseBearer(response)
	if err != nil {
		s.ended = true
		return nil, false, err
	}
	user, err := s.verify(ctx, b)
	if err == nil {
		err = authorized(b.Authzid, user)
	}
	if err != nil {
		s.failed = err
		out, err := json.Marshal(map[string]string{"status": "invalid_token"})
		return out, false, err
	}
	s.ended, s.user = true, user
	return nil, true, nil
}

func (s *bearerServer) User() string { return s.user }

// parseBearer reads a message (RFC 7628, section 3.1).
func parseBearer(message []byte) (*Bearer, error) {
	m, err := text(message, maxMessage)
	if err != nil {
		return nil, err
	}
	header, rest, ok := strings.Cut(m, kvsep)
	if !ok {
		return nil, fail(CodeInvalidEncoding, "no separator")
	}
	h, after, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if after != "" || h.flag == 'p' {
		return nil, fail(CodeInvalidEncoding, "bad header %q", header)
	}
	b := &Bearer{Authzid: h.authzid}
	for rest != kvsep {
		pair, more, ok := strings.Cut(rest, kvsep)
		key, value, isPair := strings.Cut(pair, "=")
		if !ok || !isPair || !letters(key) || !printable(value) {
			return nil, fail(CodeInvalidEncoding, "bad key and value, or no end")
		}
		rest = more
		if err := b.set(key, value); err != nil {
			return nil, err
		}
	}
	if b.Token == "" {
		return nil, fail(CodeInvalidEncoding, "no bearer token")
	}
	return b, nil
}

// set takes a key and its value.
func (b *Bearer) set(key, value string) error {
	if key != "auth" {
		if b.Extensions == nil {
			b.Extensions = make(map[string]string)
		}
		if _, twice := b.Extensions[key]; twice || len(b.Extensions) == maxExtensions {
			return fail(CodeInvalidEncoding, "key %q comes twice, or too many keys", key)
		}
		b.Extensions[key] = value
		return nil
	}
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.Trim(token, " ")
	if b.Token != "" || !strings.EqualFold(scheme, "Bearer") || !isToken(token) {
		return fail(CodeInvalidEncoding, "not one bearer token")
	}
	b.Token = token
	return nil
}

// maxExtensions bounds the keys of a message.
const maxExtensions = 64

// letters reports whether s is one letter or more.
func letters(s string) bool {
	for _, c := range []byte(s) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return s != ""
}

// printable reports whether s is printable ASCII and white space.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// isToken reports whether s is a b64token (RFC 6750, section 2.1).
func isToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for _, c := range []byte(s) {
		if !letters(string(c)) && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", rune(c)) {
			return false
		}
	}
	return s != ""
}
