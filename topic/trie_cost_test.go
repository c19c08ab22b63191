package topic

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

func TestTrieMatchAllocatesNothing(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		if s == AMQP && raceEnabled {
			continue
		}
		sep, one := string(rune(s.separator())), s.single()
		trie := NewTrie[*int](s)
		for i := range 1000 {
			n := strconv.Itoa(i)
			trie.Insert("d"+sep+n+sep+"cmd", new(int))
			trie.Insert("d"+sep+n+sep+one, new(int))
			trie.Insert("d"+sep+one+sep+"cmd", new(int))
		}
		trie.Insert("#", new(int))
		trie.Insert("d"+sep+"#", new(int))
		if s == AMQP {
			trie.Insert("#.cmd", new(int))
			trie.Insert("#.#.cmd.#", new(int))
		}
		name := "d" + sep + "17" + sep + "cmd"
		bytes := []byte(name)
		found := 0
		if n := testing.AllocsPerRun(100, func() {
			for range trie.Match(name) {
				found++
			}
		}); n != 0 {
			t.Errorf("%v: Match: %v allocations", s, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			for range trie.MatchBytes(bytes) {
				found++
			}
		}); n != 0 {
			t.Errorf("%v: MatchBytes: %v allocations", s, n)
		}
		if found < 202*1004 {
			t.Errorf("%v: found %d", s, found)
		}
	}
}

// heap returns the live bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

const million = 1_000_000

// A million subscriptions take at most 500 bytes each, the filters included.
func TestTrieMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("a million filters")
	}
	for _, format := range []string{"d/%d/cmd", "d/%d/+", "+/%d/#", "d/%d"} {
		before := heap()
		trie := NewTrie[*int](MQTT)
		v := new(int)
		for i := range million {
			trie.Insert(fmt.Sprintf(format, i), v)
		}
		each := float64(heap()-before) / million
		t.Logf("%s: %.0f bytes each", format, each)
		if each > 500 {
			t.Errorf("%s: %.0f bytes each", format, each)
		}
		runtime.KeepAlive(trie)
	}
}

func BenchmarkTrieMatch(b *testing.B) {
	trie := NewTrie[*int](MQTT)
	for i := range 100_000 {
		trie.Insert(fmt.Sprintf("d/%d/cmd", i), new(int))
		trie.Insert(fmt.Sprintf("s/%d/+/x", i), new(int))
	}
	for name, topic := range map[string]string{"exact": "d/4711/cmd", "wildcard": "s/4711/a/x", "none": "x/4711/a"} {
		in := []byte(topic)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for range trie.MatchBytes(in) {
				}
			}
		})
	}
}

// Each has 10,000 filters that match or nearly do.
func BenchmarkTrieMatchRich(b *testing.B) {
	for name, c := range map[string]struct {
		s             Syntax
		format, topic string
	}{
		"plus":   {MQTT, "+/+/%d", "a/b/4711"},
		"hash":   {MQTT, "+/%d/#", "a/4711/c/d/e"},
		"fanout": {MQTT, "a/b", "a/b"},
		"amqp":   {AMQP, "#.%d.#", "a.b.4711.c.d"},
	} {
		trie := NewTrie[int](c.s)
		for i := range 10_000 {
			filter := c.format
			if name != "fanout" {
				filter = fmt.Sprintf(c.format, i)
			}
			trie.Insert(filter, i)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for range trie.Match(c.topic) {
				}
			}
		})
	}
}

// A million filters while two goroutines match.
func BenchmarkTrieInsertMillion(b *testing.B) {
	for _, format := range []string{"d/%d/cmd", "d/%d/+"} {
		filters := make([]string, million)
		for i := range filters {
			filters[i] = fmt.Sprintf(format, i)
		}
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				trie := NewTrie[int](MQTT)
				stop := make(chan struct{})
				var matches sync.WaitGroup
				for range 2 {
					matches.Go(func() {
						for i := 0; ; i++ {
							select {
							case <-stop:
								return
							default:
							}
							for range trie.Match(filters[i%million]) {
							}
						}
					})
				}
				for i, f := range filters {
					trie.Insert(f, i)
				}
				close(stop)
				matches.Wait()
			}
		})
	}
}

// Subscribers come and go on one topic that has 100,000.
func BenchmarkTrieManyValues(b *testing.B) {
	trie := NewTrie[int](MQTT)
	for i := range 100_000 {
		trie.Insert("news", i)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		trie.Delete("news", i%100_000)
		trie.Insert("news", i%100_000)
		i++
	}
}
