package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
)

func TestSCRAMServerMalformed(t *testing.T) {
	long := strings.Repeat("x", maxSCRAM)
	for m, want := range map[string]Code{
		"":                                 CodeInvalidEncoding,
		"n":                                CodeInvalidEncoding,
		"n,":                               CodeInvalidEncoding,
		"n,,":                              CodeInvalidEncoding,
		"n=user,r=abc":                     CodeInvalidEncoding,
		"x,,n=user,r=abc":                  CodeInvalidEncoding,
		"n,a=,n=user,r=abc":                CodeInvalidEncoding,
		"n,user,n=user,r=abc":              CodeInvalidEncoding,
		"n,a=us=er,n=user,r=abc":           CodeInvalidEncoding,
		"n,a=u\x00,n=user,r=abc":           CodeInvalidEncoding,
		"n,,n=,r=abc":                      CodeInvalidEncoding,
		"n,,n=user":                        CodeInvalidEncoding,
		"n,,n=user,r=":                     CodeInvalidEncoding,
		"n,,n=user,r=a b":                  CodeInvalidEncoding,
		"n,,n=user,r=a\u00e9":              CodeInvalidEncoding,
		"n,,r=abc,n=user":                  CodeInvalidEncoding,
		"n,,n=user,r=abc,":                 CodeInvalidEncoding,
		"n,,n=user,r=abc,x":                CodeInvalidEncoding,
		"n,,n=user,r=abc,1=x":              CodeInvalidEncoding,
		"n,,n=user,r=abc,m=x":              CodeInvalidEncoding,
		"n,,n=us\x00er,r=abc":              CodeInvalidEncoding,
		"n,,n=us\xffer,r=abc":              CodeInvalidEncoding,
		"n,,n=" + long + ",r=abc":          CodeInvalidEncoding,
		"n,,m=x,n=user,r=abc":              CodeExtension,
		"n,,n=us=er,r=abc":                 CodeInvalidUsername,
		"n,,n=user=2,r=abc":                CodeInvalidUsername,
		"n,,n=us=2cer,r=abc":               CodeInvalidUsername,
		"n,,n=a\u0301,r=abc":               CodeInvalidUsername,
		"n,,n=a\u007f,r=abc":               CodeInvalidUsername,
		"p=,,n=user,r=abc":                 CodeInvalidEncoding,
		"p=a_b,,n=user,r=abc":              CodeInvalidEncoding,
		"p=tls-exporter,,n=user,r=abc":     CodeBindingNotSupported,
		"p=tls-unique,,n=user,r=abc":       CodeBindingNotSupported,
		"n,,n=user,r=abc,x=later,y=things": "",
		"y,,n=user,r=abc":                  "",
		"y,a=user,n=user,r=abc":            "",
	} {
		v := vectors["RFC 7677"]
		s := v.server(t)
		out, done, err := s.Step(t.Context(), []byte(m))
		if check(t, m, err, want); done || err == nil == isError(string(out)) {
			t.Errorf("%s: %q, %v", m, out, done)
		}
	}
	// A mechanism with -PLUS and a message without channel binding.
	s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA1Plus, Bindings: []ChannelBinding{{Type: "x"}}}, nil)
	_, _, err := s.Step(t.Context(), []byte("n,,n=user,r=abc"))
	check(t, "plus", err, CodeOther)
}

