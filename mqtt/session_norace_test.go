//go:build !race

package mqtt

// simRuns is how many seeds the simulation runs.
const simRuns = 2000
