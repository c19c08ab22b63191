package kafkaserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/sasl"
)

// The causes of the end of a client that is not authenticated.
var (
	errUnauthenticated = errors.New("kafkaserver: the client has not authenticated")
	errExpired         = errors.New("kafkaserver: the client has not authenticated again in time")
)

// Credential is what a server keeps of a user's password for SCRAM. Who has it can try passwords, but cannot log in.
type Credential = sasl.Credential

// auth is how far a client is with its authentication. It is of the goroutine that reads.
type auth struct {
	raw       bool        // what comes are tokens without headers (SASLHandshake version 0)
	mechanism string      // empty: the client does not use SASL
	server    sasl.Server // nil: no exchange is under way
	changed   bool        // the exchange is in another mechanism than the one before
	login     Login       // what the backend has said in the exchange
}

// begun reports whether the client uses SASL.
func (a *auth) begun() bool { return a.mechanism != "" }

// isAuthentic reports whether the client was let in.
func (c *Conn) isAuthentic() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.authentic
}

// letAnonymous lets a client in that does not use SASL, unless it is in already.
func (c *Conn) letAnonymous() error {
	c.letting.Lock()
	defer c.letting.Unlock()
	return c.anonymous()
}

// anonymous is letAnonymous with c.letting held.
func (c *Conn) anonymous() error {
	c.mu.Lock()
	in, uses := c.authentic, c.sasl
	c.mu.Unlock()
	switch {
	case in:
		return nil
	case c.srv.requireSASL || uses:
		return errUnauthenticated
	}
	ctx, cancel := context.WithTimeout(c.Context(), c.srv.limits.HandshakeTimeout)
	defer cancel()
	login, err := c.ask(ctx, &Auth{User: c.certificateUser()})
	if err != nil {
		if f := c.srv.trace.Refused; f != nil {
			f(c, err)
		}
		return fmt.Errorf("%w: %w", errUnauthenticated, err)
	}
	c.letIn("", login, time.Time{})
	return nil
}

// ask asks the backend.
func (c *Conn) ask(ctx context.Context, a *Auth) (Login, error) {
	login, err := c.srv.backend.Authenticate(ctx, c, a)
	if err != nil {
		return Login{}, err
	}
	if login.Principal == (Principal{}) {
		login.Principal = Anonymous
		if a.User != "" {
			login.Principal = Principal{Type: "User", Name: a.User}
		}
	}
	return login, nil
}

// letIn notes that a client was let in.
func (c *Conn) letIn(mechanism string, login Login, expires time.Time) {
	c.mu.Lock()
	c.authentic = true
	c.principal, c.mechanism, c.expires = login.Principal, mechanism, expires
	c.admitStreams()
	c.mu.Unlock()
	if f := c.srv.trace.Authenticated; f != nil {
		f(c, login.Principal)
	}
}

// certificate returns the client's certificate if it was verified, else nil.
func (c *Conn) certificate() *x509.Certificate {
	if st := c.TLS(); st != nil && len(st.VerifiedChains) > 0 && len(st.PeerCertificates) > 0 {
		return st.PeerCertificates[0]
	}
	return nil
}

// certificateUser returns the user of the client's certificate.
func (c *Conn) certificateUser() string {
	cert := c.certificate()
	switch {
	case cert == nil:
		return ""
	case c.srv.certUser != nil:
		return c.srv.certUser(cert)
	}
	return cert.Subject.String()
}
