package kafkabroker

import (
	"maps"
	"math"
	"slices"
	"sort"

	"github.com/quartet-mq/quartet/kafka"
)

// windowBatches is how many batches of a producer are remembered, so that one that is sent again is known.
const windowBatches = 5

// producedBatch is what is remembered of a batch.
type producedBatch struct {
	lastSequence int32
	delta        int32 // last offset less the first
	last         int64 // offset
	time         int64
}

func (b *producedBatch) firstSequence() int32 {
	return int32((int64(b.lastSequence) - int64(b.delta)) & math.MaxInt32)
}

// producer is the state of a producer id in a log.
type producer struct {
	id               int64
	epoch            int16 // -1 for none
	coordinatorEpoch int32 // of the last marker, -1 for none
	lastTime         int64
	txnFirst         int64 // offset at which its transaction began, -1 for none

	batches [windowBatches]producedBatch // of this epoch, the oldest first
	n       int8
}

func newProducer(id int64) producer {
	return producer{id: id, epoch: -1, coordinatorEpoch: -1, lastTime: -1, txnFirst: -1}
}

// lastBatch returns the last batch, or nil.
func (p *producer) lastBatch() *producedBatch {
	if p.n == 0 {
		return nil
	}
	return &p.batches[p.n-1]
}

// lastSequence is the sequence number of the last record, or -1.
func (p *producer) lastSequence() int32 {
	if b := p.lastBatch(); b != nil {
		return b.lastSequence
	}
	return -1
}

// lastOffset is the offset of the last record, or -1.
func (p *producer) lastOffset() int64 {
	if b := p.lastBatch(); b != nil {
		return b.last
	}
	return -1
}

func (p *producer) setEpoch(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.n = epoch, 0
	}
}

func (p *producer) add(b producedBatch) {
	if p.n == windowBatches {
		copy(p.batches[:], p.batches[1:])
		p.n--
	}
	p.batches[p.n] = b
	p.n++
	p.lastTime = b.time
}

