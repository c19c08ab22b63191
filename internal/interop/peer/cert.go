package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ClientFile is where WriteCerts puts the certificate of the client alice, with its key in the same file.
const ClientFile = "client.pem"

// WriteCerts makes a certificate authority, a server certificate for loopback and a client certificate in dir, and returns the
// names of the files.
func WriteCerts(dir string) (ca, cert, key string, err error) {
	s := &Setup{Dir: dir}
	err = writeCerts(s)
	return s.CA, s.Cert, s.Key, err
}

// writeCerts is WriteCerts in s.Dir.
func writeCerts(s *Setup) error {
	s.CA = filepath.Join(s.Dir, "ca.pem")
	s.Cert = filepath.Join(s.Dir, "cert.pem")
	s.Key = filepath.Join(s.Dir, "key.pem")
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "interop CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    ca.NotBefore,
		NotAfter:     ca.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return err
	}
	client := *leaf
	client.SerialNumber, client.Subject = big.NewInt(3), pkix.Name{CommonName: "alice"}
	client.ExtKeyUsage, client.DNSNames, client.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil, nil
	clientDER, err := x509.CreateCertificate(rand.Reader, &client, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	both := slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: clientDER}))
	return errors.Join(
		os.WriteFile(filepath.Join(s.Dir, ClientFile), both, 0o644),
		writePEM(s.CA, "CERTIFICATE", caDER),
		writePEM(s.Cert, "CERTIFICATE", leafDER),
		writePEM(s.Key, "PRIVATE KEY", keyDER),
	)
}

// writePEM writes one block. The files are readable by all because a broker may give up its rights before it reads them.
func writePEM(name, typ string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o644)
}
