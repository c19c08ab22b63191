package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// amqpSide is the AMQP broker and its server.
type amqpSide struct {
	broker *amqpbroker.Broker
	server *amqpserver.Server
}

func (a *amqpSide) open(c *config, log *slog.Logger) (err error) {
	options := &amqpbroker.Options{Logger: log, NoSync: c.noSync, Definitions: amqpbroker.Guest()}
	if c.data != "" {
		options.Dir = filepath.Join(c.data, "amqp")
	}
	if c.anonymous {
		options.Authenticate, options.Unregistered = amqpbroker.AllowAll, amqpbroker.Everything()
	}
	var imported *amqpbroker.Definitions
	if c.definitions != "" {
		if imported, err = readDefinitions(c.definitions); err != nil {
			return err
		}
		if len(imported.Users) > 0 { // as in RabbitMQ there is no guest then, unless it is among them
			options.Definitions = imported
		}
	}
	if a.broker, err = amqpbroker.New(options); err != nil {
		return err
	}
	if imported != nil {
		if err := a.broker.Import(imported); err != nil {
			return errors.Join(fmt.Errorf("-definitions: %w", err), a.broker.Close())
		}
	}
	server := &amqpserver.Options{Logger: log, CertificateUser: commonName}
	if c.anonymous {
		server.Mechanisms = []string{"PLAIN", "AMQPLAIN", "ANONYMOUS"}
	}
	a.server = amqpserver.New(a.broker, server)
	return nil
}

func readDefinitions(name string) (*amqpbroker.Definitions, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := amqpbroker.ReadDefinitions(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// commonName is the user of a client certificate, as for MQTT.
func commonName(c *x509.Certificate) string { return c.Subject.CommonName }

// serve serves a listener until it is closed.
func (a *amqpSide) serve(ln net.Listener, name string, t *tls.Config) error {
	err := a.server.Serve(ln, &amqpserver.ListenerOptions{Name: name, TLS: t, WebSocket: name == "amqp-ws"})
	if errors.Is(err, amqpserver.ErrServerClosed) {
		return nil
	}
	return err
}

// management returns the HTTP API under /api.
func (g *gateway) management() http.Handler {
	return g.amqp.broker.ManagementHandler(&amqpbroker.ManagementOptions{
		Logger: g.log,
		Listeners: func() (list []amqpbroker.ManagementListener) {
			for _, l := range []struct{ flag, protocol string }{
				{"amqp", "amqp"}, {"amqps", "amqp/ssl"}, {"amqp-ws", "http/web-amqp"}, {"http", "http"},
				{"mqtt", "mqtt"}, {"mqtts", "mqtt/ssl"}, {"ws", "http/web-mqtt"},
			} {
				if addr := g.addresses[l.flag]; addr != nil {
					list = append(list, amqpbroker.ManagementListener{Protocol: l.protocol, Addr: addr})
				}
			}
			return list
		},
	})
}

// drain ends the connections in order, for a limited time.
func (a *amqpSide) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := a.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close ends everything at once.
func (a *amqpSide) close(log *slog.Logger) {
	a.server.Close()
	if err := a.broker.Close(); err != nil {
		log.Error("AMQP broker not closed in order", "err", err)
	}
}
