package mqttbroker

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/mqtt"
)

// SCRAMCredential is what a broker keeps of a password for one method of SCRAM (RFC 5802, section 3). Who has it can try
// passwords, and can pretend to be the broker, but cannot log in with it.
type SCRAMCredential struct {
	Method     string // such as SCRAM-SHA-256; never with -PLUS
	Iterations int    // 4096 to 1,048,576
	Salt       []byte // 1 to 1024 bytes
	StoredKey  []byte // nil for a user who does not exist
	ServerKey  []byte
}

// NewSCRAMCredential computes the credential of a password, with a random salt of 16 bytes. Zero iterations are 15,000:
// each login costs the client as many rounds of HMAC, the broker two. It fails when there is no such method, or when the
// iterations or the password are not among those that [SCRAM] takes.
func NewSCRAMCredential(method, password string, iterations int) (SCRAMCredential, error) {
	c, err := sasl.NewCredential(method, password, nil, iterations)
	return credentialOf(c), err
}

// ParseSCRAMCredential reads a credential as PostgreSQL writes it: METHOD$ITERATIONS:SALT$STOREDKEY:SERVERKEY, with salt
// and keys in base64.
func ParseSCRAMCredential(text string) (SCRAMCredential, error) {
	c, err := sasl.ParseCredential(text)
	return credentialOf(c), err
}

// Text returns the credential as [ParseSCRAMCredential] reads it.
func (c SCRAMCredential) Text() string { return c.sasl().Text() }

func (c SCRAMCredential) sasl() sasl.Credential {
	return sasl.Credential{Mechanism: c.Method, Iterations: c.Iterations, Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey}
}

func credentialOf(c sasl.Credential) SCRAMCredential {
	return SCRAMCredential{Method: c.Mechanism, Iterations: c.Iterations, Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey}
}

// SCRAMFile is a file of user names and SCRAM credentials: lines NAME:CREDENTIAL, with what [SCRAMCredential.Text]
// returns, one for each method of a user. Of two for the same the last one counts. Empty lines and lines that begin with
// # do not count.
//
// It is safe for concurrent use. For names that are not in the file clients are told the iterations that most have.
type SCRAMFile struct {
	path  string
	users atomic.Pointer[scramUsers]
}

// scramUsers is the content of a file.
type scramUsers struct {
	credentials map[scramUser]sasl.Credential
	decoys      map[string]sasl.Credential // by method: one of those that look like most of them
}

type scramUser struct{ method, name string }

// OpenSCRAMFile reads a file of credentials.
func OpenSCRAMFile(path string) (*SCRAMFile, error) {
	f := &SCRAMFile{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again. When that fails the users stay as they are. Connections that are open stay open.
func (f *SCRAMFile) Reload() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	users, err := parseSCRAMUsers(file)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.users.Store(users)
	return nil
}

// Lookup is that of [SCRAMOptions].
func (f *SCRAMFile) Lookup(_ context.Context, method, user string) (SCRAMCredential, error) {
	users := f.users.Load()
	c, known := users.credentials[scramUser{method, user}]
	if !known {
		d := users.decoys[method]
		c = sasl.Credential{Iterations: d.Iterations, Salt: d.Salt}
	}
	return credentialOf(c), nil
}

// Authenticate is an [Authenticator] for clients that send their password, such as those of version 3.1.1. It refuses
// wrong passwords and unknown users, after the same work, with ReasonBadUserNameOrPassword, and has no opinion about
// clients without a user name. Unlike SCRAM it costs the broker as much as a client.
func (f *SCRAMFile) Authenticate(_ context.Context, l *Login) (string, error) {
	if !l.HasUsername {
		return "", ErrNoOpinion
	}
	users := f.users.Load()
	var c, decoy sasl.Credential
	known := false
	for _, method := range []string{sasl.SCRAMSHA256, sasl.SCRAMSHA512, sasl.SCRAMSHA1} {
		if found, ok := users.credentials[scramUser{method, l.Username}]; ok && !known {
			c, known = found, true
		}
		if decoy.Iterations == 0 {
			decoy = users.decoys[method]
		}
	}
	if !known {
		c = decoy
	}
	if !c.Verify(string(l.Password)) || !known || !l.HasPassword {
		return "", &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword}
	}
	return l.Username, nil
}

func parseSCRAMUsers(r io.Reader) (*scramUsers, error) {
	users := &scramUsers{credentials: make(map[scramUser]sasl.Credential), decoys: make(map[string]sasl.Credential)}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: want NAME:CREDENTIAL", n)
		}
		if _, err := sasl.Prepare(name); err != nil {
			return nil, fmt.Errorf("line %d: name: %w", n, err)
		}
		c, err := sasl.ParseCredential(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		users.credentials[scramUser{c.Mechanism, name}] = c
	}
	users.chooseDecoys()
	return users, lines.Err()
}

// chooseDecoys finds what most of the credentials of each method look like.
func (u *scramUsers) chooseDecoys() {
	type shape struct {
		method           string
		iterations, salt int
	}
	count := make(map[shape]int)
	best := make(map[string]shape)
	for key, c := range u.credentials {
		s := shape{key.method, c.Iterations, len(c.Salt)}
		count[s]++
	}
	for s, n := range count {
		b, ok := best[s.method]
		if !ok || cmp.Or(n-count[b], s.iterations-b.iterations, s.salt-b.salt) > 0 {
			best[s.method] = s
		}
	}
	for key, c := range u.credentials {
		if s := best[key.method]; s.iterations == c.Iterations && s.salt == len(c.Salt) {
			u.decoys[key.method] = c
		}
	}
}
