package sasl

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
)

// verifyTim knows one user.
func verifyTim(_ context.Context, user, password string) error {
	if user != "tim" || password != "tanstaaftanstaaf" {
		return ask(CodeInvalidProof)
	}
	return nil
}

// sides are the two sides of a mechanism.
type sides struct {
	name             string
	client           Client
	server           Server
	wire             string // the client's message, from a standard or a real client
	user             string
	client1, server1 Code
}

func TestSimpleMechanisms(t *testing.T) {
	verifyToken := func(_ context.Context, b *Bearer) (string, error) {
		if b.Token == "t0ken==" && len(b.Extensions) < 3 {
			return "kurt", nil
		}
		return "", ask(CodeInvalidProof)
	}
	for _, c := range []sides{
		{name: "PLAIN", client: PlainClient("tim", "tanstaaftanstaaf"), server: PlainServer(verifyTim),
			wire: "\x00tim\x00tanstaaftanstaaf", user: "tim"}, // RFC 4616, section 4
		{name: "PLAIN wrong", client: PlainClient("tim", "x"), server: PlainServer(verifyTim),
			wire: "\x00tim\x00x", server1: CodeInvalidProof},
		{name: "PLAIN client", client: PlainClient("tim", "x\x00"), server: PlainServer(verifyTim), client1: CodeInvalidEncoding},
		{name: "AMQPLAIN", client: AMQPlainClient("tim", "tanstaaftanstaaf"), server: AMQPlainServer(verifyTim),
			wire: "\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDS\x00\x00\x00\x10tanstaaftanstaaf", user: "tim"},
		{name: "AMQPLAIN wrong", client: AMQPlainClient("tim", "x"), server: AMQPlainServer(verifyTim),
			wire: "\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDS\x00\x00\x00\x01x", server1: CodeInvalidProof},
		{name: "AMQPLAIN client", client: AMQPlainClient("", "x"), server: AMQPlainServer(verifyTim), client1: CodeInvalidEncoding},
		{name: "EXTERNAL", client: ExternalClient(""), server: ExternalServer("tim"), user: "tim"},
		{name: "EXTERNAL named", client: ExternalClient("tim"), server: ExternalServer("tim"), wire: "tim", user: "tim"},
		{name: "EXTERNAL other", client: ExternalClient("tom"), server: ExternalServer("tim"), wire: "tom", server1: CodeNotAuthorized},
		{name: "EXTERNAL unknown", client: ExternalClient(""), server: ExternalServer(""), server1: CodeInvalidProof},
		{name: "EXTERNAL client", client: ExternalClient("a\x00"), server: ExternalServer(""), client1: CodeInvalidEncoding},
		{name: "ANONYMOUS", client: AnonymousClient("sirhc"), server: AnonymousServer(nil), wire: "sirhc"}, // RFC 4505, section 4
		{name: "ANONYMOUS client", client: AnonymousClient(strings.Repeat("é", 256)), server: AnonymousServer(nil), client1: CodeInvalidEncoding},
		{name: "OAUTHBEARER", client: BearerClient(&Bearer{Token: "t0ken=="}), server: BearerServer(verifyToken),
			wire: "n,,\x01auth=Bearer t0ken==\x01\x01", user: "kurt"},
		{name: "OAUTHBEARER extensions", server: BearerServer(verifyToken),
			client: BearerClient(&Bearer{Token: "t0ken==", Authzid: "kurt", Extensions: map[string]string{"port": "143", "host": "a b"}}),
			wire:   "n,a=kurt,\x01auth=Bearer t0ken==\x01host=a b\x01port=143\x01\x01", user: "kurt"},
		{name: "OAUTHBEARER wrong", client: BearerClient(&Bearer{Token: "x"}), server: BearerServer(verifyToken),
			wire: "n,,\x01auth=Bearer x\x01\x01", client1: CodeInvalidProof, server1: CodeInvalidProof},
		{name: "OAUTHBEARER other", client: BearerClient(&Bearer{Token: "t0ken==", Authzid: "a=,"}), server: BearerServer(verifyToken),
			wire: "n,a=a=3D=2C,\x01auth=Bearer t0ken==\x01\x01", client1: CodeInvalidProof, server1: CodeNotAuthorized},
		{name: "OAUTHBEARER token", client: BearerClient(&Bearer{Token: "a b"}), server: BearerServer(verifyToken), client1: CodeInvalidEncoding},
		{name: "OAUTHBEARER key", client: BearerClient(&Bearer{Token: "a", Extensions: map[string]string{"auth": "Bearer b"}}),
			server: BearerServer(verifyToken), client1: CodeInvalidEncoding},
		{name: "OAUTHBEARER value", client: BearerClient(&Bearer{Token: "a", Extensions: map[string]string{"x": "\x01y=z"}}),
			server: BearerServer(verifyToken), client1: CodeInvalidEncoding},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, done, err := c.server.Step(t.Context(), nil); out == nil || len(out) > 0 || done || err != nil {
				t.Errorf("without an initial response: %q, %v, %v", out, done, err)
			}
			clientErr, serverErr := exchange(t, c.client, c.server, func(i int, m []byte) []byte {
				if i == 0 && string(m) != c.wire {
					t.Errorf("the client sends %q", m)
				}
				return m
			})
			check(t, "client", clientErr, c.client1)
			check(t, "server", serverErr, c.server1)
			if c.server.User() != c.user {
				t.Errorf("user %q", c.server.User())
			}
			if clientErr != nil || serverErr != nil {
				return
			}
			if _, _, err := c.server.Step(t.Context(), nil); !errors.Is(err, ask(CodeOutOfStep)) {
				t.Errorf("server after the end: %v", err)
			}
			if _, _, err := c.client.Step(nil); err == nil {
				t.Error("client after the end: no error")
			}
		})
	}
}

