package kafkabroker

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// scram logs in with SCRAM.
func (p *peer) scram(mechanism, user, password string) kafkawire.ErrorCode {
	p.t.Helper()
	ask[*kafkawire.SASLHandshakeResponse](p, &kafkawire.SASLHandshakeRequest{Mechanism: mechanism}, 1)
	c, err := sasl.NewSCRAMClient(&sasl.SCRAMClientOptions{Mechanism: mechanism, Username: user, Password: password})
	if err != nil {
		p.t.Fatal(err)
	}
	var challenge []byte
	for {
		out, done, err := c.Step(challenge)
		if err != nil {
			p.t.Fatal(err)
		}
		if done {
			return noError
		}
		r := ask[*kafkawire.SASLAuthenticateResponse](p, &kafkawire.SASLAuthenticateRequest{AuthBytes: out}, 2)
		if r.ErrorCode != noError {
			return r.ErrorCode
		}
		challenge = r.AuthBytes
	}
}

// alterUsers sends changes of users and returns what is said of each.
func (p *peer) alterUsers(req *kafkawire.AlterUserSCRAMCredentialsRequest) string {
	p.t.Helper()
	text := ""
	for _, r := range ask[*kafkawire.AlterUserSCRAMCredentialsResponse](p, req, 0).Results {
		text += fmt.Sprintf("%s=%d ", r.User, r.ErrorCode)
	}
	return text
}

// upsertion sets a password for SCRAM-SHA-256.
func upsertion(t testing.TB, name, password string) kafkawire.AlterUserSCRAMCredentialsRequestUpsertion {
	t.Helper()
	salt := []byte("0123456789")
	salted, err := pbkdf2.Key(sha256.New, password, salt, 4096, 32)
	if err != nil {
		t.Fatal(err)
	}
	return kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{Name: name, Mechanism: 1, Iterations: 4096, Salt: salt, SaltedPassword: salted}
}

// TestNobody: a broker with zero options lets nobody in.
func TestNobody(t *testing.T) {
	b, err := Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := connect(t, b)
	if p.receive(new(kafkawire.MetadataResponse), 9, p.send(&kafkawire.MetadataRequest{AllowAutoTopicCreation: true}, 9)) == nil {
		t.Error("a client that does not say who it is was let in")
	}
	if code := connect(t, b).plain("admin", "admin"); code != kafkawire.ErrSASLAuthenticationFailed {
		t.Error(code)
	}
	if code := connect(t, b).scram("SCRAM-SHA-512", "admin", "admin"); code != kafkawire.ErrSASLAuthenticationFailed {
		t.Error(code)
	}
}

