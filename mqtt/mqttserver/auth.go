package mqttserver

import (
	"context"
	"net"

	"github.com/quartet-mq/quartet/mqtt"
)

// exchange begins an exchange of the backend.
func (c *Conn) exchange(ctx context.Context, method string) (AuthExchange, error) {
	a, ok := c.srv.backend.(Authenticator)
	if !ok {
		return nil, &mqtt.Error{Code: mqtt.ReasonBadAuthenticationMethod}
	}
	return a.Auth(ctx, c, method)
}

// authenticate runs an enhanced authentication before CONNACK. It returns the data for the CONNACK.
func (c *Conn) authenticate(ctx context.Context, method string) ([]byte, error) {
	data, _ := c.connect.Properties.Bytes(mqtt.PropAuthenticationData)
	x, err := c.exchange(ctx, method)
	if err != nil {
		return nil, err
	}
	for {
		out, done, err := x.Step(ctx, data)
		if err != nil {
			return nil, err
		}
		if done {
			c.auth = x
			return out, nil
		}
		c.sendAuth(nil, mqtt.ReasonContinueAuthentication, out)
		p, ok := c.next()
		if !ok {
			return nil, net.ErrClosed
		}
		auth, _ := p.(*mqtt.Auth)
		data, _ = auth.Properties.Bytes(mqtt.PropAuthenticationData)
	}
}

// sendAuth sends AUTH.
func (c *Conn) sendAuth(b *Batch, reason mqtt.ReasonCode, data []byte) {
	a := &mqtt.Auth{Reason: reason}
	if data != nil {
		a.Properties = a.Properties.AppendBytes(mqtt.PropAuthenticationData, data)
	}
	c.mu.Lock()
	c.replied(b, "AUTH", c.machine.Auth(b.Now(), a))
}

// reauthenticate handles AUTH of a connected client (section 4.12.1).
func (c *Conn) reauthenticate(b *Batch, p *mqtt.Auth) {
	b.Flush() // the backend may take its time
	ctx, cancel := context.WithTimeout(c.Context(), c.srv.limits.ConnectTimeout)
	defer cancel()
	var err error
	if p.Reason == mqtt.ReasonReauthenticate {
		method, _ := p.Properties.String(mqtt.PropAuthenticationMethod)
		c.reauth, err = c.exchange(ctx, method)
	}
	var out []byte
	done := false
	if err == nil {
		data, _ := p.Properties.Bytes(mqtt.PropAuthenticationData)
		out, done, err = c.reauth.Step(ctx, data)
	}
	switch {
	case err != nil:
		c.reauth = nil
		e := c.wireError("backend failed to re-authenticate a client", err, mqtt.TypeDisconnect)
		c.fail(b, e) // [MQTT-4.12.1-2]
	case done:
		c.reauth = nil
		c.sendAuth(b, mqtt.ReasonSuccess, out)
	default:
		c.sendAuth(b, mqtt.ReasonContinueAuthentication, out)
	}
}
