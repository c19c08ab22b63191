package amqpbroker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// User is a user of the broker. The fields have the names of RabbitMQ's definitions in JSON.
type User struct {
	Name string `json:"name"`
	// PasswordHash is what [HashPassword] returns. The user of an empty one cannot log in with a password, but with a
	// certificate.
	PasswordHash string `json:"password_hash"`
	// HashingAlgorithm tells how the password is hashed. Empty is SHA-256 for users that are set; in a file of definitions
	// it is MD5, as in RabbitMQ before 3.6.
	HashingAlgorithm HashingAlgorithm `json:"hashing_algorithm"`
	// Tags are what the user may do with the management API, see [TagAdministrator]; others mean nothing here.
	Tags UserTags `json:"tags"`
	// Limits are max-connections and max-channels; those that are not there or negative do not limit.
	Limits map[string]int64 `json:"limits,omitzero"`
}

// The tags of users that give rights in the management API.
const (
	TagAdministrator = "administrator" // everything
	TagMonitoring    = "monitoring"    // sees everything but users; what TagManagement may
	TagPolicymaker   = "policymaker"   // policies and parameters in its virtual hosts; what TagManagement may
	TagManagement    = "management"    // what the user could do over AMQP in its virtual hosts
	TagImpersonator  = "impersonator"  // may publish with the user-id of another user
)

// UserTags are the tags of a user. In JSON they are an array; a string with commas between them is understood too.
type UserTags []string

// MarshalJSON encodes an array.
func (t UserTags) MarshalJSON() ([]byte, error) {
	if t == nil {
		t = UserTags{}
	}
	return json.Marshal([]string(t))
}

// UnmarshalJSON decodes an array of strings or a string.
func (t *UserTags) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		var text string
		if json.Unmarshal(b, &text) != nil {
			return errors.New("tags should be a list of strings or a string")
		}
		list = strings.Split(text, ",")
	}
	*t = UserTags{}
	for _, tag := range list {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(*t, tag) {
			*t = append(*t, tag)
		}
	}
	return nil
}

// Has reports whether a tag is among t.
func (t UserTags) Has(tag string) bool { return slices.Contains(t, tag) }

// UnmarshalJSON decodes a user. One with a password in the clear, under "password", gets its hash, as in RabbitMQ.
func (u *User) UnmarshalJSON(b []byte) error {
	type plain User
	in := struct {
		*plain
		Password *string `json:"password"`
	}{plain: (*plain)(u)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if in.Password == nil {
		return nil
	}
	if u.PasswordHash != "" {
		return invalid("user %s has both a password and a password_hash", u.Name)
	}
	if u.HashingAlgorithm != HashingSHA512 {
		u.HashingAlgorithm = HashingSHA256
	}
	u.PasswordHash = hashWith(u.HashingAlgorithm, *in.Password)
	return nil
}

// user is a user in the registry. It does not change.
type user struct {
	User
	hash passwordHash
}

// checkUser checks what can be wrong with a user, and fills in what it leaves out.
func checkUser(u *User) (passwordHash, error) {
	if u.Name == "" {
		return passwordHash{}, invalid("the name of a user must not be empty")
	}
	if err := checkName(u.Name); err != nil {
		return passwordHash{}, err
	}
	if u.HashingAlgorithm == "" {
		u.HashingAlgorithm = HashingSHA256
	}
	if len(u.Limits) == 0 {
		u.Limits = nil
	}
	h, err := parseHash(u.PasswordHash, u.HashingAlgorithm)
	if err != nil {
		return h, fmt.Errorf("user %s: %w", u.Name, err)
	}
	for name, n := range u.Limits {
		if err := checkUserLimit(name, n); err != nil {
			return h, err
		}
	}
	return h, nil
}

// errLogin is why a user is refused. It is not told to the peer.
var (
	errLogin    = errors.New("unknown user or wrong password")
	errLoopback = errors.New("user can only connect via localhost")
)

// login checks a password. Users that are not there take as long as others. addr is where the client comes from: the users
// that Options.LoopbackUsers names must come from this machine.
func (r *registry) login(name, password string, addr net.Addr) error {
	r.mu.RLock()
	u, local := r.users[name], slices.Contains(r.loopback, name)
	r.mu.RUnlock()
	h := passwordHash{algorithm: HashingSHA256} // which takes as long and matches nothing
	if u != nil {
		h = u.hash
	}
	switch ok := h.matches(password); {
	case u == nil || !ok || password == "":
		return errLogin
	case local && !isLocal(addr):
		return errLoopback
	}
	return nil
}

// known is login for a user whose name was proved without a password, by a certificate for instance.
func (r *registry) known(name string, addr net.Addr) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch {
	case r.users[name] == nil:
		return errLogin
	case slices.Contains(r.loopback, name) && !isLocal(addr):
		return errLoopback
	}
	return nil
}

// isLocal reports whether an address is of this machine: a loopback address, or of a network within it.
func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UDPAddr:
		return a.IP.IsLoopback()
	case nil:
		return false
	}
	switch addr.Network() {
	case "unix", "pipe", "mem":
		return true
	}
	return false
}

// user returns a user; ok is false when there is none.
func (r *registry) user(name string) (u User, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if found := r.users[name]; found != nil {
		return found.User, true
	}
	return User{}, false
}

// mayClaim checks the user-id of a message from a user.
func (r *registry) mayClaim(name string, userID []byte) error {
	if string(userID) == name {
		return nil
	}
	if u, _ := r.user(name); u.Tags.Has(TagImpersonator) {
		return nil
	}
	return amqp091.SoftError(amqp091.PreconditionFailed,
		"user_id property set to '%s' but authenticated user was '%s'", userID, name)
}
