package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// drainTime is how long clients have to take what waits for them when the gateway stops.
const drainTime = 10 * time.Second

// closeTime is how long a broker has to note that its clients are gone.
const closeTime = 5 * time.Second

// gateway is the brokers with their servers, and what they are configured from.
type gateway struct {
	config    *config
	log       *slog.Logger
	mqtt      mqttSide
	amqp      amqpSide
	kafka     kafkaSide
	quic      quicSide
	keys      *keyPair // nil without -tls-cert
	tls       *tls.Config
	addresses map[string]net.Addr // of the listeners, by flag
	http      *http.Server
	ready     atomic.Bool
	failed    chan error // listeners that failed; -quic has three
}

// open reads the files that the configuration names and makes the brokers. It opens no listener.
func open(c *config, log *slog.Logger) (*gateway, error) {
	g := &gateway{config: c, log: log, addresses: make(map[string]net.Addr), failed: make(chan error, len(c.listeners())+2)}
	if c.tlsCert != "" {
		var err error
		if g.keys, err = loadKeyPair(c.tlsCert, c.tlsKey); err != nil {
			return nil, err
		}
		if g.tls, err = g.keys.config(c.tlsClient); err != nil {
			return nil, err
		}
	}
	if err := g.mqtt.open(c, log); err != nil {
		return nil, err
	}
	if err := g.amqp.open(c, log); err != nil {
		g.mqtt.close(log)
		return nil, err
	}
	if err := g.kafka.open(c, g.mqtt.users, log); err != nil {
		g.mqtt.close(log)
		g.amqp.close(log)
		return nil, err
	}
	return g, nil
}

// listen opens the listeners, starts to serve them and prints where they are.
func (g *gateway) listen(stdout io.Writer) error {
	on := g.config.listeners()
	opened := make([]net.Listener, len(on))
	for i, l := range on {
		if l.flag == "quic" {
			addr, err := g.quic.listen(l.addr, g.tls, g.log)
			if err != nil {
				return fmt.Errorf("-quic: %w", err)
			}
			g.addresses[l.flag] = addr
			continue
		}
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("-%s: %w", l.flag, err)
		}
		opened[i] = ln
		g.addresses[l.flag] = ln.Addr()
	}
	g.ready.Store(true)
	for i, ln := range opened {
		name := on[i].flag
		say := func(what, url string) { fmt.Fprintf(stdout, "gateway: %-16s "+url+"\n", what, g.addresses[name]) }
		switch name {
		case "mqtt":
			g.serve(name, func() error { return g.mqtt.serve(ln, name, nil) })
			say("MQTT", "mqtt://%s")
		case "mqtts":
			g.serve(name, func() error { return g.mqtt.serve(ln, name, g.tls) })
			say("MQTT over TLS", "mqtts://%s")
		case "ws":
			g.serve(name, func() error { return g.mqtt.serve(ln, name, nil) })
			say("MQTT over WS", "ws://%s/mqtt")
		case "amqp":
			g.serve(name, func() error { return g.amqp.serve(ln, name, nil) })
			say("AMQP", "amqp://%s")
		case "amqps":
			g.serve(name, func() error { return g.amqp.serve(ln, name, g.tls) })
			say("AMQP over TLS", "amqps://%s")
		case "amqp-ws":
			g.serve(name, func() error { return g.amqp.serve(ln, name, nil) })
			say("AMQP over WS", "ws://%s/amqp")
		case "kafka":
			g.serve(name, func() error { return g.kafka.serve(ln, name, nil) })
			say("Kafka", "kafka://%s")
		case "kafkas":
			g.serve(name, func() error { return g.kafka.serve(ln, name, g.tls) })
			say("Kafka over TLS", "kafkas://%s")
		case "quic":
			forMQTT, forAMQP, forKafka := g.quic.protocols()
			g.serve(name, func() error { return g.mqtt.serve(forMQTT, name, nil) })
			g.serve(name, func() error { return g.amqp.serve(forAMQP, name, nil) })
			g.serve(name, func() error { return g.kafka.serve(forKafka, name, nil) })
			say("MQTT over QUIC", "mqtt+quic://%s")
			say("AMQP over QUIC", "amqp+quic://%s")
			say("Kafka over QUIC", "kafka+quic://%s")
		case "http":
			g.http = &http.Server{Handler: g.handler(), ReadHeaderTimeout: 10 * time.Second}
			g.serve(name, func() error { return g.http.Serve(ln) })
			say("health, metrics", "http://%s/metrics")
		}
	}
	return nil
}

// serve runs a listener until it is closed.
func (g *gateway) serve(flag string, f func() error) {
	go func() {
		if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			g.failed <- fmt.Errorf("-%s: %w", flag, err)
		}
	}()
}

// reload reads the files again. What can't be read stays as it was.
func (g *gateway) reload() {
	g.mqtt.reload(g.logReload)
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
	done := make(chan error, 2)
	go func() { done <- g.amqp.drain() }()
	go func() { done <- g.kafka.drain() }()
	return errors.Join(g.mqtt.drain(), <-done, <-done, g.quic.drain())
}

// close ends everything at once.
func (g *gateway) close() {
	g.mqtt.close(g.log)
	g.amqp.close(g.log)
	g.kafka.close(g.log)
	g.quic.close()
	if g.http != nil {
		g.http.Close()
	}
}

// orNone returns a bound as the brokers' options have it: there 0 is the default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
