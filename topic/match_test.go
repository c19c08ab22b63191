package topic

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMatchMQTT(t *testing.T) {
	for _, c := range []struct {
		id, filter, name string
		want             bool
	}{
		{"MQTT-4.7.1-1 parent", "sport/tennis/#", "sport/tennis", true},
		{"MQTT-4.7.1-1 child", "sport/tennis/#", "sport/tennis/a/b", true},
		{"MQTT-4.7.1-1 sibling", "sport/tennis/#", "sport/tennisx", false},
		{"MQTT-4.7.1-1 all", "#", "sport/tennis", true},
		{"MQTT-4.7.1-1 all of slash", "#", "/", true},
		{"MQTT-4.7.1-1 parent of plus", "+/#", "sport", true},
		{"MQTT-4.7.1-1 empty level", "a//#", "a/", true},
		{"MQTT-4.7.1-1 missing empty level", "a//#", "a", false},
		{"MQTT-4.7.1-2 one level", "sport/+", "sport/tennis", true},
		{"MQTT-4.7.1-2 not two", "sport/+", "sport/tennis/a", false},
		{"MQTT-4.7.1-2 not the parent", "sport/+", "sport", false},
		{"MQTT-4.7.1-2 empty level", "sport/+", "sport/", true},
		{"MQTT-4.7.1-2 leading empty level", "+/+", "/finance", true},
		{"MQTT-4.7.1-2 slash plus", "/+", "/finance", true},
		{"MQTT-4.7.1-2 plus only", "+", "/finance", false},
		{"MQTT-4.7.2-1 hash", "#", "$SYS/a", false},
		{"MQTT-4.7.2-1 plus", "+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"MQTT-4.7.2-1 plus alone", "+", "$SYS", false},
		{"MQTT-4.7.2-1 named", "$SYS/#", "$SYS/monitor/Clients", true},
		{"MQTT-4.7.2-1 named plus", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"MQTT-4.7.2-1 dollar below", "+/$a", "b/$a", true},
		{"MQTT-4.7.3-4 case", "ACCOUNTS", "Accounts", false},
		{"MQTT-4.7.3-4 composed", "é", "e\u0301", false},
		{"MQTT-4.7.3-4 slash", "/finance", "finance", false},
		{"exact", "a/b", "a/b", true},
		{"exact shorter", "a/b", "a", false},
		{"exact longer", "a", "a/b", false},
	} {
		t.Run(c.id, func(t *testing.T) {
			if got := MQTT.Match(c.filter, c.name); got != c.want {
				t.Errorf("%q, %q: %v", c.filter, c.name, got)
			}
		})
	}
}

func TestMatchAMQP(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		{"", "", true}, {"#", "", true}, {"#.#", "", true}, {"*", "", false}, {"", "a", false},
		{"*", "a", true}, {"*", "a.", false}, {"*.*", "a.", true}, {"*.*", ".", true}, {"a.", "a.", true},
		{"a.#", "a", true}, {"a.#", "a.b.c", true}, {"#.a", "a", true}, {"#.a", "b.c.a", true}, {"#.a", "a.b", false},
		{"a.#.b", "a.b", true}, {"a.#.b", "a.x.y.b", true}, {"a.#.b", "a.x.b.y", false},
		{"#.a.#.b.#", "x.a.y.b.z", true}, {"#.a.#.b.#", "b.a", false},
		{"a.*.#", "a", false}, {"a.*.#", "a.b", true}, {"#.*", "", false}, {"#.*", "x.y", true},
		{"stock.*.nyse", "stock.ibm.nyse", true}, {"*.orange.*", "quick.orange.rabbit", true},
		{"lazy.#", "lazy.orange.male.rabbit", true}, {"a*", "ab", false}, {"a*", "a*", true},
		{"a.*", "a.#", true}, {"a.b", "a.#", false}, {"a.#", "a.*.#", true}, {"$a.#", "$a.b", true}, {"#", "$a", true},
	} {
		if got := AMQP.Match(c.filter, c.name); got != c.want {
			t.Errorf("%q, %q: %v", c.filter, c.name, got)
		}
	}
}