// duplicate returns what is remembered of a batch that is sent again, or nil.
func (p *producer) duplicate(b kafka.Batch) *producedBatch {
	if b.ProducerEpoch() != p.epoch {
		return nil
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for i := range p.batches[:p.n] {
		if old := &p.batches[i]; old.lastSequence == last && old.firstSequence() == first {
			return old
		}
	}
	return nil
}

// openTxn is a transaction in a log that is not decided, or whose marker is not below the high watermark.
type openTxn struct {
	producerID int64
	first      int64 // offset of its first record
	marker     int64 // offset of its marker, -1 while it is not decided
	seg        int64 // base offset of the segment and position where the first record is, -1 when that is not known
	pos        int64
}

// completedTxn is a transaction of which a marker tells the end.
type completedTxn struct {
	producerID    int64
	first, marker int64
	aborted       bool
}

// txnList are the open transactions in the order of their first offsets.
type txnList []openTxn

func (l *txnList) start(t openTxn) {
	i := len(*l)
	for i > 0 && (*l)[i-1].first > t.first {
		i--
	}
	*l = slices.Insert(*l, i, t)
}

// complete notes that a transaction is decided.
func (l txnList) complete(c completedTxn) {
	i := sort.Search(len(l), func(i int) bool { return l[i].first >= c.first })
	for ; i < len(l) && l[i].first == c.first; i++ {
		if l[i].producerID == c.producerID {
			l[i].marker = c.marker
			return
		}
	}
}

// lastStableAfter is the last stable offset that a transaction leaves behind when it is completed.
func (l txnList) lastStableAfter(c completedTxn) int64 {
	for _, t := range l {
		if t.marker < 0 && t.producerID != c.producerID {
			return t.first
		}
	}
	return c.marker + 1
}

// forget drops those that were decided below an offset.
func (l *txnList) forget(below int64) {
	*l = slices.DeleteFunc(*l, func(t openTxn) bool { return t.marker >= 0 && t.marker < below })
}

// producerTable has the producers of a log. Who changes the log uses it, one at a time.
type producerTable struct {
	m    map[int64]*producer
	txns txnList
	end  int64 // everything below this offset is in it

	snapshots []int64 // offsets of the snapshot files, ascending
	missed    map[int64]missedBatch
	guards    map[int64]txnGuard
	guardID   uint64
	guardOld  uint64 // those up to here were there when expire was called before
}

// missedBatch is the first batch of a producer that nothing is known of, which could not be appended. Those that follow it must
// not be taken before it is sent again: nothing but it tells where the sequence numbers begin.
type missedBatch struct {
	epoch    int16
	sequence int32 // the lowest
	at       int64 // when it was refused, in milliseconds
}

// What bounds how many missed batches are remembered, and how long, in milliseconds. Clients have given up then.
const (
	mostMissed = 1000
	missedMs   = 5 * 60 * 1000
)

// miss notes that a batch was not appended.
func (t *producerTable) miss(b kafka.Batch, now int64) {
	id := int64(b.ProducerID())
	if id < 0 || t.m[id] != nil || b.BaseSequence() < 0 {
		return
	}
	old, ok := t.missed[id]
	if ok && old.epoch == b.ProducerEpoch() && old.sequence <= b.BaseSequence() {
		return
	}
	if len(t.missed) >= mostMissed {
		maps.DeleteFunc(t.missed, func(_ int64, m missedBatch) bool { return now-m.at > missedMs })
		if len(t.missed) >= mostMissed {
			return
		}
	}
	if t.missed == nil {
		t.missed = make(map[int64]missedBatch)
	}
	t.missed[id] = missedBatch{b.ProducerEpoch(), b.BaseSequence(), now}
}

// txnGuard is a request that asks the coordinator whether a transaction is open in which a producer begins to write here.
type txnGuard struct {
	id       uint64
	epoch    int16
	sequence int32 // the lowest that was seen, -1 when it does not count
	strict   bool  // the producer begins each epoch with sequence number 0
}

func newProducerTable() *producerTable {
	return &producerTable{m: make(map[int64]*producer)}
}

// get returns a copy of the state of a producer.
func (t *producerTable) get(id int64) producer {
	if p := t.m[id]; p != nil {
		return *p
	}
	return newProducer(id)
}

func (t *producerTable) put(p *producer) {
	if old := t.m[p.id]; old != nil {
		*old = *p
		return
	}
	c := *p
	t.m[p.id] = &c
}

// clear forgets everything but which snapshots there are.
func (t *producerTable) clear() {
	clear(t.m)
	clear(t.guards)
	clear(t.missed)
	t.txns = nil
}

// expired reports whether a producer was idle for so long that it is forgotten.
func (p *producer) expired(now, after int64) bool {
	return p.txnFirst < 0 && now-p.lastTime >= after
}

// expire forgets producers that were idle for a time, and what was verified before the last call and nobody has written with.
func (t *producerTable) expire(now, after int64) {
	for id, p := range t.m {
		if p.expired(now, after) {
			delete(t.m, id)
		}
	}
	for id, g := range t.guards {
		if g.id <= t.guardOld {
			delete(t.guards, id)
		}
	}
	t.guardOld = t.guardID
}

// latestSnapshot returns the last snapshot, or -1.
func (t *producerTable) latestSnapshot() int64 {
	if n := len(t.snapshots); n > 0 {
		return t.snapshots[n-1]
	}
	return -1
}

func (t *producerTable) addSnapshot(offset int64) {
	if i, ok := slices.BinarySearch(t.snapshots, offset); !ok {
		t.snapshots = slices.Insert(t.snapshots, i, offset)
	}
}

func (t *producerTable) dropSnapshot(offset int64) bool {
	i, ok := slices.BinarySearch(t.snapshots, offset)
	if ok {
		t.snapshots = slices.Delete(t.snapshots, i, i+1)
	}
	return ok
}
