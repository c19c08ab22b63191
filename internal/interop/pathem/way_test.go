package pathem

import (
	"math"
	"slices"
	"testing"
	"time"
)

// losses draws n times and returns which packets are lost.
func losses(seed uint64, w Way, n int) []bool {
	l := newLottery(seed, 0)
	lost := make([]bool, n)
	for i := range lost {
		lost[i] = l.lose(&w)
	}
	return lost
}

func TestLossHasItsShareAndBursts(t *testing.T) {
	const n = 1_000_000
	for _, w := range []Way{
		{Loss: 0}, {Loss: 0.01}, {Loss: 0.2}, {Loss: 1},
		{Loss: 0.01, Burst: 4}, {Loss: 0.05, Burst: 10}, {Loss: 0.01, Burst: 1}, {Burst: 4}, {Loss: 1, Burst: 4},
	} {
		count, runs := 0, 0
		before := false
		for _, lost := range losses(1, w, n) {
			if lost {
				count++
				if !before {
					runs++
				}
			}
			before = lost
		}
		if share := float64(count) / n; math.Abs(share-w.Loss) > 0.1*w.Loss {
			t.Errorf("%+v: lost %v", w, share)
		}
		if w.Burst > 1 && w.Loss > 0 && w.Loss < 1 {
			if mean := float64(count) / float64(runs); math.Abs(mean-w.Burst) > 0.1*w.Burst {
				t.Errorf("%+v: %v packets in a row", w, mean)
			}
		}
	}
}

func TestLossIsTheSameForASeed(t *testing.T) {
	w := Way{Loss: 0.3, Burst: 3}
	a, b, other := losses(7, w, 1000), losses(7, w, 1000), losses(8, w, 1000)
	if !slices.Equal(a, b) {
		t.Error("two runs differ")
	}
	if slices.Equal(a, other) {
		t.Error("another seed makes no difference")
	}
}

func TestBottleneck(t *testing.T) {
	w := &Way{Rate: 8_000_000, Queue: 3 * time.Millisecond} // a byte each microsecond
	b := new(bottleneck)
	for i, want := range []time.Duration{1000, 2000, 3000, 4000} {
		got, ok := b.pass(w, 0, 1000)
		if !ok || got != want*time.Microsecond {
			t.Fatalf("packet %d: %v, %v", i, got, ok)
		}
	}
	if _, ok := b.pass(w, 0, 1000); ok {
		t.Error("a packet that would wait too long passed")
	}
	if got, ok := b.pass(w, time.Second, 500); !ok || got != time.Second+500*time.Microsecond {
		t.Errorf("after a pause: %v, %v", got, ok)
	}
	if got, ok := b.pass(new(Way), 5, 1000); !ok || got != 5 {
		t.Errorf("without a bottleneck: %v, %v", got, ok)
	}
}