func TestSCRAMServerMalformedFinal(t *testing.T) {
	v := vectors["RFC 7677"]
	channel, nonce, proof := "c=biws", ",r="+v.clientNonce+v.serverNonce, v.messages[2][strings.Index(v.messages[2], ",p="):]
	for m, want := range map[string]Code{
		"":                                          CodeInvalidEncoding,
		channel + nonce:                             CodeInvalidEncoding,
		channel + proof:                             CodeInvalidEncoding,
		nonce[1:] + proof:                           CodeInvalidEncoding,
		channel + nonce + proof + ",x=y":            CodeInvalidEncoding,
		channel + nonce + "\n" + proof:              CodeOther,
		channel + nonce + proof + "\n":              CodeInvalidEncoding,
		channel + nonce + ",p=AAAA":                 CodeInvalidEncoding,
		channel + nonce + ",p=?":                    CodeInvalidEncoding,
		"c=?" + nonce + proof:                       CodeInvalidEncoding,
		channel + nonce + ",xy" + proof:             CodeInvalidEncoding,
		"c=eSws" + nonce + proof:                    CodeBindingMismatch, // y,,
		"c=biwsAAAA" + nonce + proof:                CodeBindingMismatch,
		channel + nonce + "x" + proof:               CodeOther,
		channel + ",r=" + v.clientNonce + proof:     CodeOther,
		channel + nonce + ",x=y" + proof:            CodeInvalidProof, // signed without it
		strings.Replace(v.messages[2], "d", "e", 1): CodeInvalidProof,
	} {
		s := v.server(t)
		if _, _, err := s.Step(t.Context(), []byte(v.messages[0])); err != nil {
			t.Fatal(err)
		}
		out, done, err := s.Step(t.Context(), []byte(m))
		if check(t, m, err, want); done || string(out) != "e="+string(want) || s.User() != "" {
			t.Errorf("%s: %q, %v", m, out, done)
		}
	}
}

func TestSCRAMClientMalformed(t *testing.T) {
	v := vectors["RFC 7677"]
	nonce := "r=" + v.clientNonce + "server"
	for m, want := range map[string]Code{
		"":                                                    CodeInvalidEncoding,
		nonce:                                                 CodeInvalidEncoding,
		nonce + ",s=AAAA":                                     CodeInvalidEncoding,
		nonce + ",s=?,i=4096":                                 CodeInvalidEncoding,
		nonce + ",s=,i=4096":                                  CodeInvalidEncoding,
		nonce + ",s=AAA,i=4096":                               CodeInvalidEncoding,
		nonce + ",s=AAAA,i=":                                  CodeInvalidEncoding,
		nonce + ",s=AAAA,i=04096":                             CodeInvalidEncoding,
		nonce + ",s=AAAA,i=+4096":                             CodeInvalidEncoding,
		nonce + ",s=AAAA,i=-4096":                             CodeInvalidEncoding,
		nonce + ",s=AAAA,i=4096,":                             CodeInvalidEncoding,
		nonce + ",s=AAAA,i=4096,m=x":                          CodeInvalidEncoding,
		nonce + " ,s=AAAA,i=4096":                             CodeInvalidEncoding,
		nonce + "\xff,s=AAAA,i=4096":                          CodeInvalidEncoding,
		"m=x," + nonce + ",s=AAAA,i=4096":                     CodeExtension,
		nonce + ",s=AAAA,i=4095":                              CodeIterations,
		nonce + ",s=AAAA,i=1":                                 CodeIterations,
		nonce + ",s=AAAA,i=1048577":                           CodeIterations,
		nonce + ",s=AAAA,i=2147483647":                        CodeIterations,
		nonce + ",s=AAAA,i=99999999999999999999":              CodeIterations,
		"r=" + v.clientNonce + ",s=AAAA,i=4096":               CodeServerUnverified,
		"r=other" + v.clientNonce + ",s=AAAA,i=4096":          CodeServerUnverified,
		nonce + ",s=" + strings.Repeat("A", 2000) + ",i=4096": CodeInvalidEncoding,
		nonce + ",s=AAAA,i=4096,x=" + strings.Repeat("A", maxSCRAM): CodeInvalidEncoding,
		"e=no-resources":                 CodeNoResources,
		"e=\x01":                         CodeOther,
		nonce + ",s=AAAA,i=4096,x=later": "",
	} {
		c := v.client(t)
		if _, _, err := c.Step(nil); err != nil {
			t.Fatal(err)
		}
		out, done, err := c.Step([]byte(m))
		if check(t, m, err, want); done || (out == nil) != (err != nil) {
			t.Errorf("%.40s: %q, %v", m, out, done)
		}
		if _, _, again := c.Step([]byte(m)); err != nil && !isOutOfStep(again) {
			t.Errorf("%.40s: after the error: %v", m, again)
		}
	}
}

