package amqpbroker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Definitions are everything that outlives the connections but the messages, in the format of RabbitMQ: what its
// management API and rabbitmqctl export. A list that is nil is not there.
type Definitions struct {
	// RabbitVersion is the version of RabbitMQ whose format it is; who reads a file may look at it.
	RabbitVersion    string               `json:"rabbit_version,omitempty"`
	RabbitMQVersion  string               `json:"rabbitmq_version,omitempty"`
	ProductName      string               `json:"product_name,omitempty"`
	ProductVersion   string               `json:"product_version,omitempty"`
	Users            []User               `json:"users,omitzero"`
	Vhosts           []VhostDefinition    `json:"vhosts,omitzero"`
	Permissions      []Permission         `json:"permissions,omitzero"`
	TopicPermissions []TopicPermission    `json:"topic_permissions,omitzero"`
	Parameters       []Parameter          `json:"parameters,omitzero"`
	GlobalParameters []GlobalParameter    `json:"global_parameters,omitzero"`
	Policies         []Policy             `json:"policies,omitzero"`
	Queues           []QueueDefinition    `json:"queues,omitzero"`
	Exchanges        []ExchangeDefinition `json:"exchanges,omitzero"`
	Bindings         []BindingDefinition  `json:"bindings,omitzero"`
}

// VhostDefinition is a virtual host.
type VhostDefinition struct {
	Name     string        `json:"name"`
	Metadata VhostMetadata `json:"metadata,omitzero"`
	// Older files have these beside the name.
	Description string   `json:"description,omitempty"`
	Tags        UserTags `json:"tags,omitempty"`
	Tracing     bool     `json:"tracing,omitempty"`
}

// VhostMetadata describes a virtual host for people.
type VhostMetadata struct {
	Description      string   `json:"description"`
	Tags             UserTags `json:"tags"`
	DefaultQueueType string   `json:"default_queue_type,omitempty"` // "classic", "quorum"; empty is classic
}

// Parameter is a parameter of a component in a virtual host. Limits of virtual hosts and operator policies are such
// parameters; others, of components that this broker does not have, are kept and given back.
type Parameter struct {
	Vhost     string          `json:"vhost,omitempty"`
	Component string          `json:"component"`
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value"`
}

// The components of parameters that mean something.
const (
	componentVhostLimits    = "vhost-limits"
	componentOperatorPolicy = "operator_policy"
	componentPolicy         = "policy"
)

// GlobalParameter is a parameter of the whole broker.
type GlobalParameter struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// QueueDefinition is a durable queue.
type QueueDefinition struct {
	Name       string    `json:"name"`
	Vhost      string    `json:"vhost,omitempty"`
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"auto_delete"`
	Arguments  Arguments `json:"arguments"`
}

// ExchangeDefinition is a durable exchange.
type ExchangeDefinition struct {
	Name       string    `json:"name"`
	Vhost      string    `json:"vhost,omitempty"`
	Type       string    `json:"type"`
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"auto_delete"`
	Internal   bool      `json:"internal"`
	Arguments  Arguments `json:"arguments"`
}

// BindingDefinition is a binding between durable ends.
type BindingDefinition struct {
	Source          string    `json:"source"`
	Vhost           string    `json:"vhost,omitempty"`
	Destination     string    `json:"destination"`
	DestinationType string    `json:"destination_type"` // "queue" or "exchange"
	RoutingKey      string    `json:"routing_key"`
	Arguments       Arguments `json:"arguments"`
}

// The types of destinations of bindings.
const (
	destinationQueue    = "queue"
	destinationExchange = "exchange"
)

// maxDefinitions bounds the size of a file of definitions.
const maxDefinitions = 64 << 20

// ReadDefinitions reads definitions, of at most 64 MiB. Members that are not known do not count.
func ReadDefinitions(r io.Reader) (*Definitions, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDefinitions+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDefinitions {
		return nil, fmt.Errorf("definitions of more than %d bytes", maxDefinitions)
	}
	d := &Definitions{}
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("definitions: %w", err)
	}
	return d, nil
}

// settings checks the users, permissions, policies and parameters and returns them as settings. vhost is the virtual host
// that the definitions are for; empty means that each says its own.
func (d *Definitions) settings(vhost string) (out []setting, err error) {
	in := func(own string) string {
		if vhost != "" {
			return vhost
		}
		return own
	}
	add := func(what, name string, s setting, failed error) {
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s %s: %w", what, name, failed))
			return
		}
		out = append(out, s)
	}
	if vhost == "" {
		for _, u := range d.Users {
			if u.HashingAlgorithm == "" && u.PasswordHash != "" {
				u.HashingAlgorithm = HashingMD5
			}
			s, failed := userSetting(u)
			add("user", u.Name, s, failed)
		}
		for _, p := range d.Permissions {
			s, failed := permissionSetting(p)
			add("permissions of", p.User, s, failed)
		}
		for _, p := range d.TopicPermissions {
			s, failed := topicPermissionSetting(p)
			add("topic permissions of", p.User, s, failed)
		}
		for _, p := range d.GlobalParameters {
			add("global parameter", p.Name, setting{Kind: settingGlobal, Name: p.Name, Value: p.Value}, nil)
		}
	}
	for _, name := range d.names() {
		if failed := checkName(name); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	for _, p := range d.Policies {
		p.Vhost = in(p.Vhost)
		s, failed := policySetting(p, false)
		add("policy", p.Name, s, failed)
	}
	for _, p := range d.Parameters {
		p.Vhost = in(p.Vhost)
		s, failed := p.setting()
		add("parameter", p.Component+" "+p.Name, s, failed)
	}
	return out, err
}

