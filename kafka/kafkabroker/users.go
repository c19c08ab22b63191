package kafkabroker

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/quartet-mq/quartet/internal/sasl"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// users are the broker's own users: what is kept of their passwords for SCRAM, by mechanism. It is safe for concurrent use.
type users struct {
	slots    chan struct{}   // one is taken while a password is checked
	stranger sasl.Credential // for the time that the password of a user takes who does not exist
	changing sync.Mutex      // held while a change is written
	mu       sync.RWMutex
	all      map[userKey]sasl.Credential
}

// userKey names a credential.
type userKey struct{ name, mechanism string }

// meta is the key in the metadata.
func (k userKey) meta() string { return k.mechanism + "\x00" + k.name }

// defaultIterations are those of the passwords of Broker.SetUser.
const defaultIterations = 8192

// maxUsers bounds the credentials of a broker.
const maxUsers = 100_000

// loadUsers reads the users.
func (b *Broker) loadUsers() error {
	u := &b.users
	u.all = make(map[userKey]sasl.Credential)
	u.slots = make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)) // who guesses passwords gets half of the machine at most
	u.stranger = sasl.Credential{Mechanism: sasl.SCRAMSHA512, Iterations: defaultIterations, Salt: make([]byte, 16),
		StoredKey: make([]byte, 64), ServerKey: make([]byte, 64)}
	return b.eachMeta(metaScramUser, func(key string, value []byte) error {
		mechanism, name, ok := strings.Cut(key, "\x00")
		c, err := sasl.ParseCredential(string(value))
		if err != nil || !ok || c.Mechanism != mechanism {
			return &corruptError{"the metadata journal", 0, "a user is cut short or not for its mechanism"}
		}
		u.all[userKey{name, mechanism}] = c
		return nil
	})
}

// SetUser makes a user of the broker, or changes the password, and returns when that is durable. The user can log in with
// SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN. An empty name, or a password that SCRAM does not take, is an error that wraps
// UNACCEPTABLE_CREDENTIAL.
func (b *Broker) SetUser(name, password string) error {
	var changes []credentialChange
	for _, mechanism := range []string{sasl.SCRAMSHA256, sasl.SCRAMSHA512} {
		c, err := sasl.NewCredential(mechanism, password, nil, defaultIterations)
		if err != nil {
			return logError(kafkawire.ErrUnacceptableCredential, "%v", err)
		}
		changes = append(changes, credentialChange{userKey{name, mechanism}, c})
	}
	return b.changeUsers(changes)
}

// DeleteUser deletes a user of the broker and returns when that is durable. One that is not there is an error that wraps
// RESOURCE_NOT_FOUND. Connections of the user stay.
func (b *Broker) DeleteUser(name string) error {
	b.users.mu.RLock()
	var changes []credentialChange
	for k := range b.users.all {
		if k.name == name {
			changes = append(changes, credentialChange{key: k})
		}
	}
	b.users.mu.RUnlock()
	if len(changes) == 0 {
		return logError(kafkawire.ErrResourceNotFound, "there is no user %q", name)
	}
	return b.changeUsers(changes)
}

// Users returns the names of the users of the broker, in order.
func (b *Broker) Users() []string {
	b.users.mu.RLock()
	defer b.users.mu.RUnlock()
	names := make(map[string]bool)
	for k := range b.users.all {
		names[k.name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// credentialChange sets a credential. The zero Credential deletes it.
type credentialChange struct {
	key userKey
	to  sasl.Credential
}

// deletes reports whether the change is a deletion.
func (c *credentialChange) deletes() bool { return c.to.Mechanism == "" }

// changeUsers makes changes, all or none, and returns when they are durable.
func (b *Broker) changeUsers(list []credentialChange) error {
	u := &b.users
	u.changing.Lock()
	defer u.changing.Unlock()
	var changes []metaChange
	for i := range list {
		c := &list[i]
		if c.key.name == "" {
			return logError(kafkawire.ErrUnacceptableCredential, "the name of a user is empty")
		}
		m := metaChange{kind: metaScramUser, key: c.key.meta()}
		if !c.deletes() {
			m.value = []byte(c.to.Text())
		}
		changes = append(changes, m)
	}
	u.mu.RLock()
	n := len(u.all)
	more := 0
	for i := range list {
		if _, ok := u.all[list[i].key]; !ok && !list[i].deletes() {
			more++
		}
	}
	u.mu.RUnlock()
	if more > 0 && n+more > maxUsers {
		return logError(kafkawire.ErrPolicyViolation, "there are too many users: at most %d", maxUsers)
	}
	if err := b.setMeta(changes...); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range list {
		if c := &list[i]; c.deletes() {
			delete(u.all, c.key)
		} else {
			u.all[c.key] = c.to
		}
	}
	return nil
}

// credential returns what is kept of a user's password for a mechanism.
func (u *users) credential(mechanism, name string) (c sasl.Credential, ok bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	c, ok = u.all[userKey{name, mechanism}]
	return c, ok
}

// The reasons to refuse a client.
var (
	errNoUser  = errors.New("kafkabroker: wrong password, or no such user")
	errNoLogin = errors.New("kafkabroker: the client does not say who it is")
)

// authenticate is the [Authenticator] of the broker's own users: it lets those in who have proved with SCRAM that they know
// the password, or who say it, and clients with a verified certificate.
func (b *Broker) authenticate(ctx context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (login kafkaserver.Login, err error) {
	switch {
	case sasl.IsSCRAM(a.Mechanism), a.Mechanism == "" && a.User != "":
		return login, nil
	case a.Mechanism == sasl.Plain:
		return login, b.users.check(ctx, a.User, a.Password)
	}
	return login, errNoLogin
}

// CheckPassword checks the password of a user of the broker, as a login with PLAIN does: for an [Authenticator] of one's own.
// It computes for some milliseconds, for users who do not exist too, and waits while many others do so. Any error says that
// the client is not to be let in.
func (b *Broker) CheckPassword(ctx context.Context, user, password string) error {
	return b.users.check(ctx, user, password)
}

// check checks a password. It takes as long for users who do not exist.
func (u *users) check(ctx context.Context, name, password string) error {
	c, ok := u.credential(sasl.SCRAMSHA512, name)
	if !ok {
		c, ok = u.credential(sasl.SCRAMSHA256, name)
	}
	if !ok {
		c = u.stranger
	}
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-u.slots }()
	if !c.Verify(password) || !ok {
		return errNoUser
	}
	return nil
}

// Credential implements [kafkaserver.SCRAM] for the first node.
func (b *Broker) Credential(ctx context.Context, c *kafkaserver.Conn, mechanism, user string) (kafkaserver.Credential, error) {
	return b.nodes[0].Credential(ctx, c, mechanism, user)
}

// Credential implements [kafkaserver.SCRAM]. Users who do not exist look as those of SetUser.
func (n *node) Credential(_ context.Context, _ *kafkaserver.Conn, mechanism, user string) (kafkaserver.Credential, error) {
	c, ok := n.b.users.credential(mechanism, user)
	if !ok {
		return kafkaserver.Credential{Iterations: defaultIterations}, nil
	}
	return c, nil
}
