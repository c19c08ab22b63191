package amqpbroker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/topic"
)

func testRouter(t testing.TB, kind string, args amqp091.Table) *router[string] {
	t.Helper()
	r, err := newRouter(kind, args, func(d string) string { return d })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBind(t testing.TB, r *router[string], dest, key string, args amqp091.Table) *binding[string] {
	t.Helper()
	b, _, err := r.bind(dest, key, args)
	if err != nil {
		t.Fatalf("bind %q %q %v: %v", dest, key, args, err)
	}
	return b
}

// routed returns the destinations in order, each once.
func routed(r *router[string], key string, headers amqp091.Table) []string {
	var out []string
	r.route([]byte(key), rawProperties(headers), func(d string) { out = append(out, d) })
	slices.Sort(out)
	return slices.Compact(out)
}

func rawProperties(headers amqp091.Table) amqp091.RawProperties {
	p := amqp091.Properties{Headers: headers}
	raw, err := p.Append(nil)
	if err != nil {
		panic(err)
	}
	return raw
}

func TestRouterUnknownType(t *testing.T) {
	_, err := newRouter[string]("nonsense", nil, nil)
	var e *amqp091.Error
	if !errors.As(err, &e) || e.Code != amqp091.PreconditionFailed || e.Hard || e.Text != "unknown exchange type 'nonsense'" {
		t.Errorf("got %v", err)
	}
}

func TestRouterBindIsIdempotent(t *testing.T) {
	for _, kind := range []string{"direct", "fanout", "topic", "headers", "x-random"} {
		r := testRouter(t, kind, nil)
		a := amqp091.Table{{Key: "a", Value: int32(1)}, {Key: "b", Value: "x"}}
		swapped := amqp091.Table{a[1], a[0]}
		wider := amqp091.Table{{Key: "a", Value: int64(1)}, {Key: "b", Value: "x"}}
		first, added, err := r.bind("q", "k", a)
		if err != nil || !added {
			t.Fatal(kind, added, err)
		}
		if again, added, err := r.bind("q", "k", swapped); again != first || added || err != nil {
			t.Error(kind, "the same arguments in another order make another binding")
		}
		for _, other := range []struct {
			dest, key string
			args      amqp091.Table
		}{{"q", "k", wider}, {"q", "k", nil}, {"q", "l", a}, {"p", "k", a}} {
			if _, added, err := r.bind(other.dest, other.key, other.args); !added || err != nil {
				t.Error(kind, other, added, err)
			}
		}
		if r.len() != 5 {
			t.Errorf("%s: %d bindings, want 5", kind, r.len())
		}
		if b := r.unbind("q", "k", swapped); b != first {
			t.Errorf("%s: unbind gave %v", kind, b)
		}
		if b := r.unbind("q", "k", a); b != nil {
			t.Errorf("%s: unbind of what is gone gave %v", kind, b)
		}
		list := r.bindings()
		var got []string
		for _, b := range list {
			got = append(got, fmt.Sprint(b.dest, b.key, len(b.args)))
		}
		if want := []string{"qk2", "qk0", "ql2", "pk2"}; !slices.Equal(got, want) {
			t.Errorf("%s: bindings %v, want %v", kind, got, want)
		}
		for _, b := range list {
			if !r.remove(b) || r.remove(b) {
				t.Errorf("%s: remove of %v", kind, b)
			}
		}
		if got := routed(r, "k", a); got != nil || r.len() != 0 {
			t.Errorf("%s: routes to %v after everything is removed", kind, got)
		}
	}
}

func TestRouterDirect(t *testing.T) {
	r := testRouter(t, "direct", nil)
	keys := []string{"", "a", "a.b", "#", "+", "a/#", "*", "a/+/b", "\x00", "\x00\x00p", "\x00p", "$x", "/", strings.Repeat("#", 255)}
	for i, key := range keys {
		mustBind(t, r, fmt.Sprint(i), key, nil)
		mustBind(t, r, "all", key, nil)
	}
	for i, key := range keys {
		if got, want := routed(r, key, nil), []string{fmt.Sprint(i), "all"}; !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", key, got, want)
		}
	}
	for _, key := range []string{"b", "a/b", "a/x/b", "\x00p\x00"} {
		if got := routed(r, key, nil); got != nil {
			t.Errorf("%q: %v", key, got)
		}
	}
}

