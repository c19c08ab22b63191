package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a trie as a list.
type model map[pair]bool

type pair struct {
	filter string
	v      int
}

func (m model) match(s Syntax, name string) []int {
	out := []int{}
	for p := range m {
		if s.Match(p.filter, name) {
			out = append(out, p.v)
		}
	}
	slices.Sort(out)
	return out
}

func checkTrie(t *testing.T, trie *Trie[int], m model, s Syntax, name string) {
	t.Helper()
	want := m.match(s, name)
	got := slices.Sorted(trie.Match(name))
	if !slices.Equal(got, want) {
		t.Fatalf("%v name %q: %v, want %v", s, name, got, want)
	}
	if got := slices.Sorted(trie.MatchBytes([]byte(name))); !slices.Equal(got, want) {
		t.Fatalf("%v name %q as bytes: %v, want %v", s, name, got, want)
	}
}

// isEmpty reports that a trie holds no nodes.
func (t *Trie[T]) isEmpty() bool { return t.exact.empty() && t.wild.empty() }

func TestTrieModel(t *testing.T) {
	for seed := range uint64(16) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := Syntax(seed % 2)
		trie, m := NewTrie[int](s), model{}
		for range 800 {
			p := pair{randomTopic(rnd, s, true), rnd.IntN(40)}
			if rnd.IntN(3) > 0 {
				if got := trie.Insert(p.filter, p.v); got == m[p] {
					t.Fatalf("seed %d: Insert %v = %v", seed, p, got)
				}
				m[p] = true
			} else {
				if len(m) > 0 && rnd.IntN(4) > 0 {
					p = slices.MinFunc(slices.Collect(maps.Keys(m)), func(a, b pair) int {
						return strings.Compare(a.filter, b.filter)*100 + a.v - b.v
					})
				}
				if got := trie.Delete(p.filter, p.v); got != m[p] {
					t.Fatalf("seed %d: Delete %v = %v", seed, p, got)
				}
				delete(m, p)
			}
			if trie.Len() != len(m) {
				t.Fatalf("seed %d: Len %d, want %d", seed, trie.Len(), len(m))
			}
			checkTrie(t, trie, m, s, randomTopic(rnd, s, false))
		}
		for p := range m {
			trie.Delete(p.filter, p.v)
		}
		if trie.Len() != 0 || !trie.isEmpty() {
			t.Fatalf("seed %d: %d pairs, nodes are left", seed, trie.Len())
		}
	}
}

// Wide nodes and filters of many values go up and down through every form.
func TestTrieWide(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep, any := string(rune(s.separator())), s.single()
		rnd := rand.New(rand.NewPCG(uint64(s), 7))
		trie, m := NewTrie[int](s), model{}
		for round := range 4 {
			for i := range 600 {
				n := fmt.Sprint(rnd.IntN(300))
				for _, filter := range []string{"d" + sep + n, "d" + sep + n + sep + any, "d" + sep + "#", "d" + sep + "x"} {
					p := pair{filter, i}
					if round%2 == 0 {
						if trie.Insert(filter, i) == m[p] {
							t.Fatalf("Insert %v", p)
						}
						m[p] = true
					}
				}
				checkTrieSome(t, trie, m, s, i, "d"+sep+n, "d"+sep+n+sep+"y", "d"+sep+"x")
			}
			if round%2 == 0 {
				continue
			}
			i := 0
			for p := range m {
				if !trie.Delete(p.filter, p.v) {
					t.Fatalf("Delete %v", p)
				}
				delete(m, p)
				i++
				checkTrieSome(t, trie, m, s, i, p.filter, "d"+sep+"x")
			}
			if !trie.isEmpty() {
				t.Fatal("nodes are left")
			}
		}
	}
}

func checkTrieSome(t *testing.T, trie *Trie[int], m model, s Syntax, i int, names ...string) {
	t.Helper()
	if i%97 == 0 || len(m) < 20 {
		for _, name := range names {
			checkTrie(t, trie, m, s, name)
		}
	}
}

