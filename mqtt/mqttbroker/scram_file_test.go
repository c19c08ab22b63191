package mqttbroker

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// pencil is the credential of RFC 7677, section 3, as PostgreSQL writes it.
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" +
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestSCRAMFile(t *testing.T) {
	path := writeFile(t, "# users\n\nuser:"+pencil+" \nbob:"+credentialText(t, "SCRAM-SHA-512", "builder", 5000)+"\n")
	f, err := OpenSCRAMFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Lookup(t.Context(), "SCRAM-SHA-256", "user")
	if err != nil || c.Text() != pencil {
		t.Errorf("%+v, %v", c, err)
	}
	for _, q := range []struct {
		method, user     string
		iterations, salt int
	}{
		{"SCRAM-SHA-256", "eve", 4096, 16},
		{"SCRAM-SHA-256", "bob", 4096, 16},
		{"SCRAM-SHA-512", "user", 5000, 16},
		{"SCRAM-SHA-1", "user", 0, 0},
	} {
		c, err := f.Lookup(t.Context(), q.method, q.user)
		if err != nil || c.StoredKey != nil || c.ServerKey != nil || c.Iterations != q.iterations || len(c.Salt) != q.salt {
			t.Errorf("%s, %s: %+v, %v", q.method, q.user, c, err)
		}
	}
	// A broken file is not taken.
	if err := os.WriteFile(path, []byte("user:broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file: %v", err)
	}
	if c, _ := f.Lookup(t.Context(), "SCRAM-SHA-256", "user"); c.Text() != pencil {
		t.Error("after a reload that failed the user is gone")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	if c, _ := f.Lookup(t.Context(), "SCRAM-SHA-256", "user"); c.StoredKey != nil {
		t.Error("the user is still there after the file was emptied")
	}
	if _, err := OpenSCRAMFile(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestSCRAMFileAuthenticate(t *testing.T) {
	f := scramUsersFile(t)
	for _, c := range []struct {
		user, password string
		ok             bool
	}{
		{"alice", "wonderland", true},
		{"alice", "Wonderland", false},
		{"alice", "", false},
		{"bob", "builder", true},
		{"eve", "builder", false},
		{"", "builder", false},
		{"bob", "builder\x00", false},
	} {
		user, err := f.Authenticate(t.Context(), &Login{Username: c.user, Password: []byte(c.password), HasUsername: true, HasPassword: true})
		if c.ok != (err == nil) || c.ok && user != c.user {
			t.Errorf("%q %q: %q, %v", c.user, c.password, user, err)
		}
		if !c.ok && !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword}) {
			t.Errorf("%q %q: %v", c.user, c.password, err)
		}
	}
	if _, err := f.Authenticate(t.Context(), &Login{}); !errors.Is(err, ErrNoOpinion) {
		t.Errorf("without a user name: %v", err)
	}
	if _, err := f.Authenticate(t.Context(), &Login{HasUsername: true, Username: "alice"}); err == nil {
		t.Error("without a password: let in")
	}
}

// TestSCRAMFileDecoys: users who do not exist look like most of those who do.
func TestSCRAMFileDecoys(t *testing.T) {
	text := ""
	for i, iterations := range []int{4096, 5000, 6000, 5000, 4096, 5000} {
		text += "user" + string(rune('0'+i)) + ":" + credentialText(t, "SCRAM-SHA-256", "x", iterations) + "\n"
	}
	users, err := parseSCRAMUsers(strings.NewReader(text))
	if err != nil || users.decoys["SCRAM-SHA-256"].Iterations != 5000 {
		t.Errorf("%+v, %v", users, err)
	}
	// Between as many of each, always the same: the higher.
	for range 10 {
		users, err := parseSCRAMUsers(strings.NewReader(text + "user6:" + credentialText(t, "SCRAM-SHA-256", "x", 4096)))
		if err != nil || users.decoys["SCRAM-SHA-256"].Iterations != 5000 {
			t.Errorf("%+v, %v", users, err)
		}
	}
}

func TestSCRAMFileErrors(t *testing.T) {
	for _, text := range []string{
		"alice", ":" + pencil, "alice:plain", "al\x01ice:" + pencil, "alice:SCRAM-SHA-256$100" + pencil[strings.Index(pencil, ":"):],
		"alice:SCRAM-SHA-1" + strings.TrimPrefix(pencil, "SCRAM-SHA-256"), "alice:" + HashPassword("x"),
		"alice:" + strings.Repeat("x", 1<<17),
	} {
		if _, err := parseSCRAMUsers(strings.NewReader(text)); err == nil {
			t.Errorf("%.60q was taken", text)
		}
	}
	if _, err := ParseSCRAMCredential("x"); err == nil {
		t.Error("x is a credential")
	}
	if _, err := NewSCRAMCredential("SCRAM-SHA-256", "x", 1); err == nil {
		t.Error("one iteration was taken")
	}
}

func FuzzSCRAMUsers(f *testing.F) {
	f.Add("user:" + pencil)
	f.Add("# x\n\nuser:" + pencil + "\r\nuser:" + pencil + " ")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parseSCRAMUsers(strings.NewReader(text))
		if err != nil {
			return
		}
		for key, c := range users.credentials {
			if strings.ContainsAny(key.name, ":\n") || key.method != c.Mechanism || users.decoys[key.method].Iterations == 0 {
				t.Errorf("%+v", key)
			}
		}
	})
}