func isOutOfStep(err error) bool { e, ok := err.(*Error); return ok && e.Code == CodeOutOfStep }

func TestSCRAMClientMalformedFinal(t *testing.T) {
	v := vectors["RFC 7677"]
	for m, want := range map[string]Code{
		"":                  CodeInvalidEncoding,
		"v=":                CodeInvalidEncoding,
		"v=?":               CodeInvalidEncoding,
		"x=y":               CodeInvalidEncoding,
		v.messages[3] + ",": CodeInvalidEncoding,
		v.messages[1]:       CodeInvalidEncoding,
		"v=AAAA":            CodeServerUnverified,
		"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=": CodeServerUnverified,
		"e=invalid-proof":      CodeInvalidProof,
		"e=something-new,x=y":  "something-new",
		v.messages[3] + ",x=y": "",
	} {
		c := v.client(t)
		for _, in := range []string{"", v.messages[1]} {
			if _, done, err := c.Step([]byte(in)); done || err != nil {
				t.Fatal(done, err)
			}
		}
		_, done, err := c.Step([]byte(m))
		if check(t, m, err, want); done != (err == nil) {
			t.Errorf("%s: done %v", m, done)
		}
	}
}

func TestCredential(t *testing.T) {
	v := vectors["RFC 7677"]
	c, err := NewCredential(SCRAMSHA256, "pencil", unbase64(t, v.salt), 4096)
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" +
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if c.Text() != want {
		t.Errorf("text is %s", c.Text())
	}
	back, err := ParseCredential(want)
	if err != nil || back.Text() != want || !back.Verify("pencil") || back.Verify("Pencil") || back.Verify("pencil\n") {
		t.Errorf("%+v: %v", back, err)
	}
	random, err := NewCredential(SCRAMSHA512Plus, "pencil", nil, 0)
	if err != nil || random.Mechanism != SCRAMSHA512 || random.Iterations != DefaultIterations || len(random.Salt) != 16 {
		t.Errorf("%+v: %v", random, err)
	}
	if (Credential{}).Verify("") {
		t.Error("the zero value fits")
	}
	for _, bad := range []struct {
		mechanism, password string
		salt                []byte
		iterations          int
		want                Code
	}{
		{"PLAIN", "p", nil, 0, CodeOther},
		{SCRAMSHA1, "p", make([]byte, maxSalt+1), 0, CodeOther},
		{SCRAMSHA1, "p", []byte{}, 0, CodeOther},
		{SCRAMSHA1, "p", nil, MinIterations - 1, CodeIterations},
		{SCRAMSHA1, "p", nil, MaxIterations + 1, CodeIterations},
		{SCRAMSHA1, "\x7f", nil, 0, CodeUnprepared},
		{SCRAMSHA1, "", nil, 0, CodeUnprepared},
	} {
		_, err := NewCredential(bad.mechanism, bad.password, bad.salt, bad.iterations)
		check(t, bad.mechanism, err, bad.want)
	}
}

func TestParseCredentialErrors(t *testing.T) {
	for text, want := range map[string]Code{
		"":                                CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:AAAA":           CodeInvalidEncoding,
		"SCRAM-SHA-1$4096$AAAA:AAAA":      CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:AAAA$AAAA":      CodeInvalidEncoding,
		"SCRAM-SHA-1$x:AAAA$AAAA:AAAA":    CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:?$AAAA:AAAA":    CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:AAAA$?:AAAA":    CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:AAAA$AAAA:?":    CodeInvalidEncoding,
		"SCRAM-SHA-1$4096:AAAA$AAAA:AAAA": CodeOther,
		"SCRAM-MD5$4096:AAAA$AAAA:AAAA":   CodeOther,
		"SCRAM-SHA-1-PLUS$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=": CodeOther,
		"SCRAM-SHA-1$4096:$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=":          CodeOther,
		"SCRAM-SHA-1$4095:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=":      CodeIterations,
		"SCRAM-SHA-1$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=":      "",
	} {
		c, err := ParseCredential(text)
		if check(t, text, err, want); err == nil && c.Text() != text {
			t.Errorf("%s became %s", text, c.Text())
		}
	}
}

