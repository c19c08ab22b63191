package mqttbroker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/quartet-mq/quartet/mqtt"
)

// PasswordFile is a file of user names and hashed passwords in mosquitto's format: lines NAME:$7$ITERATIONS$SALT$HASH
// (PBKDF2 with HMAC-SHA-512) or NAME:$6$SALT$HASH (SHA-512 of password and salt), salt and hash in base64. Empty lines
// and lines that begin with # do not count.
//
// It is safe for concurrent use. Logins for names that are not in the file take as long as others.
type PasswordFile struct {
	path  string
	users atomic.Pointer[map[string]passwordHash]
}

// passwordHash is a hashed password.
type passwordHash struct {
	iterations int // 0: one SHA-512
	salt, sum  []byte
}

const (
	// hashIterations is how many rounds [HashPassword] makes: a few milliseconds. More would be better against theft of the
	// file, but a broker must also survive that all its clients reconnect at once.
	hashIterations = 10_000
	// maxIterations bounds what a file can make a login cost.
	maxIterations = 10_000_000
	saltSize      = 12
)

// OpenPasswordFile reads a password file.
func OpenPasswordFile(path string) (*PasswordFile, error) {
	f := &PasswordFile{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again. When that fails the users stay as they are. Connections that are open stay open.
func (f *PasswordFile) Reload() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	users, err := parsePasswords(file)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.users.Store(&users)
	return nil
}

// Authenticate is an [Authenticator]. It refuses wrong passwords and unknown users with ReasonBadUserNameOrPassword,
// and has no opinion about clients without a user name.
func (f *PasswordFile) Authenticate(_ context.Context, l *Login) (string, error) {
	if !l.HasUsername {
		return "", ErrNoOpinion
	}
	users := *f.users.Load()
	h, known := users[l.Username]
	if !known {
		h = users[decoy]
	}
	if !h.matches(l.Password) || !known || l.Username == decoy || !l.HasPassword {
		return "", &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword}
	}
	return l.Username, nil
}

// decoy is the name under which the hash is kept that is compared for users who do not exist: the one that takes longest.
// No user has it.
const decoy = ""

// matches compares in constant time.
func (h passwordHash) matches(password []byte) bool {
	sum, err := hashSum(password, h.salt, h.iterations)
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func hashSum(password, salt []byte, iterations int) ([]byte, error) {
	if iterations == 0 {
		sum := sha512.Sum512(append(bytes.Clone(password), salt...))
		return sum[:], nil
	}
	return pbkdf2.Key(sha512.New, string(password), salt, iterations, sha512.Size)
}

// HashPassword returns the hash of a password as it stands in a [PasswordFile] after the name and the colon, with a
// random salt.
func HashPassword(password string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sum, err := hashSum([]byte(password), salt, hashIterations)
	if err != nil {
		return "*" // not a hash: matches nothing. PBKDF2 fails in FIPS mode only, for weaker parameters than these
	}
	enc := base64.StdEncoding
	return fmt.Sprintf("$7$%d$%s$%s", hashIterations, enc.EncodeToString(salt), enc.EncodeToString(sum))
}

func parsePasswords(r io.Reader) (map[string]passwordHash, error) {
	users := make(map[string]passwordHash)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d: want NAME:HASH", n)
		}
		h, err := parseHash(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		users[name] = h
		if h.iterations >= users[decoy].iterations {
			users[decoy] = h
		}
	}
	return users, lines.Err()
}

func parseHash(text string) (h passwordHash, err error) {
	part := strings.Split(text, "$")
	switch {
	case len(part) == 4 && part[0] == "" && part[1] == "6":
	case len(part) == 5 && part[0] == "" && part[1] == "7":
		h.iterations, err = strconv.Atoi(part[2])
		if err != nil || h.iterations < 1 || h.iterations > maxIterations {
			return h, errors.New("bad number of iterations")
		}
	default:
		return h, errors.New("the password is not hashed in a known way ($6$ or $7$)")
	}
	if h.salt, err = base64.StdEncoding.DecodeString(part[len(part)-2]); err != nil {
		return h, fmt.Errorf("salt: %w", err)
	}
	if h.sum, err = base64.StdEncoding.DecodeString(part[len(part)-1]); err != nil {
		return h, fmt.Errorf("hash: %w", err)
	}
	if len(h.sum) != sha512.Size {
		return h, errors.New("the hash has not the size of SHA-512")
	}
	return h, nil
}
