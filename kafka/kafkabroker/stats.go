package kafkabroker

import "sync/atomic"

// brokerStats are counts of the whole broker.
type brokerStats struct {
	requests atomic.Uint64
}
