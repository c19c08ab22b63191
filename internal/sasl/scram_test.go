package sasl

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"testing"
)

// ask is the error with a code, for errors.Is.
func ask(code Code) error { return &Error{Code: code} }

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector is an exchange of a standard, of user "user" with password "pencil".
type vector struct {
	mechanism, clientNonce, serverNonce, salt string
	messages                                  [4]string
}

// vectors are RFC 5802, section 5, and RFC 7677, section 3.
var vectors = map[string]vector{
	"RFC 5802": {SCRAMSHA1, "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92", [4]string{
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	}},
	"RFC 7677": {SCRAMSHA256, "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==", [4]string{
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	}},
}

func (v *vector) client(t testing.TB) *SCRAMClient {
	t.Helper()
	c, err := NewSCRAMClient(&SCRAMClientOptions{
		Mechanism: v.mechanism, Username: "user", Password: "pencil", Nonce: v.clientNonce,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (v *vector) server(t testing.TB) *SCRAMServer {
	t.Helper()
	return newServer(t, &SCRAMServerOptions{Mechanism: v.mechanism, Nonce: v.serverNonce}, unbase64(t, v.salt))
}

// newServer returns a server that knows "user" with "pencil", unless o has another Lookup.
func newServer(t testing.TB, o *SCRAMServerOptions, salt []byte) *SCRAMServer {
	t.Helper()
	if o.Secret == nil {
		o.Secret = []byte("0123456789abcdef")
	}
	if o.Lookup == nil {
		c, err := NewCredential(o.Mechanism, "pencil", salt, MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		o.Lookup = func(_ context.Context, user string) (Credential, error) {
			if user != "user" {
				return Credential{Iterations: MinIterations, Salt: make([]byte, len(c.Salt))}, nil
			}
			return c, nil
		}
	}
	s, err := NewSCRAMServer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSCRAMVectors(t *testing.T) {
	for name, v := range vectors {
		t.Run(name+" client", func(t *testing.T) {
			c := v.client(t)
			for i, in := range []string{"", v.messages[1], v.messages[3]} {
				out, done, err := c.Step([]byte(in))
				want := ""
				if i < 2 {
					want = v.messages[2*i]
				}
				if err != nil || string(out) != want || done != (i == 2) {
					t.Fatalf("step %d: %q, %v, %v; want %q", i, out, done, err, want)
				}
			}
		})
		t.Run(name+" server", func(t *testing.T) {
			s := v.server(t)
			if out, done, err := s.Step(t.Context(), nil); out == nil || len(out) > 0 || done || err != nil {
				t.Fatalf("without an initial response: %q, %v, %v", out, done, err)
			}
			for i := range 2 {
				if s.User() != "" {
					t.Errorf("before the end the user is %q", s.User())
				}
				out, done, err := s.Step(t.Context(), []byte(v.messages[2*i]))
				if err != nil || string(out) != v.messages[2*i+1] || done != (i == 1) {
					t.Fatalf("step %d: %q, %v, %v; want %q", i, out, done, err, v.messages[2*i+1])
				}
			}
			if _, _, err := s.Step(t.Context(), nil); !errors.Is(err, ask(CodeOutOfStep)) {
				t.Errorf("after the end: %v", err)
			}
			if s.User() != "user" {
				t.Errorf("user %q", s.User())
			}
		})
	}
}

// exchange runs both sides against each other; edit, which may be nil, changes messages on their way.
func exchange(t testing.TB, c Client, s Server, edit func(i int, m []byte) []byte) (clientErr, serverErr error) {
	t.Helper()
	if edit == nil {
		edit = func(_ int, m []byte) []byte { return m }
	}
	var challenge []byte
	var clientDone, serverDone bool
	for i := 0; i < 10; i += 2 {
		var response []byte
		response, clientDone, clientErr = c.Step(challenge)
		if serverDone || clientErr != nil && response == nil {
			break
		}
		challenge, serverDone, serverErr = s.Step(t.Context(), edit(i, response))
		challenge = edit(i+1, challenge)
		if clientErr != nil || serverErr != nil && challenge == nil || clientDone && serverDone {
			break
		}
		serverDone = serverDone || serverErr != nil
	}
	if clientErr == nil && serverErr == nil && !(clientDone && serverDone) {
		t.Errorf("no end: client %v, server %v", clientDone, serverDone)
	}
	return clientErr, serverErr
}

func TestSCRAMExchanges(t *testing.T) {
	exporter := &ChannelBinding{Type: BindingTLSExporter, Data: []byte{0, 1, 0xFF}}
	other := &ChannelBinding{Type: BindingTLSExporter, Data: []byte{0, 1, 0xFE}}
	endPoint := &ChannelBinding{Type: BindingTLSServerEnd, Data: []byte{7}}
	for _, mechanism := range []string{SCRAMSHA1, SCRAMSHA256, SCRAMSHA512} {
		for _, c := range []struct {
			name           string
			client         SCRAMClientOptions
			plus           bool
			bindings       []ChannelBinding
			client1, serv1 Code
		}{
			{name: "right", client: SCRAMClientOptions{Username: "user", Password: "pencil"}},
			{name: "acting as oneself", client: SCRAMClientOptions{Username: "user", Password: "pencil", Authzid: "user"}},
			{name: "wrong password", client: SCRAMClientOptions{Username: "user", Password: "Pencil"},
				client1: CodeInvalidProof, serv1: CodeInvalidProof},
			{name: "unknown user", client: SCRAMClientOptions{Username: "nobody", Password: "pencil"},
				client1: CodeInvalidProof, serv1: CodeInvalidProof},
			{name: "acting as another", client: SCRAMClientOptions{Username: "user", Password: "pencil", Authzid: "a=b,c"},
				client1: CodeOther, serv1: CodeNotAuthorized},
			{name: "bound", client: SCRAMClientOptions{Username: "user", Password: "pencil", Binding: exporter}, plus: true,
				bindings: []ChannelBinding{*endPoint, *exporter}},
			{name: "somebody in between", client: SCRAMClientOptions{Username: "user", Password: "pencil", Binding: other}, plus: true,
				bindings: []ChannelBinding{*exporter}, client1: CodeBindingMismatch, serv1: CodeBindingMismatch},
			{name: "unknown binding", client: SCRAMClientOptions{Username: "user", Password: "pencil", Binding: endPoint}, plus: true,
				bindings: []ChannelBinding{*exporter}, client1: CodeBindingTypeUnsupported, serv1: CodeBindingTypeUnsupported},
			{name: "downgrade", client: SCRAMClientOptions{Username: "user", Password: "pencil", Binding: exporter},
				bindings: []ChannelBinding{*exporter}, client1: CodeBindingSupported, serv1: CodeBindingSupported},
			{name: "server without binding", client: SCRAMClientOptions{Username: "user", Password: "pencil", Binding: exporter}},
			{name: "client without binding", client: SCRAMClientOptions{Username: "user", Password: "pencil"},
				bindings: []ChannelBinding{*exporter}},
		} {
			t.Run(mechanism+"/"+c.name, func(t *testing.T) {
				c.client.Mechanism = mechanism
				if c.plus {
					c.client.Mechanism += "-PLUS"
				}
				client, err := NewSCRAMClient(&c.client)
				if err != nil {
					t.Fatal(err)
				}
				server := newServer(t, &SCRAMServerOptions{Mechanism: c.client.Mechanism, Bindings: c.bindings}, nil)
				clientErr, serverErr := exchange(t, client, server, nil)
				check(t, "client", clientErr, c.client1)
				check(t, "server", serverErr, c.serv1)
				if ok := serverErr == nil; ok != (server.User() == "user") {
					t.Errorf("user is %q", server.User())
				}
				if e, ok := errors.AsType[*Error](clientErr); ok && !e.Remote {
					t.Error("the client's error is not the server's")
				}
			})
		}
	}
}

func check(t *testing.T, side string, err error, want Code) {
	t.Helper()
	if want == "" && err != nil || want != "" && !errors.Is(err, ask(want)) {
		t.Errorf("%s: %v, want %q", side, err, want)
	}
}

// TestSCRAMUnknownUser: what a client sees for a user who does not exist is stable, and has the shape of the others.
func TestSCRAMUnknownUser(t *testing.T) {
	first := func(user, nonce string, secret string) string {
		s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256, Nonce: nonce, Secret: []byte(secret)}, make([]byte, 20))
		out, _, err := s.Step(t.Context(), []byte("n,,n="+user+",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const key = "0123456789abcdef"
	a, b := first("nobody", "x", key), first("nobody", "x", key)
	if a != b {
		t.Errorf("not stable: %s, %s", a, b)
	}
	if a == first("nemo", "x", key) || a == first("nobody", "x", key+"!") {
		t.Error("the salt does not depend on name and secret")
	}
	if known := first("user", "x", key); len(known) != len(a) || known[len(known)-6:] != a[len(a)-6:] {
		t.Errorf("looks different: %s, %s", known, a)
	}
	// A credential for another mechanism is none.
	sha1, err := NewCredential(SCRAMSHA1, "pencil", nil, MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256,
		Lookup: func(context.Context, string) (Credential, error) { return sha1, nil }}, nil)
	c, _ := NewSCRAMClient(&SCRAMClientOptions{Username: "user", Password: "pencil"})
	_, err = exchange(t, c, s, nil)
	check(t, "server", err, CodeInvalidProof)
	// No hint at all: the defaults.
	s = newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256,
		Lookup: func(context.Context, string) (Credential, error) { return Credential{}, nil }}, nil)
	out, _, _ := s.Step(t.Context(), []byte("n,,n=user,r=abc"))
	if _, salt, i, err := parseServerFirst(string(out)); err != nil || len(salt) != 16 || i != DefaultIterations {
		t.Errorf("%s: %v", out, err)
	}
}

func TestSCRAMLookupFails(t *testing.T) {
	broken := errors.New("database is down")
	s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256,
		Lookup: func(context.Context, string) (Credential, error) { return Credential{}, broken }}, nil)
	out, done, err := s.Step(t.Context(), []byte("n,,n=user,r=abc"))
	if err != broken || done || string(out) != "e=other-error" {
		t.Errorf("%q, %v, %v", out, done, err)
	}
}

// TestSCRAMReplay sends the messages of one exchange again in another.
func TestSCRAMReplay(t *testing.T) {
	v := vectors["RFC 7677"]
	v.serverNonce = "another"
	s := v.server(t)
	if _, _, err := s.Step(t.Context(), []byte(v.messages[0])); err != nil {
		t.Fatal(err)
	}
	out, _, err := s.Step(t.Context(), []byte(v.messages[2]))
	check(t, "server", err, CodeOther)
	if string(out) != "e=other-error" || s.User() != "" {
		t.Errorf("%q, user %q", out, s.User())
	}
	// Two exchanges do not have the same nonce.
	nonces := make(map[string]bool)
	for range 100 {
		s := newServer(t, &SCRAMServerOptions{Mechanism: SCRAMSHA256,
			Lookup: func(context.Context, string) (Credential, error) { return Credential{}, nil }}, nil)
		out, _, _ := s.Step(t.Context(), []byte("n,,n=user,r=abc"))
		nonce, _, _, err := parseServerFirst(string(out))
		if err != nil || nonces[nonce] || len(nonce) < 20 {
			t.Fatalf("nonce %q: %v", nonce, err)
		}
		nonces[nonce] = true
	}
}

// TestSCRAMTampered changes each byte of each message in turn: the exchange must not succeed on both sides.
func TestSCRAMTampered(t *testing.T) {
	v := vectors["RFC 7677"]
	for i, m := range v.messages {
		for at := range len(m) {
			c, s := v.client(t), v.server(t)
			clientErr, serverErr := exchange(t, c, s, func(j int, m []byte) []byte {
				if i == j {
					m = bytes.Clone(m)
					m[at] ^= 1
				}
				return m
			})
			if clientErr == nil && serverErr == nil {
				t.Errorf("message %d with byte %d changed was taken", i, at)
			}
		}
	}
}

func TestSCRAMConfiguration(t *testing.T) {
	for name, o := range map[string]SCRAMClientOptions{
		"mechanism": {Mechanism: "SCRAM-MD5", Username: "u", Password: "p"},
		"binding":   {Mechanism: SCRAMSHA1Plus, Username: "u", Password: "p"},
		"nonce":     {Nonce: "a,b", Username: "u", Password: "p"},
		"long":      {Username: strings.Repeat("u", maxSCRAM), Password: "p"},
		"user":      {Password: "p"},
		"password":  {Username: "u", Password: "a\u0301"},
		"authzid":   {Username: "u", Password: "p", Authzid: "\u00AD"},
	} {
		if _, err := NewSCRAMClient(&o); err == nil {
			t.Errorf("client: %s was taken", name)
		}
	}
	lookup := func(context.Context, string) (Credential, error) { return Credential{}, nil }
	for name, o := range map[string]SCRAMServerOptions{
		"mechanism": {Mechanism: "", Lookup: lookup, Secret: make([]byte, 16)},
		"binding":   {Mechanism: SCRAMSHA256Plus, Lookup: lookup, Secret: make([]byte, 16)},
		"secret":    {Mechanism: SCRAMSHA256, Lookup: lookup, Secret: make([]byte, 15)},
		"lookup":    {Mechanism: SCRAMSHA256, Secret: make([]byte, 16)},
	} {
		if _, err := NewSCRAMServer(&o); !errors.Is(err, ask(CodeOther)) {
			t.Errorf("server: %s: %v", name, err)
		}
	}
	if !IsSCRAM(SCRAMSHA512Plus) || IsSCRAM("SCRAM-SHA-384") {
		t.Error("IsSCRAM is wrong")
	}
}

// TestSaltedCredential: who knows the salted password only gets the same credential.
func TestSaltedCredential(t *testing.T) {
	salt := []byte("0123456789abcdef")
	for mechanism, h := range map[string]func() hash.Hash{SCRAMSHA256: sha256.New, SCRAMSHA512: sha512.New} {
		want, err := NewCredential(mechanism, "secret", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		salted, err := pbkdf2.Key(h, "secret", salt, 4096, h().Size())
		if err != nil {
			t.Fatal(err)
		}
		got, err := SaltedCredential(mechanism, salted, salt, 4096)
		if err != nil || got.Text() != want.Text() {
			t.Errorf("%s: %v, %v", mechanism, got.Text(), err)
		}
		for _, c := range []struct {
			mechanism    string
			salted, salt []byte
			iterations   int
		}{
			{"SCRAM-MD5", salted, salt, 4096}, {mechanism, nil, salt, 4096}, {mechanism, make([]byte, 1025), salt, 4096}, {mechanism, salted, nil, 4096}, {mechanism, salted, salt, 4095},
		} {
			if _, err := SaltedCredential(c.mechanism, c.salted, c.salt, c.iterations); err == nil {
				t.Errorf("%+v is accepted", c)
			}
		}
	}
}
