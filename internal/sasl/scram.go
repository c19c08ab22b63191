package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"strings"
)

// The bounds of iteration counts. The lower one is what RFC 7677, section 4, asks for; the upper one, about a second of
// work, keeps a server from making clients compute for ever.
const (
	MinIterations = 4096
	MaxIterations = 1 << 20
	// DefaultIterations is what RFC 7677 names as about 0.1 seconds of a machine of its time. The client computes it, the
	// server does not.
	DefaultIterations = 15_000
)

// maxSalt bounds a salt, in bytes.
const maxSalt = 1024

// scramHash returns the hash of a mechanism of SCRAM, whether its name ends with -PLUS, and the name without that. The
// hash is nil when there is no such mechanism.
func scramHash(mechanism string) (h func() hash.Hash, base string, plus bool) {
	base, plus = strings.CutSuffix(mechanism, "-PLUS")
	switch base {
	case SCRAMSHA1:
		h = sha1.New
	case SCRAMSHA256:
		h = sha256.New
	case SCRAMSHA512:
		h = sha512.New
	}
	return h, base, plus
}

// IsSCRAM reports whether a mechanism is one of SCRAM that this package has.
func IsSCRAM(mechanism string) bool {
	h, _, _ := scramHash(mechanism)
	return h != nil
}

// mac returns the HMAC of a message.
func mac(h func() hash.Hash, key []byte, message string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// digest returns the hash of b.
func digest(h func() hash.Hash, b []byte) []byte {
	d := h()
	d.Write(b)
	return d.Sum(nil)
}

// header is a gs2 header (RFC 5802, section 7).
type header struct {
	flag    byte   // n: no channel binding; y: the client has it and believes that the server has not; p: it is used
	binding string // name of the type of channel binding, with p
	authzid string
	raw     string // the whole, with both commas
}

// parseHeader takes the gs2 header at the front of m.
func parseHeader(m string) (h header, rest string, err error) {
	flag, after, _ := strings.Cut(m, ",")
	id, rest, ok := strings.Cut(after, ",")
	if !ok {
		return h, "", fail(CodeInvalidEncoding, "no gs2 header")
	}
	h.raw = m[:len(m)-len(rest)]
	switch name, isP := strings.CutPrefix(flag, "p="); {
	case flag == "n", flag == "y":
		h.flag = flag[0]
	case isP && isBindingName(name):
		h.flag, h.binding = 'p', name
	default:
		return h, "", fail(CodeInvalidEncoding, "bad channel binding flag")
	}
	if id == "" {
		return h, rest, nil
	}
	name, ok := strings.CutPrefix(id, "a=")
	if ok {
		h.authzid, ok = unescape(name)
	}
	if !ok || h.authzid == "" || strings.Contains(h.authzid, "\x00") {
		return h, "", fail(CodeInvalidEncoding, "bad authorisation identity")
	}
	return h, rest, nil
}

func isBindingName(s string) bool {
	for _, c := range []byte(s) {
		if !letters(string(c)) && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

// attributes reads the attributes of a message of SCRAM: letter=value, separated by commas.
type attributes struct {
	rest string
	more bool // something follows, perhaps nothing legal
}

func attributesOf(m string) attributes { return attributes{m, true} }

// next takes the next attribute. ok is false at the end, and when it is illegal; then more is still true.
func (a *attributes) next() (key byte, value string, ok bool) {
	if !a.more {
		return 0, "", false
	}
	attr, rest, more := strings.Cut(a.rest, ",")
	if len(attr) < 3 || !letters(attr[:1]) || attr[1] != '=' || strings.Contains(attr, "\x00") {
		return 0, "", false
	}
	a.rest, a.more = rest, more
	return attr[0], attr[2:], true
}

// want takes the next attribute, which must have that key.
func (a *attributes) want(key byte) (string, error) {
	got, value, ok := a.next()
	switch {
	case ok && got == key:
		return value, nil
	case ok && got == 'm':
		return "", fail(CodeExtension, "the peer demands an extension")
	}
	return "", fail(CodeInvalidEncoding, "attribute %c is missing", key)
}

// end checks that only optional extensions follow, which do not count.
func (a *attributes) end() error {
	for a.more {
		if key, _, ok := a.next(); !ok || key == 'm' {
			return fail(CodeInvalidEncoding, "bad extension")
		}
	}
	return nil
}

// decode decodes base64, strictly.
func decode(key byte, s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fail(CodeInvalidEncoding, "attribute %c is not base64", key)
	}
	return b, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// newNonce returns nonce, or a random one of 130 bits.
func newNonce(nonce string) string {
	if nonce == "" {
		return rand.Text()
	}
	return nonce
}

// isNonce reports whether s consists of printable ASCII without comma and space.
func isNonce(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return s != ""
}

// isError reports whether m is a server's message that says an error.
func isError(m string) bool { return strings.HasPrefix(m, "e=") }

// remoteError returns the error that a server says.
func remoteError(m string) error {
	a := attributesOf(m)
	_, value, _ := a.next()
	if !printable(value) {
		value = string(CodeOther)
	}
	return &Error{Code: Code(value), Remote: true}
}
