package kafkabroker

import "sync/atomic"

// topicCounts are counts of a topic, since the broker was opened.
type topicCounts struct {
	messagesIn, bytesIn, bytesOut atomic.Uint64
	produced, fetched             atomic.Uint64 // requests, counted for each partition
	failedProduce, failedFetch    atomic.Uint64
}

// in counts records that were appended.
func (c *topicCounts) in(records int64, bytes int) {
	c.produced.Add(1)
	c.messagesIn.Add(uint64(records))
	c.bytesIn.Add(uint64(bytes))
}

// out counts bytes that were read.
func (c *topicCounts) out(bytes int64) {
	c.fetched.Add(1)
	c.bytesOut.Add(uint64(bytes))
}
