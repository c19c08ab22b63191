package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// appendAll appends records of given lengths with tokens from first on and returns "lsn:length" of each.
func appendAll(j *Journal[int], first int, lengths ...int) (want []string) {
	for i, n := range lengths {
		lsn := j.Next()
		b := record(lsn, n)
		cut := min(3, n)
		j.AppendAwait(b[:cut], b[cut:], n, first+i)
		want = append(want, fmt.Sprintf("%d:%d", lsn, n))
	}
	return want
}

func TestRoundTrip(t *testing.T) {
	for name, o := range map[string]*Options{"memory": mem(), "system": {MinFree: -1}, "nosync": {MinFree: -1, NoSync: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o.SegmentSize = 64 << 10
			o.Kind = "test"
			var want []string
			for round := range 4 {
				j := mustOpen(t, dir, o)
				if got := replay(t, j); !slices.Equal(got, want) {
					t.Fatalf("round %d: replayed %d records, want %d", round, len(got), len(want))
				}
				c := newCollector()
				if err := j.Start(c.handler()); err != nil {
					t.Fatal(err)
				}
				rnd := rand.New(rand.NewPCG(1, uint64(round)))
				for i := range 300 {
					n := rnd.IntN(600)
					if i%50 == 7 {
						n = 4000 + rnd.IntN(20000)
					}
					if i%10 == 3 {
						j.Reserve()
					}
					want = append(want, appendAll(j, i, n)...)
					if i%100 == 0 {
						c.await(i + 1)
					}
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				for i, token := range c.done {
					if token != i || c.outcomes[i] != Done {
						t.Fatalf("token %d came as number %d with %v", token, i, c.outcomes[i])
					}
				}
				if len(c.done) != 300 {
					t.Fatalf("%d tokens", len(c.done))
				}
			}
			if got := replayed(t, dir, o); !slices.Equal(got, want) {
				t.Fatalf("replayed %d records at the end, want %d", len(got), len(want))
			}
		})
	}
}

func TestRead(t *testing.T) {
	o := mem()
	o.SegmentSize = 256 << 10
	j := mustOpen(t, "d", o)
	c := newCollector()
	if err := j.Start(c.handler()); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	lengths := make([]int, 5000)
	for i := range lengths {
		lengths[i] = 8 + i%700
	}
	lengths[77], lengths[78] = 200<<10, 600<<10
	r := j.NewReader()
	check := func(lsn uint64) {
		t.Helper()
		b, err := r.Read(lsn)
		if err != nil {
			t.Fatalf("record %d: %v", lsn, err)
		}
		if want := record(lsn, lengths[lsn-1]); string(b) != string(want) {
			t.Fatalf("record %d is another", lsn)
		}
	}
	for i, n := range lengths {
		appendAll(j, i, n)
		if i%97 == 0 {
			check(uint64(i + 1)) // pending
		}
	}
	if err := j.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range lengths {
		check(uint64(i + 1))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		check(uint64(rnd.IntN(len(lengths)) + 1))
	}
	gone := j.Reserve()
	appendAll(j, 0, 5)
	for _, lsn := range []uint64{0, gone, gone + 2, gone + 100} {
		if _, err := r.Read(lsn); !errors.Is(err, ErrNotFound) {
			t.Errorf("record %d: %v", lsn, err)
		}
	}
}
