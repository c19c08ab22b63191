package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// config is what the command line says.
type config struct {
	mqtt, mqtts, ws, http      string
	amqp, amqps, amqpWS        string
	kafka, kafkas, quic        string
	kafkaAdvertise, kafkaSuper string
	definitions                string
	tlsCert, tlsKey, tlsClient string
	users, acl, data           string
	anonymous, noSync          bool
	kafkaTrust                 bool
	queueMessages, queueBytes  int
}

// parse reads the flags of args and checks that they make sense together.
func parse(args []string, stderr io.Writer) (*config, error) {
	c := new(config)
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.mqtt, "mqtt", "127.0.0.1:1883", "`address` for MQTT over TCP, empty for none")
	f.StringVar(&c.mqtts, "mqtts", "", "`address` for MQTT over TLS, empty for none")
	f.StringVar(&c.ws, "ws", "127.0.0.1:8083", "`address` for MQTT over WebSocket (path /mqtt), empty for none")
	f.StringVar(&c.amqp, "amqp", "127.0.0.1:5672", "`address` for AMQP over TCP, empty for none")
	f.StringVar(&c.amqps, "amqps", "", "`address` for AMQP over TLS, empty for none")
	f.StringVar(&c.amqpWS, "amqp-ws", "", "`address` for AMQP over WebSocket, empty for none")
	f.StringVar(&c.kafka, "kafka", "127.0.0.1:9092", "`address` for Kafka over TCP, empty for none")
	f.StringVar(&c.kafkas, "kafkas", "", "`address` for Kafka over TLS, empty for none")
	f.StringVar(&c.kafkaAdvertise, "kafka-advertise", "", "`host` or host:port that Kafka clients are told to connect to; a port is that of -kafka. Without it they are told the address to which they did connect")
	f.StringVar(&c.kafkaSuper, "kafka-super-users", "", "`names` of Kafka users, separated by commas, who may do everything; with it others may only do what Kafka's access control lists say")
	f.BoolVar(&c.kafkaTrust, "kafka-trust-compressed", false, "take compressed Kafka batches as they come: consumers find out whether they can be read")
	f.StringVar(&c.quic, "quic", "", "UDP `address` for MQTT, AMQP and Kafka over QUIC, empty for none")
	f.StringVar(&c.http, "http", "127.0.0.1:8080", "`address` for /healthz, /readyz, /metrics and RabbitMQ's management API under /api, empty for none")
	f.StringVar(&c.tlsCert, "tls-cert", "", "PEM `file` with the server's certificate chain")
	f.StringVar(&c.tlsKey, "tls-key", "", "PEM `file` with the server's private key")
	f.StringVar(&c.tlsClient, "tls-client-ca", "", "PEM `file` with the authorities that sign client certificates; with it -mqtts, -amqps, -kafkas and -quic ask every client for one, and its common name is the user")
	f.StringVar(&c.users, "users", "", "password `file` for MQTT and Kafka (with PLAIN) in mosquitto's format")
	f.StringVar(&c.acl, "acl", "", "access control `file` for MQTT in mosquitto's format")
	f.StringVar(&c.definitions, "definitions", "", "`file` with users, queues and so on for AMQP, in RabbitMQ's format; it is imported at each start")
	f.BoolVar(&c.anonymous, "anonymous", false, "let everybody in without a password, on any address")
	f.StringVar(&c.data, "data", "", "`directory` for what must survive a restart and power loss; empty keeps everything in memory")
	f.BoolVar(&c.noSync, "no-sync", false, "with -data, do not wait for the disk: power loss takes what was acknowledged in the last seconds")
	f.IntVar(&c.queueMessages, "queue-messages", 10_000, "how many messages may wait for one session, negative for any `number`")
	f.IntVar(&c.queueBytes, "queue-bytes", 64<<20, "how many bytes may wait for one session, negative for any `number`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return c, c.check()
}

// check refuses combinations that would not do what the flags say, and anonymous access from other machines that nobody
// asked for.
func (c *config) check() error {
	if c.noSync && c.data == "" {
		return errors.New("-no-sync needs -data")
	}
	for _, l := range []listener{{"mqtts", c.mqtts}, {"amqps", c.amqps}, {"kafkas", c.kafkas}, {"quic", c.quic}} {
		if l.addr != "" && (c.tlsCert == "" || c.tlsKey == "") {
			return fmt.Errorf("-%s needs -tls-cert and -tls-key", l.flag)
		}
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return errors.New("-tls-cert and -tls-key go together")
	}
	if c.tlsClient != "" && c.mqtts == "" && c.amqps == "" && c.kafkas == "" && c.quic == "" {
		return errors.New("-tls-client-ca needs -mqtts, -amqps, -kafkas or -quic")
	}
	if err := c.checkKafka(); err != nil {
		return err
	}
	if c.anonymous && c.users != "" {
		return errors.New("-anonymous and -users exclude each other")
	}
	if c.users != "" || c.anonymous {
		return nil
	}
	for _, l := range c.listeners() {
		if !l.amqp() && !loopback(l.addr) {
			return fmt.Errorf("-%s %s can be reached from other machines: give -users FILE, or -anonymous to let everybody in", l.flag, l.addr)
		}
	}
	return nil
}

// checkKafka checks the flags for Kafka alone.
func (c *config) checkKafka() error {
	if c.kafkaAdvertise != "" {
		if c.kafka == "" && c.kafkas == "" && c.quic == "" {
			return errors.New("-kafka-advertise needs -kafka, -kafkas or -quic")
		}
		if host, _ := splitAdvertise(c.kafkaAdvertise); host == "" {
			return fmt.Errorf("-kafka-advertise %s is neither a host nor host:port", c.kafkaAdvertise)
		}
	}
	return nil
}

// splitAdvertise returns the parts of -kafka-advertise; the port may be empty. Both are when it makes no sense.
func splitAdvertise(s string) (host, port string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if host = strings.Trim(s, "[]"); strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", ""
		}
		return host, ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", ""
	}
	return host, port
}

// listener is an address and the flag that named it.
type listener struct{ flag, addr string }

// amqp reports whether it is one for AMQP, which lets nobody in without a password from other machines.
func (l listener) amqp() bool { return strings.HasPrefix(l.flag, "amqp") }

// listeners returns the addresses that are switched on.
func (c *config) listeners() []listener {
	var on []listener
	for _, l := range []listener{{"mqtt", c.mqtt}, {"mqtts", c.mqtts}, {"ws", c.ws},
		{"amqp", c.amqp}, {"amqps", c.amqps}, {"amqp-ws", c.amqpWS}, {"kafka", c.kafka}, {"kafkas", c.kafkas}, {"quic", c.quic}, {"http", c.http}} {
		if l.addr != "" {
			on = append(on, l)
		}
	}
	return on
}

// loopback reports whether an address can be reached from this machine only. A name other than localhost may resolve to
// anything, so it does not count.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
