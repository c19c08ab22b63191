package main

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// handshakeTimeout is long enough for a busy machine.
const handshakeTimeout = 30 * time.Second

// listenQUIC returns a listener for MQTT.
func listenQUIC(addr string, conf *tls.Config) (net.Listener, error) {
	l, err := quicnet.Listen("udp", addr, &quicnet.ListenOptions{Config: quicnet.Config{TLS: conf, HandshakeTimeout: handshakeTimeout}, EarlyData: quicnet.NewGuard(nil)})
	if err != nil {
		return nil, err
	}
	return l.Protocol("mqtt"), nil
}

// overQUIC makes e one over QUIC.
func (e *end) overQUIC(o *options) error {
	e.dialer = &quicnet.Dialer{Config: quicnet.Config{TLS: e.options.TLS, HandshakeTimeout: handshakeTimeout}, FallbackDelay: -1}
	if o.early {
		e.dialer.EarlyData = 16 << 10
	}
	e.options.Dialers = map[string]mqttclient.DialFunc{"mqtt+quic": e.dialer.DialURL}
	switch o.via {
	case "streams":
		e.options.Streams = &mqttclient.Streams{Policy: mqttclient.StreamPerTopic}
	case "datagrams":
		e.options.Streams = &mqttclient.Streams{Max: -1, Datagrams: true}
	}
	return nil
}
