package main

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/quic/quicnet"
)

// TestGatewayQUIC reaches the brokers over QUIC, and falls back to TLS where there is no QUIC.
func TestGatewayQUIC(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string { return writeFile(t, filepath.Join(dir, name), text) }
	ca := newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	userCert, userKey := ca.issue(t, "cora")
	p := start(t, 5,
		"-mqtt=", "-ws=", "-amqp=", "-kafka=", "-http=127.0.0.1:0", "-mqtts=127.0.0.1:0", "-quic=127.0.0.1:0",
		"-users="+write("users", "ann:"+mqttbroker.HashPassword("secret")+"\n"),
		"-acl="+write("acl", "user ann\ntopic ann/#\nuser cora\ntopic cora/#\n"),
		"-tls-cert="+write("cert", cert), "-tls-key="+write("key", key), "-tls-client-ca="+write("ca", ca.pem))
	urls := make(map[string]string)
	for _, u := range p.urls {
		scheme, _, _ := strings.Cut(u, ":")
		urls[scheme] = u
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	pair, err := tls.X509KeyPair([]byte(userCert), []byte(userKey))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}}
	d := &quicnet.Dialer{Config: quicnet.Config{TLS: config}}
	defer d.Shutdown(t.Context())

	over := func(server string) *mqttclient.Options {
		return &mqttclient.Options{Servers: []string{server}, Dialers: map[string]mqttclient.DialFunc{"mqtt+quic": d.DialURL}}
	}
	if err := roundTrip(t, over(urls["mqtt+quic"]), "cora/x"); err != nil {
		t.Error("MQTT:", err)
	}
	if err := roundTrip(t, over(urls["mqtt+quic"]), "ann/x"); err == nil {
		t.Error("cora may publish to ann's topics")
	}
	if err := roundTrip(t, over("mqtt+quic"+strings.TrimPrefix(urls["mqtts"], "mqtts")), "cora/x"); err != nil {
		t.Error("MQTT where only TLS is served:", err)
	}
	if n := d.Stats().Fallbacks; n != 1 {
		t.Errorf("%d times TLS over TCP, want 1", n)
	}
	stranger := &quicnet.Dialer{Config: quicnet.Config{TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}}, FallbackDelay: -1}
	defer stranger.Shutdown(t.Context())
	o := over(urls["mqtt+quic"])
	o.Dialers["mqtt+quic"] = stranger.DialURL
	if err := roundTrip(t, o, "cora/x"); err == nil {
		t.Error("a client without a certificate got in")
	}

	c, err := amqpClient(t, &amqpclient091.Options{Servers: []string{urls["amqp+quic"]},
		Dialers: map[string]amqpclient091.DialFunc{"amqp+quic": d.DialURL}})
	if err != nil {
		t.Fatal("AMQP:", err)
	}
	if _, err := c.DeclareQueue(t.Context(), amqpclient091.Queue{Name: "q"}); err != nil {
		t.Fatal("AMQP:", err)
	}
	if err := c.Publish(t.Context(), &amqpclient091.Message{RoutingKey: "q", Body: []byte("one")}); err != nil {
		t.Error("AMQP:", err)
	}
	take(t, c, "q", "one")

	k := kafkaClient(t, urls["kafka+quic"], &kafkaclient.Options{Dialers: map[string]kafkaclient.DialFunc{"kafka+quic": d.DialURL}})
	if err := produce(t, k, "orders", "one"); err != nil {
		t.Error("Kafka:", err)
	}
	consume(t, k, "orders", "one")

	early := &quicnet.Dialer{Config: quicnet.Config{TLS: config}, FallbackDelay: -1, EarlyData: 4 << 10}
	defer early.Shutdown(t.Context())
	for range 2 { // the first connection brings a ticket for the second
		o := over(urls["mqtt+quic"])
		o.Dialers["mqtt+quic"] = early.DialURL
		if err := roundTrip(t, o, "cora/x"); err != nil {
			t.Error("MQTT, early data:", err)
		}
	}

	text := get(t, strings.Replace(urls["http"], "/metrics", "", 1)+"/metrics")
	for _, line := range []string{
		`quartet_quic_early_data_total{result="accepted"} 1`,
		`quartet_quic_early_data_total{result="replayed"} 0`,
		"# TYPE quartet_quic_handshake_seconds gauge",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in the metrics:\n%s", line, text)
		}
	}
	p.stop()
}
