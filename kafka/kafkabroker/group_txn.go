package kafkabroker

import (
	"slices"
)

// addPending notes an offset in a transaction that is open. The caller holds mu.
func (s *groupShard) addPending(producer int64, e *groupEntry, k offsetKey, c committedOffset) {
	m := s.txns[producer]
	if m == nil {
		m = make(map[txnOffset]committedOffset)
		s.txns[producer] = m
	}
	key := txnOffset{e.id, k}
	if _, ok := m[key]; !ok {
		e.pending[k]++
	}
	m[key] = c
}

// completeTxn ends a transaction: its offsets are committed, or forgotten. Those behind the marker are of the next one. The
// caller holds mu.
func (s *groupShard) completeTxn(producer int64, commit bool, marker int64) {
	m := s.txns[producer]
	for key, c := range m {
		if c.record > marker {
			continue
		}
		delete(m, key)
		e := s.groups[key.group]
		if e == nil {
			continue
		}
		e.unpend(key.offsetKey)
		// A later commit may have gone past it.
		if old, ok := e.offsets[key.offsetKey]; commit && (!ok || old.record < c.record) {
			e.offsets[key.offsetKey] = c
		}
	}
	if len(m) == 0 {
		delete(s.txns, producer)
	}
}

// unpend notes that an offset is in one open transaction less.
func (e *groupEntry) unpend(k offsetKey) {
	if e.pending[k]--; e.pending[k] <= 0 {
		delete(e.pending, k)
	}
}

// forgetOffset removes an offset of a group, also from open transactions. The caller holds mu.
func (s *groupShard) forgetOffset(e *groupEntry, k offsetKey) {
	delete(e.offsets, k)
	if e.pending[k] == 0 {
		return
	}
	delete(e.pending, k)
	for producer, m := range s.txns {
		delete(m, txnOffset{e.id, k})
		if len(m) == 0 {
			delete(s.txns, producer)
		}
	}
}

// markerWritten tells the groups whose offsets are in a partition of the offsets topic that a transaction has ended.
func (b *Broker) markerWritten(p *partition, producerID int64, epoch int16, commit bool, res appendResult) {
	s := b.groups.shard(p)
	if s.loaded() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = max(s.end, res.end)
	s.completeTxn(producerID, commit, res.base)
}

// keys returns the partitions of which a group has offsets, in order.
func (e *groupEntry) keys() []offsetKey {
	list := make([]offsetKey, 0, len(e.offsets))
	for k := range e.offsets {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b offsetKey) int {
		if a.topic != b.topic {
			if a.topic < b.topic {
				return -1
			}
			return 1
		}
		return int(a.partition) - int(b.partition)
	})
	return list
}
