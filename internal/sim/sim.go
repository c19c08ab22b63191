// Package sim simulates protocol machines: a seeded world with its own clock, and links between two ends that delay,
// lose, duplicate and cut. A run is a function of its seed alone, so that a failure can be replayed.
//
// The package is for tests only and not safe for concurrent use.
package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	oneSeed = flag.Int64("sim.seed", -1, "run simulations with this seed only")
	runs    = flag.Int("sim.runs", 0, "seeds to run in each simulation (0: what the test asks for)")
)

// World is one run: a virtual clock, pending events and random numbers.
type World struct {
	// Rand is the only source of chance in the run.
	Rand *rand.Rand

	// CrashRate is the probability that a crash point crashes.
	CrashRate float64

	// CrashAt makes the point of that number crash besides, counted from 1; zero means none.
	CrashAt int

	seed   uint64
	now    time.Time
	seq    uint64
	events []event
	points int
	log    []string
}

// event is a function that is due.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

// New returns the world of a seed. Its clock begins at the first moment of the year 2000, UTC.
func New(seed uint64) *World {
	return &World{
		Rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)),
		seed: seed,
		now:  time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Seed returns the seed.
func (w *World) Seed() uint64 { return w.seed }

// Now returns the time.
func (w *World) Now() time.Time { return w.now }

// Chance is true with probability p.
func (w *World) Chance(p float64) bool { return p > 0 && w.Rand.Float64() < p }

// Between returns a duration from low to high, both included.
func (w *World) Between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(w.Rand.Int64N(int64(high-low)+1))
}

// At has do called at a time; a time that has passed means now. Events of the same time run in the order of the calls.
func (w *World) At(t time.Time, do func()) {
	if t.Before(w.now) {
		t = w.now
	}
	w.seq++
	w.events = append(w.events, event{t, w.seq, do})
	for i := len(w.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !w.before(i, parent) {
			break
		}
		w.events[i], w.events[parent] = w.events[parent], w.events[i]
		i = parent
	}
}

// After has do called d from now.
func (w *World) After(d time.Duration, do func()) { w.At(w.now.Add(d), do) }

// Step sets the clock to the next event and runs it. It reports whether there was one.
func (w *World) Step() bool {
	if len(w.events) == 0 {
		return false
	}
	e := w.pop()
	w.now = e.at
	e.do()
	return true
}

// Run steps until done says so or no event is left, and returns how many steps it took. After limit steps it gives up
// and returns limit: the machines are probably busy for ever.
func (w *World) Run(limit int, done func() bool) int {
	for n := range limit {
		if done() || !w.Step() {
			return n
		}
	}
	return limit
}

// pop removes the first event.
func (w *World) pop() event {
	first, last := w.events[0], len(w.events)-1
	w.events[0] = w.events[last]
	w.events[last] = event{}
	w.events = w.events[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if w.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		w.events[i], w.events[least] = w.events[least], w.events[i]
		i = least
	}
}

func (w *World) before(i, j int) bool {
	a, b := &w.events[i], &w.events[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.seq < b.seq
}

// Crash marks a point where a process may stop, such as a durability barrier, and reports whether it does now. The
// caller throws the process's memory away and goes on with what it had made durable.
func (w *World) Crash(point string) bool {
	w.points++
	if w.points != w.CrashAt && !w.Chance(w.CrashRate) {
		return false
	}
	w.Logf("crash at point %d, %s", w.points, point)
	return true
}

// Points returns how many crash points the run has passed.
func (w *World) Points() int { return w.points }

// Logf notes what happens. The last notes are shown when the test fails.
func (w *World) Logf(format string, args ...any) {
	const most = 2000
	if len(w.log) >= most {
		w.log = append(w.log[:0], w.log[most/2:]...)
	}
	w.log = append(w.log, w.now.Format("15:04:05.000000 ")+fmt.Sprintf(format, args...))
}

// Run calls f with the worlds of the seeds 0 to n-1 and stops at the first that fails the test; then it prints the
// world's notes and how to run that seed again. The test flag -sim.runs overrides n, and -sim.seed picks one seed.
func Run(t *testing.T, n int, f func(t *testing.T, w *World)) {
	t.Helper()
	if *runs > 0 {
		n = *runs
	}
	first := uint64(0)
	if *oneSeed >= 0 {
		first, n = uint64(*oneSeed), 1
	}
	for i := range uint64(n) {
		runSeed(t, New(first+i), f)
		if t.Failed() {
			return
		}
	}
}

func runSeed(t *testing.T, w *World, f func(t *testing.T, w *World)) {
	t.Helper()
	finished := false
	defer func() {
		t.Helper()
		if finished && !t.Failed() || t.Skipped() {
			return
		}
		for _, line := range w.log {
			t.Log(line)
		}
		t.Logf("seed %d failed; again with: go test -run '^%s$' -sim.seed=%d", w.seed, t.Name(), w.seed)
	}()
	f(t, w)
	finished = true
}
