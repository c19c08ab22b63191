package delivery

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a window as a map.
type model struct {
	m    map[uint64]int
	next uint64
}

func (m *model) low() uint64 {
	if len(m.m) == 0 {
		return m.next
	}
	return slices.Min(slices.Collect(maps.Keys(m.m)))
}

func checkWindow(t *testing.T, w *Window[int], m *model) {
	t.Helper()
	if w.Len() != len(m.m) || w.Next() != m.next || w.Low() != m.low() || w.Span() != m.next-m.low() {
		t.Fatalf("Len %d, Next %d, Low %d, Span %d; model %d, %d, %d",
			w.Len(), w.Next(), w.Low(), w.Span(), len(m.m), m.next, m.low())
	}
	got := map[uint64]int{}
	last := int64(-1)
	for seq, p := range w.Unsettled() {
		if int64(seq) <= last {
			t.Fatalf("%d comes after %d", seq, last)
		}
		last = int64(seq)
		got[seq] = *p
	}
	if !maps.Equal(got, m.m) {
		t.Fatalf("unsettled %v, model %v", got, m.m)
	}
}

func TestWindowModel(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var w Window[int]
		m := model{m: map[uint64]int{}}
		busy := 1 + rnd.IntN(9)
		for step := range 2000 {
			seq := m.low() + uint64(rnd.IntN(int(m.next-m.low())+3)) - uint64(rnd.IntN(2))
			switch op := rnd.IntN(20); {
			case op <= busy:
				if got := w.Add(step); got != m.next {
					t.Fatalf("seed %d: Add = %d, want %d", seed, got, m.next)
				}
				m.m[m.next] = step
				m.next++
			case op < 16:
				want, wantOK := m.m[seq]
				if got, ok := w.Settle(seq); got != want || ok != wantOK {
					t.Fatalf("seed %d: Settle(%d) = %d, %v, want %d, %v", seed, seq, got, ok, want, wantOK)
				}
				delete(m.m, seq)
			case op < 17:
				p := w.Get(seq)
				want, ok := m.m[seq]
				if (p != nil) != ok || ok && *p != want {
					t.Fatalf("seed %d: Get(%d) = %v, want %d, %v", seed, seq, p, want, ok)
				}
				if ok {
					*p, m.m[seq] = -step, -step
				}
			case op < 18:
				to := m.next + uint64(rnd.IntN(20)) - min(m.next, 5)
				w.SkipTo(to)
				m.next = max(m.next, to)
			case op < 19:
				first, last := seq, seq+uint64(rnd.IntN(4))
				if rnd.IntN(2) == 0 {
					first = 0
				}
				stop := rnd.IntN(6)
				for s, v := range w.SettleRange(first, last) {
					if want, ok := m.m[s]; !ok || v != want || s < first || s > last {
						t.Fatalf("seed %d: settled %d in %d to %d", seed, s, first, last)
					}
					delete(m.m, s)
					if stop--; stop == 0 {
						break
					}
				}
				if stop > 0 {
					for s := range m.m {
						if s >= first && s <= last {
							t.Fatalf("seed %d: %d is left of %d to %d", seed, s, first, last)
						}
					}
				}
			default:
				for s, p := range w.Unsettled() {
					if *p%3 == 0 {
						w.Settle(s)
						delete(m.m, s)
					}
				}
			}
			if len(w.ring) < int(w.Span()) {
				t.Fatalf("seed %d: %d slots for a span of %d", seed, len(w.ring), w.Span())
			}
			checkWindow(t, &w, &m)
		}
	}
}

func TestWindowSettleThrough(t *testing.T) {
	var w Window[string]
	for _, v := range []string{"a", "b", "c", "d"} {
		w.Add(v)
	}
	w.Settle(1)
	var got []string
	for _, v := range w.SettleThrough(2) {
		got = append(got, v)
	}
	if !slices.Equal(got, []string{"a", "c"}) || w.Low() != 3 || w.Len() != 1 {
		t.Errorf("settled %q, low %d, %d left", got, w.Low(), w.Len())
	}
	for range w.SettleThrough(1 << 60) {
	}
	if w.Len() != 0 || w.Low() != 4 {
		t.Errorf("%d left, low %d", w.Len(), w.Low())
	}
}

func TestWindowLoopsDoNotSeeWhatTheyAdd(t *testing.T) {
	var w Window[int]
	w.Add(1)
	n := 0
	for range w.Unsettled() {
		w.Add(2)
		n++
	}
	for range w.SettleThrough(1 << 60) {
		w.Add(3)
		n++
	}
	if n != 3 || w.Len() != 2 {
		t.Errorf("%d turns, %d left", n, w.Len())
	}
}

func TestWindowMemory(t *testing.T) {
	var w Window[int]
	fill := func(n int) {
		for range n {
			w.Add(0)
		}
		for range w.SettleThrough(w.Next()) {
		}
	}
	fill(1000)
	if w.ring != nil {
		t.Errorf("empty after 1000: %d slots", len(w.ring))
	}
	fill(100)
	if len(w.ring) != windowMost {
		t.Errorf("empty after 100: %d slots", len(w.ring))
	}
	fill(1)
	if w.ring != nil {
		t.Errorf("empty after one: %d slots", len(w.ring))
	}
	fill(1)
	if len(w.ring) != windowStart {
		t.Errorf("empty after one again: %d slots", len(w.ring))
	}
	w.Add(0)
	w.Release()
	if w.Len() != 1 || w.Get(w.Low()) == nil {
		t.Error("Release dropped a delivery")
	}
	w.Settle(w.Low())
	next := w.Next()
	w.Release()
	if w.ring != nil || w.Next() != next {
		t.Errorf("after Release %d slots, Next %d, want %d", len(w.ring), w.Next(), next)
	}
	w.Add(0)
	w.Reset()
	if w.ring != nil || w.Next() != 0 || w.Len() != 0 {
		t.Errorf("after Reset: %+v", w)
	}
}

func TestWindowAllocatesNothing(t *testing.T) {
	for name, burst := range map[string]int{"one": 1, "hundred": 100} {
		t.Run(name, func(t *testing.T) {
			var w Window[[3]uint64]
			n := testing.AllocsPerRun(100, func() {
				for range burst {
					w.Add([3]uint64{1})
				}
				for _, p := range w.Unsettled() {
					p[1]++
				}
				w.Settle(w.Low())
				for range w.SettleThrough(w.Next()) {
				}
			})
			if n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkWindow(b *testing.B) {
	var w Window[[3]uint64]
	for range 100 {
		w.Add([3]uint64{})
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Add([3]uint64{})
		w.Settle(w.Low())
	}
}
