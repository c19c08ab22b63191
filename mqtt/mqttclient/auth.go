package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Authenticator is the client's side of enhanced authentication (section 4.12), such as SCRAM. Its methods are called
// one at a time, never on the reading goroutine of a live connection. An error ends the attempt to connect, or the
// connection.
type Authenticator interface {
	// Method returns the name of the authentication method. It is the same at each call.
	Method() string
	// Start begins an exchange, for a new connection or for Client.Reauthenticate, and returns the first authentication
	// data, which may be nil.
	Start(ctx context.Context) ([]byte, error)
	// Step answers authentication data of the server.
	Step(ctx context.Context, data []byte) ([]byte, error)
	// Finish takes the authentication data that came with the server's consent; nil when there were none. The client
	// sends nothing before it has returned.
	Finish(data []byte) error
}

// Reauthenticate authenticates again on the connection, with Options.Auth (section 4.12.1). Other traffic goes on. When
// ctx ends, or the exchange fails, the connection is closed, and made anew in the background.
func (c *Client) Reauthenticate(ctx context.Context) error {
	if c.o.Auth == nil {
		return errors.New("mqttclient: no authentication method")
	}
	select {
	case c.auth <- struct{}{}:
		defer func() { <-c.auth }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	k := c.conn
	c.mu.Unlock()
	if k == nil {
		return ErrNotConnected
	}
	data, err := c.o.Auth.Start(ctx)
	if err != nil {
		return err
	}
	err = k.reauthenticate(ctx, data)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.disconnect(&mqtt.Disconnect{Reason: mqtt.ReasonUnspecifiedError}) != nil {
			k.fail(err)
		}
	}
	return err
}

func (k *conn) reauthenticate(ctx context.Context, data []byte) error {
	if err := k.sendAuth(mqtt.ReasonReauthenticate, data); err != nil {
		return err
	}
	for {
		select {
		case p := <-k.auths:
			if p.Reason == mqtt.ReasonSuccess {
				return k.c.o.Auth.Finish(authData(p.Properties))
			}
			if err := k.step(ctx, p); err != nil {
				return err
			}
		case <-k.gone:
			k.c.mu.Lock()
			defer k.c.mu.Unlock()
			return fmt.Errorf("%w: %w", ErrNotConnected, k.cause())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// startAuth adds the begin of an exchange to CONNECT.
func (k *conn) startAuth(ctx context.Context, p *mqtt.Connect) error {
	a := k.c.o.Auth
	if a == nil {
		return nil
	}
	data, err := a.Start(ctx)
	if err != nil {
		return err
	}
	p.Properties = p.Properties.AppendString(mqtt.PropAuthenticationMethod, a.Method())
	if data != nil {
		p.Properties = p.Properties.AppendBytes(mqtt.PropAuthenticationData, data)
	}
	return nil
}

// authenticate answers the server during the handshake, if it asked.
func (k *conn) authenticate(ctx context.Context) error {
	select {
	case p := <-k.auths:
		return k.step(ctx, p)
	default:
		return nil
	}
}

// finishAuth checks the server's last word before the connection is used.
func (k *conn) finishAuth() error {
	if k.c.o.Auth == nil {
		return nil
	}
	return k.c.o.Auth.Finish(authData(k.connack.Properties))
}

func (k *conn) step(ctx context.Context, p *mqtt.Auth) error {
	data, err := k.c.o.Auth.Step(ctx, authData(p.Properties))
	if err != nil {
		return err
	}
	return k.sendAuth(mqtt.ReasonContinueAuthentication, data)
}

// sendAuth sends AUTH; the machine adds the method.
func (k *conn) sendAuth(reason mqtt.ReasonCode, data []byte) error {
	p := &mqtt.Auth{Reason: reason}
	if data != nil {
		p.Properties = p.Properties.AppendBytes(mqtt.PropAuthenticationData, data)
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if err := k.sess.Auth(time.Now(), p); err != nil {
		return err
	}
	k.events()
	k.kick()
	return nil
}

func authData(p mqtt.Properties) []byte {
	data, _ := p.Bytes(mqtt.PropAuthenticationData)
	return data
}
