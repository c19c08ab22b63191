package amqpbroker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// destination returns the only destination of a message.
func destination(t *testing.T, r *router[string], key string, p amqp091.Properties) string {
	t.Helper()
	raw, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	r.route([]byte(key), raw, func(d string) { out = append(out, d) })
	if len(out) != 1 {
		t.Fatalf("%v of %q", out, key)
	}
	return out[0]
}

func TestRouterHashWeights(t *testing.T) {
	r := testRouter(t, "x-consistent-hash", nil)
	r.route([]byte("k"), nil, func(string) { t.Error("visits without a binding") })
	weights := map[string]int{"a": 1, "b": 2, "c": 5}
	for d, w := range weights {
		mustBind(t, r, d, fmt.Sprint(w), nil)
	}
	const messages = 40_000
	n := map[string]int{}
	for i := range messages {
		n[destination(t, r, fmt.Sprint("key.", i), amqp091.Properties{})]++
	}
	for d, w := range weights {
		if want := messages * w / 8; n[d] < want*95/100 || n[d] > want*105/100 {
			t.Errorf("%s got %d, want about %d", d, n[d], want)
		}
	}
}

// Only values of a binding that goes are moved, and one that comes takes its share and no more.
func TestRouterHashMovesLittle(t *testing.T) {
	r := testRouter(t, "x-consistent-hash", nil)
	for _, d := range []string{"a", "b", "c", "d"} {
		mustBind(t, r, d, "10", nil)
	}
	const messages = 10_000
	before := make([]string, messages)
	for i := range before {
		before[i] = destination(t, r, fmt.Sprint(i), amqp091.Properties{})
	}
	mustBind(t, r, "e", "10", nil)
	moved := 0
	for i := range before {
		if now := destination(t, r, fmt.Sprint(i), amqp091.Properties{}); now != before[i] {
			moved++
			if now != "e" {
				t.Fatalf("moved from %s to %s", before[i], now)
			}
		}
	}
	if moved < messages/6 || moved > messages/4 {
		t.Errorf("%d moved, want a fifth", moved)
	}
	r.unbind("e", "10", nil)
	r.unbind("b", "10", nil)
	for i := range before {
		if now := destination(t, r, fmt.Sprint(i), amqp091.Properties{}); before[i] != "b" && now != before[i] {
			t.Fatalf("moved from %s to %s", before[i], now)
		}
	}
	// A router of the same bindings, made in another order, routes alike.
	again := testRouter(t, "x-consistent-hash", nil)
	for _, d := range []string{"d", "a", "c"} {
		mustBind(t, again, d, "10", nil)
	}
	for i := range before {
		if now := destination(t, again, fmt.Sprint(i), amqp091.Properties{}); now != destination(t, r, fmt.Sprint(i), amqp091.Properties{}) {
			t.Fatal("depends on the order")
		}
	}
}

func TestRouterHashArguments(t *testing.T) {
	at := func(i int) amqp091.Properties {
		return amqp091.Properties{
			Headers:       table("h", i, "other", "x"),
			CorrelationID: fmt.Sprint("c", i),
			MessageID:     fmt.Sprint("m", i),
			Timestamp:     time.Unix(int64(i), 0),
		}
	}
	for _, args := range []amqp091.Table{
		nil,
		table("hash-header", "h"),
		table("hash-property", "correlation_id"),
		table("hash-property", "message_id"),
		table("hash-property", "timestamp"),
	} {
		r := testRouter(t, "x-consistent-hash", args)
		mustBind(t, r, "a", "1", nil)
		mustBind(t, r, "b", "1", nil)
		byKey, byProperty := map[string]bool{}, map[string]bool{}
		for i := range 64 {
			byKey[destination(t, r, fmt.Sprint(i), at(1))] = true
			byProperty[destination(t, r, "k", at(i))] = true
		}
		if want := args == nil; (len(byKey) == 2) != want || (len(byProperty) == 2) == want {
			t.Errorf("%v: %v by key, %v by property", args, byKey, byProperty)
		}
		destination(t, r, "k", amqp091.Properties{}) // one without it goes somewhere too
	}
}

func TestRouterHashInvalid(t *testing.T) {
	check := func(err error, text string) {
		t.Helper()
		var e *amqp091.Error
		if !errors.As(err, &e) || e.Code != amqp091.PreconditionFailed || e.Hard || e.Text != text {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	_, err := newRouter[string]("x-consistent-hash", table("hash-property", "foo"), nil)
	check(err, "Unsupported property: foo")
	_, err = newRouter[string]("x-consistent-hash", table("hash-header", "a", "hash-property", "message_id"), nil)
	check(err, "hash-header and hash-property are mutually exclusive")
	_, err = newRouter[string]("x-consistent-hash", table("hash-header", int32(1)), nil)
	check(err, "hash-header must be a string")
	r := testRouter(t, "x-consistent-hash", nil)
	for key, text := range map[string]string{
		"0":   "The binding key must be greater than 0",
		"-1":  "The binding key must be greater than 0",
		"abc": `The binding key must be an integer: <<"abc">>`,
		"1.5": `The binding key must be an integer: <<"1.5">>`,
		"":    `The binding key must be an integer: <<"">>`,
	} {
		_, _, err := r.bind("q", key, nil)
		check(err, text)
	}
	mustBind(t, r, "q", "+3", nil)
	mustBind(t, r, "q", "1000000", nil)
}

func TestRouterModulusHash(t *testing.T) {
	r := testRouter(t, "x-modulus-hash", nil)
	for _, d := range []string{"a", "b", "c", "d"} {
		mustBind(t, r, d, "any key", nil)
	}
	n := map[string]int{}
	for i := range 4000 {
		d := destination(t, r, fmt.Sprint(i), amqp091.Properties{})
		if again := destination(t, r, fmt.Sprint(i), amqp091.Properties{}); again != d {
			t.Fatalf("%s and %s", d, again)
		}
		n[d]++
	}
	for d, n := range n {
		if n < 850 || n > 1150 {
			t.Errorf("%s got %d of 4000", d, n)
		}
	}
}
