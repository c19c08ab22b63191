package kafkabroker

import (
	"math"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
)

// flushPolicy says when what was appended is made durable.
type flushPolicy uint8

const (
	flushNever    flushPolicy = iota // when a segment is full and when the log is closed
	flushInterval                    // after logConfig.flushEvery at the latest
	flushSync                        // before an append that waits for it is acknowledged
)

// logConfig is the configuration of a topic as its logs need it. It is never changed: setConfig puts another one in its
// place. Times are in milliseconds, as in Kafka's configuration.
type logConfig struct {
	segmentBytes  int64 // segment.bytes
	segmentMs     int64 // segment.ms
	indexInterval int64 // index.interval.bytes
	indexBytes    int64 // segment.index.bytes

	delete            bool  // cleanup.policy
	compact           bool  // cleanup.policy
	retentionBytes    int64 // retention.bytes, -1 for no bound
	retentionMs       int64 // retention.ms, -1 for no bound
	deleteRetentionMs int64 // delete.retention.ms
	minLagMs          int64 // min.compaction.lag.ms
	maxLagMs          int64 // max.compaction.lag.ms
	minDirtyRatio     float64

	maxMessage  int64 // max.message.bytes: of a batch with everything
	maxDecoded  int64 // bytes of the records of a batch when they are decompressed
	trustPacked bool  // the records of compressed batches are not looked at if nothing else demands it
	appendTime  bool  // message.timestamp.type is LogAppendTime
	beforeMaxMs int64 // message.timestamp.before.max.ms
	afterMaxMs  int64 // message.timestamp.after.max.ms

	flush         flushPolicy
	flushEvery    time.Duration // with flushSync: for appends for which nobody waits, 0 for no bound
	flushMessages int64         // flush.messages: begin to make durable after so many records, 0 for no bound
	strictTxn     bool          // transaction.partition.verification.enable
	minInSync     int32         // min.insync.replicas

	recompress bool            // compression.type is another than producer
	method     compress.Method // and it is this one
	level      int             // of package compress
}

// defaultLogConfig returns Kafka's defaults.
func defaultLogConfig() *logConfig {
	return &logConfig{
		segmentBytes: 1 << 30, segmentMs: 7 * dayMs, indexInterval: 4096, indexBytes: 10 << 20,
		delete: true, retentionBytes: -1, retentionMs: 7 * dayMs, deleteRetentionMs: dayMs,
		maxLagMs: math.MaxInt64, minDirtyRatio: 0.5,
		maxMessage: 1<<20 + 12, maxDecoded: 256 << 20, beforeMaxMs: math.MaxInt64, afterMaxMs: 3600_000,
	}
}

// setFlush sets the policy from flush.messages and flush.ms. One message is flushSync: appends with acks=all wait.
func (c *logConfig) setFlush(messages, ms int64) {
	c.flush, c.flushEvery, c.flushMessages = flushNever, 0, 0
	if ms < math.MaxInt64/int64(time.Millisecond) {
		c.flush, c.flushEvery = flushInterval, time.Duration(max(ms, 1))*time.Millisecond
	}
	switch {
	case messages <= 1:
		c.flush = flushSync
	case messages < math.MaxInt64:
		c.flushMessages = messages
	}
}

// rollMs is for how long a segment gets batches: no longer than records may wait for compaction.
func (c *logConfig) rollMs() int64 {
	if c.compact && c.maxLagMs > 0 {
		return min(c.segmentMs, c.maxLagMs)
	}
	return c.segmentMs
}

// acksWait reports whether an append is acknowledged to acks=all only when it is durable.
func (c *logConfig) acksWait() bool { return c.flush == flushSync }

const dayMs = 24 * 3600 * 1000

// Bounds of what the format can hold.
const (
	maxSegmentBytes = math.MaxInt32
	maxRelative     = math.MaxInt32 // the offset of a batch less the base offset of its segment
)