func TestSimpleMechanismsMalformed(t *testing.T) {
	lenient := func(context.Context, string, string) error { return nil }
	server := map[string]func() Server{
		Plain:     func() Server { return PlainServer(lenient) },
		AMQPlain:  func() Server { return AMQPlainServer(lenient) },
		External:  func() Server { return ExternalServer("tim") },
		Anonymous: func() Server { return AnonymousServer(func(string) {}) },
		OAuthBearer: func() Server {
			return BearerServer(func(context.Context, *Bearer) (string, error) { return "tim", nil })
		},
	}
	for _, c := range []struct {
		mechanism string
		message   string
		want      Code
	}{
		{Plain, "", CodeInvalidEncoding},
		{Plain, "\x00tim", CodeInvalidEncoding},
		{Plain, "\x00\x00x", CodeInvalidEncoding},
		{Plain, "\x00tim\x00", CodeInvalidEncoding},
		{Plain, "\x00tim\x00x\x00", CodeInvalidEncoding},
		{Plain, "\x00tim\x00\xff", CodeInvalidEncoding},
		{Plain, "\x00tim\x00" + strings.Repeat("x", maxMessage), CodeInvalidEncoding},
		{Plain, "Ursel\x00Kurt\x00xipj3plmq", CodeNotAuthorized},
		{Plain, "Kurt\x00Kurt\x00xipj3plmq", ""},
		{AMQPlain, "", CodeInvalidEncoding},
		{AMQPlain, "\x05LOGINS\x00\x00\x00\x03tim", CodeInvalidEncoding},
		{AMQPlain, "\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDS\x00\x00\x00\x02x", CodeInvalidEncoding},
		{AMQPlain, "\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDS\xff\xff\xff\xffx", CodeInvalidEncoding},
		{AMQPlain, "\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDI\x00\x00\x00\x02", CodeInvalidEncoding},
		{AMQPlain, "\x05LOGINS\x00\x00\x00\x03tim\x05LOGINS\x00\x00\x00\x03tim\x08PASSWORDS\x00\x00\x00\x01x", CodeInvalidEncoding},
		{AMQPlain, "\xff", CodeInvalidEncoding},
		{AMQPlain, strings.Repeat("x", maxMessage+1), CodeInvalidEncoding},
		{AMQPlain, "\x08PASSWORDS\x00\x00\x00\x01x\x01xS\x00\x00\x00\x00\x05LOGINS\x00\x00\x00\x03tim", ""},
		{External, "t\x00m", CodeInvalidEncoding},
		{External, "\xff", CodeInvalidEncoding},
		{Anonymous, "a\x00", CodeInvalidEncoding},
		{Anonymous, strings.Repeat("x", 256), CodeInvalidEncoding},
		{Anonymous, strings.Repeat("x", 2000), CodeInvalidEncoding},
		{OAuthBearer, "", CodeInvalidEncoding},
		{OAuthBearer, "n,,", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,\x01auth=Bearer x\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,x\x01auth=Bearer x\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "p=x,,\x01auth=Bearer x\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Basic x\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer \x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01auth=Bearer x\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01a=1\x01a=2\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01a1=1\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "n,,\x01auth=Bearer x\x01a=\x02\x01\x01", CodeInvalidEncoding},
		{OAuthBearer, "\xff", CodeInvalidEncoding},
		{OAuthBearer, "y,a=tim,\x01auth=bearer  x\x01host=\x01\x01", ""},
	} {
		s := server[c.mechanism]()
		_, done, err := s.Step(t.Context(), []byte(c.message))
		if check(t, c.mechanism+" "+c.message, err, c.want); done != (err == nil) || err != nil && s.User() != "" {
			t.Errorf("%q: done %v, user %q", c.message, done, s.User())
		}
	}
}

// TestBearerStandard is the example of RFC 7628, section 4.1.
func TestBearerStandard(t *testing.T) {
	const m = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01" +
		"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
	b, err := parseBearer([]byte(m))
	if err != nil || b.Token != "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" || b.Authzid != "user@example.com" ||
		!maps.Equal(b.Extensions, map[string]string{"host": "server.example.com", "port": "143"}) {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestPrepare(t *testing.T) {
	for _, ok := range []string{"user", "USER", " pass word ", "~", "Grüße", "Ünïcödé €", "пароль", "κωδικός", "パスワード", "密码", "비밀번호"} {
		if s, err := Prepare(ok); err != nil || s != ok {
			t.Errorf("%q: %q, %v", ok, s, err)
		}
	}
	// The last ones are the examples of RFC 4013, section 3, that SASLprep would change or refuse.
	for _, bad := range []string{"", "a\x00", "a\x1f", "\x7f", "e\u0301", "\u00a0", "ﬁ", "Ａ", "שלום", "\xff", "\ue000", "\ufeff",
		"I\u00adX", "\u00aa", "\u2168", "\u0007", "\u0627\u0031"} {
		if s, err := Prepare(bad); !errors.Is(err, ask(CodeUnprepared)) {
			t.Errorf("%q: %q, %v", bad, s, err)
		}
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Code: CodeInvalidProof, Reason: "wrong", Remote: true}
	if e.Error() != "sasl: peer: invalid-proof: wrong" || ask(CodeOther).Error() != "sasl: other-error" {
		t.Error(e, ask(CodeOther))
	}
	if errors.Is(e, context.Canceled) || errors.Is(e, ask(CodeOther)) || !errors.Is(e, ask(CodeInvalidProof)) {
		t.Error("Is is wrong")
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Fuzz(func(t *testing.T, m []byte) {
		s := PlainServer(func(_ context.Context, user, password string) error {
			if out, _, err := PlainClient(user, password).Step(nil); err != nil || !strings.HasSuffix(string(m), string(out)) {
				t.Errorf("%q: %q, %v", m, out, err)
			}
			return nil
		})
		s.Step(t.Context(), m)
	})
}

func FuzzAMQPlain(f *testing.F) {
	m, _, _ := AMQPlainClient("tim", "x").Step(nil)
	f.Add(m)
	f.Fuzz(func(t *testing.T, m []byte) {
		user, password, err := parseAMQPlain(m)
		if err != nil {
			return
		}
		out, _, err := AMQPlainClient(user, password).Step(nil)
		if err != nil {
			t.Fatal(err)
		}
		if u, p, err := parseAMQPlain(out); u != user || p != password || err != nil {
			t.Errorf("%q, %q, %v", u, p, err)
		}
	})
}

func FuzzBearer(f *testing.F) {
	f.Add([]byte("n,a=kurt,\x01auth=Bearer t0ken==\x01host=a b\x01port=143\x01\x01"))
	f.Fuzz(func(t *testing.T, m []byte) {
		b, err := parseBearer(m)
		if err != nil {
			return
		}
		out, _, err := BearerClient(b).Step(nil)
		if err != nil && len(m) < maxMessage-10 {
			t.Fatal(err)
		}
		if c, err := parseBearer(out); err != nil || c.Token != b.Token || c.Authzid != b.Authzid || !maps.Equal(c.Extensions, b.Extensions) {
			t.Errorf("%+v became %+v: %v", b, c, err)
		}
	})
}