func TestRouterFanout(t *testing.T) {
	r := testRouter(t, "fanout", nil)
	want := make([]string, 1000)
	for i := range want {
		want[i] = fmt.Sprintf("%04d", i)
		mustBind(t, r, want[i], fmt.Sprint("#", i), nil)
	}
	if got := routed(r, "anything", nil); !slices.Equal(got, want) {
		t.Errorf("got %d destinations", len(got))
	}
}

// The matrix of what RabbitMQ does with topics.
func TestRouterTopicMatrix(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"#", []string{"", "a", "a.b", ".", "..", "#", "a."}, nil},
		{"", []string{""}, []string{"a", "."}},
		{"#.#", []string{"", "a", "a.b.c"}, nil},
		{"*", []string{"a", "#", "*"}, []string{"", "a.b", "."}},
		{"*.*", []string{"a.b", "a.", ".b", "."}, []string{"a", "", "a.b.c"}},
		{"a.*", []string{"a.b", "a."}, []string{"a", "a.b.c"}},
		{"a.#", []string{"a", "a.b", "a.b.c", "a."}, []string{"", "b"}},
		{"#.a", []string{"a", "b.a", ".a"}, []string{"", "a.b"}},
		{"a.#.b", []string{"a.b", "a.x.b", "a.x.y.b", "a..b"}, []string{"a", "b", "ab"}},
		{"#.*", []string{"a", "a.b", "."}, []string{""}},
		{"*.#", []string{"a", "a.b", "a."}, []string{""}},
		{"*.#.*", []string{"a.b", "a.b.c", "."}, []string{"a", ""}},
		{"a.*.#.c", []string{"a.b.c", "a.b.x.c"}, []string{"a.c", "a.b"}},
		{"a", []string{"a"}, []string{"A", "a.", ""}},
		{"a.", []string{"a."}, []string{"a", "a.b"}},
		{"a#", []string{"a#"}, []string{"a", "ab"}},
		{"#.#.#", []string{"", "a", "a.b.c.d"}, nil},
		{"a.#.#.b", []string{"a.b", "a.x.y.b"}, []string{"a"}},
	} {
		r := testRouter(t, "topic", nil)
		mustBind(t, r, "q", c.pattern, nil)
		for _, key := range c.yes {
			if routed(r, key, nil) == nil {
				t.Errorf("%q does not match %q", c.pattern, key)
			}
		}
		for _, key := range c.no {
			if routed(r, key, nil) != nil {
				t.Errorf("%q matches %q", c.pattern, key)
			}
		}
	}
}

