package mqttbroker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
)

// TestSCRAMPlus is SCRAM with channel binding over TLS 1.3.
func TestSCRAMPlus(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}, InsecureSkipVerify: true}
	withTLS := func(w *world, version uint16) (*scramPeer, *tls.ConnectionState) {
		l := memnet.Listen("tls")
		go w.server.Serve(tls.NewListener(l, config), nil)
		nc, err := l.Dial(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		conn := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		if err := conn.Handshake(); err != nil {
			w.t.Fatal(err)
		}
		state := conn.ConnectionState()
		p := &peer{w: w, t: w.t, v: mqtt.Version5, conn: conn}
		w.peers = append(w.peers, p)
		go p.read()
		return &scramPeer{peer: p}, &state
	}
	for _, c := range []struct {
		name    string
		version uint16
		method  string
		edit    func(b *sasl.ChannelBinding)
		want    mqtt.ReasonCode
		text    string
	}{
		{"bound", tls.VersionTLS13, "SCRAM-SHA-256-PLUS", func(*sasl.ChannelBinding) {}, mqtt.ReasonSuccess, ""},
		{"somebody in between", tls.VersionTLS13, "SCRAM-SHA-256-PLUS", func(b *sasl.ChannelBinding) { b.Data[0]++ },
			mqtt.ReasonNotAuthorized, "channel-bindings-dont-match"},
		{"another type", tls.VersionTLS13, "SCRAM-SHA-256-PLUS", func(b *sasl.ChannelBinding) { b.Type = "tls-unique" },
			mqtt.ReasonNotAuthorized, "unsupported-channel-binding-type"},
		{"downgrade", tls.VersionTLS13, "SCRAM-SHA-256", func(*sasl.ChannelBinding) {},
			mqtt.ReasonNotAuthorized, "server-does-support-channel-binding"},
		{"TLS 1.2", tls.VersionTLS12, "SCRAM-SHA-256-PLUS", nil, mqtt.ReasonBadAuthenticationMethod, ""},
		{"not bound", tls.VersionTLS13, "SCRAM-SHA-256", nil, mqtt.ReasonSuccess, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			withSCRAM(t, SCRAMOptions{Methods: []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}}, func(w *world) {
				p, state := withTLS(w, c.version)
				o := sasl.SCRAMClientOptions{Mechanism: c.method, Username: "alice", Password: "wonderland"}
				switch {
				case c.edit != nil:
					if o.Binding, err = sasl.TLSExporter(state); err != nil {
						w.t.Fatal(err)
					}
					c.edit(o.Binding)
				case strings.HasSuffix(c.method, "-PLUS"):
					o.Binding = &sasl.ChannelBinding{Type: "tls-exporter"}
				}
				ack, ok := p.login(o).(*mqtt.Connack)
				if !ok || ack.Reason != c.want {
					w.t.Fatal(ack)
				}
				if text, _ := ack.Properties.String(mqtt.PropReasonString); text != c.text {
					t.Errorf("reason string %q", text)
				}
			})
		})
	}
}