// Forty '#' against sixty words: a matcher that tries every split never ends.
func TestMatchAMQPManyHashes(t *testing.T) {
	filter := strings.Repeat("#.a.", 40) + "b"
	name := strings.TrimSuffix(strings.Repeat("a.", 60), ".")
	if AMQP.Match(filter, name) || !AMQP.Match(filter, name+".b") {
		t.Error("wrong answer")
	}
}

// define is the definition of a match, word by word and as slow as it likes.
func define(s Syntax, filter, name []string) bool {
	if len(filter) == 0 {
		return len(name) == 0
	}
	switch {
	case filter[0] == "#":
		return define(s, filter[1:], name) || len(name) > 0 && define(s, filter, name[1:])
	case len(name) == 0:
		return false
	case filter[0] != s.single() && filter[0] != name[0]:
		return false
	}
	return define(s, filter[1:], name[1:])
}

// words cuts as the standards say, apart from the code under test.
func words(s Syntax, name string) []string {
	if s == AMQP && name == "" {
		return nil
	}
	return strings.Split(name, string(rune(s.separator())))
}

// randomTopic returns a valid filter or name over a small alphabet.
func randomTopic(rnd *rand.Rand, s Syntax, filter bool) string {
	alphabet := []string{"a", "b", "", "$x", "ab"}
	n := rnd.IntN(6)
	if s == MQTT {
		n = max(n, 1)
	}
	var out []string
	for i := range n {
		level := alphabet[rnd.IntN(len(alphabet))]
		switch {
		case filter && rnd.IntN(4) == 0:
			level = s.single()
		case filter && rnd.IntN(4) == 0 && (s == AMQP || i == n-1):
			level = "#"
		}
		out = append(out, level)
	}
	topic := strings.Join(out, string(rune(s.separator())))
	if s == MQTT && topic == "" {
		return "a"
	}
	return topic
}

func TestMatchDefinition(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, s := range []Syntax{MQTT, AMQP} {
		matched := 0
		for range 30_000 {
			filter, name := randomTopic(rnd, s, true), randomTopic(rnd, s, false)
			want := define(s, words(s, filter), words(s, name))
			if s == MQTT && name[:min(1, len(name))] == "$" && slices.Contains([]string{"+", "#"}, words(s, filter)[0]) {
				want = false
			}
			if got := s.Match(filter, name); got != want {
				t.Fatalf("%v filter %q, name %q: %v", s, filter, name, got)
			}
			if want {
				matched++
			}
			if s.ValidateFilter(filter) != nil || s.ValidateName(name) != nil {
				t.Fatalf("%v: %q or %q is not valid", s, filter, name)
			}
			if !s.HasWildcard(filter) && s.Match(filter, name) != (filter == name) {
				t.Fatalf("%v: filter %q without a wildcard, name %q", s, filter, name)
			}
			if got := s.Levels(filter); got != len(words(s, filter)) {
				t.Fatalf("%v: %q has %d levels", s, filter, got)
			}
		}
		if matched < 500 {
			t.Errorf("%v: only %d pairs matched", s, matched)
		}
	}
}

// FuzzMatch holds arbitrary text to the definition, where it is valid.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("#.a.#", "b.a.c")
	f.Add("+", "$x")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if len(filter) > 1000 || len(name) > 1000 {
			return // AMQP's names are short, and the work is the product of both
		}
		for _, s := range []Syntax{MQTT, AMQP} {
			got := s.Match(filter, name) // never panics
			if s.ValidateFilter(filter) != nil || s.ValidateName(name) != nil || len(filter)+len(name) > 40 {
				continue
			}
			want := define(s, words(s, filter), words(s, name))
			if s == MQTT && name[0] == '$' && filter[0] != '$' {
				want = want && filter[0] != '+' && filter[0] != '#'
			}
			if got != want {
				t.Fatalf("%v filter %q, name %q: %v", s, filter, name, got)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		MQTT.Match("devices/+/sensors/#", "devices/kitchen-17/sensors/temperature")
	}
}

func BenchmarkValidateName(b *testing.B) {
	for b.Loop() {
		MQTT.ValidateName("devices/kitchen-17/sensors/temperature")
	}
}
