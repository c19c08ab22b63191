package mqttclient

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/quartet-mq/quartet/internal/sasl"
)

// SCRAMOptions are the options of [SCRAM]. It copies them.
type SCRAMOptions struct {
	// Method is SCRAM-SHA-1, SCRAM-SHA-256 or SCRAM-SHA-512. Default SCRAM-SHA-256.
	Method string

	// Username and Password log in: not empty, of printable ASCII and of composed letters of the Latin, Greek, Cyrillic,
	// Kana, Han and Hangul scripts, which SASLprep (RFC 4013) leaves unchanged. Others are refused with SCRAMUnprepared.
	Username, Password string

	// MinIterations and MaxIterations bound the work that a server may ask for, in rounds of HMAC. Defaults 4096, below
	// which a password is too easy to guess for who listens (RFC 7677, section 4), and 1,048,576, which takes about a
	// second.
	MinIterations, MaxIterations int
}

// SCRAM returns the Authenticator for SCRAM (RFC 5802, RFC 7677), for [Options].Auth. The password does not go over the
// wire, and the client is connected only when the server has proved that it knows it, too. Errors are a [*SCRAMError], or
// what the server says in CONNACK or DISCONNECT.
//
// An Authenticator belongs to one client.
func SCRAM(o *SCRAMOptions) Authenticator {
	s := new(scram)
	if o != nil {
		s.o = sasl.SCRAMClientOptions{
			Mechanism: o.Method, Username: o.Username, Password: o.Password,
			MinIterations: o.MinIterations, MaxIterations: o.MaxIterations,
		}
	}
	s.o.Mechanism = cmp.Or(s.o.Mechanism, sasl.SCRAMSHA256)
	return s
}

// SCRAMCode says what went wrong. A server may send any of RFC 5802, section 7, and others.
type SCRAMCode string

// The codes of a [SCRAMError] of this side, and the usual one of a server.
const (
	SCRAMServerUnverified = SCRAMCode(sasl.CodeServerUnverified) // the server did not prove that it knows the password
	SCRAMIterations       = SCRAMCode(sasl.CodeIterations)       // the server asks for too little or too much work
	SCRAMMalformed        = SCRAMCode(sasl.CodeInvalidEncoding)  // a message of the server is not one of SCRAM
	SCRAMUnprepared       = SCRAMCode(sasl.CodeUnprepared)       // user name or password have characters that are not supported
	SCRAMInvalidProof     = SCRAMCode(sasl.CodeInvalidProof)     // wrong password, or no such user
	SCRAMOther            = SCRAMCode(sasl.CodeOther)            // anything else, such as an unknown method
)

// SCRAMError is why an exchange of [SCRAM] failed.
type SCRAMError struct {
	Code   SCRAMCode
	Reason string // for people, may be empty
	Remote bool   // the server said it
}

// Error returns the code and the reason.
func (e *SCRAMError) Error() string {
	s := "mqttclient: SCRAM: "
	if e.Remote {
		s += "peer: "
	}
	s += string(e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is reports whether target is a *SCRAMError with the same code and no other detail, so that errors.Is(err,
// &SCRAMError{Code: SCRAMServerUnverified}) asks for a code.
func (e *SCRAMError) Is(target error) bool {
	t, ok := target.(*SCRAMError)
	return ok && t.Code == e.Code && t.Reason == ""
}

// scram is the Authenticator.
type scram struct {
	o sasl.SCRAMClientOptions

	mu     sync.Mutex
	client *sasl.SCRAMClient // of the exchange that goes on, nil before the first
	done   bool              // the server has proved itself
}

// Method implements Authenticator.
func (s *scram) Method() string { return s.o.Mechanism }

// Start implements Authenticator.
func (s *scram) Start(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.done = nil, false
	c, err := sasl.NewSCRAMClient(&s.o)
	if err != nil {
		return nil, scramError(err)
	}
	s.client = c
	data, _, err := c.Step(nil)
	return data, scramError(err)
}

// Step implements Authenticator.
func (s *scram) Step(_ context.Context, data []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.step(data)
}

func (s *scram) step(data []byte) (out []byte, err error) {
	if s.client == nil {
		return nil, &SCRAMError{Code: SCRAMOther, Reason: "no exchange"}
	}
	out, s.done, err = s.client.Step(data)
	if s.done {
		out = []byte{} // a server that has proved itself in AUTH still wants an answer
	}
	return out, scramError(err)
}

// Finish implements Authenticator.
func (s *scram) Finish(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done && data != nil {
		if _, err := s.step(data); err != nil {
			return err
		}
	}
	if !s.done {
		return &SCRAMError{Code: SCRAMServerUnverified, Reason: "the server accepts without a proof"}
	}
	return nil
}

// scramError returns an error of the mechanism as one of this package.
func scramError(err error) error {
	if e, ok := errors.AsType[*sasl.Error](err); ok {
		return &SCRAMError{Code: SCRAMCode(e.Code), Reason: e.Reason, Remote: e.Remote}
	}
	return err
}
