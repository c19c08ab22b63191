package mqttbroker

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/quartet-mq/quartet/topic"
)

// ACLFile is an access control list in mosquitto's format, line by line:
//
//	topic [read|write|readwrite|deny] FILTER
//	user NAME
//	pattern [read|write|readwrite|deny] FILTER
//
// A topic line holds for the user of the last user line before it, or for clients without a user name when there is
// none. A pattern line holds for everybody; %c in its filter stands for the client identifier and %u for the user name
// (a pattern does not hold for clients whose name or identifier has one of the characters + # /, nor one with %u for
// clients without a name). Without a word for the access it is readwrite. What no line permits is denied; a deny line
// wins over the others. Empty lines and lines that begin with # do not count.
//
// read lines permit receiving: a client may subscribe to a filter if some topic that it matches may be received, and
// gets those messages only. write lines permit publishing and wills.
//
// An ACLFile is safe for concurrent use.
type ACLFile struct {
	path string
	list atomic.Pointer[acl]
}

// OpenACLFile reads an access control list.
func OpenACLFile(path string) (*ACLFile, error) {
	f := &ACLFile{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again; when that fails the list stays as it is. Call [Broker.Reauthorize] to apply it to clients
// that are connected and to sessions.
func (f *ACLFile) Reload() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	list, err := parseACL(file)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.list.Store(list)
	return nil
}

// Authorize is an [Authorizer].
func (f *ACLFile) Authorize(c *Client) Permissions { return f.list.Load().rules(c).decide }

// acl is a parsed list.
type acl struct {
	anonymous rules
	users     map[string]rules
	patterns  rules
}

// rules are the lines that hold for a client.
type rules []rule

// rule is a line that permits something or, if neither, denies both.
type rule struct {
	filter      string
	read, write bool
}

func (r rule) deny() bool { return !r.read && !r.write }

// rules returns those that hold for a client. Without patterns they are shared.
func (l *acl) rules(c *Client) rules {
	own := l.users[c.User]
	if c.User == "" {
		own = l.anonymous
	}
	if len(l.patterns) == 0 {
		return own
	}
	own = own[:len(own):len(own)]
	for _, p := range l.patterns {
		named := strings.Contains(p.filter, "%u")
		switch {
		case named && (c.User == "" || strings.ContainsAny(c.User, "+#/")):
			continue
		case strings.Contains(p.filter, "%c") && strings.ContainsAny(c.ID, "+#/"):
			continue
		}
		p.filter = strings.NewReplacer("%c", c.ID, "%u", c.User).Replace(p.filter)
		own = append(own, p)
	}
	return own
}

// decide is a [Permissions].
func (r rules) decide(a Action, name string) Decision {
	switch a {
	case ActionPublish:
		return r.name(name, func(r rule) bool { return r.write })
	case ActionReceive:
		return r.name(name, func(r rule) bool { return r.read })
	case ActionSubscribe:
		return r.subscribe(name)
	}
	return Deny
}

func (r rules) name(name string, permits func(rule) bool) Decision {
	d := Deny
	for i := range r {
		switch {
		case !r[i].deny() && (d == Allow || !permits(r[i])):
		case !topic.MQTT.Match(r[i].filter, name):
		case r[i].deny():
			return Deny
		default:
			d = Allow
		}
	}
	return d
}

// subscribe permits a filter without a look at each message if a line covers it and no deny line touches it.
func (r rules) subscribe(filter string) Decision {
	d, touched := Deny, false
	for i := range r {
		switch {
		case r[i].deny() && covers(r[i].filter, filter):
			return Deny
		case r[i].deny():
			touched = touched || overlaps(r[i].filter, filter)
		case !r[i].read || d == Allow:
		case covers(r[i].filter, filter):
			d = Allow
		case overlaps(r[i].filter, filter):
			d = AllowEach
		}
	}
	if d == Allow && touched {
		d = AllowEach
	}
	return d
}

func parseACL(r io.Reader) (*acl, error) {
	l := &acl{users: make(map[string]rules)}
	user, named := "", false
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "user":
			if rest == "" {
				return nil, fmt.Errorf("line %d: no user name", n)
			}
			user, named = rest, true
			continue
		case "topic", "pattern":
		default:
			return nil, fmt.Errorf("line %d: unknown word %q", n, word)
		}
		rule, err := parseRule(rest)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		case word == "pattern":
			l.patterns = append(l.patterns, rule)
		case named:
			l.users[user] = append(l.users[user], rule)
		default:
			l.anonymous = append(l.anonymous, rule)
		}
	}
	return l, lines.Err()
}

func parseRule(text string) (rule, error) {
	r := rule{filter: text, read: true, write: true}
	if word, rest, ok := strings.Cut(text, " "); ok {
		access := true
		switch word {
		case "read":
			r.write = false
		case "write":
			r.read = false
		case "deny":
			r.read, r.write = false, false
		case "readwrite":
		default:
			access = false // a space in the filter
		}
		if access {
			r.filter = strings.TrimSpace(rest)
		}
	}
	return r, topic.MQTT.ValidateFilter(r.filter)
}
