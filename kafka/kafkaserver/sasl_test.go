package kafkaserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// users is a backend with a user alice, whose password is secret and whose token is good until a time.
type users struct {
	backend
	until   time.Time
	refused bool // alice is not let in
}

func newUsers() *users {
	u := new(users)
	u.login = func(a *kafkaserver.Auth) (kafkaserver.Login, error) {
		switch {
		case u.refused:
			return kafkaserver.Login{}, errTest
		case a.Mechanism == "PLAIN" && a.User == "alice" && a.Password == "secret",
			(a.Mechanism == "SCRAM-SHA-256" || a.Mechanism == "SCRAM-SHA-512") && a.User == "alice":
			return kafkaserver.Login{}, nil
		case a.Mechanism == "OAUTHBEARER" && a.Token == "good" && a.Extensions["team"] == "red":
			return kafkaserver.Login{Principal: kafkaserver.Principal{Type: "User", Name: "alice"}, Expires: u.until}, nil
		}
		return kafkaserver.Login{}, errTest
	}
	return u
}

func (u *users) Credential(_ context.Context, _ *kafkaserver.Conn, mechanism, user string) (kafkaserver.Credential, error) {
	if user != "alice" {
		return kafkaserver.Credential{}, nil
	}
	return sasl.NewCredential(mechanism, "secret", []byte("salt"), 4096)
}

var allMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}

// client returns the client's side of a mechanism for alice.
func client(t testing.TB, mechanism, secret string) sasl.Client {
	switch mechanism {
	case "PLAIN":
		return sasl.PlainClient("alice", secret)
	case "OAUTHBEARER":
		if secret == "secret" {
			secret = "good"
		}
		return sasl.BearerClient(&sasl.Bearer{Token: secret, Extensions: map[string]string{"team": "red"}})
	}
	c, err := sasl.NewSCRAMClient(&sasl.SCRAMClientOptions{Mechanism: mechanism, Username: "alice", Password: secret})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake chooses a mechanism.
func (p *peer) handshake(mechanism string, version int16) *kafkawire.SASLHandshakeResponse {
	p.t.Helper()
	return p.call(&kafkawire.SASLHandshakeRequest{Mechanism: mechanism}, version).(*kafkawire.SASLHandshakeResponse)
}

// token sends a message of the mechanism.
func (p *peer) token(b []byte) *kafkawire.SASLAuthenticateResponse {
	p.t.Helper()
	if b == nil {
		b = []byte{}
	}
	return p.call(&kafkawire.SASLAuthenticateRequest{AuthBytes: b}, 2).(*kafkawire.SASLAuthenticateResponse)
}

// exchange logs in and returns the last response.
func (p *peer) exchange(mechanism, secret string) *kafkawire.SASLAuthenticateResponse {
	p.t.Helper()
	if r := p.handshake(mechanism, 1); r.ErrorCode != 0 {
		p.t.Fatalf("%s: %v", mechanism, r.ErrorCode)
	}
	c := client(p.t, mechanism, secret)
	var challenge []byte
	for {
		out, done, err := c.Step(challenge)
		if err != nil && out == nil {
			p.t.Fatal(err)
		}
		if done && out == nil {
			return nil
		}
		r := p.token(out)
		if r.ErrorCode != 0 || done && len(r.AuthBytes) == 0 {
			return r
		}
		if challenge = r.AuthBytes; len(challenge) > 2 && challenge[0] == 'v' {
			if _, done, err := c.Step(challenge); err != nil || !done {
				p.t.Fatal("the server has not proved itself", err)
			}
			return r
		}
	}
}

func TestSASL(t *testing.T) {
	for _, mechanism := range allMechanisms {
		t.Run(mechanism, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUsers()
				s, l := serve(t, u, &kafkaserver.Options{Mechanisms: allMechanisms, RequireSASL: true})
				p := dial(t, l)
				p.call(software(3), 3)
				if r := p.exchange(mechanism, "secret"); r.ErrorCode != 0 || r.SessionLifetimeMs != 0 {
					t.Fatalf("%+v", r)
				}
				p.beat()
				p.call(software(3), 3)
				if c := u.conns[0]; c.Principal().String() != "User:alice" || c.Mechanism() != mechanism {
					t.Errorf("%v by %q", c.Principal(), c.Mechanism())
				}

				// A wrong secret: an answer after a while, then the end.
				p = dial(t, l)
				start := time.Now()
				r := p.exchange(mechanism, "wrong")
				if r == nil || r.ErrorCode != kafkawire.ErrSASLAuthenticationFailed || r.ErrorMessage == nil || len(r.AuthBytes) != 0 {
					t.Fatalf("%+v", r)
				}
				if d := time.Since(start); d != 100*time.Millisecond {
					t.Errorf("refused after %v", d)
				}
				p.ended()
				p.nc.Close()
				synctest.Wait()
				if st := s.Stats(); st.Refused != 1 || st.Connections != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestSASLRefusedByBackend: the password is right, but the backend says no.
func TestSASLRefusedByBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		u.refused = true
		_, l := serve(t, u, nil)
		for _, mechanism := range []string{"SCRAM-SHA-256", "PLAIN"} {
			p := dial(t, l)
			p.handshake(mechanism, 1)
			c := client(t, mechanism, "secret")
			first, _, _ := c.Step(nil)
			r := p.token(first)
			if mechanism != "PLAIN" {
				final, _, _ := c.Step(r.AuthBytes)
				r = p.token(final)
			}
			if r.ErrorCode != kafkawire.ErrSASLAuthenticationFailed {
				t.Error(r.ErrorCode)
			}
			p.ended()
		}
	})
}

// TestSASLRaw is the exchange without headers that follows version 0 of SASLHandshake.
func TestSASLRaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		_, l := serve(t, u, &kafkaserver.Options{RequireSASL: true})
		raw := func(p *peer, b []byte) ([]byte, error) {
			p.write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
			return p.frame()
		}
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-512"} {
			p := dial(t, l)
			p.handshake(mechanism, 0)
			c := client(t, mechanism, "secret")
			var challenge []byte
			for {
				out, done, err := c.Step(challenge)
				if err != nil {
					t.Fatal(err)
				}
				if done && out == nil {
					break
				}
				if challenge, err = raw(p, out); err != nil {
					t.Fatal(err)
				}
				if done {
					break
				}
			}
			if mechanism == "PLAIN" && len(challenge) != 0 {
				t.Errorf("%q", challenge)
			}
			p.beat()
			if name := u.conns[len(u.conns)-1].Principal().Name; name != "alice" {
				t.Error(name)
			}
		}
		p := dial(t, l)
		p.handshake("PLAIN", 0)
		if b, err := raw(p, []byte("\x00alice\x00wrong")); err == nil {
			t.Errorf("%q", b)
		}
	})
}

func TestSASLOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := func(b kafkaserver.Backend, o *kafkaserver.Options) string {
			_, l := serve(t, b, o)
			p := dial(t, l)
			r := p.handshake("GSSAPI", 1)
			if r.ErrorCode == kafkawire.ErrIllegalSASLState {
				p.beat()
			} else {
				p.ended()
			}
			return fmt.Sprint(r.ErrorCode, r.Mechanisms)
		}
		for _, c := range []struct {
			b    kafkaserver.Backend
			o    *kafkaserver.Options
			want string
		}{
			{new(backend), nil, "kafka: UNSUPPORTED_SASL_MECHANISM [PLAIN]"},
			{newUsers(), nil, "kafka: UNSUPPORTED_SASL_MECHANISM [SCRAM-SHA-512 SCRAM-SHA-256 PLAIN]"},
			{newUsers(), &kafkaserver.Options{Mechanisms: []string{"OAUTHBEARER"}}, "kafka: UNSUPPORTED_SASL_MECHANISM [OAUTHBEARER]"},
			{new(backend), &kafkaserver.Options{Mechanisms: []string{}}, "kafka: ILLEGAL_SASL_STATE []"},
		} {
			if got := list(c.b, c.o); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		}
		// A mechanism that is named but that the backend has not.
		_, l := serve(t, new(backend), &kafkaserver.Options{Mechanisms: []string{"SCRAM-SHA-256"}})
		p := dial(t, l)
		p.send(&kafkawire.SASLHandshakeRequest{Mechanism: "SCRAM-SHA-256"}, 1)
		p.ended()
	})
}

// TestSASLOrder: requests in places where they may not be end the connection, but for what Kafka answers.
func TestSASLOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		_, l := serve(t, u, &kafkaserver.Options{RequireSASL: true})
		begin := func() *peer {
			p := dial(t, l)
			p.handshake("PLAIN", 1)
			return p
		}
		p := dial(t, l) // nothing before
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.ended()
		p = dial(t, l)
		p.send(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)
		p.ended()
		p = begin() // in the exchange
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.ended()
		p = begin()
		p.send(&kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
		p.ended()
		p = begin()
		p.call(software(3), 3) // may be asked for at any time
		if r := p.token([]byte("\x00alice\x00secret")); r.ErrorCode != 0 {
			t.Fatal(r.ErrorCode)
		}
		// After it.
		if r := p.token([]byte("\x00alice\x00secret")); r.ErrorCode != kafkawire.ErrIllegalSASLState {
			t.Error(r.ErrorCode)
		}
		if r := p.handshake("PLAIN", 0); r.ErrorCode != kafkawire.ErrIllegalSASLState {
			t.Error(r.ErrorCode)
		}
		p.beat()
		if len(u.conns) != 1 {
			t.Errorf("%d sessions", len(u.conns))
		}
	})
}

