package amqpclient091

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// vhost returns the virtual host for a server.
func (c *config) vhost(s *server) string {
	if c.VirtualHost != "" {
		return c.VirtualHost
	}
	if v := s.uri.VirtualHost; v != nil && *v != "" {
		return *v
	}
	return "/"
}

// handshake goes on until the connection is open.
func (k *conn) handshake(ctx context.Context) error {
	c := k.c
	c.mu.Lock()
	if c.closed {
		defer c.mu.Unlock()
		return c.endErr()
	}
	c.last = k
	err := k.m.Connect(time.Now())
	k.events()
	k.kick()
	c.mu.Unlock()
	for err == nil {
		c.mu.Lock()
		start, secure, opened, down := k.start, k.secure, k.opened, k.down || k.closing
		k.start, k.secure = nil, nil
		c.mu.Unlock()
		switch {
		case down:
			return k.handshakeErr(ctx)
		case opened:
			return nil
		case start != nil:
			err = k.login(ctx, start)
		case secure != nil:
			err = k.goOn(secure)
		default:
			if k.main.read() != nil {
				return k.handshakeErr(ctx)
			}
		}
	}
	return err
}

// handshakeErr returns why the connection ended before it was open.
func (k *conn) handshakeErr(ctx context.Context) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	err := k.cause()
	if k.side != nil && k.m.Err() == nil && ctx.Err() == nil {
		return fmt.Errorf("amqpclient091: no success with the login by %s: %w", k.m.Mechanism(), err)
	}
	return err
}

// login answers connection.start.
func (k *conn) login(ctx context.Context, m *amqp091.ConnectionStart) error {
	mechanism, side, err := k.c.o.login(ctx, k.server, string(m.Mechanisms))
	if err != nil {
		return err
	}
	response, _, err := side.Step(nil)
	if err != nil {
		return err
	}
	if err := confirmed(ctx, k.nc); err != nil {
		return err
	}
	k.side = side
	return k.reply(func(now time.Time) error {
		return k.m.StartOK(now, &amqp091.ConnectionStartOK{
			ClientProperties: k.c.o.clientProperties(),
			Mechanism:        mechanism,
			Response:         response,
			Locale:           "en_US",
		})
	})
}

// goOn answers connection.secure.
func (k *conn) goOn(m *amqp091.ConnectionSecure) error {
	response, _, err := k.side.Step(m.Challenge)
	if err != nil {
		return err
	}
	return k.reply(func(now time.Time) error { return k.m.SecureOK(now, response) })
}

// reply calls a verb of the machine, and goes on with what came.
func (k *conn) reply(verb func(time.Time) error) error {
	k.c.mu.Lock()
	err := verb(time.Now())
	k.events()
	k.kick()
	k.c.mu.Unlock()
	k.main.feed()
	return err
}

// clientProperties are what the client says about itself.
func (c *config) clientProperties() amqp091.Table {
	t := amqp091.Table{
		{Key: "product", Value: "Quartet"},
		{Key: "platform", Value: "Go " + runtime.Version()},
		{Key: "capabilities", Value: amqp091.Table{
			{Key: "publisher_confirms", Value: true},
			{Key: "exchange_exchange_bindings", Value: true},
			{Key: "basic.nack", Value: true},
			{Key: "consumer_cancel_notify", Value: true},
			{Key: "connection.blocked", Value: true},
			{Key: "authentication_failure_close", Value: true},
		}},
	}
	if c.Name != "" {
		t.Set("connection_name", c.Name)
	}
	for _, f := range c.Properties {
		t.Set(f.Key, f.Value)
	}
	return t
}

// abandon closes a connection that did not come up, behind the machine's last word if it has one.
func (k *conn) abandon(err error) {
	k.c.mu.Lock()
	if !k.closing {
		k.fail(err)
	}
	k.m.Lost()
	close(k.gone)
	k.c.mu.Unlock()
	<-k.flushed
	k.nc.Close()
}