// names returns the names of exchanges, queues and virtual hosts, and routing keys: all that is a short string for clients.
func (d *Definitions) names() (out []string) {
	for _, v := range d.Vhosts {
		out = append(out, v.Name)
	}
	for _, x := range d.Exchanges {
		out = append(out, x.Name, x.Type)
	}
	for _, q := range d.Queues {
		out = append(out, q.Name)
	}
	for _, b := range d.Bindings {
		out = append(out, b.RoutingKey)
	}
	return out
}

// checkName checks that clients can send a name or a routing key.
func checkName(name string) error {
	switch {
	case len(name) > maxKey:
		return invalid("a name or routing key is longer than %d bytes: %.20s…", maxKey, name)
	case !utf8.ValidString(name):
		return invalid("a name or routing key is not UTF-8: %q", name)
	}
	return nil
}

// setting checks a parameter and returns it as a setting of its kind.
func (p *Parameter) setting() (setting, error) {
	switch p.Component {
	case componentVhostLimits:
		limits, err := decodeLimits(p.Value)
		if err != nil {
			return setting{}, err
		}
		return vhostLimitsSetting(p.Vhost, limits)
	case componentOperatorPolicy, componentPolicy:
		policy := Policy{}
		if err := json.Unmarshal(p.Value, &policy); err != nil {
			return setting{}, err
		}
		policy.Vhost, policy.Name = p.Vhost, p.Name
		return policySetting(policy, p.Component == componentOperatorPolicy)
	}
	return setting{settingParameter, p.Vhost, p.Name, p.Component, p.Value}, nil
}

// decodeLimits reads limits from an object, or from the pairs that rabbitmqctl writes.
func decodeLimits(b []byte) (map[string]int64, error) {
	var a Arguments
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, err
	}
	limits := map[string]int64{}
	for _, f := range a {
		n, ok := integer(f.Value)
		if !ok {
			return nil, invalid("%s should be a number, actually was %s", f.Key, erlangTerm(f.Value))
		}
		limits[f.Key] = n
	}
	return limits, nil
}

// definitions returns what is in the registry. vhost is the only virtual host that counts, or empty for the whole broker;
// with one the names of the virtual host are left out.
func (r *registry) definitions(vhost string) *Definitions {
	d := &Definitions{Parameters: []Parameter{}, Policies: []Policy{}}
	if vhost == "" {
		d.Users, d.Permissions, d.TopicPermissions = []User{}, []Permission{}, []TopicPermission{}
		d.GlobalParameters = []GlobalParameter{}
	}
	for _, s := range r.settings() {
		if vhost != "" && (s.Vhost != vhost || s.Kind == settingUser || s.Kind == settingGlobal) {
			continue
		}
		shown := s.Vhost
		if vhost != "" {
			shown = ""
		}
		switch s.Kind {
		case settingUser:
			u := decodeJSON[User](s.Value)
			if u.Limits == nil {
				u.Limits = map[string]int64{}
			}
			d.Users = append(d.Users, u)
		case settingPermission:
			if vhost == "" {
				d.Permissions = append(d.Permissions, decodeJSON[Permission](s.Value))
			}
		case settingTopicPermission:
			if vhost == "" {
				d.TopicPermissions = append(d.TopicPermissions, decodeJSON[TopicPermission](s.Value))
			}
		case settingPolicy:
			p := decodeJSON[Policy](s.Value)
			p.Vhost = shown
			d.Policies = append(d.Policies, p)
		case settingOperatorPolicy:
			p := decodeJSON[Policy](s.Value)
			d.Parameters = append(d.Parameters, Parameter{shown, componentOperatorPolicy, s.Name, p.operatorValue()})
		case settingVhostLimits:
			d.Parameters = append(d.Parameters, Parameter{shown, componentVhostLimits, "limits", s.Value})
		case settingParameter:
			d.Parameters = append(d.Parameters, Parameter{shown, s.Sub, s.Name, s.Value})
		case settingGlobal:
			d.GlobalParameters = append(d.GlobalParameters, GlobalParameter{s.Name, s.Value})
		}
	}
	return d
}

// operatorValue is an operator policy as the value of a parameter.
func (p *Policy) operatorValue() json.RawMessage {
	return mustJSON(struct {
		Pattern    string      `json:"pattern"`
		Definition Arguments   `json:"definition"`
		Priority   int         `json:"priority"`
		ApplyTo    PolicyScope `json:"apply-to"`
	}{p.Pattern, p.Definition, p.Priority, p.ApplyTo})
}

// decodeJSON decodes what this package has encoded.
func decodeJSON[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err) // it was encoded by mustJSON
	}
	return v
}
