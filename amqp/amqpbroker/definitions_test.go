package amqpbroker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// readDefinitions reads a file that RabbitMQ wrote.
func readDefinitions(t testing.TB, name string) *Definitions {
	t.Helper()
	b, err := os.ReadFile("testdata/definitions/" + name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ReadDefinitions(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sorted returns the users and what belongs to them in the order of the registry.
func sorted(d *Definitions) *Definitions {
	out := &Definitions{
		Users: slices.Clone(d.Users), Permissions: slices.Clone(d.Permissions), TopicPermissions: slices.Clone(d.TopicPermissions),
		Parameters: slices.Clone(d.Parameters), GlobalParameters: slices.Clone(d.GlobalParameters), Policies: slices.Clone(d.Policies),
	}
	slices.SortFunc(out.Users, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Permissions, func(a, b Permission) int {
		return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.User, b.User))
	})
	slices.SortFunc(out.GlobalParameters, func(a, b GlobalParameter) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Parameters, func(a, b Parameter) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Vhost, b.Vhost))
	})
	slices.SortFunc(out.Policies, func(a, b Policy) int { return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.Name, b.Name)) })
	return out
}

func TestDefinitionsOfRabbitMQ(t *testing.T) {
	for _, name := range []string{"management-3.10.8.json", "rabbitmqctl-3.10.8.json"} {
		d := readDefinitions(t, name)
		settings, err := d.settings("")
		if err != nil {
			t.Fatal(err)
		}
		r := newRegistry(nil)
		for _, s := range settings {
			if err := r.apply(s); err != nil {
				t.Fatal(err)
			}
		}
		// Parameters are compared as the values that they are: rabbitmqctl writes objects as pairs.
		values := gocmp.Comparer(func(a, b json.RawMessage) bool {
			var x, y Arguments
			if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
				return string(a) == string(b)
			}
			for _, t := range []*Arguments{&x, &y} {
				for i := range *t {
					if list, ok := (*t)[i].Value.([]any); ok {
						p, _ := pairs(list)
						(*t)[i].Value = amqp091.Table(p)
					}
				}
			}
			return amqp091.Table(x).Equal(amqp091.Table(y))
		})
		if diff := gocmp.Diff(sorted(d), sorted(r.definitions("")), values); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if u, ok := r.user("alice"); !ok || !u.Tags.Has(TagPolicymaker) || u.Limits[limitConnections] != 5 {
			t.Errorf("%s: alice is %+v", name, u)
		}
		if r.login("alice", "wonder", nil) != nil || r.login("alice", "x", nil) == nil || r.login("cert", "", nil) == nil {
			t.Errorf("%s: login", name)
		}
		if n, ok := r.vhostLimit("tenant one", limitQueues); n != 100 || !ok {
			t.Errorf("%s: limit %d %v", name, n, ok)
		}
		if _, ok := r.vhostLimit("lim", limitConnections); ok {
			t.Errorf("%s: -1 is a limit", name)
		}
		e := r.policyFor("/", resourceQueue, "", "ttl.a")
		if n, _ := e.number("message-ttl"); n != 1 {
			t.Errorf("%s: the operator's policy does not count: %v", name, e.definition)
		}
		if r.permit("alice", "tenant one").check(opConfigure, resourceQueue, "amq.x") == nil {
			t.Errorf("%s: alice may configure amq.x", name)
		}
		if want := (QueueDefinition{"qq", "/", true, false, Arguments{{Key: "x-delivery-limit", Value: int64(3)},
			{Key: "x-queue-type", Value: "quorum"}}}); !slices.ContainsFunc(d.Queues, func(q QueueDefinition) bool { return gocmp.Equal(q, want) }) {
			t.Errorf("%s: queues %+v", name, d.Queues)
		}
		if len(d.Bindings) != 4 || len(d.Vhosts) != 5 || len(d.Exchanges) < 6 {
			t.Errorf("%s: %d bindings, %d vhosts, %d exchanges", name, len(d.Bindings), len(d.Vhosts), len(d.Exchanges))
		}
	}
}

func TestDefinitionsOfVhost(t *testing.T) {
	d := readDefinitions(t, "management-3.10.8.json")
	settings, err := d.settings("")
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(nil)
	for _, s := range settings {
		if err := r.apply(s); err != nil {
			t.Fatal(err)
		}
	}
	one := r.definitions("/")
	b, err := json.Marshal(one)
	if err != nil || strings.Contains(string(b), "vhost\"") || strings.Contains(string(b), "users") || len(one.Policies) != 2 {
		t.Errorf("%s %v", b, err)
	}
	settings, err = one.settings("new")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		if s.Vhost != "new" {
			t.Errorf("%+v", s)
		}
	}
	if len(settings) != 3 {
		t.Errorf("%d settings", len(settings))
	}
}

