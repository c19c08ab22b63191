//go:build race

package mqtt

// simRuns is how many seeds the simulation runs. The race detector makes each ten times as slow.
const simRuns = 200
