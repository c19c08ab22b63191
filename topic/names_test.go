package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

func collectNames(t *testing.T, names *Names[int], filter string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for name, v := range names.Match(filter) {
		if _, twice := got[name]; twice {
			t.Fatalf("filter %q yields %q twice", filter, name)
		}
		got[name] = v
	}
	return got
}

func checkNames(t *testing.T, names *Names[int], m map[string]int, s Syntax, filter string) {
	t.Helper()
	want := map[string]int{}
	for name, v := range m {
		if s.Match(filter, name) {
			want[name] = v
		}
	}
	if got := collectNames(t, names, filter); !maps.Equal(got, want) {
		t.Fatalf("%v filter %q: %v, want %v", s, filter, got, want)
	}
}

func checkGet(t *testing.T, names *Names[int], m map[string]int, name string) {
	t.Helper()
	want, wantOK := m[name]
	if v, ok := names.Get(name); v != want || ok != wantOK {
		t.Fatalf("Get(%q) = %d, %v, want %d, %v", name, v, ok, want, wantOK)
	}
	if v, ok := names.GetBytes([]byte(name)); v != want || ok != wantOK {
		t.Fatalf("GetBytes(%q) = %d, %v, want %d, %v", name, v, ok, want, wantOK)
	}
}

func TestNamesModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := Syntax(seed % 2)
		names, m := NewNames[int](s), map[string]int{}
		busy := 2 + rnd.IntN(7)
		for step := range 700 {
			name := randomTopic(rnd, s, false)
			old, was := m[name]
			if rnd.IntN(10) < busy {
				if got, replaced := names.Set(strings.Clone(name), step); got != old || replaced != was {
					t.Fatalf("seed %d: Set(%q) = %d, %v, want %d, %v", seed, name, got, replaced, old, was)
				}
				m[name] = step
			} else {
				if got, ok := names.Delete(name); got != old || ok != was {
					t.Fatalf("seed %d: Delete(%q) = %d, %v, want %d, %v", seed, name, got, ok, old, was)
				}
				delete(m, name)
			}
			if names.Len() != len(m) {
				t.Fatalf("seed %d: Len %d, want %d", seed, names.Len(), len(m))
			}
			checkGet(t, names, m, randomTopic(rnd, s, false))
			checkNames(t, names, m, s, randomTopic(rnd, s, true))
		}
		for name := range m {
			names.Delete(name)
		}
		if names.Len() != 0 || !names.root.empty() || names.empty.Load() != nil {
			t.Fatalf("seed %d: %d names, places are left", seed, names.Len())
		}
	}
}

func TestNamesWide(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep := string(rune(s.separator()))
		filters := []string{"#", "r" + sep + "#", "r" + sep + s.single() + sep + "state", "r" + sep + "7" + sep + "#", "r" + sep + s.single()}
		names, m := NewNames[int](s), map[string]int{}
		for round := range 2 {
			for i := range 500 {
				for _, tail := range []string{"", sep + "state", sep + "state" + sep + "x"} {
					name := "r" + sep + strconv.Itoa(i) + tail
					names.Set(name, i+round)
					m[name] = i + round
				}
				if i%50 == 0 {
					for _, f := range filters {
						checkNames(t, names, m, s, f)
					}
				}
			}
			i := 0
			for name := range m {
				if _, ok := names.Delete(name); !ok {
					t.Fatalf("Delete(%q)", name)
				}
				delete(m, name)
				if i++; i%100 == 0 || len(m) < 20 {
					for _, f := range filters {
						checkNames(t, names, m, s, f)
					}
				}
			}
			if !names.root.empty() {
				t.Fatal("places are left")
			}
		}
	}
}

