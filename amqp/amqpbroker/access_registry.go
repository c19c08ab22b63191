package amqpbroker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// registry is what an operator has set: users, permissions, limits, policies and parameters. All of it is settings, see
// setting. It is safe for concurrent use and keeps nothing on disk: who changes it checks the setting, writes it where it
// is safe, and applies it then. Replaying the same settings gives the same registry.
type registry struct {
	gen      atomic.Uint64 // grows with each change, after it
	loopback []string      // users who must come from this machine

	unregistered *permission // of users who are none of users; nil for none. It does not change

	mu         sync.RWMutex
	users      map[string]*user
	permits    map[userVhost]*permission
	topics     map[userVhost]map[string]*topicPermission // by exchange; never changed, but replaced
	limits     map[string]map[string]int64               // of virtual hosts; never changed, but replaced
	policies   map[string]*policySet                     // by virtual host
	operator   map[string]*policySet
	parameters map[parameterKey]json.RawMessage
	globals    map[string]json.RawMessage
}

type userVhost struct{ user, vhost string }

type parameterKey struct{ component, vhost, name string }

// newRegistry returns an empty registry. loopback are the users who must come from this machine.
func newRegistry(loopback []string) *registry {
	return &registry{
		loopback:   loopback,
		users:      map[string]*user{},
		permits:    map[userVhost]*permission{},
		topics:     map[userVhost]map[string]*topicPermission{},
		limits:     map[string]map[string]int64{},
		policies:   map[string]*policySet{},
		operator:   map[string]*policySet{},
		parameters: map[parameterKey]json.RawMessage{},
		globals:    map[string]json.RawMessage{},
	}
}

// generation returns a number that is another after each change.
func (r *registry) generation() uint64 { return r.gen.Load() }

// settingKind is what a setting is about.
type settingKind string

const (
	settingUser            settingKind = "user"             // Name; *User
	settingPermission      settingKind = "permission"       // Vhost, Name is the user; *Permission
	settingTopicPermission settingKind = "topic-permission" // Vhost, Name is the user, Sub the exchange; *TopicPermission
	settingVhostLimits     settingKind = "vhost-limits"     // Vhost; *map[string]int64
	settingPolicy          settingKind = "policy"           // Vhost, Name; *Policy
	settingOperatorPolicy  settingKind = "operator-policy"  // Vhost, Name; *Policy
	settingParameter       settingKind = "parameter"        // Vhost, Name, Sub is the component; json.RawMessage
	settingGlobal          settingKind = "global"           // Name; json.RawMessage
)

// setting is one thing that an operator has set, or, without a value, has removed. It is encoded in JSON. The kind and the
// names are what a later setting replaces.
type setting struct {
	Kind  settingKind     `json:"kind"`
	Vhost string          `json:"vhost,omitempty"`
	Name  string          `json:"name,omitempty"`
	Sub   string          `json:"sub,omitempty"`
	Value json.RawMessage `json:"value,omitempty"` // nil: removed
}

// settingKey is what tells settings apart.
type settingKey struct {
	kind             settingKind
	vhost, name, sub string
}

func (s setting) key() settingKey { return settingKey{s.Kind, s.Vhost, s.Name, s.Sub} }

// removal returns the setting that removes s.
func (s setting) removal() setting {
	return setting{Kind: s.Kind, Vhost: s.Vhost, Name: s.Name, Sub: s.Sub}
}

// append appends the encoded setting.
func (s setting) append(dst []byte) []byte { return append(dst, mustJSON(s)...) }

func decodeSetting(b []byte) (s setting, err error) {
	err = json.Unmarshal(b, &s)
	return s, err
}

// mustJSON encodes a value that can be encoded.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of this package that has no form in JSON
	}
	return b
}

// invalidError says what is wrong with a setting, in RabbitMQ's words where it has them.
type invalidError struct{ text string }

// Error returns the text.
func (e *invalidError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &invalidError{fmt.Sprintf(format, args...)} }

// userSetting checks a user.
func userSetting(u User) (setting, error) {
	if _, err := checkUser(&u); err != nil {
		return setting{}, err
	}
	return setting{Kind: settingUser, Name: u.Name, Value: mustJSON(u)}, nil
}

// permissionSetting checks a permission, but not whether there is the user.
func permissionSetting(p Permission) (setting, error) {
	if _, err := compilePermission(p); err != nil {
		return setting{}, err
	}
	return setting{Kind: settingPermission, Vhost: p.Vhost, Name: p.User, Value: mustJSON(p)}, nil
}

// topicPermissionSetting checks a permission, but not whether there are the user and the exchange.
func topicPermissionSetting(p TopicPermission) (setting, error) {
	if _, err := compileTopicPermission(p); err != nil {
		return setting{}, err
	}
	return setting{Kind: settingTopicPermission, Vhost: p.Vhost, Name: p.User, Sub: p.Exchange, Value: mustJSON(p)}, nil
}

// policySetting checks a policy, of an operator or not.
func policySetting(p Policy, operator bool) (setting, error) {
	kind := settingPolicy
	if operator {
		kind = settingOperatorPolicy
	}
	c, err := compilePolicy(p, operator)
	if err != nil {
		return setting{}, err
	}
	return setting{Kind: kind, Vhost: p.Vhost, Name: p.Name, Value: mustJSON(c.Policy)}, nil
}