// TestUsers: users of the broker log in with each mechanism, and survive a restart.
func TestUsers(t *testing.T) {
	fs := vfs.NewMem()
	b, err := Open(&Options{Dir: "d", fs: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { b.Close() }()
	if err := errors.Join(b.SetUser("alice", "old"), b.SetUser("alice", "secret"), b.SetUser("bob", "x")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.DeleteUser("bob")); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteUser("bob"); !errors.Is(err, kafkawire.ErrResourceNotFound) {
		t.Error(err)
	}
	if err := b.SetUser("", "x"); !errors.Is(err, kafkawire.ErrUnacceptableCredential) {
		t.Error(err)
	}
	if err := b.SetUser("x", ""); !errors.Is(err, kafkawire.ErrUnacceptableCredential) {
		t.Error(err)
	}
	for range 2 {
		if got := b.Users(); !slices.Equal(got, []string{"alice"}) {
			t.Error(got)
		}
		for _, c := range []struct {
			user, password string
			want           kafkawire.ErrorCode
		}{
			{"alice", "secret", 0}, {"alice", "old", kafkawire.ErrSASLAuthenticationFailed}, {"bob", "x", kafkawire.ErrSASLAuthenticationFailed},
		} {
			for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
				if code := connect(t, b).scram(mechanism, c.user, c.password); code != c.want {
					t.Error(mechanism, c, code)
				}
			}
			if code := connect(t, b).plain(c.user, c.password); code != c.want {
				t.Error(c, code)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err = Open(&Options{Dir: "d", fs: fs}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOddSaltedPassword: a salted password may have any length, as with Apache Kafka. Nobody can log in with it.
func TestOddSaltedPassword(t *testing.T) {
	b := secured(t, &Options{})
	u := upsertion(t, "odd", "secret")
	u.SaltedPassword = []byte("password")
	req := &kafkawire.AlterUserSCRAMCredentialsRequest{Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{u}}
	if got := login(t, b, "admin").alterUsers(req); got != "odd=0 " {
		t.Error(got)
	}
	for _, password := range []string{"secret", "password"} {
		if code := connect(t, b).scram("SCRAM-SHA-256", "odd", password); code != kafkawire.ErrSASLAuthenticationFailed {
			t.Error(password, code)
		}
	}
}

// TestAlterUsers changes users by the protocol.
func TestAlterUsers(t *testing.T) {
	b := secured(t, &Options{}, "alice")
	admin, alice := login(t, b, "admin"), login(t, b, "alice")
	type request = kafkawire.AlterUserSCRAMCredentialsRequest
	type deletion = kafkawire.AlterUserSCRAMCredentialsRequestDeletion
	bad := func(change func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion)) *request {
		u := upsertion(t, "new", "secret")
		change(&u)
		return &request{Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{u}}
	}
	for _, c := range []struct {
		req  *request
		want string
	}{
		{&request{}, ""},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Name = "" }), "=93 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Mechanism = 0 }), "new=33 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Mechanism = 3 }), "new=33 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Mechanism = -1 }), "new=33 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Iterations = 4095 }), "new=93 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Iterations = 16385 }), "new=93 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.Salt = []byte{} }), "new=93 "},
		{bad(func(u *kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) { u.SaltedPassword = nil }), "new=93 "},
		{&request{Deletions: []deletion{{Name: "nobody", Mechanism: 1}}}, "nobody=91 "},
		{&request{Deletions: []deletion{{Name: "alice", Mechanism: 7}}}, "alice=33 "},
		{&request{Deletions: []deletion{{Name: "alice", Mechanism: 1}, {Name: "alice", Mechanism: 1}}}, "alice=92 "},
		{&request{Deletions: []deletion{{Name: "alice", Mechanism: 1}},
			Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{upsertion(t, "alice", "x"), upsertion(t, "new", "secret")}}, "alice=92 new=0 "},
		{&request{Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{upsertion(t, "two", "x"),
			{Name: "two", Mechanism: 2, Iterations: 4096, Salt: []byte("salt"), SaltedPassword: make([]byte, 64)}}}, "two=92 "}, // not either
	} {
		if got := admin.alterUsers(c.req); got != c.want {
			t.Errorf("%+v: %q, want %q", c.req, got, c.want)
		}
	}
	if got := alice.alterUsers(bad(func(*kafkawire.AlterUserSCRAMCredentialsRequestUpsertion) {})); got != "new=31 " {
		t.Error(got)
	}
	if code := connect(t, b).scram("SCRAM-SHA-256", "new", "secret"); code != noError {
		t.Error(code)
	}
	if code := connect(t, b).plain("new", "secret"); code != noError {
		t.Error(code)
	}

	describe := func(p *peer, names ...string) string {
		t.Helper()
		var req kafkawire.DescribeUserSCRAMCredentialsRequest
		for _, name := range names {
			req.Users = append(req.Users, kafkawire.DescribeUserSCRAMCredentialsRequestUser{Name: name})
		}
		r := ask[*kafkawire.DescribeUserSCRAMCredentialsResponse](p, &req, 0)
		text := fmt.Sprintf("%d ", r.ErrorCode)
		for _, u := range r.Results {
			text += fmt.Sprintf("%s=%d", u.User, u.ErrorCode)
			for _, c := range u.CredentialInfos {
				text += fmt.Sprintf("/%d:%d", c.Mechanism, c.Iterations)
			}
			text += " "
		}
		return text
	}
	for _, c := range []struct{ got, want string }{
		{describe(admin), "0 admin=0/1:8192/2:8192 alice=0/1:8192/2:8192 new=0/1:4096 "},
		{describe(admin, "new", "nobody", "alice", "alice"), "0 new=0/1:4096 nobody=91 alice=92 "},
		{describe(alice), "31 "},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if got := admin.alterUsers(&request{Deletions: []deletion{{Name: "new", Mechanism: 1}, {Name: "alice", Mechanism: 1}}}); got != "new=0 alice=0 " {
		t.Error(got)
	}
	if got := describe(admin); got != "0 admin=0/1:8192/2:8192 alice=0/2:8192 " {
		t.Error(got)
	}
}

// TestFullOfUsers: when there is no room for more users, those that there are can be changed and deleted.
func TestFullOfUsers(t *testing.T) {
	b := openBroker(t, nil)
	if err := b.SetUser("alice", "secret"); err != nil {
		t.Fatal(err)
	}
	for i := len(b.users.all); i < maxUsers; i++ {
		b.users.all[userKey{fmt.Sprint("user", i), sasl.SCRAMSHA256}] = sasl.Credential{}
	}
	if err := b.SetUser("bob", "secret"); !errors.Is(err, kafkawire.ErrPolicyViolation) {
		t.Error(err)
	}
	if err := b.SetUser("alice", "other"); err != nil {
		t.Error(err)
	}
	if err := b.DeleteUser("alice"); err != nil {
		t.Error(err)
	}
}
