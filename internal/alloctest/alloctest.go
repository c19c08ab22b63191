// Package alloctest counts allocations where other goroutines work beside the test.
package alloctest

import "testing"

// tries is how often PerRun counts.
const tries = 5

// PerRun counts as testing.AllocsPerRun does, again while there are more than limit, and returns the fewest of five counts.
// What the whole process allocates is counted: on a busy machine also what the collector takes from pools, and what
// the scheduler makes others begin anew. What f always allocates is in each count.
func PerRun(runs int, limit float64, f func()) float64 {
	least := testing.AllocsPerRun(runs, f)
	for i := 1; i < tries && least > limit; i++ {
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}
