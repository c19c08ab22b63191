package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// drainTime is how long clients have to take what waits for them when the gateway stops.
const drainTime = 10 * time.Second

// closeTime is how long the broker has to note that its clients are gone.
const closeTime = 5 * time.Second

// gateway is the broker, its server and what they are configured from.
type gateway struct {
	config *config
	log    *slog.Logger
	broker *mqttbroker.Broker
	server *mqttserver.Server
	users  *mqttbroker.PasswordFile // nil without -users
	acl    *mqttbroker.ACLFile      // nil without -acl
	keys   *keyPair                 // nil without -tls-cert
	http   *http.Server
	ready  atomic.Bool
	failed chan error // listeners that failed
}

// open reads the files that the configuration names and makes the broker. It opens no listener.
func open(c *config, log *slog.Logger) (*gateway, error) {
	g := &gateway{config: c, log: log, failed: make(chan error, len(c.listeners()))}
	options := &mqttbroker.Options{
		Logger: log, NoSync: c.noSync, QueueMessages: orNone(c.queueMessages), QueueBytes: orNone(c.queueBytes),
	}
	if c.data != "" {
		options.Dir = filepath.Join(c.data, "mqtt")
	}
	var err error
	if c.users != "" {
		if g.users, err = mqttbroker.OpenPasswordFile(c.users); err != nil {
			return nil, err
		}
	}
	if c.acl != "" {
		if g.acl, err = mqttbroker.OpenACLFile(c.acl); err != nil {
			return nil, err
		}
		options.Authorize = g.acl.Authorize
	}
	if c.tlsCert != "" {
		if g.keys, err = loadKeyPair(c.tlsCert, c.tlsKey); err != nil {
			return nil, err
		}
	}
	options.Authenticate = g.authenticator()
	if g.broker, err = mqttbroker.New(options); err != nil {
		return nil, err
	}
	g.server = mqttserver.New(g.broker, &mqttserver.Options{Logger: log})
	return g, nil
}

// orNone returns a bound as the broker's options have it: there 0 is the default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// authenticator returns who may connect: those with a certificate that -tls-client-ca vouches for, those in -users, and
// without -users everybody, without a name (config.check has seen to it that this was meant).
func (g *gateway) authenticator() mqttbroker.Authenticator {
	if g.users != nil {
		return mqttbroker.Chain(mqttbroker.CertificateName, g.users.Authenticate)
	}
	return mqttbroker.Chain(mqttbroker.CertificateName, anonymous)
}

// anonymous lets everybody in. Nobody has checked the user name, so it must not open anything in the access control list.
func anonymous(context.Context, *mqttbroker.Login) (string, error) { return "", nil }

// listen opens the listeners, starts to serve them and prints where they are.
func (g *gateway) listen(stdout io.Writer) error {
	var tlsConfig *tls.Config
	if g.config.mqtts != "" {
		var err error
		if tlsConfig, err = g.keys.config(g.config.tlsClient); err != nil {
			return err
		}
	}
	on := g.config.listeners()
	opened := make([]net.Listener, len(on))
	for i, l := range on {
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("-%s: %w", l.flag, err)
		}
		opened[i] = ln
	}
	g.ready.Store(true)
	for i, ln := range opened {
		switch name := on[i].flag; name {
		case "mqtt":
			g.serve(ln, &mqttserver.ListenerOptions{Name: name})
			fmt.Fprintf(stdout, "gateway: MQTT             mqtt://%s\n", ln.Addr())
		case "mqtts":
			g.serve(ln, &mqttserver.ListenerOptions{Name: name, TLS: tlsConfig})
			fmt.Fprintf(stdout, "gateway: MQTT over TLS    mqtts://%s\n", ln.Addr())
		case "ws":
			g.serve(ln, &mqttserver.ListenerOptions{Name: name, WebSocket: true})
			fmt.Fprintf(stdout, "gateway: MQTT over WS     ws://%s/mqtt\n", ln.Addr())
		case "http":
			g.serveHTTP(ln)
			fmt.Fprintf(stdout, "gateway: health, metrics  http://%s/metrics\n", ln.Addr())
		}
	}
	return nil
}

// serve serves MQTT on a listener.
func (g *gateway) serve(ln net.Listener, o *mqttserver.ListenerOptions) {
	go func() {
		if err := g.server.Serve(ln, o); !errors.Is(err, mqttserver.ErrServerClosed) {
			g.failed <- fmt.Errorf("-%s: %w", o.Name, err)
		}
	}()
}

// serveHTTP serves health and metrics on a listener.
func (g *gateway) serveHTTP(ln net.Listener) {
	g.http = &http.Server{Handler: g.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := g.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			g.failed <- fmt.Errorf("-http: %w", err)
		}
	}()
}

// reload reads the files again. What can't be read stays as it was.
func (g *gateway) reload() {
	if g.users != nil {
		g.logReload("-users", g.users.Reload())
	}
	if g.acl != nil {
		g.logReload("-acl", g.acl.Reload())
		g.broker.Reauthorize()
	}
	if g.keys != nil {
		g.logReload("-tls-cert", g.keys.load())
	}
}

func (g *gateway) logReload(flag string, err error) {
	if err != nil {
		g.log.Error("not reloaded", "flag", flag, "err", err)
		return
	}
	g.log.Info("reloaded", "flag", flag)
}

// drain says goodbye to the clients and waits until they have what waits for them, for a limited time.
func (g *gateway) drain() error {
	g.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := g.server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close ends everything at once.
func (g *gateway) close() {
	g.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := g.broker.Shutdown(ctx); err != nil {
		g.log.Error("broker not closed in order", "err", err)
	}
	if g.http != nil {
		g.http.Close()
	}
}
