package kafkaclient

import (
	"math/rand/v2"
	"testing"
)

// TestAcks: the offset to commit is that of the first record that is not done, whatever the order and the gaps.
func TestAcks(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		a := newAcks(10, 3)
		var open []*Record
		offset, end := int64(10), int64(10)
		for range 500 {
			switch n := rnd.IntN(10); {
			case n < 5:
				r := &Record{Offset: offset, LeaderEpoch: int32(offset / 50)}
				a.delivered([]*Record{r})
				open = append(open, r)
				offset++
				end = offset
			case n == 5:
				offset += rnd.Int64N(5)
				a.passed(offset)
				end = offset
			case len(open) > 0:
				i := rnd.IntN(min(len(open), 8))
				open[i].Done()
				open[i].Done()
				open = append(open[:i], open[i+1:]...)
			}
			want := end
			if len(open) > 0 {
				want = open[0].Offset
			}
			if got, _ := a.low(); got != want {
				t.Fatalf("seed %d: %d is to be committed, want %d", seed, got, want)
			}
			if a.waiting() != len(open) {
				t.Fatalf("seed %d: %d wait, not %d", seed, a.waiting(), len(open))
			}
		}
		for _, r := range open {
			r.Done()
		}
		if len(a.runs) > 1 || a.waiting() != 0 {
			t.Errorf("seed %d: %d runs, %d wait", seed, len(a.runs), a.waiting())
		}
	}
}