// TestSASLAnonymous: without RequireSASL the backend decides about those who do not use SASL.
func TestSASLAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, newUsers(), nil)
		p := dial(t, l)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.ended()
		b := new(backend)
		_, l = serve(t, b, nil)
		p = dial(t, l)
		p.beat()
		if b.conns[0].Principal() != kafkaserver.Anonymous || b.conns[0].Mechanism() != "" {
			t.Error(b.conns[0].Principal())
		}
		if r := p.handshake("PLAIN", 1); r.ErrorCode != kafkawire.ErrIllegalSASLState {
			t.Error(r.ErrorCode)
		}
		if r := p.token(nil); r.ErrorCode != kafkawire.ErrIllegalSASLState {
			t.Error(r.ErrorCode)
		}
		p.beat()
	})
}

// TestSASLAgain is KIP-368: a session ends unless the client authenticates again.
func TestSASLAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		u.until = time.Now().Add(time.Hour)
		_, l := serve(t, u, &kafkaserver.Options{Mechanisms: allMechanisms, Limits: kafkaserver.Limits{MaxSession: 30 * time.Minute, IdleTimeout: -1}})
		p := dial(t, l)
		if r := p.exchange("OAUTHBEARER", "good"); r.SessionLifetimeMs != 30*60*1000 {
			t.Fatalf("%+v", r)
		}
		p.beat()
		time.Sleep(40 * time.Minute) // the session is over: nothing but authentication is possible
		if r := p.exchange("OAUTHBEARER", "good"); r.SessionLifetimeMs != 20*60*1000 {
			t.Fatalf("%+v", r)
		}
		p.beat()
		time.Sleep(20*time.Minute + 1)
		p.send(&kafkawire.HeartbeatRequest{}, 4)
		p.ended()
		if len(u.conns) != 1 {
			t.Errorf("%d sessions", len(u.conns))
		}

		// Another mechanism, another principal, a wrong password.
		for _, again := range []func(p *peer) *kafkawire.SASLAuthenticateResponse{
			func(p *peer) *kafkawire.SASLAuthenticateResponse { return p.exchange("SCRAM-SHA-256", "secret") },
			func(p *peer) *kafkawire.SASLAuthenticateResponse { return p.exchange("PLAIN", "wrong") },
			func(p *peer) *kafkawire.SASLAuthenticateResponse {
				u.login = func(a *kafkaserver.Auth) (kafkaserver.Login, error) {
					return kafkaserver.Login{Principal: kafkaserver.Principal{Type: "User", Name: "bob"}}, nil
				}
				return p.exchange("PLAIN", "secret")
			},
		} {
			p := dial(t, l)
			p.exchange("PLAIN", "secret")
			p.beat()
			if r := again(p); r.ErrorCode != kafkawire.ErrSASLAuthenticationFailed {
				t.Error(r.ErrorCode)
			}
			p.ended()
		}
	})
}

// TestHandshakeTimeout ends connections of clients that do not authenticate, and of a backend that does not decide.
func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers()
		start := time.Now()
		late := func(o *kafkaserver.Options, begin func(l *memnet.Listener) *peer) {
			t.Helper()
			_, l := serve(t, u, o)
			start = time.Now()
			p := begin(l)
			p.ended()
			if d := time.Since(start); d != 10*time.Second {
				t.Errorf("ended after %v", d)
			}
		}
		late(nil, func(l *memnet.Listener) *peer { return dial(t, l) })
		late(&kafkaserver.Options{RequireSASL: true}, func(l *memnet.Listener) *peer {
			p := dial(t, l)
			p.call(software(3), 3)
			return p
		})
		late(nil, func(l *memnet.Listener) *peer {
			p := dial(t, l)
			p.call(software(3), 3)
			p.handshake("PLAIN", 1)
			return p
		})
		// Who asked for the versions and may do without SASL has more time.
		_, l := serve(t, new(backend), nil)
		p := dial(t, l)
		p.call(software(3), 3)
		time.Sleep(9 * time.Minute)
		p.beat()
	})
}

// TestSlowBackend: a backend that does not decide is told to give up.
func TestSlowBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slow{backend: new(backend)}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		p.handshake("PLAIN", 1)
		p.send(&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00alice\x00secret")}, 2)
		p.ended()
		synctest.Wait()
		if !errors.Is(b.err, context.DeadlineExceeded) && !errors.Is(b.err, context.Canceled) {
			t.Error(b.err)
		}
	})
}

// slow is a backend that does not decide.
type slow struct {
	*backend
	err error
}

func (s *slow) Authenticate(ctx context.Context, _ *kafkaserver.Conn, _ *kafkaserver.Auth) (kafkaserver.Login, error) {
	<-ctx.Done()
	s.err = ctx.Err()
	return kafkaserver.Login{}, s.err
}
