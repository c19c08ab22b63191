package amqpbroker

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func withPolicy(p Policy) func() (setting, error) {
	return func() (setting, error) { return policySetting(p, false) }
}

func withOperatorPolicy(p Policy) func() (setting, error) {
	return func() (setting, error) { return policySetting(p, true) }
}

func TestPolicyFor(t *testing.T) {
	def := func(kv ...any) Arguments { return Arguments(table(kv...)) }
	r := testRegistry(t,
		withPolicy(Policy{Vhost: "/", Name: "low", Pattern: "^q", Definition: def("max-length", int64(10)), Priority: -1}),
		withPolicy(Policy{Vhost: "/", Name: "high", Pattern: "^q.*x$", Definition: def("max-length", int64(5), "overflow", "drop-head", "message-ttl", int64(7)), Priority: 5}),
		withPolicy(Policy{Vhost: "/", Name: "ex", Pattern: "^q", ApplyTo: PolicyExchanges, Definition: def("alternate-exchange", "ae"), Priority: 9}),
		withPolicy(Policy{Vhost: "/", Name: "quorum", Pattern: "^q", ApplyTo: PolicyQuorumQueues, Definition: def("delivery-limit", int64(3)), Priority: 8}),
		withPolicy(Policy{Vhost: "other", Name: "o", Pattern: ".*", Definition: def("expires", int64(1)), Priority: 8}),
		withOperatorPolicy(Policy{Vhost: "/", Name: "op", Pattern: "^qo", ApplyTo: PolicyQueues, Definition: def("max-length", int64(7), "expires", int64(100), "overflow", "reject-publish")}),
	)
	for _, c := range []struct {
		vhost, queueType, name string
		kind                   resourceKind
		policy, operator       string
		want                   amqp091.Table
	}{
		{"/", "", "a", resourceQueue, "", "", nil},
		{"/", "", "q", resourceQueue, "low", "", table("max-length", int64(10))},
		{"/", "classic", "qx", resourceQueue, "high", "", table("max-length", int64(5), "overflow", "drop-head", "message-ttl", int64(7))},
		{"/", "", "qox", resourceQueue, "high", "op", table("max-length", int64(5), "overflow", "reject-publish", "message-ttl", int64(7), "expires", int64(100))},
		{"/", "", "qo", resourceQueue, "low", "op", table("max-length", int64(7), "expires", int64(100), "overflow", "reject-publish")},
		{"/", "", "q", resourceExchange, "ex", "", table("alternate-exchange", "ae")},
		{"/", "quorum", "q", resourceQueue, "quorum", "", table("delivery-limit", int64(3))},
		{"/", "stream", "q", resourceQueue, "low", "", table("max-length", int64(10))},
		{"none", "", "q", resourceQueue, "", "", nil},
	} {
		e := r.policyFor(c.vhost, c.kind, c.queueType, c.name)
		policy, operator := e.names()
		if policy != c.policy || operator != c.operator {
			t.Errorf("%v: %q %q", c, policy, operator)
		}
		if diff := cmp.Diff(c.want, e.definition); diff != "" {
			t.Errorf("%v: %s", c, diff)
		}
	}

	e := r.policyFor("/", resourceQueue, "", "qox")
	number := func(n int64, ok bool) int64 {
		if !ok {
			return -1
		}
		return n
	}
	for _, c := range []struct{ got, want int64 }{
		{number(e.limit(table("x-max-length", 3), "max-length")), 3},
		{number(e.limit(table("x-max-length", uint8(9)), "max-length")), 5},
		{number(e.limit(nil, "max-length")), 5},
		{number(e.limit(table("x-max-length-bytes", int16(9)), "max-length-bytes")), 9},
		{number(e.limit(nil, "max-length-bytes")), -1},
	} {
		if c.got != c.want {
			t.Errorf("got %d, want %d", c.got, c.want)
		}
	}
	if s, ok := e.choice(table("x-overflow", "drop-head"), "overflow"); s != "drop-head" || !ok {
		t.Error(s, ok)
	}
	if s, ok := e.choice(nil, "overflow"); s != "reject-publish" || !ok {
		t.Error(s, ok)
	}
	if s, ok := e.choice(nil, "dead-letter-exchange"); ok {
		t.Error(s)
	}
}

