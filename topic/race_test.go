//go:build race

package topic

// raceEnabled tells that sync.Pool drops at random and that memory is not what
// it is otherwise.
const raceEnabled = true