func TestTrieReserved(t *testing.T) {
	trie := NewTrie[string](MQTT)
	for _, f := range []string{"#", "+", "+/a", "+/#", "$SYS/#", "$SYS/+", "$SYS/a"} {
		trie.Insert(f, f)
	}
	for name, want := range map[string][]string{
		"MQTT-4.7.2-1 $SYS/a": {"$SYS/#", "$SYS/+", "$SYS/a"},
		"MQTT-4.7.2-1 $SYS":   {"$SYS/#"},
		"MQTT-4.7.2-1 $other": nil,
		"MQTT-4.7.2-1 b/a":    {"#", "+/#", "+/a"},
	} {
		t.Run(name, func(t *testing.T) {
			_, name, _ := strings.Cut(name, " ")
			if got := slices.Sorted(trie.Match(name)); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// A loop may end early at every value.
func TestTrieBreak(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep := string(rune(s.separator()))
		trie := NewTrie[int](s)
		n := 0
		for _, filter := range []string{"a" + sep + "b", "#", s.single() + sep + "b", "a" + sep + s.single(), "a" + sep + "#"} {
			for range 100 {
				trie.Insert(filter, n)
				n++
			}
		}
		for stop := range n {
			i := 0
			for range trie.Match("a" + sep + "b") {
				if i++; i > stop {
					break
				}
			}
			if i != stop+1 {
				t.Fatalf("%v: %d values before a break at %d", s, i, stop)
			}
		}
	}
}

// Filters with many '#' that all nearly match: the work is the number of nodes
// times words, and each filter is found once.
func TestTrieManyHashes(t *testing.T) {
	trie := NewTrie[string](AMQP)
	var filters []string
	for i := range 1 << 10 {
		var b strings.Builder
		for j := range 10 {
			if b.WriteString("#."); i>>j&1 == 0 {
				b.WriteString("a.")
			} else {
				b.WriteString("b.")
			}
		}
		filters = append(filters, b.String()+"#", b.String()+"c", strings.Repeat("#.", 1+i%50)+"#")
	}
	for _, f := range filters {
		trie.Insert(f, f)
	}
	name := strings.Repeat("a.b.", 30) + "a"
	var want []string
	for _, f := range slices.Compact(slices.Sorted(slices.Values(filters))) {
		if AMQP.Match(f, name) {
			want = append(want, f)
		}
	}
	if got := slices.Sorted(trie.Match(name)); !slices.Equal(got, want) || len(want) < 1000 {
		t.Errorf("%d matches, want %d", len(got), len(want))
	}
}

// FuzzTrie runs a script of insertions, deletions and matches, one per line,
// against the plain Match.
func FuzzTrie(f *testing.F) {
	f.Add(false, "+a/+/#\n+a\n?a/b\n-a\n?a")
	f.Add(true, "+#.a.#\n+*.a\n?x.a\n-#.a.#\n?x.a\n?")
	f.Add(false, "+#\n++\n+$x/#\n?$x\n?a")
	f.Fuzz(func(t *testing.T, amqp bool, script string) {
		s := MQTT
		if amqp {
			s = AMQP
		}
		trie, m := NewTrie[int](s), model{}
		for i, line := range strings.Split(script, "\n") {
			if len(line) == 0 || len(line) > 64 || i > 100 {
				continue
			}
			op, text := line[0], line[1:]
			p := pair{text, i % 3}
			switch {
			case op == '?':
				if s.ValidateName(text) == nil {
					checkTrie(t, trie, m, s, text)
				}
			case s.ValidateFilter(text) != nil:
			case op == '-':
				if trie.Delete(text, p.v) != m[p] {
					t.Fatalf("Delete %v", p)
				}
				delete(m, p)
			default:
				if trie.Insert(text, p.v) == m[p] {
					t.Fatalf("Insert %v", p)
				}
				m[p] = true
			}
		}
		for p := range m {
			if !trie.Delete(p.filter, p.v) {
				t.Fatalf("Delete %v at the end", p)
			}
		}
		if trie.Len() != 0 || !trie.isEmpty() {
			t.Fatal("something is left")
		}
	})
}
