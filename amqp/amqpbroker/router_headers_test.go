package amqpbroker

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// table makes a table of names and values in turn.
func table(kv ...any) amqp091.Table {
	var t amqp091.Table
	for i := 0; i < len(kv); i += 2 {
		t = append(t, amqp091.Field{Key: kv[i].(string), Value: kv[i+1]})
	}
	return t
}

// What RabbitMQ 3.10 answered.
func TestRouterHeaders(t *testing.T) {
	for _, c := range []struct {
		args, headers amqp091.Table
		want          bool
	}{
		{nil, nil, true},
		{table("x-match", "all"), nil, true},
		{table("x-match", "all"), table("a", 1), true},
		{table("x-match", "any"), nil, false},
		{table("x-match", "any"), table("a", 1), false},
		{table("x-match", "any-with-x"), table("a", 1), false},
		{table("x-match", "all-with-x"), table("a", 1), true},
		{table("a", 1), nil, false},
		{table("a", 1), table("a", 1), true},
		{table("a", 1), table("a", 1, "b", 2), true},
		{table("a", 1, "b", 2), table("a", 1), false},
		{table("b", 2, "a", 1), table("a", 1, "b", 2), true},
		{table("a", 1, "b", 2, "x-match", "any"), table("b", 2), true},
		{table("a", 1, "b", 2, "x-match", "any"), table("b", 3), false},
		{table("x-match", "all", "x-foo", 1), nil, true},
		{table("x-match", "all", "x-foo", 1), table("x-foo", 2), true},
		{table("x-match", "any", "x-foo", 1), table("x-foo", 1), false},
		{table("x-match", "any-with-x", "x-foo", 1), table("x-foo", 1), true},
		{table("x-match", "all-with-x", "x-foo", 1), table("x-foo", 1), true},
		{table("x-match", "all-with-x", "x-foo", 1), table("x-foo", 2), false},
		{table("x-match", "any-with-x", "k", nil), table("k", "x"), true},
		{table("x-match", "any", "k", nil), table("l", "x"), false},
		{table("k", nil, "l", 1), table("k", true, "l", 1), true},
	} {
		r := testRouter(t, "headers", nil)
		mustBind(t, r, "q", "", c.args)
		if got := routed(r, "any key", c.headers) != nil; got != c.want {
			t.Errorf("binding %v, message %v: %v", c.args, c.headers, got)
		}
	}
}

func TestRouterHeadersEquality(t *testing.T) {
	numbers := []any{int8(1), int16(1), int32(1), int64(1), uint8(1), uint16(1), uint32(1), float32(1), 1.0, time.Unix(1, 0)}
	classes := [][]any{
		numbers,
		{"1", []byte("1")},
		{true},
		{amqp091.Decimal{Value: 1}},
		{[]any{int32(1)}},
		{table("a", int32(1))},
		{int8(-1), int64(-1), -1.0},
		{1.5, float32(1.5)},
		{int64(math.MaxInt64)},
		{float64(math.MaxInt64)},
		{float64(math.MaxUint64)},
		{[]any{int64(1)}},
	}
	for i, as := range classes {
		for _, a := range as {
			for j, bs := range classes {
				for _, b := range bs {
					r := testRouter(t, "headers", nil)
					mustBind(t, r, "q", "", table("k", a))
					if got := routed(r, "", table("k", b)) != nil; got != (i == j) {
						t.Errorf("%T %v and %T %v: %v", a, a, b, b, got)
					}
					mustBind(t, r, "v", "", table("k", nil))
					if !slices.Contains(routed(r, "", table("k", b)), "v") {
						t.Errorf("%T %v is not there", b, b)
					}
				}
			}
		}
	}
}

func TestRouterHeadersInvalid(t *testing.T) {
	for _, c := range []struct {
		value any
		text  string
	}{
		{"foo", `Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x`},
		{int32(1), "Invalid x-match field type signedint (value 1); expected longstr"},
		{true, "Invalid x-match field type bool (value true); expected longstr"},
	} {
		r := testRouter(t, "headers", nil)
		_, _, err := r.bind("q", "", table("x-match", c.value))
		var e *amqp091.Error
		if !errors.As(err, &e) || e.Code != amqp091.PreconditionFailed || e.Hard || e.Text != c.text {
			t.Errorf("%v: %v", c.value, err)
		}
		if r.len() != 0 || len(r.bindings()) != 0 {
			t.Error("the binding is there")
		}
	}
}

// The index finds what a look at each binding finds.
func TestRouterHeadersIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int, void bool) amqp091.Table {
		var out amqp091.Table
		for range rng.IntN(n + 1) {
			key := []string{"a", "b", "c", "d", "x-e"}[rng.IntN(5)]
			values := []any{1, int64(2), 2.0, "1", "two", true, nil}
			if !void {
				values = values[:len(values)-1]
			}
			out.Set(key, values[rng.IntN(len(values))])
		}
		return out
	}
	r := testRouter(t, "headers", nil)
	for i := range 300 {
		args := random(3, true)
		args = append(args, table("x-match", []string{"all", "any", "all-with-x", "any-with-x"}[rng.IntN(4)])...)
		mustBind(t, r, fmt.Sprint(i), "", args)
		if i%7 == 0 {
			list := r.bindings()
			r.remove(list[rng.IntN(len(list))])
		}
	}
	for range 2000 {
		headers := random(4, false)
		var want []string
		for _, b := range r.bindings() {
			if b.headers.matches(rawProperties(headers).Headers()) {
				want = append(want, b.dest)
			}
		}
		slices.Sort(want)
		if got := routed(r, "", headers); !slices.Equal(got, want) {
			t.Fatalf("%v: %v, want %v", headers, got, want)
		}
	}
}
