package amqpbroker

import (
	"cmp"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A file that RabbitMQ has exported is imported, and comes back.
func TestManageDefinitions(t *testing.T) {
	for _, name := range []string{"management-3.10.8.json", "rabbitmqctl-3.10.8.json"} {
		text, err := os.ReadFile("testdata/definitions/" + name)
		if err != nil {
			t.Fatal(err)
		}
		m := newManageTester(t, Options{})
		for range 2 {
			m.must(t, "POST", "/definitions", string(text), nil)
		}
		want := readDefinitions(t, name)
		var got Definitions
		m.must(t, "GET", "/definitions", "", &got)
		if len(got.Users) != len(want.Users) || len(got.Permissions) != len(want.Permissions) || len(got.Policies) != len(want.Policies) {
			t.Errorf("%s: %+v", name, got)
		}
		known := func(b BindingDefinition) bool {
			return b.DestinationType == destinationQueue && b.Source != "dlx" || slices.ContainsFunc(want.Exchanges, func(x ExchangeDefinition) bool { return x.Name == "dlx" })
		}
		order := func(d *Definitions) {
			d.Bindings = slices.DeleteFunc(d.Bindings, func(b BindingDefinition) bool { return !known(b) })
			d.Queues = slices.DeleteFunc(d.Queues, func(q QueueDefinition) bool { return !q.Durable })
			d.Exchanges = slices.DeleteFunc(d.Exchanges, func(x ExchangeDefinition) bool { return !x.Durable })
			slices.SortFunc(d.Queues, func(a, b QueueDefinition) int {
				return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.Name, b.Name))
			})
			slices.SortFunc(d.Exchanges, func(a, b ExchangeDefinition) int {
				return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.Name, b.Name))
			})
			slices.SortFunc(d.Bindings, func(a, b BindingDefinition) int {
				return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
			})
		}
		order(want)
		order(&got)
		for what, pair := range map[string][2]any{
			"queues": {want.Queues, got.Queues}, "exchanges": {want.Exchanges, got.Exchanges}, "bindings": {want.Bindings, got.Bindings},
		} {
			if diff := gocmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s: %s", name, what, diff)
			}
		}
		if w := m.do("GET", "/whoami", "alice:wonder", ""); w.Code != 200 {
			t.Errorf("%s: alice: %d %s", name, w.Code, w.Body)
		}
		// One virtual host, moved into another.
		m.must(t, "PUT", "/vhosts/copy", "", nil)
		one := m.do("GET", "/definitions/tenant%20one", "guest:guest", "").Body.String()
		m.must(t, "POST", "/definitions/copy", one, nil)
		if again := m.do("GET", "/definitions/copy", "guest:guest", "").Body.String(); again != one {
			t.Errorf("%s: %s, want %s", name, again, one)
		}
	}
}

