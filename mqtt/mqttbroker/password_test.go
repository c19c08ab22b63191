package mqttbroker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// passwords was partly made by mosquitto_passwd 2.0 (carol), partly computed by other means.
const passwords = `# users
alice:$7$101$AAECAwQFBgcICQoL$2eMONr64To5LAqyW6xIY9PmHI/WwGCZRtsfW0qJLBdsaRGi54cdRGzRRdkQyo/4iLlJ24dNbVS9Ul3LeDThwTQ==

bob:$6$AAECAwQFBgcICQoL$/79TrUIT5fP+ggVILWTOmq7TXiuH3YVFFEZYaYQUbdPvMAnCVc6FMNFV9AX0Jmj1Zkv0gM2P69R6f8oq4OEx9Q==
carol:$7$101$+ax3LMD53KlbZTx9$7AgxV4DWCPn2kNHtNDiNBs6T3PW1djYdapoO//7CufzR45m1XEsF/FZmz+dK4yuT761UUPOdPeIkVRlbbqXr1g==
`

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordFile(t *testing.T) {
	f, err := OpenPasswordFile(writeFile(t, passwords+"dave:"+HashPassword("s3cret:$")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, password string
		ok             bool
	}{
		{"alice", "wonderland", true},
		{"alice", "Wonderland", false},
		{"alice", "", false},
		{"bob", "builder", true},
		{"bob", "builder ", false},
		{"carol", "wonder", true},
		{"dave", "s3cret:$", true},
		{"eve", "wonderland", false},
		{"", "", false},
		{"", "s3cret:$", false},
	} {
		user, err := f.Authenticate(t.Context(), &Login{
			Username: c.user, Password: []byte(c.password), HasUsername: true, HasPassword: true,
		})
		if c.ok != (err == nil) {
			t.Errorf("%q %q: %v", c.user, c.password, err)
		}
		if c.ok && user != c.user {
			t.Errorf("user %q", user)
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

func TestPasswordFileReload(t *testing.T) {
	path := writeFile(t, passwords)
	f, err := OpenPasswordFile(path)
	if err != nil {
		t.Fatal(err)
	}
	login := &Login{Username: "alice", Password: []byte("wonderland"), HasUsername: true, HasPassword: true}
	if err := os.WriteFile(path, []byte("alice:broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil {
		t.Error("a broken file was taken")
	}
	if _, err := f.Authenticate(t.Context(), login); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	if _, err := f.Authenticate(t.Context(), login); err == nil {
		t.Error("let in after the file was emptied")
	}
}

func TestPasswordFileErrors(t *testing.T) {
	for _, text := range []string{
		"alice", ":$6$AAAA$AAAA", "alice:plain", "alice:$5$AAAA$AAAA", "alice:$6$AAAA$AAAA", "alice:$6$?$AAAA",
		"alice:$7$0$AAAA$AAAA", "alice:$7$x$AAAA$AAAA", "alice:$7$99999999999$AAAA$AAAA", "alice:$6$AAAA$!",
	} {
		if _, err := parsePasswords(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzPasswords(f *testing.F) {
	f.Add(passwords)
	f.Add("a:$7$1$AAAA$AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parsePasswords(strings.NewReader(text))
		for name := range users {
			if err == nil && strings.Contains(name, ":") {
				t.Errorf("a user %q", name)
			}
		}
	})
}
