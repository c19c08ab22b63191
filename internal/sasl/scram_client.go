package sasl

import (
	"cmp"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/subtle"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// SCRAMClientOptions configure a client of SCRAM.
type SCRAMClientOptions struct {
	// Mechanism is the name of the mechanism. Default SCRAM-SHA-256.
	Mechanism string
	// Username and Password log in, see [Prepare].
	Username, Password string
	// Authzid is who the client wants to be; mostly empty.
	Authzid string
	// MinIterations and MaxIterations bound the iteration count that the server may ask for. Defaults [MinIterations]
	// and [MaxIterations].
	MinIterations, MaxIterations int
	// Binding is the channel binding. The mechanisms with -PLUS need it. With others it says that the client would have
	// used it but was not offered such a mechanism: a server that did offer one then notices the attack.
	Binding *ChannelBinding
	// Nonce makes an exchange repeatable in tests. Default a random one.
	Nonce string
}

// SCRAMClient is the client's side of SCRAM. Its third Step returns done, and only then the server has proved that it
// knows the password.
type SCRAMClient struct {
	o         SCRAMClientOptions
	hash      func() hash.Hash
	header    string
	bare      string // client-first-message-bare
	signature []byte // that the server must send
	state     scramState
}

// scramState is how far an exchange is.
type scramState uint8

const (
	scramStart scramState = iota
	scramFirst            // the first message was sent
	scramFinal            // (client) the final message was sent
	scramEnded
)

// NewSCRAMClient returns the client's side of one exchange. It fails with [CodeUnprepared] when user name or password
// are none that [Prepare] takes, and with [CodeOther] when the options do not fit together.
func NewSCRAMClient(o *SCRAMClientOptions) (*SCRAMClient, error) {
	c := &SCRAMClient{o: *o}
	c.o.Mechanism = cmp.Or(o.Mechanism, SCRAMSHA256)
	c.o.MinIterations = cmp.Or(o.MinIterations, MinIterations)
	c.o.MaxIterations = cmp.Or(o.MaxIterations, MaxIterations)
	c.o.Nonce = newNonce(o.Nonce)
	h, _, plus := scramHash(c.o.Mechanism)
	switch {
	case h == nil:
		return nil, fail(CodeOther, "unknown mechanism %q", c.o.Mechanism)
	case plus && o.Binding == nil:
		return nil, fail(CodeOther, "%s without channel binding", c.o.Mechanism)
	case !isNonce(c.o.Nonce):
		return nil, fail(CodeOther, "bad nonce")
	}
	for _, s := range []string{cmp.Or(o.Authzid, o.Username), o.Username, o.Password} {
		if _, err := Prepare(s); err != nil {
			return nil, err
		}
	}
	c.hash = h
	switch {
	case plus:
		c.header = "p=" + o.Binding.Type + ","
	case o.Binding != nil:
		c.header = "y,"
	default:
		c.header = "n,"
	}
	if o.Authzid != "" {
		c.header += "a=" + escape(o.Authzid)
	}
	c.header += ","
	c.bare = "n=" + escape(o.Username) + ",r=" + c.o.Nonce
	if len(c.header)+len(c.bare) > maxSCRAM {
		return nil, fail(CodeOther, "the user name is too long")
	}
	return c, nil
}

// Step is that of [Client]. It fails with [CodeIterations] when the server asks for too little or too much work, and with
// [CodeServerUnverified] when its signature is wrong; with a code of the server and Remote set when the server says why.
// It may compute for as long as MaxIterations take.
func (c *SCRAMClient) Step(challenge []byte) (response []byte, done bool, err error) {
	state := c.state
	c.state = scramEnded
	switch state {
	case scramStart:
		c.state = scramFirst
		return []byte(c.header + c.bare), false, nil
	case scramEnded:
		return nil, false, errOutOfStep()
	}
	m, err := text(challenge, maxSCRAM)
	switch {
	case err != nil:
		return nil, false, err
	case isError(m):
		return nil, false, remoteError(m)
	case state == scramFirst:
		if response, err = c.final(m); err == nil {
			c.state = scramFinal
		}
		return response, false, err
	}
	err = c.verify(m)
	return nil, err == nil, err
}

// final answers the server's first message.
func (c *SCRAMClient) final(first string) ([]byte, error) {
	nonce, salt, iterations, err := parseServerFirst(first)
	switch {
	case err != nil:
		return nil, err
	case !strings.HasPrefix(nonce, c.o.Nonce) || len(nonce) == len(c.o.Nonce):
		return nil, fail(CodeServerUnverified, "the nonce is not an answer to that of the client")
	case iterations < c.o.MinIterations || iterations > c.o.MaxIterations:
		return nil, fail(CodeIterations, "the server asks for %d; want %d to %d", iterations, c.o.MinIterations, c.o.MaxIterations)
	}
	binding := []byte(c.header)
	if c.header[0] == 'p' {
		binding = append(binding, c.o.Binding.Data...)
	}
	final := "c=" + encode(binding) + ",r=" + nonce
	auth := c.bare + "," + first + "," + final
	clientKey, storedKey, serverKey, err := deriveKeys(c.hash, c.o.Password, salt, iterations)
	if err != nil {
		return nil, err
	}
	c.signature = mac(c.hash, serverKey, auth)
	proof := mac(c.hash, storedKey, auth)
	subtle.XORBytes(proof, proof, clientKey)
	return fmt.Appendf(nil, "%s,p=%s", final, encode(proof)), nil
}

// verify checks the server's final message.
func (c *SCRAMClient) verify(final string) error {
	a := attributesOf(final)
	value, err := a.want('v')
	if err != nil {
		return err
	}
	signature, err := decode('v', value)
	if err == nil {
		err = a.end()
	}
	if err != nil {
		return err
	}
	if !hmac.Equal(signature, c.signature) {
		return fail(CodeServerUnverified, "the server's signature is wrong")
	}
	return nil
}

// parseServerFirst reads a server-first-message.
func parseServerFirst(m string) (nonce string, salt []byte, iterations int, err error) {
	a := attributesOf(m)
	var s, i string
	if nonce, err = a.want('r'); err != nil {
		return
	}
	if s, err = a.want('s'); err != nil {
		return
	}
	if i, err = a.want('i'); err != nil {
		return
	}
	if err = a.end(); err != nil {
		return
	}
	if salt, err = decode('s', s); err != nil {
		return
	}
	if iterations, err = parseIterations(i); err == nil && (!isNonce(nonce) || len(salt) > maxSalt) {
		err = fail(CodeInvalidEncoding, "bad nonce or salt")
	}
	return
}

// parseIterations reads a number without sign and leading zeros. One that is too large is [CodeIterations].
func parseIterations(s string) (int, error) {
	if s == "" || s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, fail(CodeInvalidEncoding, "the iteration count is not a number")
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, fail(CodeIterations, "the iteration count has %d digits", len(s))
	}
	return int(n), nil
}

// deriveKeys computes the keys of a password (RFC 5802, section 3).
func deriveKeys(h func() hash.Hash, password string, salt []byte, iterations int) (client, stored, server []byte, err error) {
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return nil, nil, nil, err
	}
	client, stored, server = keysOf(h, salted)
	return client, stored, server, nil
}

// keysOf computes the keys of a salted password.
func keysOf(h func() hash.Hash, salted []byte) (client, stored, server []byte) {
	client = mac(h, salted, "Client Key")
	return client, digest(h, client), mac(h, salted, "Server Key")
}
