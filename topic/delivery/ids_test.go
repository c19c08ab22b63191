package delivery

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestIDsModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var s IDs
		m := map[uint16]bool{}
		spread := 1 << (2 + rnd.IntN(15))
		for step := range 5000 {
			id := uint16(rnd.IntN(min(spread, 65536)))
			if rnd.IntN(50) == 0 {
				id = []uint16{0, 65535}[rnd.IntN(2)]
			}
			adding := step/500%2 == 0
			if adding == (rnd.IntN(10) > 0) {
				if got := s.Add(id); got == m[id] {
					t.Fatalf("seed %d: Add(%d) = %v", seed, id, got)
				}
				m[id] = true
			} else {
				if len(m) > 0 && rnd.IntN(3) > 0 {
					id, _ = s.from(0)
				}
				if got := s.Remove(id); got != m[id] {
					t.Fatalf("seed %d: Remove(%d) = %v", seed, id, got)
				}
				delete(m, id)
			}
			if s.Len() != len(m) || s.Has(id) != m[id] {
				t.Fatalf("seed %d: Len %d, model %d", seed, s.Len(), len(m))
			}
			if step%50 == 0 {
				want := slices.Sorted(maps.Keys(m))
				if got := slices.Collect(s.All()); !slices.Equal(got, want) {
					t.Fatalf("seed %d: %v, want %v", seed, got, want)
				}
			}
		}
	}
}

func TestIDsAll(t *testing.T) {
	var s IDs
	for id := range 65536 {
		s.Add(uint16(id))
	}
	n := 0
	for id := range s.All() {
		if int(id) != n || !s.Remove(id) {
			t.Fatalf("%d at %d", id, n)
		}
		n++
	}
	if n != 65536 || s.Len() != 0 || s.small != nil || s.table != nil {
		t.Errorf("%d yielded, %d left, memory %d %p", n, s.Len(), cap(s.small), s.table)
	}
	s.Add(9)
	for range s.All() {
		break
	}
	s.Reset()
	if s.Len() != 0 || s.Has(9) || s.small != nil {
		t.Error("Reset left something")
	}
}

func TestIDsAllocatesNothing(t *testing.T) {
	var s IDs
	n := testing.AllocsPerRun(100, func() {
		for id := range uint16(10) {
			s.Add(id * 7)
		}
		for id := range uint16(10) {
			s.Remove(id * 7)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIDs(b *testing.B) {
	var s IDs
	id := uint16(0)
	for b.Loop() {
		s.Add(id)
		s.Remove(id - 20)
		id++
	}
}
