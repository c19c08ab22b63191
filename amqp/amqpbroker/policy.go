package amqpbroker

import (
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Policy gives arguments to the queues and exchanges of a virtual host whose name matches a pattern. Of several that match
// one with the highest priority holds, the others do nothing. An operator's policy limits what users may set: it holds
// beside the user's, and of two numbers the lower one counts.
type Policy struct {
	Vhost      string      `json:"vhost,omitempty"`
	Name       string      `json:"name"`
	Pattern    string      `json:"pattern"`  // a regular expression that may match anywhere in the name
	ApplyTo    PolicyScope `json:"apply-to"` // empty is all
	Definition Arguments   `json:"definition"`
	Priority   int         `json:"priority"`
}

// PolicyScope is what a [Policy] applies to.
type PolicyScope string

// The scopes.
const (
	PolicyAll           PolicyScope = "all"
	PolicyQueues        PolicyScope = "queues"
	PolicyClassicQueues PolicyScope = "classic_queues"
	PolicyQuorumQueues  PolicyScope = "quorum_queues"
	PolicyStreams       PolicyScope = "streams"
	PolicyExchanges     PolicyScope = "exchanges"
)

// policy is a compiled [Policy]. It does not change.
type policy struct {
	Policy
	pattern *pattern
}

// policySet is the policies of a virtual host, the highest priority first. It does not change.
type policySet struct{ list []*policy }

// compilePolicy checks everything about a policy.
func compilePolicy(p Policy, operator bool) (*policy, error) {
	if p.ApplyTo == "" {
		p.ApplyTo = PolicyAll
	}
	if p.Name == "" {
		return nil, invalid("the name of a policy must not be empty")
	}
	re, err := compilePattern(p.Pattern)
	if err != nil {
		return nil, invalid("pattern should be regular expression but is invalid: %v", err)
	}
	switch p.ApplyTo {
	case PolicyAll, PolicyQueues, PolicyClassicQueues, PolicyQuorumQueues, PolicyStreams, PolicyExchanges:
	default:
		return nil, invalid("apply-to '%s' unrecognised; should be one of: 'queues', 'classic_queues', 'quorum_queues', "+
			"'streams', 'exchanges', or 'all'", p.ApplyTo)
	}
	if err := checkPolicyDefinition(p.Definition, operator); err != nil {
		return nil, err
	}
	return &policy{p, re}, nil
}

// setPolicy applies a setting.
func setPolicy(sets map[string]*policySet, s setting, operator bool) error {
	byName := map[string]*policy{}
	if set := sets[s.Vhost]; set != nil {
		for _, p := range set.list {
			byName[p.Name] = p
		}
	}
	if err := setIn(byName, s.Name, s.Value, func(p Policy) (*policy, error) { return compilePolicy(p, operator) }); err != nil {
		return err
	}
	if len(byName) == 0 {
		delete(sets, s.Vhost)
		return nil
	}
	set := &policySet{make([]*policy, 0, len(byName))}
	for _, p := range byName {
		set.list = append(set.list, p)
	}
	slices.SortFunc(set.list, func(a, b *policy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	sets[s.Vhost] = set
	return nil
}

// find returns the policy of a queue or an exchange, nil when there is none. queueType is empty for an exchange.
func (s *policySet) find(kind resourceKind, queueType, name string) *policy {
	if s == nil {
		return nil
	}
	for _, p := range s.list {
		if p.ApplyTo.covers(kind, queueType) && p.pattern.match(name) {
			return p
		}
	}
	return nil
}

func (s PolicyScope) covers(kind resourceKind, queueType string) bool {
	switch s {
	case PolicyAll:
		return true
	case PolicyExchanges:
		return kind == resourceExchange
	case PolicyQueues:
		return kind == resourceQueue
	case PolicyClassicQueues:
		return kind == resourceQueue && (queueType == "" || queueType == "classic")
	case PolicyQuorumQueues:
		return kind == resourceQueue && queueType == "quorum"
	case PolicyStreams:
		return kind == resourceQueue && queueType == "stream"
	}
	return false
}

// effectivePolicy is what the policies say about one queue or exchange. The zero value says nothing.
type effectivePolicy struct {
	policy     *policy       // nil: none
	operator   *policy       // nil: none
	definition amqp091.Table // of both, merged; shared, must not be changed
}

// policyFor returns the policies of a queue or an exchange. It holds until generation changes. queueType is x-queue-type,
// empty for classic queues and for exchanges.
func (r *registry) policyFor(vhost string, kind resourceKind, queueType, name string) effectivePolicy {
	r.mu.RLock()
	policies, operator := r.policies[vhost], r.operator[vhost]
	r.mu.RUnlock()
	e := effectivePolicy{
		policy:   policies.find(kind, queueType, name),
		operator: operator.find(kind, queueType, name),
	}
	switch {
	case e.operator == nil && e.policy == nil:
	case e.operator == nil:
		e.definition = amqp091.Table(e.policy.Definition)
	case e.policy == nil:
		e.definition = amqp091.Table(e.operator.Definition)
	default:
		e.definition = mergePolicies(amqp091.Table(e.policy.Definition), amqp091.Table(e.operator.Definition))
	}
	return e
}

// mergePolicies returns a definition with what an operator limits.
func mergePolicies(user, operator amqp091.Table) amqp091.Table {
	out := slices.Clone(user)
	for _, f := range operator {
		if old, ok := user.Get(f.Key); ok {
			f.Value = moreRestrictive(old, f.Value)
		}
		out.Set(f.Key, f.Value)
	}
	return out
}

// moreRestrictive returns the lower of two numbers, or else the operator's value.
func moreRestrictive(user, operator any) any {
	u, isNumber := integer(user)
	o, both := integer(operator)
	if isNumber && both && u < o {
		return user
	}
	return operator
}

// integer returns the value of an integer of any width.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

// names returns the names of the policies, empty for none.
func (e *effectivePolicy) names() (user, operator string) {
	if e.policy != nil {
		user = e.policy.Name
	}
	if e.operator != nil {
		operator = e.operator.Name
	}
	return user, operator
}

// number returns a number of the definition.
func (e *effectivePolicy) number(key string) (int64, bool) {
	v, _ := e.definition.Get(key)
	return integer(v)
}

// text returns a string of the definition.
func (e *effectivePolicy) text(key string) (string, bool) {
	v, _ := e.definition.Get(key)
	s, ok := v.(string)
	return s, ok
}

// limit returns the number that holds for a queue with an argument, x-key, of its own: the lower of the two.
func (e *effectivePolicy) limit(args amqp091.Table, key string) (int64, bool) {
	v, _ := args.Get("x-" + key)
	a, hasArg := integer(v)
	p, hasPolicy := e.number(key)
	switch {
	case hasArg && hasPolicy:
		return min(a, p), true
	case hasPolicy:
		return p, true
	}
	return a, hasArg
}

// choice returns the string that holds for a queue or an exchange with an argument, x-key, of its own: the argument.
func (e *effectivePolicy) choice(args amqp091.Table, key string) (string, bool) {
	if v, ok := args.Get("x-" + key); ok {
		s, ok := v.(string)
		return s, ok
	}
	return e.text(key)
}
