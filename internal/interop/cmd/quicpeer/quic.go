package main

import (
	"crypto/tls"
	"net"

	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// listenQUIC returns a listener for MQTT.
func listenQUIC(addr string, conf *tls.Config) (net.Listener, error) {
	l, err := quicnet.Listen("udp", addr, &quicnet.ListenOptions{Config: quicnet.Config{TLS: conf}})
	if err != nil {
		return nil, err
	}
	return l.Protocol("mqtt"), nil
}

func quicListenerOptions() *mqttserver.ListenerOptions { return nil }

// overQUIC makes co that of a client over QUIC.
func (e *end) overQUIC(o *options) error {
	e.dialer = &quicnet.Dialer{Config: quicnet.Config{TLS: e.options.TLS}, FallbackDelay: -1}
	e.options.Dialers = map[string]mqttclient.DialFunc{"mqtt+quic": e.dialer.DialURL}
	return nil
}