func FuzzRouterTopic(f *testing.F) {
	f.Add("a.*.#\n#\n#.b\n*.#.*", "a.b")
	f.Add("#.#.#.a\n", "a")
	f.Add("..\n.\n\n*.", ".")
	f.Fuzz(func(t *testing.T, patterns, key string) {
		if len(key) > maxKey {
			return
		}
		r := testRouter(t, "topic", nil)
		var want []string
		for _, p := range strings.Split(patterns, "\n") {
			if len(p) > maxKey {
				return
			}
			if _, added, _ := r.bind(p, p, nil); added && topic.AMQP.Match(p, key) {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		if got := routed(r, key, nil); !slices.Equal(got, want) {
			t.Errorf("key %q: %q, want %q", key, got, want)
		}
	})
}

// Many '#' in many bindings take no more than bindings times words.
func TestRouterManyHashes(t *testing.T) {
	r := testRouter(t, "topic", nil)
	for i := range 100 {
		mustBind(t, r, fmt.Sprint(i), strings.Repeat("#.*.", 1+i%60)+"a.#", nil)
	}
	key := strings.Repeat("a.", 127) + "b"
	for range 20 {
		routed(r, key, nil)
	}
}

func TestRouterRandom(t *testing.T) {
	r := testRouter(t, "x-random", nil)
	r.route(nil, nil, func(string) { t.Error("visits without a binding") })
	for _, d := range []string{"a", "b", "c", "d"} {
		mustBind(t, r, d, "", nil)
	}
	n := map[string]int{}
	for range 4000 {
		r.route(nil, nil, func(d string) { n[d]++ })
	}
	for d, n := range n {
		if n < 800 || n > 1200 {
			t.Errorf("%s got %d of 4000", d, n)
		}
	}
}

func TestRouterDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, kind := range []string{"direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"} {
		r := testRouter(t, kind, nil)
		for i := range 50 {
			key := fmt.Sprint(i + 1)
			if kind == "topic" {
				key = fmt.Sprintf("a.*.%d.#", i)
			}
			mustBind(t, r, fmt.Sprint(i), key, amqp091.Table{{Key: "n", Value: i % 10}, {Key: "x-match", Value: "any"}})
		}
		n := 0
		visit := func(string) { n++ }
		for _, key := range [][]byte{[]byte("7"), []byte("a.b.7.c"), []byte("#.+.x")} {
			props := rawProperties(amqp091.Table{{Key: "n", Value: int64(3)}, {Key: "m", Value: "something"}})
			if allocs := testing.AllocsPerRun(100, func() { r.route(key, props, visit) }); allocs != 0 {
				t.Errorf("%s: %v allocations", kind, allocs)
			}
		}
		if n == 0 && kind != "direct" {
			t.Errorf("%s: no destination", kind)
		}
	}
}

// Readers see a binding that is there the whole time, and nothing else breaks, while others come and go.
func TestRouterConcurrent(t *testing.T) {
	for _, kind := range []string{"direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"} {
		r := testRouter(t, kind, nil)
		stay := func(d string) bool { return strings.HasPrefix(d, "stay") }
		for i := range 10 {
			mustBind(t, r, fmt.Sprint("stay", i), "1", nil)
		}
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			rng := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				d := fmt.Sprint("other", rng.IntN(100))
				if rng.IntN(2) == 0 {
					r.bind(d, "1", nil)
				} else {
					r.unbind(d, "1", nil)
				}
			}
		}()
		for range 2000 {
			n, all := 0, 0
			r.route([]byte("1"), nil, func(d string) {
				all++
				if stay(d) {
					n++
				}
			})
			if one := kind == "x-consistent-hash" || kind == "x-random"; one && all != 1 || !one && n != 10 {
				t.Fatalf("%s: %d of the 10 that stay, %d of all", kind, n, all)
			}
		}
		close(stop)
		<-done
	}
}

func BenchmarkRouter(b *testing.B) {
	for _, kind := range []string{"direct", "topic", "headers", "x-consistent-hash"} {
		b.Run(kind, func(b *testing.B) {
			r := testRouter(b, kind, nil)
			keys := make([][]byte, 1000)
			props := make([]amqp091.RawProperties, 1000)
			for i := range keys {
				key := fmt.Sprintf("stock.%d.nyse", i)
				keys[i] = []byte(key)
				switch {
				case kind == "topic" && i%2 == 0:
					key = fmt.Sprintf("stock.%d.*", i)
				case kind == "topic" && i%3 == 0:
					key = fmt.Sprintf("#.%d.nyse", i)
				case kind == "x-consistent-hash":
					key = "1"
				}
				headers := amqp091.Table{{Key: "number", Value: i}, {Key: "market", Value: "nyse"}, {Key: "currency", Value: "USD"}}
				props[i] = rawProperties(headers)
				mustBind(b, r, fmt.Sprint(i), key, headers)
			}
			n := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.route(keys[i%1000], props[i%1000], func(string) { n++ })
			}
			if n < b.N {
				b.Fatalf("%d of %d", n, b.N)
			}
		})
	}
}
