package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

// config is what the command line says.
type config struct {
	mqtt, mqtts, ws, http      string
	tlsCert, tlsKey, tlsClient string
	users, acl, data           string
	anonymous, noSync          bool
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
	f.StringVar(&c.http, "http", "127.0.0.1:8080", "`address` for /healthz, /readyz and /metrics, empty for none")
	f.StringVar(&c.tlsCert, "tls-cert", "", "PEM `file` with the server's certificate chain")
	f.StringVar(&c.tlsKey, "tls-key", "", "PEM `file` with the server's private key")
	f.StringVar(&c.tlsClient, "tls-client-ca", "", "PEM `file` with the authorities that sign client certificates; with it -mqtts asks every client for one, and its common name is the user")
	f.StringVar(&c.users, "users", "", "password `file` in mosquitto's format")
	f.StringVar(&c.acl, "acl", "", "access control `file` in mosquitto's format")
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
	if c.mqtts != "" && (c.tlsCert == "" || c.tlsKey == "") {
		return errors.New("-mqtts needs -tls-cert and -tls-key")
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return errors.New("-tls-cert and -tls-key go together")
	}
	if c.tlsClient != "" && c.mqtts == "" {
		return errors.New("-tls-client-ca needs -mqtts")
	}
	if c.anonymous && c.users != "" {
		return errors.New("-anonymous and -users exclude each other")
	}
	if c.users != "" || c.anonymous {
		return nil
	}
	for _, l := range c.listeners() {
		if !loopback(l.addr) {
			return fmt.Errorf("-%s %s can be reached from other machines: give -users FILE, or -anonymous to let everybody in", l.flag, l.addr)
		}
	}
	return nil
}

// listener is an address and the flag that named it.
type listener struct{ flag, addr string }

// listeners returns the addresses that are switched on.
func (c *config) listeners() []listener {
	var on []listener
	for _, l := range []listener{{"mqtt", c.mqtt}, {"mqtts", c.mqtts}, {"ws", c.ws}, {"http", c.http}} {
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
