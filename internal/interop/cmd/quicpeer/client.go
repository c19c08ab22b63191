package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// clientTLS returns the configuration of a client, with a cache of sessions.
func clientTLS(o *options) (*tls.Config, error) {
	c := &tls.Config{ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if o.via == "tcp" {
		return c, nil
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificates", o.ca)
	}
	return c, nil
}

// An end makes clients of one kind.
type end struct {
	server  string
	options *mqttclient.Options
	dialer  *quicnet.Dialer // nil: over TCP
}

// newEnd returns an end for o.via.
func newEnd(o *options) (*end, error) {
	conf, err := clientTLS(o)
	if err != nil {
		return nil, err
	}
	e := &end{options: &mqttclient.Options{TLS: conf}}
	switch o.via {
	case "tcp":
		e.server = "mqtt://" + o.server
	case "tls":
		e.server = "mqtts://" + o.server
	default:
		e.server = "mqtt+quic://" + o.server
		err = e.overQUIC(o)
	}
	return e, err
}

// dial connects a client.
func (e *end) dial(ctx context.Context) (*mqttclient.Client, error) {
	return mqttclient.Dial(ctx, e.server, e.options)
}

// close waits until everything that was written has arrived: over TCP the kernel sees to it after the end of the process.
func (e *end) close(ctx context.Context) error {
	if e.dialer == nil {
		return nil
	}
	return e.dialer.Shutdown(ctx)
}
