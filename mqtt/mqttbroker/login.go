package mqttbroker

import (
	"context"
	"crypto/x509"
	"errors"
	"net"

	"github.com/quartet-mq/quartet/mqtt"
)

// Login is what a client says about itself when it connects.
type Login struct {
	ClientID    string // empty when the client wants one assigned
	Username    string
	Password    []byte
	HasUsername bool
	HasPassword bool
	// Certificate is the client's certificate, nil when it has none or when it was not verified.
	Certificate *x509.Certificate
	RemoteAddr  net.Addr
	Listener    string // name of the listener, see mqttserver.ListenerOptions
	Version     mqtt.Version
	Properties  mqtt.Properties // of CONNECT, version 5 only
}

// Authenticator decides who may connect. It returns the name that the client has from then on, as [Client].User, which
// is mostly the login's user name. It may be called from many goroutines at a time and may block; ctx ends with the
// connect timeout.
//
// An error refuses the client. An *mqtt.Error chooses the reason code; any other error is logged and becomes
// ReasonUnspecifiedError. In a [Chain] the error [ErrNoOpinion] leaves the decision to the next.
type Authenticator func(ctx context.Context, l *Login) (user string, err error)

// ErrNoOpinion is returned by an [Authenticator] that knows nothing about the login. At the end of a [Chain], and
// without one, it refuses the client with ReasonNotAuthorized.
var ErrNoOpinion = errors.New("mqttbroker: nobody knows this login")

// AllowAll is an [Authenticator] that lets everybody in, under whatever user name the client claims, or none.
func AllowAll(_ context.Context, l *Login) (string, error) { return l.Username, nil }

// Chain returns an [Authenticator] that asks others in turn until one has an opinion.
func Chain(a ...Authenticator) Authenticator {
	return func(ctx context.Context, l *Login) (string, error) {
		for _, ask := range a {
			if user, err := ask(ctx, l); !errors.Is(err, ErrNoOpinion) {
				return user, err
			}
		}
		return "", ErrNoOpinion
	}
}

// CertificateName is an [Authenticator] that takes the common name of the client's certificate as its user name. It has
// no opinion about clients without a verified certificate or with one that has no common name.
func CertificateName(_ context.Context, l *Login) (string, error) {
	if l.Certificate == nil || l.Certificate.Subject.CommonName == "" {
		return "", ErrNoOpinion
	}
	return l.Certificate.Subject.CommonName, nil
}

// CertificateAltName is an [Authenticator] that takes the first subject alternative name of the client's certificate as
// its user name: the first DNS name or else the first mail address or else the first URI. It has no opinion about
// clients without a verified certificate or with one that has none of them.
func CertificateAltName(_ context.Context, l *Login) (string, error) {
	switch c := l.Certificate; {
	case c == nil:
	case len(c.DNSNames) > 0:
		return c.DNSNames[0], nil
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0], nil
	case len(c.URIs) > 0:
		return c.URIs[0].String(), nil
	}
	return "", ErrNoOpinion
}
