package delivery

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestProducer(t *testing.T) {
	var p Producer
	if _, known := p.Epoch(); known {
		t.Error("the zero value knows an epoch")
	}
	type step struct {
		epoch       int16
		first, last int32
		want        Verdict
		position    int64 // expected of a duplicate, given when new
	}
	for i, s := range []step{
		{3, 40, 49, New, 100}, // any start when nothing is known
		{3, 40, 49, Duplicate, 100},
		{3, 50, 50, New, 110},
		{3, 52, 52, OutOfOrder, 0},
		{3, 40, 48, OutOfOrder, 0}, // same start, other batch
		{2, 51, 51, Fenced, 0},
		{3, 51, 59, New, 111}, {3, 60, 60, New, 120}, {3, 61, 61, New, 121},
		{3, 40, 49, Duplicate, 100}, // fifth last
		{3, 62, 62, New, 122},
		{3, 40, 49, OutOfOrder, 0}, // sixth last
		{3, 50, 50, Duplicate, 110},
		{4, 63, 63, OutOfOrder, 0}, // a new epoch begins at 0
		{4, 0, 4, New, 200},
		{3, 63, 63, Fenced, 0},
		{4, 0, 4, Duplicate, 200},
		{4, 5, math.MaxInt32, New, 300},
		{4, 1, 1, OutOfOrder, 0},
		{4, 0, 9, New, 400}, // wrapped around
		{4, 10, 10, New, 500},
	} {
		v, position := p.Check(s.epoch, s.first, s.last)
		if v != s.want || v == Duplicate && position != s.position {
			t.Errorf("step %d %+v: %v at %d", i, s, v, position)
		}
		if v == New {
			p.Accept(s.epoch, s.first, s.last, s.position)
		}
	}
	p.SetEpoch(4)
	if v, _ := p.Check(4, 11, 11); v != New {
		t.Errorf("the same epoch again: %v", v)
	}
	p.SetEpoch(5)
	if v, _ := p.Check(5, 11, 11); v != OutOfOrder {
		t.Errorf("new epoch, old sequence: %v", v)
	}
	if v, _ := p.Check(5, 0, 0); v != New {
		t.Errorf("new epoch, first batch: %v", v)
	}
	if v, _ := p.Check(4, 11, 11); v != Fenced {
		t.Errorf("old epoch: %v", v)
	}
	if epoch, known := p.Epoch(); epoch != 5 || !known {
		t.Errorf("epoch %d, %v", epoch, known)
	}
}

func TestSequence(t *testing.T) {
	for _, c := range []struct{ first, n, want int32 }{
		{0, 0, 0}, {5, 3, 8}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 5, 3}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		if got := Sequence(c.first, c.n); got != c.want {
			t.Errorf("Sequence(%d, %d) = %d, want %d", c.first, c.n, got, c.want)
		}
	}
}

// A producer that sends each batch again now and then is stored exactly once,
// over many wraps, against a plain list of batches.
func TestProducerModel(t *testing.T) {
	type sent struct{ first, last int32 }
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var p Producer
		var all []sent
		next := int32(math.MaxInt32 - 1000)
		for range 2000 {
			if n := len(all); n > 0 && rnd.IntN(2) == 0 {
				back := rnd.IntN(min(n, 8))
				b := all[n-1-back]
				v, position := p.Check(0, b.first, b.last)
				if back < 5 && (v != Duplicate || position != int64(n-1-back)) || back >= 5 && v != OutOfOrder {
					t.Fatalf("seed %d: batch %d back: %v at %d", seed, back, v, position)
				}
				continue
			}
			n := rnd.Int32N(1000) + 1
			b := sent{next, Sequence(next, n-1)}
			next = Sequence(next, n)
			if v, _ := p.Check(0, next, next); v != OutOfOrder && len(all) > 0 {
				t.Fatalf("seed %d: gap: %v", seed, v)
			}
			if v, _ := p.Check(0, b.first, b.last); v != New {
				t.Fatalf("seed %d: next batch: %v", seed, v)
			}
			p.Accept(0, b.first, b.last, int64(len(all)))
			all = append(all, b)
		}
	}
}

func TestVerdictAndOutcomeStrings(t *testing.T) {
	for v, want := range map[Verdict]string{New: "new", Duplicate: "duplicate", OutOfOrder: "out of order", Fenced: "fenced"} {
		if v.String() != want {
			t.Errorf("%d: %q", v, v.String())
		}
	}
	for o, want := range map[Outcome]string{
		0: "none", Accepted: "accepted", Rejected: "rejected", Released: "released", Modified: "modified", 9: "Outcome(9)",
	} {
		if o.String() != want {
			t.Errorf("%d: %q", o, o.String())
		}
	}
}
