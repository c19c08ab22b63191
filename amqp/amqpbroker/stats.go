package amqpbroker

import (
	"sync/atomic"
	"time"
)

// brokerCounts are counts of the whole broker.
type brokerCounts struct {
	unroutable atomic.Uint64
}

// Stats are figures of a broker. Those that count begin with New.
type Stats struct {
	Uptime      time.Duration
	Connections int64
	Channels    int64
	Consumers   int64
	Vhosts      int64
	Exchanges   int64
	Queues      int64

	Ready        int64  // messages that wait for a consumer
	ReadyBytes   int64  // of their bodies
	Unacked      int64  // messages that a consumer has not settled
	Published    uint64 // messages that came to queues, counted for each
	Delivered    uint64 // messages that went to consumers, those of basic.get too
	Redelivered  uint64 // of them those that were delivered before
	Acked        uint64
	DeadLettered uint64
	Dropped      uint64 // for lack of room or time, without a dead letter exchange
	Refused      uint64 // by full queues with reject-publish
	Unroutable   uint64 // messages that went to no queue and were not returned

	MemoryAlarm, DiskAlarm bool

	// Journal is about the directory of Options.Dir; nil without one.
	Journal *JournalStats
}

// Stats returns a snapshot. It walks over all queues.
func (b *Broker) Stats() Stats {
	s := Stats{
		Uptime:      time.Since(b.started),
		Unroutable:  b.counts.unroutable.Load(),
		MemoryAlarm: b.alarms.memory.Load(),
		DiskAlarm:   b.alarms.disk.Load(),
	}
	b.mu.RLock()
	s.Connections = int64(len(b.sessions))
	for c := range b.sessions {
		c.mu.Lock()
		s.Channels += int64(len(c.channels))
		c.mu.Unlock()
	}
	vhosts := make([]*vhost, 0, len(b.vhosts))
	for _, v := range b.vhosts {
		vhosts = append(vhosts, v)
	}
	b.mu.RUnlock()
	s.Vhosts = int64(len(vhosts))
	for _, v := range vhosts {
		v.mu.RLock()
		s.Exchanges += int64(len(v.exchanges))
		s.Queues += int64(len(v.queues))
		for _, q := range v.queues {
			q.addTo(&s)
		}
		v.mu.RUnlock()
	}
	if f, ok := b.opts.Journal.(fileJournal); ok {
		j := JournalStats(f.Journal.Stats())
		s.Journal = &j
	}
	return s
}

// addTo adds the figures of a queue.
func (q *queue) addTo(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Consumers += int64(len(q.cs.list))
	s.Ready += int64(q.ready)
	s.ReadyBytes += q.bytes
	s.Unacked += int64(q.acquired)
	c := &q.counts
	s.Published += c.published
	s.Delivered += c.delivered + c.deliveredNo + c.got + c.gotNo
	s.Redelivered += c.redelivered
	s.Acked += c.acked
	s.DeadLettered += c.dead
	s.Dropped += c.dropped
	s.Refused += c.refused
}
