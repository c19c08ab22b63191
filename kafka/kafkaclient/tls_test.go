package kafkaclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// selfSigned returns the certificate of a host, and the pool that trusts it.
func selfSigned(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, pool := selfSigned(t, "secure.example")
		b, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		l := memnet.Listen("secure.example:9093")
		s := kafkaserver.New(b, &kafkaserver.Options{Advertise: "secure.example:9093"})
		defer s.Close()
		go s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), nil)
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }
		cl := newTestClient(t, &Options{Addrs: []string{"secure.example:9093"}, Dial: dial, TLS: &tls.Config{RootCAs: pool}})
		createTopic(t, cl, "a", 1)
		p := newTestProducer(t, cl, nil)
		if err := p.Produce(t.Context(), &Record{Topic: "a", Value: make([]byte, 100_000)}); err != nil {
			t.Error(err)
		}
		cl = newTestClient(t, &Options{Addrs: []string{"other.example:9093"}, Dial: dial, TLS: &tls.Config{RootCAs: pool}, APITimeout: time.Second})
		_, err = cl.Admin().Topics(t.Context())
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Error(err)
		}
	})
}
