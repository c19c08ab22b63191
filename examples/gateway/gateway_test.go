package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// TestMain lets the test binary be the gateway, so that tests run it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("QUARTET_TEST_GATEWAY") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running gateway.
type process struct {
	*exec.Cmd
	t    *testing.T
	urls []string // what it says it listens on
}

// start runs a gateway until it has said where it listens.
func start(t *testing.T, listeners int, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{exec.Command(exe, args...), t, nil}
	p.Env = append(os.Environ(), "QUARTET_TEST_GATEWAY=1")
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	p.Stderr = &stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	lines := bufio.NewScanner(out)
	for len(p.urls) < listeners && lines.Scan() {
		f := strings.Fields(lines.Text())
		p.urls = append(p.urls, f[len(f)-1])
	}
	if len(p.urls) < listeners {
		p.Wait()
		t.Fatalf("gateway %q ended: %s", args, stderr.String())
	}
	go io.Copy(io.Discard, out)
	return p
}

// stop asks the gateway to end and checks that it does so with status 0.
func (p *process) stop() {
	p.t.Helper()
	if runtime.GOOS == "windows" {
		return // no SIGTERM
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		p.t.Fatalf("after SIGTERM: %v", err)
	}
}

// roundTrip publishes and receives a message at each quality of service.
func roundTrip(t *testing.T, o *mqttclient.Options, topic string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Retry, o.SessionExpiry = func(error) bool { return false }, -1
	c, err := mqttclient.New(o)
	if err != nil {
		return err
	}
	defer c.Close()
	sub, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: topic, QoS: mqtt.QoS2})
	if err != nil {
		return err
	}
	for qos := range mqtt.QoS(3) {
		if err := c.Publish(ctx, &mqttclient.Message{Topic: topic, Payload: []byte("x"), QoS: qos}); err != nil {
			return err
		}
	}
	want := mqtt.QoS0
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			return err
		}
		if m.QoS != want || string(m.Payload) != "x" {
			t.Errorf("got %q at QoS %d, want \"x\" at QoS %d", m.Payload, m.QoS, want)
		}
		if want++; want > mqtt.QoS2 {
			break
		}
	}
	return nil
}

// writeFile writes a file and returns its path.
func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, r.Status, err)
	}
	return string(b)
}

func TestGatewayAnonymous(t *testing.T) {
	p := start(t, 3, "-mqtt=127.0.0.1:0", "-ws=127.0.0.1:0", "-amqp=", "-kafka=", "-http=127.0.0.1:0")
	for i, url := range p.urls[:2] {
		topic := "a/" + string(rune('0'+i)) // the broker may not know yet that the client before is gone
		if err := roundTrip(t, &mqttclient.Options{Servers: []string{url}}, topic); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	metrics := p.urls[2]
	base := strings.TrimSuffix(metrics, "/metrics")
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := get(t, base+path); got != "ok\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
	text := get(t, metrics)
	for _, line := range []string{
		"# TYPE quartet_mqtt_messages_total counter",
		`quartet_mqtt_messages_total{direction="received"} 6`,
		`quartet_mqtt_messages_total{direction="sent"} 6`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in the metrics:\n%s", line, text)
		}
	}
	p.stop()
}

func TestGatewayUsersAndTLS(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string { return writeFile(t, filepath.Join(dir, name), text) }
	ca := newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	userCert, userKey := ca.issue(t, "cora")
	p := start(t, 2,
		"-mqtt=127.0.0.1:0", "-ws=", "-amqp=", "-kafka=", "-http=", "-mqtts=127.0.0.1:0",
		"-users="+write("users", "ann:"+mqttbroker.HashPassword("secret")+"\n"),
		"-acl="+write("acl", "user ann\ntopic ann/#\nuser cora\ntopic cora/#\n"),
		"-tls-cert="+write("cert", cert), "-tls-key="+write("key", key), "-tls-client-ca="+write("ca", ca.pem))
	plain, secure := p.urls[0], p.urls[1]

	ann := func() *mqttclient.Options {
		return &mqttclient.Options{Servers: []string{plain}, Username: "ann", Password: []byte("secret")}
	}
	if err := roundTrip(t, ann(), "ann/x"); err != nil {
		t.Error("ann:", err)
	}
	notAuthorized := &mqtt.Error{Code: mqtt.ReasonNotAuthorized}
	if err := roundTrip(t, ann(), "cora/x"); !is(err, notAuthorized.Code) {
		t.Errorf("ann in cora's topics: %v", err)
	}
	wrong := ann()
	wrong.Password = []byte("guess")
	if err := roundTrip(t, wrong, "ann/x"); !is(err, mqtt.ReasonBadUserNameOrPassword) {
		t.Errorf("wrong password: %v", err)
	}
	if err := roundTrip(t, &mqttclient.Options{Servers: []string{plain}}, "ann/x"); !is(err, mqtt.ReasonNotAuthorized) {
		t.Errorf("no user: %v", err)
	}

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	pair, err := tls.X509KeyPair([]byte(userCert), []byte(userKey))
	if err != nil {
		t.Fatal(err)
	}
	cora := &mqttclient.Options{
		Servers: []string{secure},
		TLS:     &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}},
	}
	if err := roundTrip(t, cora, "cora/x"); err != nil {
		t.Error("cora:", err)
	}
	nobody := &mqttclient.Options{Servers: []string{secure}, TLS: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	if err := roundTrip(t, nobody, "cora/x"); err == nil {
		t.Error("a client without a certificate got in")
	}
	p.stop()
}

// is reports whether the peer said code.
func is(err error, code mqtt.ReasonCode) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && e.Remote && e.Code == code
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.pem, a.key = a.sign(t, a.cert, nil)
	return a
}

// sign returns a certificate, signed by the authority once it has a key and by itself before, and its key.
func (a *authority) sign(t *testing.T, c *x509.Certificate, parent *ecdsa.PrivateKey) (string, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), parent)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key
}

// issue returns a certificate for name, as a server and as a client, and its key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	cert, k := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
