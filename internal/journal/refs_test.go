package journal

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestRefs counts as a map does, with few and with many in a chunk, and with counts beyond a byte.
func TestRefs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	var r Refs
	want := make(map[uint64]int)
	for i := range 200_000 {
		lsn := 1 + rnd.Uint64N(3*chunkSize)
		if rnd.IntN(4) == 0 {
			lsn = 1 + rnd.Uint64N(4)
		}
		if more := i%100_000 < 50_000; more && rnd.IntN(3) > 0 || rnd.IntN(3) == 0 {
			k := 1 + rnd.IntN(3)
			if n := r.Add(lsn, k); n != want[lsn] {
				t.Fatalf("step %d: Add of %d: %d were there, want %d", i, lsn, n, want[lsn])
			}
			want[lsn] += k
		} else {
			if want[lsn]--; want[lsn] <= 0 {
				delete(want, lsn)
			}
			if n := r.Remove(lsn); n != want[lsn] {
				t.Fatalf("step %d: Remove of %d: %d are left, want %d", i, lsn, n, want[lsn])
			}
		}
		if n := r.Get(lsn); n != want[lsn] {
			t.Fatalf("step %d: %d has %d, want %d", i, lsn, n, want[lsn])
		}
	}
	if got := maps.Collect(r.All()); !maps.Equal(got, want) || r.Len() != len(want) {
		t.Errorf("%d counts, %d of them listed, want %d", r.Len(), len(got), len(want))
	}
}
