package sasl

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// SCRAMServerOptions configure a server of SCRAM.
type SCRAMServerOptions struct {
	// Mechanism is the one that the client has chosen.
	Mechanism string
	// Lookup returns what is kept of a user's password. A credential without StoredKey, or for another mechanism, is
	// that of a user who does not exist; its Iterations and the length of its Salt, when they are not zero, are what the
	// client is told, so that they can be made the same as for those who exist. Defaults [DefaultIterations] and 16. It
	// may block until ctx ends; other errors than an [*Error] are returned by Step as they are.
	Lookup func(ctx context.Context, user string) (Credential, error)
	// Secret is a random key of 16 bytes or more, the same for each exchange. The salts of users who do not exist are
	// derived from it, so that they are always the same ones, too.
	Secret []byte
	// Bindings are the channel bindings of the connection. With any, a client that believes that there are none is
	// refused: so leave them out unless a mechanism with -PLUS is offered.
	Bindings []ChannelBinding
	// Nonce makes an exchange repeatable in tests. Default a random one.
	Nonce string
}

// SCRAMServer is the server's side of SCRAM. Its second Step (after the initial response) returns done with the message
// that proves to the client that the server knows the password.
//
// A user who does not exist cannot be told from a wrong password, neither by what is sent nor by what it costs, as far as
// Lookup does not differ.
type SCRAMServer struct {
	o           SCRAMServerOptions
	hash        func() hash.Hash
	base        string // the mechanism without -PLUS
	plus        bool
	state       scramState
	asked       bool
	user        string
	known       bool
	credential  Credential
	channel     []byte // what the client's final message must say of header and channel
	nonce, auth string
}

// NewSCRAMServer returns the server's side of one exchange. It fails with [CodeOther] when the options do not fit
// together.
func NewSCRAMServer(o *SCRAMServerOptions) (*SCRAMServer, error) {
	s := &SCRAMServer{o: *o}
	s.hash, s.base, s.plus = scramHash(o.Mechanism)
	switch {
	case s.hash == nil:
		return nil, fail(CodeOther, "unknown mechanism %q", o.Mechanism)
	case s.plus && len(o.Bindings) == 0:
		return nil, fail(CodeOther, "%s without channel binding", o.Mechanism)
	case len(o.Secret) < 16:
		return nil, fail(CodeOther, "the secret has less than 16 bytes")
	case o.Lookup == nil:
		return nil, fail(CodeOther, "no function Lookup")
	}
	s.o.Nonce = newNonce(o.Nonce)
	return s, nil
}

// User is that of [Server].
func (s *SCRAMServer) User() string {
	if s.state != scramEnded {
		return ""
	}
	return s.user
}

// Step is that of [Server]. With an error comes the message that tells the client its code, where it may know it. The
// error is [CodeInvalidProof] for wrong passwords and unknown users, [CodeInvalidEncoding] for messages that do not
// parse, and others of RFC 5802.
func (s *SCRAMServer) Step(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if response == nil && s.state == scramStart && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	state := s.state
	if state == scramEnded {
		return nil, false, errOutOfStep()
	}
	s.state = scramEnded
	m, err := text(response, maxSCRAM)
	if err == nil && state == scramStart {
		challenge, err = s.first(ctx, m)
	} else if err == nil {
		challenge, err = s.final(m)
	}
	switch {
	case err != nil:
		s.user = ""
		return errorMessage(err), false, err
	case state == scramStart:
		s.state = scramFirst
		return challenge, false, nil
	}
	return challenge, true, nil
}

// errorMessage returns what the client is told of an error.
func errorMessage(err error) []byte {
	code := CodeOther
	if e, ok := errors.AsType[*Error](err); ok {
		switch e.Code {
		case CodeInvalidEncoding, CodeInvalidProof, CodeInvalidUsername, CodeExtension, CodeBindingMismatch, CodeBindingSupported,
			CodeBindingNotSupported, CodeBindingTypeUnsupported:
			code = e.Code
		}
	}
	return []byte("e=" + code)
}

// first answers the client's first message.
func (s *SCRAMServer) first(ctx context.Context, m string) ([]byte, error) {
	h, bare, err := parseHeader(m)
	if err != nil {
		return nil, err
	}
	if err := s.bind(&h); err != nil {
		return nil, err
	}
	user, nonce, err := parseClientFirst(bare)
	if err != nil {
		return nil, err
	}
	if err := authorized(h.authzid, user); err != nil {
		return nil, err
	}
	if err := s.lookup(ctx, user); err != nil {
		return nil, err
	}
	s.nonce = nonce + s.o.Nonce
	first := fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, encode(s.credential.Salt), s.credential.Iterations)
	s.auth = bare + "," + first + ","
	return []byte(first), nil
}

