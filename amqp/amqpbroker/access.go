package amqpbroker

import (
	"regexp"
	"strings"
	"sync"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Permission says what a user may do in a virtual host: with queues and exchanges whose name matches a regular expression.
// An empty one matches nothing but the empty name; what an expression does not anchor may be anywhere in the name. The
// default exchange goes by the name amq.default.
type Permission struct {
	User      string `json:"user"`
	Vhost     string `json:"vhost"`
	Configure string `json:"configure"` // declare and delete
	Write     string `json:"write"`     // publish; bind to it
	Read      string `json:"read"`      // consume, get, purge; bind from it
}

// TopicPermission says which routing keys a user may use at a topic exchange. Without one for an exchange there is no
// limit. In the expressions {username} and {vhost} stand for the names.
type TopicPermission struct {
	User     string `json:"user"`
	Vhost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"` // to publish with
	Read     string `json:"read"`  // to bind with
}

// accessOp is what is done with a resource.
type accessOp uint8

const (
	opConfigure accessOp = iota
	opWrite
	opRead
)

// resourceKind is the kind of what is accessed.
type resourceKind uint8

const (
	resourceQueue resourceKind = iota
	resourceExchange
)

// String returns "queue" or "exchange".
func (k resourceKind) String() string {
	if k == resourceExchange {
		return "exchange"
	}
	return "queue"
}

// permission is a compiled [Permission].
type permission struct {
	Permission
	ops [3]*pattern // by accessOp
}

// topicPermission is a compiled [TopicPermission].
type topicPermission struct {
	TopicPermission
	write, read *pattern
}

func compilePermission(p Permission) (*permission, error) {
	out := &permission{Permission: p}
	for i, text := range [...]string{p.Configure, p.Write, p.Read} {
		re, err := compileAccess(text)
		if err != nil {
			return nil, err
		}
		out.ops[i] = re
	}
	return out, nil
}

func compileTopicPermission(p TopicPermission) (*topicPermission, error) {
	names := strings.NewReplacer("{username}", regexp.QuoteMeta(p.User), "{vhost}", regexp.QuoteMeta(p.Vhost))
	write, err := compileAccess(names.Replace(p.Write))
	if err != nil {
		return nil, err
	}
	read, err := compileAccess(names.Replace(p.Read))
	if err != nil {
		return nil, err
	}
	return &topicPermission{p, write, read}, nil
}

// compileAccess compiles an expression of a permission.
func compileAccess(text string) (*pattern, error) {
	if text == "" {
		text = "^$"
	}
	return compilePattern(text)
}

// permit is what one user may do in one virtual host, for a connection. It remembers decisions until the registry changes,
// and is safe for concurrent use.
type permit struct {
	reg         *registry
	user, vhost string

	mu     sync.Mutex
	gen    uint64 // of the registry that the rest is of
	rights *permission
	topics map[string]*topicPermission
	memo   map[decisionKey]bool
}

// decisionKey names a decision: about a resource, or about a routing key at a topic exchange.
type decisionKey struct {
	op    accessOp
	topic bool
	name  string
	key   string
}

// maxDecisions is how many decisions a permit remembers at most; then it starts anew. They are for names that connections
// use again and again.
const maxDecisions = 256

// permit returns the permissions of a user in a virtual host.
func (r *registry) permit(user, vhost string) *permit {
	return &permit{reg: r, user: user, vhost: vhost, gen: ^uint64(0)}
}

// refresh forgets what was decided before the registry changed. p.mu is held.
func (p *permit) refresh() {
	if gen := p.reg.generation(); gen != p.gen {
		p.rights, p.topics = p.reg.effective(p.user, p.vhost)
		p.gen = gen
		clear(p.memo)
	}
}

// open checks that the user may use the virtual host at all.
func (p *permit) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refresh(); p.rights == nil {
		return amqp091.HardError(amqp091.NotAllowed, "access to vhost '%s' refused for user '%s'", p.vhost, p.user)
	}
	return nil
}

// check checks that the user may do something with a queue or an exchange. The error closes the channel.
func (p *permit) check(op accessOp, kind resourceKind, name string) error {
	if name == "" && kind == resourceExchange {
		name = "amq.default"
	}
	if p.may(op, name) {
		return nil
	}
	return amqp091.SoftError(amqp091.AccessRefused, "access to %s '%s' in vhost '%s' refused for user '%s'", kind, name, p.vhost, p.user)
}

func (p *permit) may(op accessOp, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refresh(); p.rights == nil {
		return false
	}
	k := decisionKey{op: op, name: name}
	yes, known := p.memo[k]
	if !known {
		yes = p.rights.ops[op].match(name)
		p.remember(k, yes)
	}
	return yes
}

// checkTopic checks that the user may use a routing key at a topic exchange: opWrite to publish and opRead to bind. It does
// not check what check does.
func (p *permit) checkTopic(op accessOp, exchange string, key []byte) error {
	p.mu.Lock()
	p.refresh()
	t := p.topics[exchange]
	yes := true
	if t != nil {
		var known bool
		if yes, known = p.memo[decisionKey{op, true, exchange, string(key)}]; !known {
			re := t.read
			if op == opWrite {
				re = t.write
			}
			yes = re.match(string(key))
			p.remember(decisionKey{op, true, exchange, string(key)}, yes)
		}
	}
	p.mu.Unlock()
	if yes {
		return nil
	}
	return amqp091.SoftError(amqp091.AccessRefused,
		"access to topic '%s' in exchange '%s' in vhost '%s' refused for user '%s'", key, exchange, p.vhost, p.user)
}

func (p *permit) remember(k decisionKey, yes bool) {
	if p.memo == nil {
		p.memo = make(map[decisionKey]bool)
	}
	if len(p.memo) == maxDecisions {
		clear(p.memo)
	}
	p.memo[k] = yes
}
