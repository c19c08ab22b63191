// Package sasl has SASL mechanisms (RFC 4422) as state machines, one for each side: bytes in, bytes out, no I/O.
//
//	PLAIN        RFC 4616            PlainClient, PlainServer
//	EXTERNAL     RFC 4422 app. A     ExternalClient, ExternalServer
//	ANONYMOUS    RFC 4505            AnonymousClient, AnonymousServer
//	AMQPLAIN     of RabbitMQ         AMQPlainClient, AMQPlainServer
//	SCRAM        RFC 5802, RFC 7677  NewSCRAMClient, NewSCRAMServer, for SHA-1, SHA-256 and SHA-512, with -PLUS
//	OAUTHBEARER  RFC 7628            BearerClient, BearerServer
//
// A machine is good for one exchange and is not safe for concurrent use. It keeps nothing of the slices it is given, and
// who calls it owns the slices it returns. Whatever the peer sends, nothing panics, and the size of what is looked at is
// bounded. Secrets are compared in constant time.
//
// An authorisation identity must be empty or the name that was authenticated: nobody acts for others.
package sasl

import "context"

// The names of the mechanisms.
const (
	Plain       = "PLAIN"
	External    = "EXTERNAL"
	Anonymous   = "ANONYMOUS"
	AMQPlain    = "AMQPLAIN"
	OAuthBearer = "OAUTHBEARER"

	SCRAMSHA1       = "SCRAM-SHA-1"
	SCRAMSHA256     = "SCRAM-SHA-256"
	SCRAMSHA512     = "SCRAM-SHA-512"
	SCRAMSHA1Plus   = "SCRAM-SHA-1-PLUS"
	SCRAMSHA256Plus = "SCRAM-SHA-256-PLUS"
	SCRAMSHA512Plus = "SCRAM-SHA-512-PLUS"
)

// Client is the client's side of an exchange.
type Client interface {
	// Step takes a challenge and returns the response to it. The first call takes nil and returns the initial response.
	// While done is false the server has more to say: if it reports success before done, the exchange has failed, since
	// the server has not proved who it is. The response of the last step is nil when the server expects none.
	//
	// An error is final, and an [*Error] unless it comes from a function that the machine was given. A response that
	// comes with it is what the mechanism says before it gives up, where the protocol leaves room for that.
	Step(challenge []byte) (response []byte, done bool, err error)
}

// Server is the server's side of an exchange.
type Server interface {
	// Step takes a response and returns the next challenge or, when done, what goes along with success: nil for most
	// mechanisms. A protocol without room for it sends it as a last challenge, which the client answers with nothing.
	// The first call takes the initial response; nil stands for none and returns an empty challenge.
	//
	// ctx is for the functions that the machine was given and may block; the machine does not keep it. Errors are as
	// those of a Client. They may say more than the peer should know; the challenge that comes with one does not.
	Step(ctx context.Context, response []byte) (challenge []byte, done bool, err error)

	// User returns the name that was authenticated. It is empty before Step has returned done, and for ANONYMOUS.
	User() string
}

// oneStep is the server's side of the mechanisms that end with the initial response.
type oneStep struct {
	accept func(ctx context.Context, response []byte) (user string, err error)
	asked  bool // an empty challenge was sent
	ended  bool
	user   string
}

func (s *oneStep) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.ended:
		return nil, false, errOutOfStep()
	case response == nil && !s.asked:
		s.asked = true
		return []byte{}, false, nil
	}
	s.ended = true
	user, err := s.accept(ctx, response)
	if err != nil {
		return nil, false, err
	}
	s.user = user
	return nil, true, nil
}

func (s *oneStep) User() string { return s.user }

// initial is the client's side of the mechanisms that end with the initial response.
type initial struct {
	response []byte
	err      error
	ended    bool
}

func (c *initial) Step([]byte) ([]byte, bool, error) {
	if c.ended {
		return nil, false, errOutOfStep()
	}
	c.ended = true
	return c.response, c.err == nil, c.err
}
