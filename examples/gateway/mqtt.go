package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// mqttSide is the MQTT broker and its server.
type mqttSide struct {
	broker *mqttbroker.Broker
	server *mqttserver.Server
	users  *mqttbroker.PasswordFile // nil without -users
	acl    *mqttbroker.ACLFile      // nil without -acl
}

func (m *mqttSide) open(c *config, log *slog.Logger) (err error) {
	options := &mqttbroker.Options{
		Logger: log, NoSync: c.noSync, QueueMessages: orNone(c.queueMessages), QueueBytes: orNone(c.queueBytes),
	}
	if c.data != "" {
		options.Dir = filepath.Join(c.data, "mqtt")
	}
	if c.users != "" {
		if m.users, err = mqttbroker.OpenPasswordFile(c.users); err != nil {
			return err
		}
	}
	if c.acl != "" {
		if m.acl, err = mqttbroker.OpenACLFile(c.acl); err != nil {
			return err
		}
		options.Authorize = m.acl.Authorize
	}
	options.Authenticate = m.authenticator()
	if m.broker, err = mqttbroker.New(options); err != nil {
		return err
	}
	m.server = mqttserver.New(m.broker, &mqttserver.Options{Logger: log})
	return nil
}

// authenticator returns who may connect: those with a certificate that -tls-client-ca vouches for, those in -users, and
// without -users everybody, without a name (config.check has seen to it that this was meant).
func (m *mqttSide) authenticator() mqttbroker.Authenticator {
	if m.users != nil {
		return mqttbroker.Chain(mqttbroker.CertificateName, m.users.Authenticate)
	}
	return mqttbroker.Chain(mqttbroker.CertificateName, anonymous)
}

// anonymous lets everybody in. Nobody has checked the user name, so it must not open anything in the access control list.
func anonymous(context.Context, *mqttbroker.Login) (string, error) { return "", nil }

// serve serves a listener until it is closed.
func (m *mqttSide) serve(ln net.Listener, name string, t *tls.Config) error {
	err := m.server.Serve(ln, &mqttserver.ListenerOptions{Name: name, TLS: t, WebSocket: name == "ws"})
	if errors.Is(err, mqttserver.ErrServerClosed) {
		return nil
	}
	return err
}

// reload reads the files again.
func (m *mqttSide) reload(note func(flag string, err error)) {
	if m.users != nil {
		note("-users", m.users.Reload())
	}
	if m.acl != nil {
		note("-acl", m.acl.Reload())
		m.broker.Reauthorize()
	}
}

// drain ends the connections in order, for a limited time.
func (m *mqttSide) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := m.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close ends everything at once.
func (m *mqttSide) close(log *slog.Logger) {
	m.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := m.broker.Shutdown(ctx); err != nil {
		log.Error("MQTT broker not closed in order", "err", err)
	}
}
