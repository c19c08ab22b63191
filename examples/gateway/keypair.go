package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// keyPair is a certificate that can be read again while it is in use.
type keyPair struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
}

// loadKeyPair reads a certificate chain and its key.
func loadKeyPair(cert, key string) (*keyPair, error) {
	k := &keyPair{cert: cert, key: key}
	return k, k.load()
}

// load reads the files again. When that fails the certificate stays as it is.
func (k *keyPair) load() error {
	c, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return err
	}
	k.current.Store(&c)
	return nil
}

// config returns a configuration for listeners. With a file of authorities each client must show a certificate that one
// of them has signed.
func (k *keyPair) config(authorities string) (*tls.Config, error) {
	c := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
	}
	if authorities == "" {
		return c, nil
	}
	pem, err := os.ReadFile(authorities)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", authorities)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}
