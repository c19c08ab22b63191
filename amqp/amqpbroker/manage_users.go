package amqpbroker

import (
	"encoding/json"
	"net/http"
	"slices"
)

func listUsers(list []User) any {
	for i := range list {
		if list[i].Limits == nil {
			list[i].Limits = map[string]int64{}
		}
	}
	return listOf(list, func(u *User) string { return u.Name })
}

func (c *call) listUsers() (any, error) { return listUsers(c.m.b.settingsOf().allUsers()), nil }

func (c *call) usersWithoutPermissions() (any, error) {
	has := map[string]bool{}
	for _, p := range c.m.b.settingsOf().allPermissions() {
		has[p.User] = true
	}
	list := slices.DeleteFunc(c.m.b.settingsOf().allUsers(), func(u User) bool { return has[u.Name] })
	return listUsers(list), nil
}

func (c *call) getUser() (any, error) {
	u, ok := c.m.b.settingsOf().user(c.vars["user"])
	if !ok {
		return nil, errNotFound
	}
	if u.Limits == nil {
		u.Limits = map[string]int64{}
	}
	return u, nil
}

func (c *call) putUser() (any, error) {
	in, err := c.body()
	if err != nil {
		return nil, err
	}
	old, there := c.m.b.settingsOf().user(c.vars["user"])
	u := User{Name: c.vars["user"], Limits: old.Limits}
	raw, ok := in["tags"]
	if !ok {
		return nil, badRequest("tags_not_present")
	}
	if err := json.Unmarshal(raw, &u.Tags); err != nil {
		return nil, badRequest(err.Error())
	}
	_, hasPassword := in["password"]
	_, hasHash := in["password_hash"]
	algorithm, err := in.text("hashing_algorithm")
	if err != nil {
		return nil, err
	}
	switch {
	case hasPassword && hasHash:
		return nil, badRequest("both_password_and_password_hash_are_provided")
	case hasPassword:
		password, err := in.text("password")
		if err != nil {
			return nil, err
		}
		u.HashingAlgorithm = HashingSHA256
		if a := HashingAlgorithm(algorithm); a == HashingSHA512 {
			u.HashingAlgorithm = a
		}
		u.PasswordHash = hashWith(u.HashingAlgorithm, password)
	case hasHash:
		if u.PasswordHash, err = in.text("password_hash"); err != nil {
			return nil, err
		}
		u.HashingAlgorithm = HashingAlgorithm(algorithm)
	}
	s, err := userSetting(u)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	if _, err := c.set(s); err != nil {
		return nil, err
	}
	return created(!there), nil
}

func (c *call) deleteUser() (any, error) {
	list := c.m.b.settingsOf().ofUser(c.vars["user"])
	if _, ok := c.m.b.settingsOf().user(c.vars["user"]); !ok {
		return nil, errNotFound
	}
	if _, err := c.set(list...); err != nil {
		return nil, err
	}
	c.m.b.closeConnections(func(v *connView) bool { return v.User == c.vars["user"] }, "user '"+c.vars["user"]+"' was deleted")
	return deleted, nil
}

func (c *call) deleteUsers() (any, error) {
	in, err := c.body("users")
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(in["users"], &names); err != nil {
		return nil, badRequest("users should be a list")
	}
	for _, name := range names {
		if _, ok := c.m.b.settingsOf().user(name); !ok {
			return nil, badRequest([]string{"no_such_user", name})
		}
	}
	for _, name := range names {
		c.vars = map[string]string{"user": name}
		if _, err := c.deleteUser(); err != nil {
			return nil, err
		}
	}
	return deleted, nil
}

// allPermissions returns the permissions, sorted by virtual host and user.
func (r *registry) allPermissions() (out []Permission) {
	return ofKind[Permission](r, settingPermission)
}

// allTopicPermissions returns the topic permissions.
func (r *registry) allTopicPermissions() []TopicPermission {
	return ofKind[TopicPermission](r, settingTopicPermission)
}

// ofKind returns the settings of a kind, decoded.
func ofKind[T any](r *registry, kind settingKind) []T {
	out := []T{}
	for _, s := range r.settings() {
		if s.Kind == kind {
			out = append(out, decodeJSON[T](s.Value))
		}
	}
	return out
}

// wantedPermissions returns the permissions that the path is about.
func (c *call) wantedPermissions() any {
	list := slices.DeleteFunc(c.m.b.settingsOf().allPermissions(), func(p Permission) bool { return !c.about(p.User, p.Vhost) })
	return listOf(list, func(p *Permission) string { return p.User })
}

// about reports whether the path is about a user and a virtual host; it need not name any.
func (c *call) about(user, vhost string) bool {
	u, hasUser := c.vars["user"]
	v, hasVhost := c.vars["vhost"]
	return (!hasUser || u == user) && (!hasVhost || v == vhost)
}

