package kafkabroker

import (
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupLoader reads the groups of a shard from its partition.
type groupLoader struct {
	s      *groupShard
	states map[string]*kafkawire.GroupMetadataValue // the last ones
	names  map[string]string                        // of topics, so that each is there once
	bad    int                                      // records that could not be read
}

// load reads the partition. The caller holds mu.
func (s *groupShard) load() error {
	l := groupLoader{s: s, states: make(map[string]*kafkawire.GroupMetadataValue), names: make(map[string]string)}
	log := s.p.log
	at := log.state().start
	buf := make([]byte, 256<<10)
	for {
		f, err := log.fetch(fetchRequest{offset: at, maxBytes: len(buf), atLeast: true, isolation: readAll})
		if err != nil {
			return err
		}
		if f.size() == 0 {
			f.close()
			break
		}
		if f.size() > len(buf) {
			buf = make([]byte, f.size())
		}
		records, err := f.read(buf)
		next := f.next
		f.close()
		if err != nil {
			return err
		}
		if next <= at {
			break
		}
		at = next
		if err := l.entries(records); err != nil {
			return err
		}
	}
	s.end = log.state().end
	l.finish()
	return nil
}

// entries applies some entries of the log.
func (l *groupLoader) entries(records []byte) error {
	for rest := records; len(rest) > 0; {
		entry, more, err := kafka.Split(rest)
		if err != nil {
			return err
		}
		rest = more
		if kafka.Magic(entry) != 2 {
			if err := l.records(entry, nil); err != nil {
				return err
			}
			continue
		}
		b := kafka.Batch(entry)
		a := b.Attributes()
		switch {
		case a.Control():
			m, ok, err := kafka.ReadMarker(b)
			if err == nil && ok {
				l.s.completeTxn(int64(m.ProducerID), m.Type == kafka.ControlCommit, b.BaseOffset())
			}
		case a.Transactional():
			err = l.records(entry, &b)
		default:
			err = l.records(entry, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// records applies the records of an entry, which is part of a transaction if txn is there.
func (l *groupLoader) records(entry []byte, txn *kafka.Batch) error {
	recs, err := kafka.Open(entry, nil, maxOffsetsBatch)
	if err != nil {
		return err
	}
	var rec kafka.Record
	var r groupRecord
	for recs.Next(&rec) {
		ok, err := r.decode(rec.Key, rec.Value)
		if err != nil {
			l.bad++ // one that nobody can read must not keep the others from being served
			continue
		}
		if ok {
			l.apply(&r, rec.Offset, txn)
		}
	}
	return recs.Err()
}

// maxOffsetsBatch bounds the size of a batch, when it is decompressed.
const maxOffsetsBatch = 256 << 20

// apply applies a record.
func (l *groupLoader) apply(r *groupRecord, at int64, txn *kafka.Batch) {
	s := l.s
	if r.kind == groupKeyVersion {
		if r.state == nil {
			delete(l.states, r.group)
			return
		}
		l.states[strings.Clone(r.group)] = r.state
		return
	}
	if name, ok := l.names[r.offset.topic]; ok {
		r.offset.topic = name
	} else {
		r.offset.topic = strings.Clone(r.offset.topic)
		l.names[r.offset.topic] = r.offset.topic
	}
	if r.value == nil {
		if e := s.groups[r.group]; e != nil {
			s.forgetOffset(e, r.offset)
		}
		return
	}
	c := r.committed(at)
	c.metadata = strings.Clone(c.metadata)
	e := s.groups[r.group]
	if e == nil {
		e = newGroupEntry(strings.Clone(r.group))
		s.groups[e.id] = e
	}
	if txn != nil {
		s.addPending(int64(txn.ProducerID()), e, r.offset, c)
		return
	}
	e.offsets[r.offset] = c
}

// finish makes the groups.
func (l *groupLoader) finish() {
	s, now := l.s, time.Now()
	for id, v := range l.states {
		e := s.groups[id]
		if e == nil {
			e = newGroupEntry(id)
			s.groups[id] = e
		}
		e.m = kafka.RestoreGroup(now, id, v, &s.g.opt)
	}
	for id, e := range s.groups {
		if e.m != nil {
			s.drain(e)
			continue
		}
		if len(e.offsets) == 0 && len(e.pending) == 0 {
			delete(s.groups, id)
			continue
		}
		e.m = kafka.NewGroup(now, id, &s.g.opt)
	}
	if l.bad > 0 {
		s.g.b.log.Warn("kafkabroker: records of groups cannot be read", "partition", s.p.index, "records", l.bad)
	}
}
