package kafkaclient

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Mechanism is a way to authenticate with SASL. It is used by several connections at a time.
type Mechanism interface {
	// Name is the name of the mechanism, such as "PLAIN".
	Name() string

	// Start begins an exchange for a connection to a broker.
	Start(ctx context.Context, addr string) (Exchange, error)
}

// Exchange is one exchange of a [Mechanism].
type Exchange interface {
	// Step takes a challenge of the broker and returns the response. The first challenge is nil. done tells that the
	// exchange is complete on this side, and that the broker is who it says, as far as the mechanism proves that: a
	// broker that reports success before is not believed.
	Step(challenge []byte) (response []byte, done bool, err error)
}

// mechanism is one of internal/sasl.
type mechanism struct {
	name  string
	start func(ctx context.Context) (sasl.Client, error)
}

func (m *mechanism) Name() string { return m.name }

func (m *mechanism) Start(ctx context.Context, _ string) (Exchange, error) { return m.start(ctx) }

// Plain returns the mechanism PLAIN. The password goes in clear: use it with TLS only.
func Plain(username, password string) Mechanism {
	return &mechanism{sasl.Plain, func(context.Context) (sasl.Client, error) { return sasl.PlainClient(username, password), nil }}
}

// The hashes of [SCRAM].
const (
	SHA256 = sasl.SCRAMSHA256
	SHA512 = sasl.SCRAMSHA512
)

// SCRAM returns the mechanism SCRAM with a hash, [SHA256] or [SHA512]. User name and password are of printable ASCII and of
// letters that need no preparation (RFC 4013); others fail when the client connects.
func SCRAM(hash, username, password string) Mechanism {
	return &mechanism{hash, func(context.Context) (sasl.Client, error) {
		return sasl.NewSCRAMClient(&sasl.SCRAMClientOptions{Mechanism: hash, Username: username, Password: password})
	}}
}

// Token is what a client shows with [OAuthBearer].
type Token struct {
	Value      string
	Extensions map[string]string // such as "logicalCluster"; keys of letters
}

// OAuthBearer returns the mechanism OAUTHBEARER. token is called for each connection, on goroutines of the client. The token
// goes in clear: use it with TLS only.
func OAuthBearer(token func(ctx context.Context) (Token, error)) Mechanism {
	return &mechanism{sasl.OAuthBearer, func(ctx context.Context) (sasl.Client, error) {
		t, err := token(ctx)
		if err != nil {
			return nil, err
		}
		return sasl.BearerClient(&sasl.Bearer{Token: t.Value, Extensions: t.Extensions}), nil
	}}
}

// AuthError says that a broker or the client refused the authentication. It is not tried again by calls that wait, but
// connections that are made later try.
type AuthError struct {
	Mechanism string
	Err       error // an error code of the broker, or of the mechanism
}

// Error returns the text.
func (e *AuthError) Error() string { return "kafkaclient: " + e.Mechanism + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *AuthError) Unwrap() error { return e.Err }

// authenticate runs a SASL exchange.
func (h *handshake) authenticate(ctx context.Context, m Mechanism) error {
	err := h.sasl(ctx, m)
	if err == nil || errors.Is(err, errHungUp) && ctx.Err() != nil {
		return err
	}
	return &AuthError{Mechanism: m.Name(), Err: err}
}

func (h *handshake) sasl(ctx context.Context, m Mechanism) error {
	v := &h.k.versions
	version, ok := v.pick(kafkawire.KeySASLHandshake, -1)
	if !ok {
		return unsupported(kafkawire.KeySASLHandshake)
	}
	authVersion, framed := v.pick(kafkawire.KeySASLAuthenticate, -1)
	if !framed || version == 0 {
		version, framed = 0, false
	}
	hello := new(kafkawire.SASLHandshakeResponse)
	if _, err := h.call(&kafkawire.SASLHandshakeRequest{Mechanism: m.Name()}, hello, version); err != nil {
		return err
	}
	if err := remote(hello.ErrorCode, nil); err != nil {
		slices.Sort(hello.Mechanisms)
		return fmt.Errorf("%w; it has %s", err, strings.Join(hello.Mechanisms, ", "))
	}
	x, err := m.Start(ctx, h.k.info.Addr)
	if err != nil {
		return err
	}
	var challenge []byte
	for turn, said := 0, false; ; turn++ {
		response, done, err := x.Step(challenge)
		switch {
		case err != nil:
			if said && response != nil { // RFC 7628: the broker waits for a last word before it says no
				if _, err := h.token(response, framed, authVersion); err != nil && !errors.Is(err, errHungUp) {
					return err
				}
			}
			return err
		case response == nil && done:
			return nil
		case turn > 16:
			return protocolError("an exchange without end")
		}
		if challenge, err = h.token(response, framed, authVersion); err != nil {
			return err
		}
		if said = true; done && len(challenge) == 0 {
			return nil
		}
		if challenge == nil {
			challenge = []byte{}
		}
	}
}

// token sends a message of the mechanism and returns that of the broker.
func (h *handshake) token(response []byte, framed bool, version int16) ([]byte, error) {
	if response == nil {
		response = []byte{}
	}
	if !framed {
		return h.exchange(append(binary.BigEndian.AppendUint32(nil, uint32(len(response))), response...))
	}
	asked := time.Now()
	resp := new(kafkawire.SASLAuthenticateResponse)
	if _, err := h.call(&kafkawire.SASLAuthenticateRequest{AuthBytes: response}, resp, version); err != nil {
		return nil, err
	}
	if ms := resp.SessionLifetimeMs; ms > 0 && ms < 1<<40 {
		// Another connection takes over before the broker ends this one.
		h.k.expires = asked.Add(time.Duration(ms) * time.Millisecond * 9 / 10)
	}
	return resp.AuthBytes, remote(resp.ErrorCode, resp.ErrorMessage)
}
