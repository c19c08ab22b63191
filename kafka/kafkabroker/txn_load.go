package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// openTransactions reads the state of transactions. It goes on with them in resumeTransactions.
func (b *Broker) openTransactions() error {
	c := &txnCoordinator{b: b, shards: make(map[*partition]*txnShard)}
	seen := int64(-1)
	note := func(id int64) {
		if id < maxProducerID { // clients may say what they want
			seen = max(seen, id)
		}
	}
	if t := b.topic(transactionsTopic); t != nil {
		for _, p := range t.partitions() {
			s := c.shardOf(p)
			if err := s.load(); err != nil {
				return err
			}
			for _, e := range s.entries {
				r, _ := e.txn.Record()
				note(int64(r.ProducerID))
				note(int64(r.NextID))
			}
		}
	}
	for _, l := range b.logs.all() {
		for _, p := range l.activeProducers() {
			note(p.id)
		}
	}
	if err := c.ids.load(b, seen); err != nil {
		return err
	}
	b.txns = c
	return nil
}

// load reads the shard's partition. The last record of a transactional id counts.
func (s *txnShard) load() error {
	return s.c.b.eachRecord(s.p, func(r *kafka.Record) error {
		id, ok, err := kafka.ReadTxnKey(r.Key)
		if err == nil && !ok {
			return nil
		}
		var rec *kafka.TxnRecord
		if err == nil && r.Value != nil {
			rec, err = kafka.ReadTxnValue(r.Value)
		}
		if err != nil {
			// It must not keep the others from being served. What it said of its transaction is not known any more.
			s.c.unreadable++
			s.c.b.log.Error("kafkabroker: the state of a transaction cannot be read", "partition", s.p.id(), "offset", r.Offset, "error", err)
		}
		if rec == nil {
			delete(s.entries, id)
			return nil
		}
		e := s.entries[id]
		if e == nil {
			e = &txnEntry{id: id}
			s.entries[id] = e
		}
		e.txn.Restore(rec)
		return nil
	})
}

// eachRecord visits the records of a partition from the start to the end, but for control records. What visit gets is valid
// during the call.
func (b *Broker) eachRecord(p *partition, visit func(*kafka.Record) error) error {
	var buf, decoded []byte
	for offset := p.log.state().start; ; {
		f, err := p.log.fetch(fetchRequest{offset: offset, maxBytes: 1 << 20, atLeast: true, isolation: readAll})
		if err != nil {
			return err
		}
		if n := f.size(); n > len(buf) {
			buf = make([]byte, n)
		}
		part, err := f.read(buf)
		f.close()
		if err != nil {
			return err
		}
		if len(part) == 0 {
			return nil
		}
		offset = f.next
		for len(part) > 0 {
			var entry []byte
			if entry, part, err = kafka.Split(part); err != nil {
				return err
			}
			if kafka.Magic(entry) == 2 && kafka.Batch(entry).Attributes().Control() {
				continue
			}
			recs, err := kafka.Open(entry, decoded, int(p.log.config().maxDecoded))
			if err != nil {
				return err
			}
			for r := (kafka.Record{}); recs.Next(&r); {
				if err := visit(&r); err != nil {
					return err
				}
			}
			if err := recs.Err(); err != nil {
				return err
			}
			decoded = recs.Buffer()
		}
	}
}

// resumeTransactions goes on with what a restart has interrupted: decisions whose markers may be missing, and transactions
// of which no coordinator knows. Groups must be loaded, for they are told of markers.
func (b *Broker) resumeTransactions() {
	c := b.txns
	for _, s := range c.all() {
		for _, e := range s.list() {
			s.do(e, func(t *kafka.Txn, _ time.Time) { t.Resume() })
		}
	}
	if c.unreadable == 0 {
		b.abortOrphans()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep = time.AfterFunc(txnSweep, c.expire)
}

// list returns the transactional ids of the shard.
func (s *txnShard) list() []*txnEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*txnEntry, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, e)
	}
	return list
}

// abortOrphans ends the transactions in the logs of which no coordinator knows, so that nobody would ever end them. They are
// there when the state of transactions was lost and the records were not: after a loss of power without [SyncAcks], or
// where topics came from elsewhere without theirs.
func (b *Broker) abortOrphans() {
	type owner struct {
		id    int64
		place kafka.TopicPartition
	}
	known := make(map[owner]bool)
	for _, s := range b.txns.all() {
		for _, e := range s.list() {
			s.mu.Lock()
			if r, ok := e.txn.Record(); ok {
				for _, tp := range r.Partitions {
					known[owner{int64(r.ProducerID), tp}] = true
				}
			}
			s.mu.Unlock()
		}
	}
	for _, l := range b.logs.all() {
		p := l.owner
		if p == nil {
			continue
		}
		for _, a := range l.activeProducers() {
			tp := kafka.TopicPartition{Topic: kafkawire.TopicName(p.topic.name), Partition: p.index}
			if a.txnStart < 0 || known[owner{a.id, tp}] {
				continue
			}
			b.log.Warn("kafkabroker: a transaction that no coordinator knows is aborted", "partition", tp, "producer", a.id, "offset", a.txnStart)
			m := kafka.Marker{
				Type: kafka.ControlAbort, ProducerID: kafkawire.ProducerID(a.id), ProducerEpoch: a.epoch,
				CoordinatorEpoch: a.coordinatorEpoch, Timestamp: time.Now().UnixMilli(),
			}
			j := &markerJob{b: b, left: 1, results: make([]error, 1)}
			j.done = func() {
				if err := j.results[0]; err != nil {
					b.log.Warn("kafkabroker: a transaction that no coordinator knows could not be aborted", "partition", tp, "error", err)
				}
			}
			j.write(0, p, &m, 0)
			j.finish()
		}
	}
}

// txnSweep is how often transactional ids are looked for that were not used for a long time.
const txnSweep = time.Hour

// expire ends transactional ids that were not used for a long time.
func (c *txnCoordinator) expire() {
	c.b.spawn(func() {
		after := time.Duration(c.b.configs.broker().int32("transactional.id.expiration.ms")) * time.Millisecond
		for _, s := range c.all() {
			for _, e := range s.list() {
				s.do(e, func(t *kafka.Txn, now time.Time) { t.Expire(now, after) })
			}
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.sweep.Reset(txnSweep)
	}
}
