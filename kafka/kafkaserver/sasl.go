package kafkaserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The reasons to refuse a client beside those of its mechanism.
var (
	errMechanism  = errors.New("kafkaserver: the SASL mechanism is not offered")
	errChanged    = errors.New("kafkaserver: the client has authenticated again as somebody else, or in another way")
	errOutOfOrder = errors.New("kafkaserver: a request that has no place in the SASL exchange")
)

// offered returns the SASL mechanisms of the connection.
func (c *Conn) offered() []string {
	if c.srv.mechanisms != nil {
		return c.srv.mechanisms
	}
	var list []string
	if c.srv.scram != nil {
		list = append(list, sasl.SCRAMSHA512, sasl.SCRAMSHA256)
	}
	list = append(list, sasl.Plain)
	if c.TLS() != nil {
		list = append(list, sasl.OAuthBearer)
	}
	return list
}

// handshake answers SASLHandshake. It is false at the end of the connection.
func (c *Conn) handshake(r *Request) bool {
	c.letting.Lock()
	defer c.letting.Unlock()
	a, done := &c.auth, c.isAuthentic()
	var q kafkawire.SASLHandshakeRequest
	if err := r.Decode(&q); err != nil {
		r.Fail(err)
		return false
	}
	offered := c.offered()
	switch {
	case a.server != nil:
		r.Fail(errOutOfOrder)
		return false
	case len(offered) == 0, done && (!a.begun() || r.Version == 0):
		r.Reply(&kafkawire.SASLHandshakeResponse{ErrorCode: kafkawire.ErrIllegalSASLState})
		return true
	case !slices.Contains(offered, q.Mechanism):
		c.delay()
		r.Reply(&kafkawire.SASLHandshakeResponse{ErrorCode: kafkawire.ErrUnsupportedSASLMechanism, Mechanisms: offered})
		c.refuse(fmt.Errorf("%w: %q", errMechanism, q.Mechanism))
		return false
	}
	server, err := c.newServer(q.Mechanism)
	if err != nil {
		r.Fail(err)
		return false
	}
	a.server, a.changed = server, a.begun() && a.mechanism != q.Mechanism
	if !done {
		a.mechanism = q.Mechanism
	}
	a.raw = r.Version == 0
	c.mu.Lock()
	c.sasl, c.lenient = true, false
	c.holdStreams()
	c.mu.Unlock()
	r.Reply(&kafkawire.SASLHandshakeResponse{Mechanisms: offered})
	return true
}

// newServer returns the server's side of a mechanism.
func (c *Conn) newServer(mechanism string) (sasl.Server, error) {
	switch {
	case mechanism == sasl.Plain:
		return sasl.PlainServer(func(ctx context.Context, user, password string) error {
			return c.identify(ctx, &Auth{Mechanism: mechanism, User: user, Password: password})
		}), nil
	case mechanism == sasl.OAuthBearer:
		return sasl.BearerServer(func(ctx context.Context, b *sasl.Bearer) (string, error) {
			err := c.identify(ctx, &Auth{Mechanism: mechanism, User: b.Authzid, Token: b.Token, Extensions: b.Extensions})
			return c.auth.login.Principal.Name, err
		}), nil
	case sasl.IsSCRAM(mechanism) && c.srv.scram != nil:
		return sasl.NewSCRAMServer(&sasl.SCRAMServerOptions{Mechanism: mechanism, Secret: c.srv.secret,
			Lookup: func(ctx context.Context, user string) (Credential, error) {
				return c.srv.scram.Credential(ctx, c, mechanism, user)
			}})
	}
	return nil, fmt.Errorf("%w: the server has no %q", errMechanism, mechanism)
}

// identify asks the backend and keeps what it says.
func (c *Conn) identify(ctx context.Context, a *Auth) (err error) {
	c.auth.login, err = c.ask(ctx, a)
	return err
}

// step takes a message of the mechanism and returns the next one.
func (c *Conn) step(token []byte) (challenge []byte, done bool, err error) {
	a := &c.auth
	ctx, cancel := context.WithTimeout(c.Context(), c.srv.limits.HandshakeTimeout)
	defer cancel()
	if token == nil {
		token = []byte{}
	}
	if a.changed {
		return nil, false, errChanged
	}
	challenge, done, err = a.server.Step(ctx, token)
	if err != nil || !done {
		return challenge, false, err
	}
	if sasl.IsSCRAM(a.mechanism) {
		if err := c.identify(ctx, &Auth{Mechanism: a.mechanism, User: a.server.User()}); err != nil {
			return nil, false, err
		}
	}
	if c.isAuthentic() && a.login.Principal != c.Principal() {
		return nil, false, errChanged
	}
	return challenge, true, nil
}

// authenticate answers SASLAuthenticate. It is false at the end of the connection.
func (c *Conn) authenticate(r *Request) bool {
	a := &c.auth
	var q kafkawire.SASLAuthenticateRequest
	if err := r.Decode(&q); err != nil {
		r.Fail(err)
		return false
	}
	m := kafkawire.SASLAuthenticateResponse{AuthBytes: []byte{}}
	switch {
	case a.server == nil && !c.isAuthentic():
		r.Fail(errOutOfOrder)
		return false
	case a.server == nil:
		m.ErrorCode, m.ErrorMessage = kafkawire.ErrIllegalSASLState, new("no SASL exchange is under way")
		r.Reply(&m)
		return true
	}
	challenge, done, err := c.step(q.AuthBytes)
	if err != nil {
		c.delay()
		m.ErrorCode, m.ErrorMessage = kafkawire.ErrSASLAuthenticationFailed, new("authentication failed")
		r.Reply(&m)
		c.refuse(err)
		return false
	}
	if challenge != nil {
		m.AuthBytes = challenge
	}
	if done {
		m.SessionLifetimeMs = c.accept(r.Received)
	}
	r.Reply(&m)
	return true
}

// rawToken takes a message of the mechanism without a header. It is false at the end of the connection.
func (c *Conn) rawToken(token []byte) bool {
	challenge, done, err := c.step(token)
	if err != nil {
		c.delay()
		c.refuse(err)
		return false
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(challenge)), uint32(len(challenge)))
	b = append(b, challenge...)
	if done {
		c.accept(time.Now())
	}
	c.mu.Lock()
	c.main.out.Append(c.srv.chunks, b)
	c.main.count()
	c.main.flush()
	return true
}

// accept notes that the exchange has ended well and returns for how long it holds, in milliseconds; 0 is for ever.
func (c *Conn) accept(now time.Time) (lifetime int64) {
	a := &c.auth
	a.server, a.raw = nil, false
	expires := a.login.Expires
	if limit := c.srv.limits.MaxSession; limit < forever {
		if end := now.Add(limit); expires.IsZero() || end.Before(expires) {
			expires = end
		}
	}
	c.letIn(a.mechanism, a.login, expires)
	a.login = Login{}
	if expires.IsZero() {
		return 0
	}
	return max(expires.Sub(now).Milliseconds(), 1)
}

// delay waits as clients do that have failed to authenticate.
func (c *Conn) delay() {
	t := time.NewTimer(c.srv.limits.FailureDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.Context().Done():
	}
}

// refuse ends the connection of a client that is not let in.
func (c *Conn) refuse(err error) {
	if f := c.srv.trace.Refused; f != nil {
		f(c, err)
	}
	c.fail(fmt.Errorf("%w: %w", errUnauthenticated, err))
}
