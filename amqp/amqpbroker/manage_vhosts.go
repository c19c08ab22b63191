package amqpbroker

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// finishVhost adds what only the handler knows.
func (c *call) finishVhost(v *vhostView) {
	v.ClusterState = map[string]string{c.m.node: "running"}
	if v.Tags == nil {
		v.Tags = UserTags{}
	}
	if v.DefaultQueueType == "" {
		v.DefaultQueueType = "undefined"
	}
	v.Metadata.Description, v.Metadata.Tags = v.Description, v.Tags
}

func (c *call) listVhosts() (any, error) {
	var out []vhostView
	for _, v := range c.m.b.vhostViews() {
		if c.sees(v.Name) {
			c.finishVhost(&v)
			out = append(out, v)
		}
	}
	return listOf(out, func(v *vhostView) string { return v.Name }), nil
}

func (c *call) getVhost() (any, error) {
	for _, v := range c.m.b.vhostViews() {
		if v.Name == c.vars["name"] {
			if !c.sees(v.Name) {
				return nil, &apiError{http.StatusUnauthorized, "not_authorised", "User not authorised to access virtual host"}
			}
			c.finishVhost(&v)
			return v, nil
		}
	}
	return nil, errNotFound
}

// putVhost makes or changes a virtual host. Who makes one may do everything in it.
func (c *call) putVhost() (any, error) {
	if err := c.admit(accessAdmin); err != nil {
		return nil, err
	}
	in, err := c.body()
	if err != nil {
		return nil, err
	}
	d := VhostDefinition{Name: c.vars["name"]}
	if d.Name == "" {
		return nil, badRequest("the name of a vhost must not be empty")
	}
	if err := checkName(d.Name); err != nil {
		return nil, err
	}
	if d.Metadata.Description, err = in.text("description"); err != nil {
		return nil, err
	}
	if raw, ok := in["tags"]; ok {
		if err := json.Unmarshal(raw, &d.Metadata.Tags); err != nil {
			return nil, badRequest(err.Error())
		}
	}
	if d.Metadata.DefaultQueueType, err = in.text("default_queue_type"); err != nil {
		return nil, err
	}
	if d.Tracing, err = in.flag("tracing"); err != nil {
		return nil, err
	}
	isNew, err := c.m.b.putVhost(c.r.Context(), d)
	if err != nil {
		return nil, err
	}
	if _, ok := c.m.b.settingsOf().user(c.user.Name); isNew && ok {
		s, err := permissionSetting(Permission{c.user.Name, d.Name, ".*", ".*", ".*"})
		if err == nil {
			err = c.m.b.change(c.r.Context(), []setting{s})
		}
		if err != nil {
			return nil, err
		}
	}
	return created(isNew), nil
}

func (c *call) deleteVhost() (any, error) {
	if err := c.admit(accessAdmin); err != nil {
		return nil, err
	}
	if !c.m.b.hasVhost(c.vars["name"]) {
		return nil, errNotFound
	}
	if err := c.m.b.dropVhost(c.r.Context(), c.vars["name"]); err != nil {
		return nil, err
	}
	return deleted, nil
}

func (c *call) startVhost() (any, error) { return deleted, nil }

// limitsView is the limits of a virtual host or a user.
type limitsView struct {
	Vhost string           `json:"vhost,omitempty"`
	User  string           `json:"user,omitempty"`
	Value map[string]int64 `json:"value"`
}

func (c *call) vhostLimits() (any, error) {
	r := c.m.b.settingsOf()
	out := []limitsView{}
	for _, vhost := range c.vhosts() {
		if l := r.limitsOf(vhost); len(l) > 0 {
			out = append(out, limitsView{Vhost: vhost, Value: l})
		}
	}
	return listOf(out, func(v *limitsView) string { return v.Vhost }), nil
}

// limitsOf returns the limits of a virtual host; they must not be changed.
func (r *registry) limitsOf(vhost string) map[string]int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.limits[vhost]
}

// limit reads the value of a limit.
func (c *call) limit() (int64, error) {
	in, err := c.body("value")
	if err != nil {
		return 0, err
	}
	var n int64
	if json.Unmarshal(in["value"], &n) != nil {
		var v any
		if err := json.Unmarshal(in["value"], &v); err != nil {
			return 0, err
		}
		return 0, invalid("%s should be a number, actually was %s", c.vars["limit"], erlangTerm(v))
	}
	return n, nil
}

// setVhostLimit changes one limit; nil removes it.
func (c *call) setVhostLimit(n *int64) (any, error) {
	vhost := c.vars["vhost"]
	if !c.m.b.hasVhost(vhost) {
		return nil, &apiError{http.StatusNotFound, "not_found", "vhost_not_found"}
	}
	l := maps.Clone(c.m.b.settingsOf().limitsOf(vhost))
	if l == nil {
		l = map[string]int64{}
	}
	if n == nil {
		delete(l, c.vars["limit"])
	} else {
		l[c.vars["limit"]] = *n
	}
	s, err := vhostLimitsSetting(vhost, l)
	if err != nil {
		return nil, err
	}
	return c.set(s)
}

// set makes settings effective.
func (c *call) set(list ...setting) (any, error) {
	if err := c.m.b.change(c.r.Context(), list); err != nil {
		return nil, err
	}
	return deleted, nil
}

func (c *call) putVhostLimit() (any, error) {
	n, err := c.limit()
	if err != nil {
		return nil, err
	}
	return c.setVhostLimit(&n)
}

func (c *call) deleteVhostLimit() (any, error) { return c.setVhostLimit(nil) }

func (c *call) userLimits() (any, error) {
	out := []limitsView{}
	name, one := c.vars["user"]
	for _, u := range c.m.b.settingsOf().allUsers() {
		if len(u.Limits) > 0 && (!one || u.Name == name) && (c.monitors() || u.Name == c.user.Name) {
			out = append(out, limitsView{User: u.Name, Value: u.Limits})
		}
	}
	return listOf(out, func(v *limitsView) string { return v.User }), nil
}

// setUserLimit changes one limit; nil removes it.
func (c *call) setUserLimit(n *int64) (any, error) {
	u, ok := c.m.b.settingsOf().user(c.vars["user"])
	if !ok {
		return nil, badRequest([]string{"no_such_user", c.vars["user"]})
	}
	u.Limits = maps.Clone(u.Limits)
	if u.Limits == nil {
		u.Limits = map[string]int64{}
	}
	if n == nil {
		delete(u.Limits, c.vars["limit"])
	} else {
		u.Limits[c.vars["limit"]] = *n
	}
	s, err := userSetting(u)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return c.set(s)
}

func (c *call) putUserLimit() (any, error) {
	n, err := c.limit()
	if err != nil {
		return nil, err
	}
	return c.setUserLimit(&n)
}

func (c *call) deleteUserLimit() (any, error) { return c.setUserLimit(nil) }

// allUsers returns the users, sorted by name.
func (r *registry) allUsers() []User {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]User, 0, len(r.users))
	for _, name := range slices.Sorted(maps.Keys(r.users)) {
		out = append(out, r.users[name].User)
	}
	return out
}