// What is set over HTTP is there after a restart.
func TestManageDurable(t *testing.T) {
	dir := t.TempDir()
	m := newManageTester(t, Options{Dir: dir})
	for _, r := range [][3]string{
		{"PUT", "/vhosts/v", `{"description":"d","tags":"x"}`},
		{"PUT", "/users/u", `{"password":"p","tags":"monitoring"}`},
		{"PUT", "/permissions/v/u", `{"configure":"a","write":"b","read":"c"}`},
		{"PUT", "/topic-permissions/v/u", `{"exchange":"x","write":"b","read":"c"}`},
		{"PUT", "/policies/v/p", `{"pattern":"a","definition":{"max-length":2}}`},
		{"PUT", "/operator-policies/v/p", `{"pattern":"a","definition":{"max-length":1}}`},
		{"PUT", "/vhost-limits/v/max-queues", `{"value":3}`},
		{"PUT", "/user-limits/u/max-channels", `{"value":3}`},
		{"PUT", "/global-parameters/g", `{"value":3}`},
		{"PUT", "/parameters/c/v/n", `{"value":{"a":1}}`},
		{"PUT", "/queues/v/q", `{"durable":true,"arguments":{"x-max-length":5}}`},
		{"PUT", "/exchanges/v/x", `{"type":"headers","durable":true}`},
		{"POST", "/bindings/v/e/x/q/q", `{"routing_key":"k","arguments":{"a":1}}`},
		{"DELETE", "/policies/v/p", ""},
	} {
		m.must(t, r[0], r[1], r[2], nil)
	}
	want := m.do("GET", "/definitions", "guest:guest", "").Body.String()
	if err := m.b.Close(); err != nil {
		t.Fatal(err)
	}
	m = newManageTester(t, Options{Dir: dir})
	if got := m.do("GET", "/definitions", "guest:guest", "").Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Nobody gets in who should not.
func TestManageLogin(t *testing.T) {
	m := newManageTester(t, Options{})
	for _, c := range []struct {
		addr, user, password string
		code                 int
	}{
		{"127.0.0.1:1", "guest", "guest", 200},
		{"[::1]:1", "guest", "guest", 200},
		{"192.0.2.1:1", "guest", "guest", 401},
		{"", "guest", "guest", 401},
		{"127.0.0.1:1", "guest", "wrong", 401},
		{"127.0.0.1:1", "", "", 401},
	} {
		r := httptest.NewRequest("GET", "/api/whoami", nil)
		r.RemoteAddr = c.addr
		r.SetBasicAuth(c.user, c.password)
		w := httptest.NewRecorder()
		m.h.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
	if w := m.do("GET", "/whoami", "", ""); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("without a name: %d", w.Code)
	}
	zero := &manageTester{}
	zero.b = open(t, Options{})
	zero.h = zero.b.ManagementHandler(nil)
	if w := zero.do("GET", "/whoami", "guest:guest", ""); w.Code != 401 {
		t.Errorf("the zero value: %d", w.Code)
	}
	// With an Authenticator tags come from the broker's users or from the options.
	all := &manageTester{}
	all.b = open(t, Options{Authenticate: AllowAll})
	all.h = all.b.ManagementHandler(nil)
	if w := all.do("GET", "/whoami", "x:y", ""); w.Code != 401 {
		t.Errorf("without tags: %d", w.Code)
	}
	tags := &ManagementOptions{Tags: func(user string) UserTags { return UserTags{TagAdministrator} }}
	all.h = all.b.ManagementHandler(tags)
	if w := all.do("PUT", "/queues/%2f/q", "x:y", "{}"); w.Code != 401 {
		t.Errorf("with tags, without permissions: %d %s", w.Code, w.Body)
	}
	all.b = open(t, Options{Authenticate: AllowAll, Unregistered: Everything()})
	all.h = all.b.ManagementHandler(tags)
	if w := all.do("PUT", "/queues/%2f/q", "x:y", "{}"); w.Code != 201 {
		t.Errorf("with tags: %d %s", w.Code, w.Body)
	}
}

// A page of somebody else cannot use a browser's password.
func TestManageCrossOrigin(t *testing.T) {
	m := newManageTester(t, Options{})
	r := httptest.NewRequest("POST", "/api/definitions", strings.NewReader(`{"users":[]}`))
	r.RemoteAddr = "127.0.0.1:1"
	r.SetBasicAuth("guest", "guest")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	if m.h.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Bad input is refused with a code of the 400s.
func TestManageBadInput(t *testing.T) {
	m := newManageTester(t, Options{})
	m.must(t, "PUT", "/queues/%2f/q", "{}", nil)
	long := strings.Repeat("x", 256)
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for _, r := range [][3]string{
		{"PUT", "/queues/%2f/bad", `{"arguments":3}`},
		{"PUT", "/queues/%2f/bad", `{"arguments":{"a":` + deep + `}}`},
		{"PUT", "/queues/%2f/bad", `{"durable":3}`},
		{"PUT", "/queues/%2f/" + long, `{}`},
		{"PUT", "/exchanges/%2f/" + long, `{}`},
		{"PUT", "/exchanges/%2f/amq.default", `{}`},
		{"POST", "/bindings/%2f/e/amq.direct/q/q", `{"routing_key":"` + long + `"}`},
		{"POST", "/bindings/%2f/e/amq.direct/x/q", `{}`},
		{"POST", "/bindings/%2f/e/amq.default/q/q", `{"routing_key":"k"}`},
		{"POST", "/bindings/%2f/e/amq.direct/e/amq.default", `{}`},
		{"POST", "/bindings/%2f/e/amq.headers/q/q", `{"arguments":{"x-match":"foo"}}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"priority":300},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"headers":3},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"expiration":"x"},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"user_id":"x"},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"type":"` + long + `"},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.default/publish", `{"properties":{},"routing_key":"` + long + `","payload":"","payload_encoding":"string"}`},
		{"POST", "/exchanges/%2f/amq.rabbitmq.trace/publish", `{"properties":{},"routing_key":"q","payload":"","payload_encoding":"string"}`},
		{"POST", "/queues/%2f/q/get", `{"count":-1,"ackmode":"ack_requeue_true","encoding":"auto"}`},
		{"POST", "/queues/%2f/q/get", `{"count":{},"ackmode":"ack_requeue_true","encoding":"auto"}`},
		{"POST", "/definitions", `{"queues":[{"name":"a","vhost":"none"}]}`},
		{"POST", "/definitions", `{"queues":[{"name":"` + long + `","vhost":"/"}]}`},
		{"PUT", "/queues/%2f/bad", `{"arguments":{"` + long + `":1}}`},
		{"POST", "/definitions", `{"policies":[{"name":"a","vhost":"/","pattern":"("}]}`},
		{"POST", "/definitions", `[`},
		{"PUT", "/permissions/%2f/guest", `{"configure":"(?<","write":"","read":""}`},
		{"PUT", "/policies/%2f/p", `{"pattern":"a","definition":{"max-length":1e400}}`},
		{"GET", "/queues?page=-1", ""},
		{"GET", "/queues?page=1&page_size=x", ""},
	} {
		if w := m.do(r[0], r[1], "guest:guest", r[2]); w.Code < 400 || w.Code > 499 || !strings.HasPrefix(w.Body.String(), `{"error":`) {
			t.Errorf("%s %.60s %.90s: %d %.200s", r[0], r[1], r[2], w.Code, w.Body)
		}
	}
}

// A list of many queues is made for the page that is asked for only.
func TestManagePages(t *testing.T) {
	m := newManageTester(t, Options{})
	for i := range 250 {
		if _, err := m.b.DeclareQueue(t.Context(), "/", Queue{Name: fmt.Sprintf("q%03d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var p struct {
		page
		Items []queueName `json:"items"`
	}
	m.must(t, "GET", "/queues?page=3&page_size=100&columns=name,vhost", "", &p)
	if p.ItemCount != 50 || p.PageCount != 3 || p.TotalCount != 250 || p.Items[0].Name != "q200" {
		t.Errorf("%+v", p)
	}
	m.must(t, "GET", "/queues?page=1&page_size=10&name=%5Eq1.5%24&use_regex=true&sort=name&sort_reverse=true", "", &p)
	if p.FilteredCount != 10 || p.Items[0].Name != "q195" || p.PageCount != 1 {
		t.Errorf("%+v", p)
	}
	listed := 0
	l := listing{1000, func(i int) string { return fmt.Sprint(i) }, func(i int) any { listed++; return i }}
	c := &call{r: httptest.NewRequest("GET", "/api/x?page=2&page_size=10", nil)}
	if _, err := c.shape(l); err != nil || listed != 10 {
		t.Errorf("%d views for a page of 10, %v", listed, err)
	}
}

func FuzzManage(f *testing.F) {
	f.Add("PUT", "/queues/%2f/q", `{"arguments":{"x-max-length":1}}`)
	f.Add("POST", "/exchanges/%2f/amq.default/publish", `{"properties":{"headers":{"a":[1]}},"routing_key":"q","payload":"eA==","payload_encoding":"base64"}`)
	f.Add("POST", "/bindings/%2f/e/amq.direct/q/q", `{"routing_key":"k"}`)
	f.Add("GET", "/queues?page=1&name=a&sort=messages&columns=name,a.b", "")
	f.Add("POST", "/queues/%2f/q/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`)
	f.Add("PUT", "/policies/%2f/p", `{"pattern":"a","definition":{"max-length":1}}`)
	f.Add("POST", "/definitions", `{"queues":[{"name":"a","vhost":"/"}]}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {

		for _, c := range method {
			if c < 'A' || c > 'Z' {
				return
			}
		}
		if method == "" || strings.ContainsAny(path, " \r\n\t\x00#") || !strings.HasPrefix(path, "/") {
			return
		}
		for _, c := range path {
			if c < 0x21 || c > 0x7e {
				return
			}
		}
		tester := newManageTester(t, Options{})
		tester.must(t, "PUT", "/queues/%2f/q", "{}", nil)
		defer func() {
			if p := recover(); p != nil && !strings.Contains(fmt.Sprint(p), "invalid NewRequest arguments") {
				panic(p)
			}
		}()
		if w := tester.do(method, path, "guest:guest", body); w.Code >= 500 && w.Code != 503 {
			t.Errorf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
		}
	})
}

// TestManagePublishLimit publishes what is as large as may be, and more.
func TestManagePublishLimit(t *testing.T) {
	m := newManageTester(t, Options{})
	m.h = m.b.ManagementHandler(&ManagementOptions{MaxMessage: 10})
	m.must(t, "PUT", "/queues/%2f/q", `{}`, nil)
	for payload, want := range map[string]int{"0123456789": 200, "0123456789x": 400} {
		w := m.do("POST", "/exchanges/%2f/amq.default/publish", "guest:guest",
			`{"properties":{},"routing_key":"q","payload":"`+payload+`","payload_encoding":"string"}`)
		if w.Code != want || want == 400 && !strings.Contains(w.Body.String(), "message size 11 is larger than configured max size 10") {
			t.Errorf("%d bytes: %d %s", len(payload), w.Code, w.Body)
		}
	}
}
