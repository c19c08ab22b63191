package topic

import (
	"fmt"
	"runtime"
	"testing"
)

func TestNamesAllocatesNothing(t *testing.T) {
	for _, s := range []Syntax{MQTT, AMQP} {
		sep := string(rune(s.separator()))
		names := NewNames[*int](s)
		for i := range 1000 {
			names.Set(fmt.Sprint("r", sep, i, sep, "state"), new(int))
		}
		name := []byte("r" + sep + "17" + sep + "state")
		one, all := "r"+sep+"17"+sep+"#", "r"+sep+s.single()+sep+"state"
		found := 0
		for what, read := range map[string]func(){
			"GetBytes": func() {
				if _, ok := names.GetBytes(name); ok {
					found++
				}
			},
			"Match one": func() {
				for range names.Match(one) {
					found++
				}
			},
			"Match all": func() {
				for range names.Match(all) {
					found++
				}
			},
		} {
			if n := testing.AllocsPerRun(100, read); n != 0 {
				t.Errorf("%v %s: %v allocations", s, what, n)
			}
		}
		if found != 101*1002 {
			t.Errorf("%v: found %d", s, found)
		}
	}
}

// A hundred thousand names take at most 90 bytes each beyond the name string.
func TestNamesMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("other sizes, and slow")
	}
	const n = 100_000
	for _, c := range []struct {
		format string
		most   float64
	}{
		{"r/%06d/state", 90},
		{"r/%06d", 90},
		{"retained/%06d", 90},
	} {
		topics := make([]string, n)
		for i := range topics {
			topics[i] = fmt.Sprintf(c.format, i)
		}
		v := new(int)
		before := heap()
		names := NewNames[*int](MQTT)
		for _, topic := range topics {
			names.Set(topic, v)
		}
		each := float64(heap()-before) / n
		t.Logf("%s: %.1f bytes each", c.format, each)
		if each > c.most {
			t.Errorf("%s: %.1f bytes each, want at most %.0f", c.format, each, c.most)
		}
		runtime.KeepAlive(names)
		runtime.KeepAlive(topics)
	}
}

func BenchmarkNames(b *testing.B) {
	names := NewNames[*int](MQTT)
	topics := make([]string, 100_000)
	for i := range topics {
		topics[i] = fmt.Sprintf("r/%d/state", i)
		names.Set(topics[i], new(int))
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			names.Get("r/4711/state")
		}
	})
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			names.Set(topics[i%len(topics)], nil)
		}
	})
	b.Run("delete and set", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			names.Delete(topics[i%len(topics)])
			names.Set(topics[i%len(topics)], nil)
		}
	})
	b.Run("match one", func(b *testing.B) {
		for b.Loop() {
			for range names.Match("r/4711/#") {
			}
		}
	})
	b.Run("match 100000", func(b *testing.B) {
		for b.Loop() {
			for range names.Match("r/+/state") {
			}
		}
	})
}

// A million names under one wide level.
func BenchmarkNamesSetMillion(b *testing.B) {
	topics := make([]string, million)
	for i := range topics {
		topics[i] = fmt.Sprintf("r/%d/state", i)
	}
	for b.Loop() {
		names := NewNames[*int](MQTT)
		for _, topic := range topics {
			names.Set(topic, nil)
		}
	}
}
