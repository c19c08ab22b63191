package kafkabroker

import (
	"sync/atomic"
	"time"
)

// brokerStats are counts of the whole broker.
type brokerStats struct {
	requests atomic.Uint64
	waiting  atomic.Int64 // fetch requests that wait for records
	gone     topicCounts  // of topics that were deleted
}

// Stats are figures of a broker. Those that count begin with Open. They are named after Kafka's metrics where they mean the
// same.
type Stats struct {
	Uptime      time.Duration
	Connections int64
	Requests    uint64

	Topics     int64
	Partitions int64 // PartitionCount; this broker leads them all
	LogSize    int64 // bytes of records in files

	All TopicStats // of all topics, also those that were deleted

	FetchesWaiting  int64  // PurgatorySize of Fetch
	FetchBytes      int64  // of records that are on their way to clients
	FetchSessions   int64  // NumIncrementalFetchSessions
	SessionParts    int64  // NumIncrementalFetchPartitionsCached
	LogFlushes      uint64 // rounds in which logs were made durable, each for all who waited
	LogFlushFiles   uint64 // files that were synced one by one in them
	LogFlushSystems uint64 // syncs of the whole file system in them

	DiskFull bool // producers are refused, see [Options].DiskReserve
	Failed   bool // storage has failed: nothing is taken any more
}

// TopicStats are figures of a topic, of BrokerTopicMetrics.
type TopicStats struct {
	MessagesIn            uint64 // records that were appended
	BytesIn, BytesOut     uint64 // of record batches
	TotalProduceRequests  uint64 // counted for each partition that they name
	TotalFetchRequests    uint64 // counted for each partition of which they are answered
	FailedProduceRequests uint64
	FailedFetchRequests   uint64
}

func (s *TopicStats) add(c *topicCounts) {
	s.MessagesIn += c.messagesIn.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.TotalProduceRequests += c.produced.Load() + c.failedProduce.Load()
	s.TotalFetchRequests += c.fetched.Load() + c.failedFetch.Load()
	s.FailedProduceRequests += c.failedProduce.Load()
	s.FailedFetchRequests += c.failedFetch.Load()
}

// Stats returns a snapshot. It walks over all partitions.
func (b *Broker) Stats() Stats {
	s := Stats{
		Uptime: time.Since(b.started), Requests: b.stats.requests.Load(), FetchesWaiting: b.stats.waiting.Load(),
		FetchBytes: b.fetching.Load(), DiskFull: b.diskFull.Load(), Failed: b.logs.failure() != nil,
	}
	b.mu.RLock()
	s.Connections, s.Topics, s.Partitions = int64(len(b.sessions)-b.further), int64(len(b.topics)), int64(b.count)
	b.mu.RUnlock()
	s.All.add(&b.stats.gone)
	for _, t := range b.allTopics() {
		s.All.add(&t.stats)
		for _, p := range t.partitions() {
			s.LogSize += p.log.size()
		}
	}
	sessions, parts := b.fetches.len()
	s.FetchSessions, s.SessionParts = int64(sessions), int64(parts)
	s.LogFlushes, s.LogFlushFiles, s.LogFlushSystems = b.logs.sync.counts()
	return s
}

// TopicStats returns the figures of a topic. ok is false when there is none.
func (b *Broker) TopicStats(topic string) (s TopicStats, ok bool) {
	t := b.topic(topic)
	if t == nil {
		return s, false
	}
	s.add(&t.stats)
	return s, true
}