// bind decides about channel binding (RFC 5802, section 6).
func (s *SCRAMServer) bind(h *header) error {
	s.channel = []byte(h.raw)
	switch {
	case h.flag == 'y' && len(s.o.Bindings) > 0:
		return fail(CodeBindingSupported, "the client was not told that there is channel binding")
	case h.flag != 'p' && s.plus:
		return fail(CodeOther, "%s without channel binding", s.o.Mechanism)
	case h.flag != 'p':
		return nil
	case !s.plus:
		return fail(CodeBindingNotSupported, "channel binding in %s", s.o.Mechanism)
	}
	for _, b := range s.o.Bindings {
		if b.Type == h.binding {
			s.channel = append(s.channel, b.Data...)
			return nil
		}
	}
	return fail(CodeBindingTypeUnsupported, "channel binding %q", h.binding)
}

// parseClientFirst reads a client-first-message-bare.
func parseClientFirst(m string) (user, nonce string, err error) {
	a := attributesOf(m)
	name, err := a.want('n')
	if err != nil {
		return "", "", err
	}
	if nonce, err = a.want('r'); err != nil {
		return "", "", err
	}
	if err = a.end(); err != nil {
		return "", "", err
	}
	user, ok := unescape(name)
	if ok {
		_, err = Prepare(user)
	}
	switch {
	case !ok || err != nil:
		return "", "", fail(CodeInvalidUsername, "bad user name")
	case !isNonce(nonce):
		return "", "", fail(CodeInvalidEncoding, "bad nonce")
	}
	return user, nonce, nil
}

// lookup fetches the credential, or makes one up that nothing fits.
func (s *SCRAMServer) lookup(ctx context.Context, user string) error {
	c, err := s.o.Lookup(ctx, user)
	if err != nil {
		return err
	}
	s.user, s.known = user, c.StoredKey != nil && c.Mechanism == s.base && c.check() == nil
	decoy, err := s.decoy(user, c.Iterations, len(c.Salt)) // always, for the time it takes
	if err != nil {
		return err
	}
	s.credential = c
	if !s.known {
		s.credential = decoy
	}
	return nil
}

// decoy returns the credential of a user who does not exist: always the same one.
func (s *SCRAMServer) decoy(user string, iterations, salt int) (Credential, error) {
	if iterations <= 0 {
		iterations = DefaultIterations
	}
	if salt <= 0 {
		salt = defaultSalt
	}
	n := s.hash().Size()
	b, err := hkdf.Expand(sha512.New, s.o.Secret, s.base+"\x00"+user, 2*n+min(salt, maxSalt))
	if err != nil {
		return Credential{}, err
	}
	return Credential{Mechanism: s.base, Iterations: iterations, StoredKey: b[:n], ServerKey: b[n : 2*n], Salt: b[2*n:]}, nil
}

// final checks the client's final message and answers it.
func (s *SCRAMServer) final(m string) ([]byte, error) {
	i := strings.LastIndex(m, ",p=")
	if i < 0 {
		return nil, fail(CodeInvalidEncoding, "attribute p is missing")
	}
	proof, err := decode('p', m[i+3:])
	if err != nil {
		return nil, err
	}
	channel, nonce, err := parseClientFinal(m[:i])
	switch {
	case err != nil:
		return nil, err
	case len(proof) != s.hash().Size():
		return nil, fail(CodeInvalidEncoding, "the proof has the wrong size")
	case !hmac.Equal(channel, s.channel):
		return nil, fail(CodeBindingMismatch, "channel binding or header have changed")
	case !hmac.Equal([]byte(nonce), []byte(s.nonce)):
		return nil, fail(CodeOther, "the nonce is that of another exchange")
	}
	auth := s.auth + m[:i]
	key := mac(s.hash, s.credential.StoredKey, auth)
	subtle.XORBytes(key, key, proof)
	signature := mac(s.hash, s.credential.ServerKey, auth)
	if !hmac.Equal(digest(s.hash, key), s.credential.StoredKey) || !s.known {
		return nil, fail(CodeInvalidProof, "wrong password, or no such user")
	}
	return []byte("v=" + encode(signature)), nil
}

// parseClientFinal reads a client-final-message-without-proof.
func parseClientFinal(m string) (channel []byte, nonce string, err error) {
	a := attributesOf(m)
	c, err := a.want('c')
	if err != nil {
		return nil, "", err
	}
	if channel, err = decode('c', c); err != nil {
		return nil, "", err
	}
	if nonce, err = a.want('r'); err != nil {
		return nil, "", err
	}
	return channel, nonce, a.end()
}