func TestDefinitionsInvalid(t *testing.T) {
	for _, text := range []string{
		`{"users":[{"name":"a","password_hash":"x"}]}`,
		`{"permissions":[{"user":"u","vhost":"/","configure":"("}]}`,
		`{"topic_permissions":[{"user":"u","vhost":"/","read":"("}]}`,
		`{"policies":[{"vhost":"/","name":"p","pattern":"a","definition":{"foo":1}}]}`,
		`{"parameters":[{"vhost":"/","component":"vhost-limits","name":"limits","value":{"max-foo":1}}]}`,
		`{"parameters":[{"vhost":"/","component":"vhost-limits","name":"limits","value":{"max-queues":"x"}}]}`,
		`{"parameters":[{"vhost":"/","component":"operator_policy","name":"p","value":{"pattern":"a","definition":{"alternate-exchange":"x"}}}]}`,
		`{"parameters":[{"vhost":"/","component":"operator_policy","name":"p","value":3}]}`,
	} {
		d, err := ReadDefinitions(strings.NewReader(text))
		if err != nil {
			t.Fatal(text, err)
		}
		if s, err := d.settings(""); err == nil {
			t.Errorf("%s is accepted: %v", text, s)
		}
	}
	for _, text := range []string{``, `[]`, `{"users":3}`, `{"queues":[{"arguments":3}]}`} {
		if _, err := ReadDefinitions(strings.NewReader(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	if _, err := ReadDefinitions(strings.NewReader(strings.Repeat(" ", maxDefinitions+1))); err == nil {
		t.Error("no limit")
	}
	// Users of files without an algorithm have MD5.
	d, err := ReadDefinitions(strings.NewReader(`{"users":[{"name":"a","password_hash":"` + hashWith(HashingMD5, "x") + `","tags":"administrator"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := d.settings("")
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistry(nil)
	if err := r.apply(settings[0]); err != nil || r.login("a", "x", nil) != nil {
		t.Error(err)
	}
}

func FuzzDefinitions(f *testing.F) {
	for _, text := range []string{
		`{"users":[{"name":"a","password_hash":"","tags":"x","limits":{"max-channels":1}}],"permissions":[{"user":"a","vhost":"/"}]}`,
		`{"policies":[{"vhost":"/","name":"p","pattern":"a","definition":[["max-length",1]]}]}`,
		`{"parameters":[{"vhost":"/","component":"operator_policy","name":"p","value":{"pattern":"a","definition":{"expires":1}}}]}`,
		`{"parameters":[{"vhost":"/","component":"vhost-limits","name":"l","value":[["max-queues",1]]}],"global_parameters":[{"name":"g"}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ReadDefinitions(bytes.NewReader(b))
		if err != nil {
			return
		}
		settings, err := d.settings("")
		if err != nil {
			return
		}
		r := newRegistry(nil)
		for _, s := range settings {
			if err := r.apply(s); err != nil {
				t.Errorf("%s: %v", s.append(nil), err)
			}
		}
		again, err := r.definitions("").settings("")
		if err != nil {
			t.Fatal(err)
		}
		s := newRegistry(nil)
		for _, x := range again {
			if err := s.apply(x); err != nil {
				t.Errorf("%s: %v", x.append(nil), err)
			}
		}
		if diff := gocmp.Diff(r.settings(), s.settings()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDefinitionsWithPasswords(t *testing.T) {
	d, err := ReadDefinitions(strings.NewReader(`{"users": [
		{"name": "a", "password": "secret", "tags": "administrator", "limits": {"max-channels": 3}},
		{"name": "b", "password": "word", "hashing_algorithm": "rabbit_password_hashing_sha512", "tags": []},
		{"name": "c", "password": "", "tags": []}]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(&Options{Definitions: d})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"a", "secret", true}, {"b", "word", true}, {"a", "", false}, {"a", "word", false}, {"c", "", false}} {
		if err := b.reg.login(c.user, c.password, nil); (err == nil) != c.ok {
			t.Errorf("%s with %q: %v", c.user, c.password, err)
		}
	}
	if u, _ := b.reg.user("a"); u.Limits["max-channels"] != 3 || !u.Tags.Has(TagAdministrator) {
		t.Errorf("%+v", u)
	}
	if bytes.Contains(mustJSON(b.Definitions()), []byte("secret")) {
		t.Error("the password is in the definitions")
	}
	if _, err := ReadDefinitions(strings.NewReader(`{"users": [{"name": "a", "password": "x", "password_hash": "y"}]}`)); err == nil {
		t.Error("both a password and a hash")
	}
}