func (c *call) permissions() (any, error) { return c.wantedPermissions(), nil }

func (c *call) vhostPermissions() (any, error) {
	if !c.m.b.hasVhost(c.vars["vhost"]) {
		return nil, errNotFound
	}
	return c.wantedPermissions(), nil
}

func (c *call) userPermissions() (any, error) {
	if _, ok := c.m.b.settingsOf().user(c.vars["user"]); !ok {
		return nil, errNotFound
	}
	return c.wantedPermissions(), nil
}

// both checks that there are the user and the virtual host of the path.
func (c *call) both() error {
	if _, ok := c.m.b.settingsOf().user(c.vars["user"]); !ok || !c.m.b.hasVhost(c.vars["vhost"]) {
		if c.r.Method == http.MethodPut {
			return badRequest("vhost_or_user_not_found")
		}
		return errNotFound
	}
	return nil
}

func (c *call) getPermission() (any, error) {
	rights, _ := c.m.b.settingsOf().rights(c.vars["user"], c.vars["vhost"])
	if rights == nil {
		return nil, errNotFound
	}
	return rights.Permission, nil
}

func (c *call) putPermission() (any, error) {
	if err := c.both(); err != nil {
		return nil, err
	}
	in, err := c.body("configure", "write", "read")
	if err != nil {
		return nil, err
	}
	p := Permission{User: c.vars["user"], Vhost: c.vars["vhost"]}
	for name, to := range map[string]*string{"configure": &p.Configure, "write": &p.Write, "read": &p.Read} {
		if *to, err = in.text(name); err != nil {
			return nil, err
		}
	}
	s, err := permissionSetting(p)
	if err != nil {
		return nil, badRequest([]string{"invalid_regexp", err.Error()})
	}
	old, _ := c.m.b.settingsOf().rights(p.User, p.Vhost)
	if _, err := c.set(s); err != nil {
		return nil, err
	}
	return created(old == nil), nil
}

func (c *call) deletePermission() (any, error) {
	if _, err := c.getPermission(); err != nil {
		return nil, err
	}
	return c.set(setting{Kind: settingPermission, Vhost: c.vars["vhost"], Name: c.vars["user"]})
}

func (c *call) wantedTopicPermissions() []TopicPermission {
	exchange, one := c.vars["exchange"]
	return slices.DeleteFunc(c.m.b.settingsOf().allTopicPermissions(), func(p TopicPermission) bool {
		return !c.about(p.User, p.Vhost) || one && p.Exchange != exchange
	})
}

func (c *call) topicPermissions() (any, error) {
	return listOf(c.wantedTopicPermissions(), func(p *TopicPermission) string { return p.User }), nil
}

func (c *call) vhostTopicPermissions() (any, error) {
	if !c.m.b.hasVhost(c.vars["vhost"]) {
		return nil, errNotFound
	}
	return c.topicPermissions()
}

func (c *call) userTopicPermissions() (any, error) {
	if _, ok := c.m.b.settingsOf().user(c.vars["user"]); !ok {
		return nil, errNotFound
	}
	return c.topicPermissions()
}

func (c *call) getTopicPermission() (any, error) {
	list := c.wantedTopicPermissions()
	if len(list) == 0 {
		return nil, errNotFound
	}
	return listOf(list, func(p *TopicPermission) string { return p.Exchange }), nil
}

func (c *call) putTopicPermission() (any, error) {
	if err := c.both(); err != nil {
		return nil, err
	}
	in, err := c.body("exchange", "write", "read")
	if err != nil {
		return nil, err
	}
	p := TopicPermission{User: c.vars["user"], Vhost: c.vars["vhost"]}
	for name, to := range map[string]*string{"exchange": &p.Exchange, "write": &p.Write, "read": &p.Read} {
		if *to, err = in.text(name); err != nil {
			return nil, err
		}
	}
	s, err := topicPermissionSetting(p)
	if err != nil {
		return nil, badRequest([]string{"invalid_regexp", err.Error()})
	}
	isNew := !slices.ContainsFunc(c.wantedTopicPermissions(), func(o TopicPermission) bool { return o.Exchange == p.Exchange })
	if _, err := c.set(s); err != nil {
		return nil, err
	}
	return created(isNew), nil
}

// deleteTopicPermission removes one, or those of all exchanges.
func (c *call) deleteTopicPermission() (any, error) {
	list := c.wantedTopicPermissions()
	if len(list) == 0 {
		return nil, errNotFound
	}
	var gone []setting
	for _, p := range list {
		gone = append(gone, setting{Kind: settingTopicPermission, Vhost: p.Vhost, Name: p.User, Sub: p.Exchange})
	}
	return c.set(gone...)
}