func TestNamesReserved(t *testing.T) {
	names := NewNames[int](MQTT)
	for i, name := range []string{"$SYS", "$SYS/a", "$SYS/a/b", "x", "x/$a"} {
		names.Set(name, i)
	}
	for filter, want := range map[string][]string{
		"MQTT-4.7.2-1 #":      {"x", "x/$a"},
		"MQTT-4.7.2-1 +":      {"x"},
		"MQTT-4.7.2-1 +/+":    {"x/$a"},
		"MQTT-4.7.2-1 +/#":    {"x", "x/$a"},
		"MQTT-4.7.2-1 $SYS/#": {"$SYS", "$SYS/a", "$SYS/a/b"},
		"MQTT-4.7.2-1 $SYS/+": {"$SYS/a"},
		"MQTT-4.7.2-1 $SYS":   {"$SYS"},
	} {
		t.Run(filter, func(t *testing.T) {
			_, filter, _ := strings.Cut(filter, " ")
			got := slices.Sorted(maps.Keys(collectNames(t, names, filter)))
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestNamesBreak(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep := string(rune(s.separator()))
		names := NewNames[int](s)
		for i := range 50 {
			names.Set(fmt.Sprint("r", sep, i), i)
			names.Set(fmt.Sprint("r", sep, i, sep, "x"), i)
			names.Set(fmt.Sprint(i), i)
		}
		names.Set("", 0)
		for _, filter := range []string{"#", "r" + sep + "#", "r" + sep + s.single(), s.single() + sep + s.single() + sep + "x"} {
			n := len(collectNames(t, names, filter))
			if n < 50 {
				t.Fatalf("%v %q: %d names", s, filter, n)
			}
			for stop := range n {
				i := 0
				for range names.Match(filter) {
					if i++; i > stop {
						break
					}
				}
				if i != stop+1 {
					t.Fatalf("%v %q: %d names before a break at %d", s, filter, i, stop)
				}
			}
		}
	}
}

// A name that is set again keeps its first string, so that one copy of it is
// alive.
func TestNamesKeepsFirstString(t *testing.T) {
	names := NewNames[int](MQTT)
	first := strings.Clone("a/b")
	names.Set(first, 1)
	names.Set(strings.Clone("a/b"), 2)
	for name, v := range names.Match("a/+") {
		if unsafe.StringData(name) != unsafe.StringData(first) || v != 2 {
			t.Errorf("%q is another string, or %d", name, v)
		}
	}
}

// FuzzNames runs a script of Set, Delete and Match, one per line, against a map
// and the plain Match.
func FuzzNames(f *testing.F) {
	f.Add(false, "+a/b/c\n+a/b\n?a/#\n-a/b\n?+/b/+")
	f.Add(true, "+a.b.c\n+\n?#\n?#.c\n-a.b.c\n?#.b.#")
	f.Add(false, "+a/\n+a\n+a//\n?a/+\n?a/+/#\n-a/")
	f.Fuzz(func(t *testing.T, amqp bool, script string) {
		s := MQTT
		if amqp {
			s = AMQP
		}
		names, m := NewNames[int](s), map[string]int{}
		for i, line := range strings.Split(script, "\n") {
			if len(line) == 0 || len(line) > 64 || i > 100 {
				continue
			}
			op, text := line[0], line[1:]
			old, was := m[text]
			switch {
			case op == '?':
				if s.ValidateFilter(text) == nil {
					checkNames(t, names, m, s, text)
				}
				checkGet(t, names, m, text)
			case s.ValidateName(text) != nil:
			case op == '-':
				if v, ok := names.Delete(text); v != old || ok != was {
					t.Fatalf("Delete(%q) = %d, %v", text, v, ok)
				}
				delete(m, text)
			default:
				if v, ok := names.Set(text, i); v != old || ok != was {
					t.Fatalf("Set(%q) = %d, %v", text, v, ok)
				}
				m[text] = i
			}
		}
		checkNames(t, names, m, s, "#")
		for name := range m {
			if _, ok := names.Delete(name); !ok {
				t.Fatalf("Delete(%q) at the end", name)
			}
		}
		if names.Len() != 0 || !names.root.empty() {
			t.Fatal("something is left")
		}
	})
}
