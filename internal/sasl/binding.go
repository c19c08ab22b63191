package sasl

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
)

// The types of channel binding.
const (
	BindingTLSExporter  = "tls-exporter"         // RFC 9266
	BindingTLSServerEnd = "tls-server-end-point" // RFC 5929, section 4
)

// ChannelBinding ties an exchange to the connection that it is on: with somebody in between, the two sides have different
// data.
type ChannelBinding struct {
	Type string
	Data []byte
}

// TLSExporter returns the channel binding of type tls-exporter of a connection. It fails with [CodeBindingNotSupported]
// unless the connection is one of TLS 1.3 or later whose handshake is complete.
func TLSExporter(state *tls.ConnectionState) (*ChannelBinding, error) {
	if state == nil || !state.HandshakeComplete || state.Version < tls.VersionTLS13 {
		return nil, fail(CodeBindingNotSupported, "tls-exporter needs TLS 1.3")
	}
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return nil, fail(CodeBindingNotSupported, "%v", err)
	}
	return &ChannelBinding{Type: BindingTLSExporter, Data: data}, nil
}

// TLSServerEndPoint returns the channel binding of type tls-server-end-point for the server's certificate. It fails with
// [CodeBindingNotSupported] for a signature algorithm without a single hash, such as Ed25519.
func TLSServerEndPoint(certificate *x509.Certificate) (*ChannelBinding, error) {
	var sum []byte
	switch certificate.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		s := sha256.Sum256(certificate.Raw)
		sum = s[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		s := sha512.Sum384(certificate.Raw)
		sum = s[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		s := sha512.Sum512(certificate.Raw)
		sum = s[:]
	default:
		return nil, fail(CodeBindingNotSupported, "certificate signed with %v", certificate.SignatureAlgorithm)
	}
	return &ChannelBinding{Type: BindingTLSServerEnd, Data: sum}, nil
}
