package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// churn runs writers until all readers have ended, each with a generator of
// its own.
func churn(writers, readers int, write, read func(id int, rnd *rand.Rand)) {
	var stop atomic.Bool
	var w, r sync.WaitGroup
	for id := range writers {
		w.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(id), 1))
			for !stop.Load() {
				write(id, rnd)
			}
		})
	}
	for id := range readers {
		r.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(id), 2))
			for range 100 {
				read(id, rnd)
			}
		})
	}
	r.Wait()
	stop.Store(true)
	w.Wait()
}

// While writers insert and delete, so that nodes change form, are pruned and
// made again, a match yields each pair that stays exactly once and no pair of
// another filter.
func TestTrieConcurrent(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep, one := string(rune(s.separator())), s.single()
		trie := NewTrie[string](s)
		name := strings.Join([]string{"d", "7", "x"}, sep)
		var stay []string
		for _, f := range []string{
			name, "d" + sep + "7" + sep + one, "d" + sep + "#", "#", one + sep + one + sep + "x", "d" + sep + "7" + sep + "#",
		} {
			for i := range 20 {
				v := fmt.Sprint(f, " stays ", i)
				trie.Insert(f, v)
				stay = append(stay, v)
			}
		}
		slices.Sort(stay)
		write := func(id int, rnd *rand.Rand) {
			n := 1 + rnd.IntN(100)
			filters := make([]string, n)
			for i := range filters {
				filters[i] = []string{
					name, "#", "d" + sep + "#",
					fmt.Sprint("d", sep, i, sep, one), fmt.Sprint("d", sep, "7", sep, i), fmt.Sprint("d", sep, i),
					strings.Join([]string{one, "7", "x"}, sep),
				}[rnd.IntN(7)]
				trie.Insert(filters[i], fmt.Sprint(filters[i], " moves ", id, i))
			}
			for i, f := range filters {
				if !trie.Delete(f, fmt.Sprint(f, " moves ", id, i)) {
					t.Error("lost", f)
				}
			}
		}
		read := func(_ int, _ *rand.Rand) {
			var got []string
			for v := range trie.Match(name) {
				f, _, found := strings.Cut(v, " stays ")
				if found {
					got = append(got, v)
				} else {
					f, _, _ = strings.Cut(v, " moves ")
				}
				if !s.Match(f, name) {
					t.Errorf("%v: %q yields %q", s, name, v)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, stay) {
				t.Errorf("%v: %d of %d that stay", s, len(got), len(stay))
			}
		}
		churn(2, 2, write, read)
		if trie.Len() != len(stay) {
			t.Errorf("%v: %d pairs at the end, want %d", s, trie.Len(), len(stay))
		}
	}
}

// What has been inserted is seen by every match that begins later, whatever
// others do.
func TestTrieSeesOwnInsert(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep := string(rune(s.separator()))
		trie := NewTrie[int](s)
		churn(0, 4, nil, func(id int, rnd *rand.Rand) {
			name := fmt.Sprint("d", sep, rnd.IntN(20), sep, rnd.IntN(5))
			prefix, _, _ := strings.Cut(name, sep)
			filter := []string{name, name + sep + "#", prefix + sep + "#", "#"}[rnd.IntN(4)]
			if !trie.Insert(filter, id) {
				t.Errorf("%v: Insert %q %d", s, filter, id)
			}
			if !slices.Contains(slices.Collect(trie.Match(name)), id) {
				t.Errorf("%v: %q misses its own insert of %q", s, name, filter)
			}
			if !trie.Delete(filter, id) {
				t.Errorf("%v: Delete %q %d", s, filter, id)
			}
			if slices.Contains(slices.Collect(trie.Match(name)), id) {
				t.Errorf("%v: %q sees what it deleted of %q", s, name, filter)
			}
		})
		if trie.Len() != 0 || !trie.isEmpty() {
			t.Errorf("%v: %d pairs left", s, trie.Len())
		}
	}
}

// While writers set and delete, a walk yields each name that stays exactly once.
func TestNamesConcurrent(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep, one := string(rune(s.separator())), s.single()
		names := NewNames[string](s)
		var stay []string
		for i := range 60 {
			for _, name := range []string{fmt.Sprint("r", sep, i), fmt.Sprint("r", sep, i, sep, "s", sep, "x"), fmt.Sprint("q", i, sep, "s")} {
				names.Set(name, name)
				stay = append(stay, name)
			}
		}
		slices.Sort(stay)
		write := func(id int, rnd *rand.Rand) {
			n := 1 + rnd.IntN(150)
			at := rnd.IntN(60)
			each := func(do func(name string)) {
				for i := range n {
					do(fmt.Sprint("r", sep, at+i, sep, "s", sep, id))
					do(fmt.Sprint("r", sep, at+i, sep, id))
					do(fmt.Sprint("r", sep, "w", id, sep, i))
					do(fmt.Sprint("r", sep, "w", id))
				}
			}
			each(func(name string) { names.Set(name, name) })
			names.Set(stay[at], stay[at])
			each(func(name string) { names.Delete(name) })
		}
		read := func(_ int, rnd *rand.Rand) {
			filter := []string{"#", "r" + sep + "#", "r" + sep + one, "r" + sep + one + sep + "s" + sep + "x", one + sep + "s"}[rnd.IntN(5)]
			count := map[string]int{}
			for name, v := range names.Match(filter) {
				if count[name]++; name != v || !s.Match(filter, name) {
					t.Errorf("%v: %q yields %q, %q", s, filter, name, v)
				}
			}
			for _, name := range stay {
				want := 0
				if s.Match(filter, name) {
					want = 1
				}
				if count[name] != want {
					t.Errorf("%v: %q yields %q %d times, want %d", s, filter, name, count[name], want)
				}
				if v, ok := names.Get(name); !ok || v != name {
					t.Errorf("%v: Get(%q) = %q, %v", s, name, v, ok)
				}
			}
		}
		churn(2, 2, write, read)
		if names.Len() != len(stay) {
			t.Errorf("%v: %d names at the end, want %d", s, names.Len(), len(stay))
		}
	}
}
