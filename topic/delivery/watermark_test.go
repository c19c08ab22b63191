package delivery

import (
	"math/rand/v2"
	"testing"
)

func TestWatermarkModel(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var w Watermark
		start := rnd.Uint64N(1 << 40)
		if seed == 0 {
			start = 0
		}
		w.Reset(start)
		low, done := start, map[uint64]bool{}
		reach := 1 + rnd.IntN(1<<(1+seed%12))
		for range 5000 {
			seq := low + uint64(rnd.IntN(reach)) - min(low, uint64(rnd.IntN(3)))
			if rnd.IntN(3) == 0 {
				seq = low
			}
			before := low
			if seq >= low {
				done[seq] = true
			}
			for done[low] {
				delete(done, low)
				low++
			}
			if moved := w.Done(seq); moved != (low > before) {
				t.Fatalf("seed %d: Done(%d) = %v at %d", seed, seq, moved, before)
			}
			if w.Low() != low || w.Ahead() != len(done) {
				t.Fatalf("seed %d: Low %d, Ahead %d, model %d, %d", seed, w.Low(), w.Ahead(), low, len(done))
			}
		}
	}
}

func TestWatermarkMemory(t *testing.T) {
	var w Watermark
	for seq := uint64(100_000); seq > 0; seq-- {
		w.Done(seq)
	}
	if bytes := 8 * len(w.ring); bytes > 2*100_000/8 {
		t.Errorf("%d bytes for 100,000", bytes)
	}
	if !w.Done(0) || w.Low() != 100_001 || w.ring != nil {
		t.Errorf("low %d, %d words", w.Low(), len(w.ring))
	}
	n := testing.AllocsPerRun(100, func() {
		low := w.Low()
		for i := range uint64(200) {
			w.Done(low + 199 - i)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	w.Done(w.Low() + 1)
	w.Reset(3)
	if w.Low() != 3 || w.Ahead() != 0 || w.ring != nil {
		t.Errorf("after Reset: %+v", w)
	}
}

func BenchmarkWatermark(b *testing.B) {
	var w Watermark
	for b.Loop() {
		low := w.Low()
		w.Done(low + 1)
		w.Done(low)
	}
}
