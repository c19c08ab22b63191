package kafkabroker

import (
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/codec/compress"
)

// logConfigOf returns the configuration of the logs of a topic.
func (b *Broker) logConfigOf(topic string) *logConfig {
	set := b.configs.ofTopic(topic)
	m := make(map[string]string, len(topicDefs))
	b.configs.mu.RLock()
	for i := range topicDefs {
		d := &topicDefs[i]
		m[d.name] = strings.TrimSpace(b.configs.findTopic(d, set).value) // as it was checked
	}
	b.configs.mu.RUnlock()
	c := parseLogConfig(m)
	c.strictTxn = b.configs.broker().bool("transaction.partition.verification.enable")
	c.trustPacked = b.opt.TrustCompressed
	if isInternal(topic) {
		c.strictTxn = topic == offsetsTopic // whose transactions are verified in any case
	}
	return c
}

// parseLogConfig reads the configs of a topic, which were checked.
func parseLogConfig(m map[string]string) *logConfig {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(m[name], 10, 64)
		return n
	}
	c := defaultLogConfig()
	c.segmentBytes, c.segmentMs = number("segment.bytes"), number("segment.ms")
	c.indexInterval, c.indexBytes = number("index.interval.bytes"), number("segment.index.bytes")
	c.delete, c.compact = false, false
	for _, p := range listOf(m["cleanup.policy"]) {
		c.delete = c.delete || p == "delete"
		c.compact = c.compact || p == "compact"
	}
	c.retentionBytes, c.retentionMs = number("retention.bytes"), number("retention.ms")
	c.deleteRetentionMs = number("delete.retention.ms")
	c.minLagMs, c.maxLagMs = number("min.compaction.lag.ms"), number("max.compaction.lag.ms")
	c.minDirtyRatio, _ = strconv.ParseFloat(m["min.cleanable.dirty.ratio"], 64)
	c.maxMessage = number("max.message.bytes")
	c.appendTime = m["message.timestamp.type"] == "LogAppendTime"
	c.beforeMaxMs, c.afterMaxMs = number("message.timestamp.before.max.ms"), number("message.timestamp.after.max.ms")
	c.minInSync = int32(number("min.insync.replicas"))
	c.method, c.level, c.recompress = compressionOf(m)
	c.setFlush(number("flush.messages"), number("flush.ms"))
	return c
}

// refreshLogs gives the logs of a topic their configuration anew.
func (b *Broker) refreshLogs(t *topicState) {
	c := b.logConfigOf(t.name)
	for _, p := range t.partitions() {
		p.log.setConfig(c)
	}
}

// compressionOf reads how the batches of a topic are to be compressed. ok is false when they are left as they come.
func compressionOf(m map[string]string) (method compress.Method, level int, ok bool) {
	name := m["compression.type"]
	switch name {
	case "producer", "":
		return 0, 0, false
	case "uncompressed":
		return compress.None, 0, true
	}
	method, err := compress.Parse(name)
	if n, e := strconv.Atoi(m["compression."+name+".level"]); e == nil {
		level = n
	}
	return method, level, err == nil
}