func TestChannelBindings(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	for alg, size := range map[x509.SignatureAlgorithm]int{x509.ECDSAWithSHA256: 32, x509.ECDSAWithSHA384: 48, x509.ECDSAWithSHA512: 64} {
		template.SignatureAlgorithm = alg
		raw, err := x509.CreateCertificate(rand.Reader, template, template, ec.Public(), ec)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		b, err := TLSServerEndPoint(cert)
		if err != nil || len(b.Data) != size {
			t.Errorf("%v: %v, %v", alg, b, err)
		}
		if sum := sha256.Sum256(raw); alg == x509.ECDSAWithSHA256 && string(b.Data) != string(sum[:]) {
			t.Error("not the hash of the certificate")
		}
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	template.SignatureAlgorithm = 0
	raw, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(raw)
	_, err = TLSServerEndPoint(cert)
	check(t, "Ed25519", err, CodeBindingNotSupported)
	_, err = TLSExporter(nil)
	check(t, "no TLS", err, CodeBindingNotSupported)
	_, err = TLSExporter(&tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true})
	check(t, "TLS 1.2", err, CodeBindingNotSupported)
}

// TestTLSExporter: the two ends of a connection have the same binding, two connections have different ones.
func TestTLSExporter(t *testing.T) {
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
	pair := func() (client, server *ChannelBinding) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		c, s := tls.Client(a, config), tls.Server(b, config)
		shaken := make(chan error, 1)
		go func() { shaken <- c.Handshake() }()
		if err := errors.Join(s.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		clientState, serverState := c.ConnectionState(), s.ConnectionState()
		client, err := TLSExporter(&clientState)
		if err != nil {
			t.Fatal(err)
		}
		server, err = TLSExporter(&serverState)
		if err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	client, server := pair()
	again, _ := pair()
	if len(client.Data) != 32 || string(client.Data) != string(server.Data) || string(client.Data) == string(again.Data) {
		t.Errorf("%x, %x, %x", client.Data, server.Data, again.Data)
	}
}

func FuzzSCRAMServer(f *testing.F) {
	v := vectors["RFC 7677"]
	f.Add([]byte(v.messages[0]), []byte(v.messages[2]), true)
	f.Add([]byte("n,a=x=2C,n==3D,r=1,x=y"), []byte("c=biws,r=1,p=AAAA"), false)
	c, err := NewCredential(SCRAMSHA256, "pencil", unbase64(f, v.salt), MinIterations)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, final []byte, known bool) {
		s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256, Nonce: v.serverNonce,
			Lookup: func(context.Context, string) (Credential, error) {
				if known {
					return c, nil
				}
				return Credential{}, nil
			}}, nil)
		if out, done, err := s.Step(t.Context(), first); done || err == nil && out == nil {
			t.Fatal(out, done, err)
		}
		_, done, err := s.Step(t.Context(), final)
		if done != (err == nil) || done != (s.User() != "") || done && !known {
			t.Fatal(done, err, s.User())
		}
	})
}

func FuzzSCRAMClient(f *testing.F) {
	v := vectors["RFC 7677"]
	f.Add([]byte(v.messages[1]), []byte(v.messages[3]))
	f.Add([]byte("e=other-error"), []byte("v=AAAA"))
	f.Fuzz(func(t *testing.T, first, final []byte) {
		c, err := NewSCRAMClient(&SCRAMClientOptions{Username: "user", Password: "pencil", Nonce: v.clientNonce, MaxIterations: MinIterations})
		if err != nil {
			t.Fatal(err)
		}
		for i, in := range [][]byte{nil, first, final} {
			_, done, err := c.Step(in)
			if done && (i < 2 || err != nil) {
				t.Fatal(i, done, err)
			}
		}
	})
}

func FuzzParseCredential(f *testing.F) {
	f.Add("SCRAM-SHA-1$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add("$:$:")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCredential(text); err == nil && c.Text() != text {
			t.Errorf("%q became %q", text, c.Text())
		}
	})
}
