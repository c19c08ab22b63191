package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRing compares a ring with a slice.
func TestRing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var r Ring[int]
	var want []int
	for i := range 20_000 {
		grows := 3 + 3*(i/5000%2) // more comes, then more goes
		switch what := rnd.IntN(10); {
		case what < grows:
			r.Push(i)
			want = append(want, i)
		case what == 9:
			r.PushFront(i)
			want = slices.Insert(want, 0, i)
		case what == 8 && len(want) > 0:
			v := want[rnd.IntN(len(want))]
			want = slices.DeleteFunc(want, func(w int) bool { return w == v })
			if !r.Remove(func(w int) bool { return w == v }) || r.Remove(func(w int) bool { return w == -1 }) {
				t.Fatalf("step %d: Remove", i)
			}
		case len(want) > 0:
			if f, v := r.Front(), r.Pop(); f != want[0] || v != want[0] {
				t.Fatalf("step %d: %d and %d, want %d", i, f, v, want[0])
			}
			want = want[1:]
		}
		if r.Len() != len(want) || len(want) > 0 && r.At(len(want)-1) != want[len(want)-1] {
			t.Fatalf("step %d: %d elements, want %d", i, r.Len(), len(want))
		}
	}
	for range 2 * keep {
		r.Push(0)
	}
	for r.Len() > 0 {
		r.Pop()
	}
	if r.b != nil {
		t.Error("large memory is kept")
	}
}