// vhostLimitsSetting checks all limits of a virtual host; none are a removal.
func vhostLimitsSetting(vhost string, limits map[string]int64) (setting, error) {
	s := setting{Kind: settingVhostLimits, Vhost: vhost}
	for name, n := range limits {
		if err := checkVhostLimit(name, n); err != nil {
			return setting{}, err
		}
	}
	if len(limits) > 0 {
		s.Value = mustJSON(limits)
	}
	return s, nil
}

// apply makes a setting effective. It must be one that was checked. One that cannot be read is an error, and changes nothing.
func (r *registry) apply(s setting) error {
	r.mu.Lock()
	err := r.set(s)
	r.mu.Unlock()
	r.gen.Add(1)
	return err
}

func (r *registry) set(s setting) error {
	switch s.Kind {
	case settingUser:
		return setIn(r.users, s.Name, s.Value, func(u User) (*user, error) {
			h, err := checkUser(&u)
			return &user{u, h}, err
		})
	case settingPermission:
		return setIn(r.permits, userVhost{s.Name, s.Vhost}, s.Value, compilePermission)
	case settingTopicPermission:
		at := userVhost{s.Name, s.Vhost}
		all := map[string]*topicPermission{}
		for exchange, p := range r.topics[at] {
			all[exchange] = p
		}
		if err := setIn(all, s.Sub, s.Value, compileTopicPermission); err != nil {
			return err
		}
		if r.topics[at] = all; len(all) == 0 {
			delete(r.topics, at)
		}
	case settingVhostLimits:
		return setIn(r.limits, s.Vhost, s.Value, func(l map[string]int64) (map[string]int64, error) { return l, nil })
	case settingPolicy:
		return setPolicy(r.policies, s, false)
	case settingOperatorPolicy:
		return setPolicy(r.operator, s, true)
	case settingParameter:
		setRaw(r.parameters, parameterKey{s.Sub, s.Vhost, s.Name}, s.Value)
	case settingGlobal:
		setRaw(r.globals, s.Name, s.Value)
	default:
		return fmt.Errorf("unknown kind of setting %q", s.Kind)
	}
	return nil
}

// setIn sets what JSON says in a map, or removes it when there is none.
func setIn[K comparable, J, V any](m map[K]V, key K, value json.RawMessage, compile func(J) (V, error)) error {
	if value == nil {
		delete(m, key)
		return nil
	}
	var j J
	if err := json.Unmarshal(value, &j); err != nil {
		return err
	}
	v, err := compile(j)
	if err != nil {
		return err
	}
	m[key] = v
	return nil
}

func setRaw[K comparable](m map[K]json.RawMessage, key K, value json.RawMessage) {
	if value == nil {
		delete(m, key)
		return
	}
	m[key] = value
}

// rights returns the permissions of a user in a virtual host; nil are none.
func (r *registry) rights(user, vhost string) (*permission, map[string]*topicPermission) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at := userVhost{user, vhost}
	return r.permits[at], r.topics[at]
}

// effective is rights with what users may do who are not registered.
func (r *registry) effective(user, vhost string) (*permission, map[string]*topicPermission) {
	rights, topics := r.rights(user, vhost)
	if rights == nil && r.unregistered != nil {
		if _, ok := r.user(user); !ok {
			rights = r.unregistered
		}
	}
	return rights, topics
}

// settings returns everything, in an order that depends on nothing but the content.
func (r *registry) settings() []setting {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []setting
	for _, u := range r.users {
		out = append(out, setting{Kind: settingUser, Name: u.Name, Value: mustJSON(u.User)})
	}
	for at, p := range r.permits {
		out = append(out, setting{Kind: settingPermission, Vhost: at.vhost, Name: at.user, Value: mustJSON(p.Permission)})
	}
	for at, all := range r.topics {
		for exchange, p := range all {
			out = append(out, setting{settingTopicPermission, at.vhost, at.user, exchange, mustJSON(p.TopicPermission)})
		}
	}
	for vhost, limits := range r.limits {
		out = append(out, setting{Kind: settingVhostLimits, Vhost: vhost, Value: mustJSON(limits)})
	}
	for vhost, set := range r.policies {
		for _, p := range set.list {
			out = append(out, setting{Kind: settingPolicy, Vhost: vhost, Name: p.Name, Value: mustJSON(p.Policy)})
		}
	}
	for vhost, set := range r.operator {
		for _, p := range set.list {
			out = append(out, setting{Kind: settingOperatorPolicy, Vhost: vhost, Name: p.Name, Value: mustJSON(p.Policy)})
		}
	}
	for at, value := range r.parameters {
		out = append(out, setting{settingParameter, at.vhost, at.name, at.component, value})
	}
	for name, value := range r.globals {
		out = append(out, setting{Kind: settingGlobal, Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b setting) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Sub, b.Sub))
	})
	return out
}

// ofUser returns what must be removed with a user, the user included.
func (r *registry) ofUser(name string) []setting {
	return removals(r.settings(), func(s setting) bool {
		switch s.Kind {
		case settingUser, settingPermission, settingTopicPermission:
			return s.Name == name
		}
		return false
	})
}

// ofVhost returns what must be removed with a virtual host.
func (r *registry) ofVhost(name string) []setting {
	return removals(r.settings(), func(s setting) bool {
		return s.Kind != settingUser && s.Kind != settingGlobal && s.Vhost == name
	})
}

func removals(all []setting, wanted func(setting) bool) (out []setting) {
	for _, s := range all {
		if wanted(s) {
			out = append(out, s.removal())
		}
	}
	return out
}
