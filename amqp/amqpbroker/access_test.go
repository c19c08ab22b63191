package amqpbroker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func withTopicPermission(p TopicPermission) func() (setting, error) {
	return func() (setting, error) { return topicPermissionSetting(p) }
}

func TestAccessCheck(t *testing.T) {
	r := testRegistry(t, withUser(User{Name: "u"}),
		withPermission(Permission{"u", "/", "^ok", "ok$|^amq\\.default$", ""}))
	p := r.permit("u", "/")
	if err := p.open(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		op   accessOp
		kind resourceKind
		name string
		want string // what refuses
	}{
		{opConfigure, resourceQueue, "okq", ""},
		{opConfigure, resourceQueue, "xok", "access to queue 'xok' in vhost '/' refused for user 'u'"},
		{opWrite, resourceExchange, "xok", ""},
		{opWrite, resourceExchange, "", ""},
		{opConfigure, resourceExchange, "", "access to exchange 'amq.default' in vhost '/' refused for user 'u'"},
		{opRead, resourceQueue, "", ""},
		{opRead, resourceQueue, "okq", "access to queue 'okq' in vhost '/' refused for user 'u'"},
	} {
		for range 2 { // the second is remembered
			err := p.check(c.op, c.kind, c.name)
			var e *amqp091.Error
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v: %v", c, err)
			case c.want != "" && (!errors.As(err, &e) || e.Code != amqp091.AccessRefused || e.Hard || e.Text != c.want):
				t.Errorf("%v: %v", c, err)
			}
		}
	}
	other := r.permit("u", "other")
	if err := other.open(); err == nil || err.Error() != "530 NOT_ALLOWED - access to vhost 'other' refused for user 'u'" {
		t.Error(err)
	}
	if other.check(opRead, resourceQueue, "okq") == nil {
		t.Error("without a permission everything is allowed")
	}
	// A change holds at once.
	s, err := permissionSetting(Permission{"u", "/", "", "", ".*"})
	if err != nil || r.apply(s) != nil {
		t.Fatal(err)
	}
	if p.check(opRead, resourceQueue, "okq") != nil || p.check(opConfigure, resourceQueue, "okq") == nil {
		t.Error("the old permission holds")
	}
	if r.apply(s.removal()) != nil || p.check(opRead, resourceQueue, "okq") == nil || p.open() == nil {
		t.Error("the removed permission holds")
	}
}

func TestAccessTopic(t *testing.T) {
	r := testRegistry(t,
		withPermission(Permission{"u.x", "/", ".*", ".*", ".*"}),
		withTopicPermission(TopicPermission{"u.x", "/", "t", `^{vhost}\.{username}\.`, "^ok"}),
		withTopicPermission(TopicPermission{"u.x", "/", "closed", "", ""}))
	p := r.permit("u.x", "/")
	for range 2 {
		for key, ok := range map[string]bool{"/.u.x.key": true, "/.uax.key": false, "": false} {
			if err := p.checkTopic(opWrite, "t", []byte(key)); (err == nil) != ok {
				t.Errorf("%q: %v", key, err)
			}
		}
		if p.checkTopic(opRead, "t", []byte("ok.x")) != nil || p.checkTopic(opWrite, "other", []byte("x")) != nil {
			t.Error("refused")
		}
		err := p.checkTopic(opRead, "t", []byte("bad.key"))
		if err == nil || err.Error() != "403 ACCESS_REFUSED - access to topic 'bad.key' in exchange 't' in vhost '/' refused for user 'u.x'" {
			t.Error(err)
		}
		if p.checkTopic(opWrite, "closed", []byte("x")) == nil || p.checkTopic(opWrite, "closed", nil) != nil {
			t.Error("an empty expression matches the empty key only")
		}
	}
}

func TestAccessRemembersLittle(t *testing.T) {
	r := testRegistry(t, withPermission(Permission{"u", "/", "^ok", "^ok", "^ok"}), withTopicPermission(TopicPermission{"u", "/", "t", "^ok", ""}))
	p := r.permit("u", "/")
	for i := range 10_000 {
		if p.check(opRead, resourceQueue, fmt.Sprint("ok", i)) != nil || p.checkTopic(opWrite, "t", []byte(fmt.Sprint("ok", i))) != nil {
			t.Fatal("refused")
		}
		if len(p.memo) > maxDecisions {
			t.Fatalf("%d decisions are remembered", len(p.memo))
		}
	}
	if raceEnabled {
		return
	}
	key := []byte("ok1")
	if n := testing.AllocsPerRun(100, func() {
		p.check(opWrite, resourceExchange, "okx")
		p.checkTopic(opWrite, "t", key)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAccessPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{".*", []string{"", "a"}, nil},
		{"^(?!amq\\.).*", []string{"q", "amq", "xamq."}, []string{"amq.gen"}},
		{"^(?!amq\\.)(?!(a|b)[)]$)x?", []string{"a", "a)b"}, []string{"amq.", "a)", "b)"}},
		{"^(?=.*b)a", []string{"ab"}, []string{"a", "b"}},
		{"^(?![])])a|b", []string{"a", "b"}, []string{")", "]"}},
		{"^(?!)", nil, []string{"", "a"}},
		{"a", []string{"xax"}, []string{"b"}},
	} {
		p, err := compilePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, s := range c.yes {
			if !p.match(s) {
				t.Errorf("%s does not match %q", c.pattern, s)
			}
		}
		for _, s := range c.no {
			if p.match(s) {
				t.Errorf("%s matches %q", c.pattern, s)
			}
		}
	}
	for _, bad := range []string{"(", "^(?!a", "^(?!(a)", "a(?!b)", "^(?![a", "^(?!\\", strings.Repeat("a", maxPattern+1)} {
		if _, err := compilePattern(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, p := range []Permission{{Configure: "("}, {Write: "("}, {Read: "("}} {
		if _, err := permissionSetting(p); err == nil {
			t.Errorf("%v is accepted", p)
		}
	}
	for _, p := range []TopicPermission{{Write: "("}, {Read: "("}} {
		if _, err := topicPermissionSetting(p); err == nil {
			t.Errorf("%v is accepted", p)
		}
	}
}

func FuzzAccessPattern(f *testing.F) {
	f.Add("^(?!amq\\.)(?=[^]]).*", "q")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(name) > 255 {
			return // no name is longer, and the work is the product of both
		}
		if p, err := compilePattern(pattern); err == nil {
			p.match(name)
		}
	})
}
