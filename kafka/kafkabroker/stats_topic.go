package kafkabroker

import "sync/atomic"

// topicCounts are counts of a topic, since the broker was opened.
type topicCounts struct {
	messagesIn, bytesIn, bytesOut atomic.Uint64
	produced, fetched             atomic.Uint64 // that succeeded, counted for each partition
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

// addAll adds the counts of a topic that goes.
func (c *topicCounts) addAll(o *topicCounts) {
	c.messagesIn.Add(o.messagesIn.Load())
	c.bytesIn.Add(o.bytesIn.Load())
	c.bytesOut.Add(o.bytesOut.Load())
	c.produced.Add(o.produced.Load())
	c.fetched.Add(o.fetched.Load())
	c.failedProduce.Add(o.failedProduce.Load())
	c.failedFetch.Add(o.failedFetch.Load())
}
