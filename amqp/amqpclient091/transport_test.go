package amqpclient091_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpbroker"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// authority makes certificates in files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert, a.key = a.make("ca", nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// make writes name.pem and name.key.
func (a *authority) make(name string, hosts []string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// TLS with the parameters of a URL: files, names, no verification, and a certificate of the client as the login.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.make("server", []string{"broker.example"})
	a.make("app", nil)
	cert, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := amqpbroker.New(&amqpbroker.Options{Authenticate: amqpbroker.AllowAll, Unregistered: amqpbroker.Everything()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := amqpserver.New(b, nil)
	defer s.Close()
	l := memnet.Listen("broker")
	go s.Serve(l, &amqpserver.ListenerOptions{TLS: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.pool,
	}})

	ca, own := "cacertfile="+url.QueryEscape(a.file("ca.pem")), "certfile="+url.QueryEscape(a.file("app.pem"))+
		"&keyfile="+url.QueryEscape(a.file("app.key"))
	for _, test := range []struct {
		url       string
		tls       *tls.Config
		mechanism string // empty: refused
	}{
		{"amqps://broker.example?" + ca, nil, "PLAIN"},
		{"amqps://broker.example", &tls.Config{RootCAs: a.pool}, "PLAIN"},
		{"amqps://broker.example", nil, ""},
		{"amqps://other.example?" + ca, nil, ""},
		{"amqps://other.example?verify=verify_none", nil, "PLAIN"},
		{"amqps://10.0.0.1?server_name_indication=broker.example&" + ca, nil, "PLAIN"},
		{"amqps://broker.example?server_name_indication=disable&" + ca, nil, "PLAIN"},
		{"amqps://other.example?server_name_indication=disable&" + ca, nil, ""},
		{"amqps://broker.example?server_name_indication=disable", nil, ""},
		{"amqps://broker.example?auth_mechanism=external&" + ca + "&" + own, nil, "EXTERNAL"},
		{"amqps://broker.example?auth_mechanism=external&" + ca, nil, ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c, err := amqpclient091.Dial(ctx, test.url, &amqpclient091.Options{
			TLS:         test.tls,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return l.Dial(ctx) },
		})
		cancel()
		if err != nil {
			if test.mechanism != "" {
				t.Errorf("%s: %v", test.url, err)
			}
			continue
		}
		if i, _ := c.Info(); i.Mechanism != test.mechanism {
			t.Errorf("%s: logged in by %q", test.url, i.Mechanism)
		}
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
