package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"fmt"
	"strings"
)

// defaultSalt is the size of a salt, in bytes.
const defaultSalt = 16

// Credential is what a server of SCRAM keeps of a password (RFC 5802, section 3). Who has it can try passwords, and can
// pretend to be the server, but cannot log in with it.
type Credential struct {
	Mechanism  string // without -PLUS
	Iterations int
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
}

// NewCredential computes the credential of a password. A nil salt is a random one of 16 bytes, zero iterations are
// [DefaultIterations]. It fails with [CodeUnprepared], [CodeIterations] or, for an unknown mechanism or a salt of more
// than 1 KiB, [CodeOther].
func NewCredential(mechanism, password string, salt []byte, iterations int) (Credential, error) {
	h, base, _ := scramHash(mechanism)
	if h == nil {
		return Credential{}, fail(CodeOther, "unknown mechanism %q", mechanism)
	}
	if salt == nil {
		salt = make([]byte, defaultSalt)
		rand.Read(salt)
	}
	if iterations == 0 {
		iterations = DefaultIterations
	}
	c := Credential{Mechanism: base, Iterations: iterations, Salt: salt}
	if err := c.checkCost(); err != nil {
		return Credential{}, err
	}
	if _, err := Prepare(password); err != nil {
		return Credential{}, err
	}
	var err error
	_, c.StoredKey, c.ServerKey, err = deriveKeys(h, password, salt, iterations)
	return c, err
}

// SaltedCredential computes the credential of a password of which only the salted form is known (SaltedPassword in RFC 5802).
// It fails as [NewCredential] does, and with [CodeOther] when the salted password is empty or longer than 1 KiB. One that has
// not the size of the hash makes a credential with which nobody can log in whose password is hashed as RFC 5802 says.
func SaltedCredential(mechanism string, salted, salt []byte, iterations int) (Credential, error) {
	h, base, _ := scramHash(mechanism)
	if h == nil {
		return Credential{}, fail(CodeOther, "unknown mechanism %q", mechanism)
	}
	if n := len(salted); n == 0 || n > maxSalt {
		return Credential{}, fail(CodeOther, "a salted password of %d bytes; want 1 to %d", n, maxSalt)
	}
	c := Credential{Mechanism: base, Iterations: iterations, Salt: salt}
	if err := c.checkCost(); err != nil {
		return Credential{}, err
	}
	_, c.StoredKey, c.ServerKey = keysOf(h, salted)
	return c, nil
}

// Verify reports whether a password is the credential's. It computes for as long as the iterations take.
func (c Credential) Verify(password string) bool {
	if c.check() != nil {
		return false
	}
	_, err := Prepare(password)
	h, _, _ := scramHash(c.Mechanism)
	_, stored, _, failed := deriveKeys(h, password, c.Salt, c.Iterations)
	return err == nil && failed == nil && hmac.Equal(stored, c.StoredKey)
}

// checkCost checks salt and iterations.
func (c Credential) checkCost() error {
	switch {
	case c.Iterations < MinIterations || c.Iterations > MaxIterations:
		return fail(CodeIterations, "%d iterations; want %d to %d", c.Iterations, MinIterations, MaxIterations)
	case len(c.Salt) == 0 || len(c.Salt) > maxSalt:
		return fail(CodeOther, "a salt of %d bytes; want 1 to %d", len(c.Salt), maxSalt)
	}
	return nil
}

// check checks the credential.
func (c Credential) check() error {
	h, _, plus := scramHash(c.Mechanism)
	if h == nil || plus {
		return fail(CodeOther, "unknown mechanism %q", c.Mechanism)
	}
	if n := h().Size(); len(c.StoredKey) != n || len(c.ServerKey) != n {
		return fail(CodeOther, "the keys have not %d bytes", n)
	}
	return c.checkCost()
}

// Text returns the credential as PostgreSQL writes it: MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64.
func (c Credential) Text() string {
	return fmt.Sprintf("%s$%d:%s$%s:%s", c.Mechanism, c.Iterations, encode(c.Salt), encode(c.StoredKey), encode(c.ServerKey))
}

// ParseCredential reads what [Credential.Text] writes. It fails with [CodeInvalidEncoding], or as [NewCredential].
func ParseCredential(text string) (c Credential, err error) {
	part := strings.Split(text, "$")
	if len(part) != 3 {
		return c, fail(CodeInvalidEncoding, "want MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY")
	}
	iterations, salt, ok := strings.Cut(part[1], ":")
	stored, server, ok2 := strings.Cut(part[2], ":")
	if !ok || !ok2 {
		return c, fail(CodeInvalidEncoding, "want MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY")
	}
	c.Mechanism = part[0]
	if c.Iterations, err = parseIterations(iterations); err != nil {
		return Credential{}, err
	}
	for _, f := range []struct {
		to   *[]byte
		text string
	}{{&c.Salt, salt}, {&c.StoredKey, stored}, {&c.ServerKey, server}} {
		if *f.to, err = decode('s', f.text); err != nil {
			return Credential{}, fail(CodeInvalidEncoding, "salt or keys are not base64")
		}
	}
	if err := c.check(); err != nil {
		return Credential{}, err
	}
	return c, nil
}
