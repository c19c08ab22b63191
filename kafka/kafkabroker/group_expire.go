package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
)

// startSweep looks for offsets that have expired, every offsets.retention.check.interval.ms. The caller holds mu.
func (s *groupShard) startSweep() {
	if s.dead {
		return
	}
	s.sweep = time.AfterFunc(s.g.sweepEvery, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.dead {
			return
		}
		s.expire(time.Now())
		s.sweep.Reset(s.g.sweepEvery)
	})
}

// expire removes what has expired. The caller holds mu.
func (s *groupShard) expire(now time.Time) {
	for _, e := range s.groups {
		keys := s.expiredOffsets(e, now.UnixMilli())
		all := len(keys) == len(e.offsets) && len(e.pending) == 0
		// A group of which nothing is left goes, too.
		group := all && e.m.State() == kafka.GroupEmpty && e.m.Pending() == 0
		if len(keys) == 0 && !group {
			continue
		}
		if err := s.bury(e, keys, group); err != nil {
			s.g.b.log.Error("kafkabroker: offsets that have expired cannot be removed", "group", e.id, "error", err)
			return
		}
		s.g.expired.Add(uint64(len(keys)))
	}
}

// expiredOffsets returns the offsets of a group that have expired.
func (s *groupShard) expiredOffsets(e *groupEntry, now int64) (keys []offsetKey) {
	rule := e.m.Retention()
	if rule == kafka.KeepOffsets {
		return nil
	}
	keep := s.g.retention.Milliseconds()
	for k, c := range e.offsets {
		if e.pending[k] > 0 || rule == kafka.RetainUnsubscribed && e.m.Subscribed(k.topic) {
			continue
		}
		since := c.at
		if t := e.m.Since(); rule == kafka.RetainSinceEmpty && !t.IsZero() {
			since = max(since, t.UnixMilli()) // those without members commit, too
		}
		over := now-since >= keep
		if c.expire >= 0 {
			over = now >= c.expire
		}
		if over {
			keys = append(keys, k)
		}
	}
	return keys
}

// topicDeleted forgets the offsets of a topic: one of the same name begins anew. It reports whether that is written.
func (g *groupCoordinator) topicDeleted(topic string) bool {
	done := true
	for _, s := range g.all() {
		if s.loaded() != nil {
			done = false
			continue
		}
		s.mu.Lock()
		done = s.forgetTopic(topic) && done
		s.mu.Unlock()
	}
	return done
}

// forgetTopic forgets the offsets of a topic, and reports whether that is written. The caller holds mu.
func (s *groupShard) forgetTopic(topic string) bool {
	for _, e := range s.groups {
		var keys []offsetKey
		for _, k := range e.allKeys() {
			if k.topic == topic {
				keys = append(keys, k)
			}
		}
		if len(keys) == 0 {
			continue
		}
		if err := s.bury(e, keys, false); err != nil {
			s.g.b.log.Error("kafkabroker: offsets of a deleted topic cannot be removed", "group", e.id, "error", err)
			return false
		}
	}
	return true
}
