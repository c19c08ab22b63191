//go:build race

package topic

// raceEnabled tells that sync.Pool drops at random.
const raceEnabled = true