// What RabbitMQ 3.10 answered, without its escapes.
func TestPolicyInvalid(t *testing.T) {
	for _, c := range []struct {
		operator   bool
		definition string
		want       string
	}{
		{false, `{"max-length":10}`, ""},
		{false, `{}`, "no policy provided"},
		{false, `[]`, "no policy provided"},
		{false, `{"foo":1}`, `[{<<"foo">>,1}] are not recognised policy settings`},
		{false, `{"foo":1,"bar":2}`, `[{<<"bar">>,2},{<<"foo">>,1}] are not recognised policy settings`},
		{false, `{"max-length":"x"}`, `<<"x">> is not a valid maximum length`},
		{false, `{"max-length":-1}`, `-1 is not a valid maximum length`},
		{false, `{"max-length-bytes":-1}`, `-1 is not a valid maximum length in bytes`},
		{false, `{"message-ttl":-1}`, `-1 is not a valid message TTL`},
		{false, `{"message-ttl":1.5}`, `1.5 is not a valid message TTL`},
		{false, `{"expires":0}`, `0 is not a valid queue expiry`},
		{false, `{"overflow":"x"}`, `<<"x">> is not a valid overflow value`},
		{false, `{"dead-letter-exchange":1}`, `1 is not a valid dead letter exchange name`},
		{false, `{"dead-letter-routing-key":1}`, `1 is not a valid dead letter routing key`},
		{false, `{"alternate-exchange":1}`, `1 is not a valid alternate exchange name`},
		{false, `{"queue-mode":"x"}`, `<<"x">> is not a valid queue-mode value`},
		{false, `{"queue-version":2,"ha-mode":"all","federation-upstream-set":"all","delivery-limit":3}`, ""},
		{true, `{"expires":1000,"message-ttl":1,"max-length":1,"max-length-bytes":1,"delivery-limit":3}`, ""},
		{true, `{"max-length":1,"foo":2}`, `[{<<"foo">>,2}] are not recognised policy settings`},
		{true, `{"dead-letter-exchange":"x"}`, `[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings`},
	} {
		var def Arguments
		if err := json.Unmarshal([]byte(c.definition), &def); err != nil {
			t.Fatal(err)
		}
		_, err := policySetting(Policy{Vhost: "/", Name: "p", Pattern: "a", Definition: def}, c.operator)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v", c.definition, err)
		}
	}
	good := Arguments{{Key: "max-length", Value: int64(1)}}
	for _, p := range []Policy{
		{Name: "p", Pattern: "(", Definition: good},
		{Name: "p", Pattern: "a", ApplyTo: "foo", Definition: good},
		{Pattern: "a", Definition: good},
	} {
		if _, err := policySetting(p, false); err == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func TestPolicyArguments(t *testing.T) {
	text := `{"b":1,"a":[1.5,null,{"x":true}],"c":"\u00e9","big":12345678901234567890,"b":2}`
	var a Arguments
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	want := table("b", int64(2), "a", []any{1.5, nil, table("x", true)}, "c", "é", "big", 12345678901234567890.0)
	if diff := cmp.Diff(want, amqp091.Table(a)); diff != "" {
		t.Error(diff)
	}
	b, err := json.Marshal(a)
	if err != nil || string(b) != `{"b":2,"a":[1.5,null,{"x":true}],"c":"é","big":12345678901234567000}` {
		t.Errorf("%s %v", b, err)
	}
	for _, bad := range []string{`1`, `[1]`, `"x"`, `{"a":`, `{`} {
		if json.Unmarshal([]byte(bad), &a) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
