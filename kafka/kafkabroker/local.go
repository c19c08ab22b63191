package kafkabroker

import (
	"context"
	"iter"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The application that the broker lives in does without a connection what clients do. It may do everything. Errors have the
// code that a client would get: errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) for example.

// Record is a record that the application produces or reads.
type Record struct {
	Offset    int64     // of a record that was read
	Timestamp time.Time // zero: now
	Key       []byte    // nil for null
	Value     []byte    // nil for null
	Headers   []kafka.Header
}

// Produce appends records as one batch to a partition and returns the offset of the first. The topic is made if need be and
// if clients may have it made, see [Options].NoAutoCreate. Produce returns when the records are as durable as an
// acknowledgement with acks=all says, see [Options].Sync. When ctx ends before, they are there even so, and the error is
// that of ctx. Nothing of the records is kept.
func (b *Broker) Produce(ctx context.Context, topic string, partition int32, records ...Record) (base int64, err error) {
	var w kafka.BatchWriter
	now := time.Now()
	for _, r := range records {
		t := r.Timestamp
		if t.IsZero() {
			t = now
		}
		w.Add(t.UnixMilli(), r.Key, r.Value, r.Headers...)
	}
	batch, err := w.Append(nil, nil)
	if err != nil {
		return -1, err
	}
	return b.ProduceBatch(ctx, topic, partition, batch)
}

// ProduceBatch is Produce for a record batch that is ready, with a base offset of 0, as clients send it. The broker changes
// its offset, leader epoch and perhaps times in place, and does not keep it.
func (b *Broker) ProduceBatch(ctx context.Context, topic string, partition int32, batch []byte) (base int64, err error) {
	p, err := b.localPartition(topic, partition, true)
	if err != nil {
		return -1, err
	}
	if b.diskFull.Load() {
		return -1, errDiskFull
	}
	res, err := p.log.append(&appendRequest{records: batch, leaderEpoch: b.leaderEpoch(p), now: time.Now().UnixMilli()})
	if err != nil {
		return -1, err
	}
	if !res.duplicate {
		p.topic.stats.in(res.last-res.base+1, len(batch))
	}
	if p.log.config().acksWait() {
		return res.base, p.awaitDurable(ctx, res.end)
	}
	return res.base, nil
}

// waitDurable is a [durableWaiter] that somebody waits for.
type waitDurable chan error

func (w waitDurable) durable(err error) { w <- err }

// awaitDurable waits until the log is durable up to an offset.
func (p *partition) awaitDurable(ctx context.Context, end int64) error {
	w := make(waitDurable, 1)
	pending, err := p.log.await(end, w)
	if !pending {
		return err
	}
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// localPartition returns a partition. With make its topic is made if need be.
func (b *Broker) localPartition(topic string, index int32, make bool) (*partition, error) {
	t := b.topic(topic)
	if t == nil && make && b.configs.broker().bool("auto.create.topics.enable") && !isInternal(topic) {
		var err error
		if t, err = b.createTopic(&newTopic{name: topic, partitions: -1, replication: -1}, false); t == nil {
			if t = b.topic(topic); t == nil {
				return nil, err
			}
		}
	}
	if t == nil || t.partition(index) == nil {
		return nil, logError(kafkawire.ErrUnknownTopicOrPartition, "there is no partition %d of %q", index, topic)
	}
	return t.partition(index), nil
}

// Isolation says which records a reader sees.
type Isolation uint8

// The values of [Isolation].
const (
	// ReadUncommitted sees all records up to the high watermark.
	ReadUncommitted Isolation = iota
	// ReadCommitted sees no records of transactions that are open or were aborted.
	ReadCommitted
)

// Records reads a partition from an offset on, and waits for more at its end, until ctx ends or the loop does. A negative
// offset is the first record that there is. The slices of a record are good until the next one. An error ends it: that of
// ctx, or OFFSET_OUT_OF_RANGE when retention was faster than the reader.
func (b *Broker) Records(ctx context.Context, topic string, partition int32, offset int64, i Isolation) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			batches, err := b.Fetch(ctx, topic, partition, &Fetch{Offset: offset, Isolation: i, Wait: true})
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !batches.each(func(r Record) bool { return yield(r, nil) }, &err) {
				return
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			offset = batches.Next
		}
	}
}

// Fetch says what [Broker.Fetch] reads. The zero value reads from the first record on without waiting for any.
type Fetch struct {
	Offset    int64 // of the first record wanted; negative, or 0 when it is gone, is the first that there is
	MaxBytes  int   // of batches, but one in any case. Default 1 MiB
	Isolation Isolation
	Wait      bool // until there is something
}

// Fetched is a part of a partition.
type Fetched struct {
	// Batches are record batches as they are in the log, for [kafka.Split]. The first may have records before the offset.
	// The slice is the caller's.
	Batches []byte
	// Aborted are the transactions in Batches whose records a reader with [ReadCommitted] must pass over.
	Aborted []kafkawire.FetchResponseAbortedTransaction
	// First and Next are the offsets where the part begins and where to read on.
	First, Next int64
	// Start, HighWatermark and LastStable are what the partition was like.
	Start, HighWatermark, LastStable int64
}

// Fetch reads record batches of a partition.
func (b *Broker) Fetch(ctx context.Context, topic string, partition int32, f *Fetch) (*Fetched, error) {
	if f == nil {
		f = new(Fetch)
	}
	req := fetchRequest{offset: f.Offset, maxBytes: f.MaxBytes, atLeast: true, isolation: readUncommitted}
	if f.Isolation == ReadCommitted {
		req.isolation = readCommitted
	}
	if req.maxBytes <= 0 {
		req.maxBytes = 1 << 20
	}
	for {
		p, err := b.localPartition(topic, partition, false)
		if err != nil {
			return nil, err
		}
		changed := p.watch()
		if first := p.log.earliest().offset; req.offset <= 0 {
			req.offset = first
		}
		out, err := b.fetchOnce(p, req)
		if err != nil || out.Next > req.offset || !f.Wait {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.stopping:
			return nil, errBrokerClosed
		case <-changed:
		}
	}
}

// fetchOnce reads what there is.
func (b *Broker) fetchOnce(p *partition, req fetchRequest) (*Fetched, error) {
	r, err := p.log.fetch(req)
	if err != nil {
		return nil, err
	}
	defer r.close()
	out := &Fetched{First: req.offset, Start: r.state.start, HighWatermark: r.state.highWatermark, LastStable: r.state.lastStable}
	if out.Batches, err = r.read(make([]byte, r.size())); err != nil {
		return nil, err
	}
	out.Next = r.next
	if req.isolation == readCommitted {
		list, err := r.aborted()
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			out.Aborted = append(out.Aborted, kafkawire.FetchResponseAbortedTransaction{ProducerID: kafkawire.ProducerID(t.producerID), FirstOffset: t.first})
		}
	}
	p.topic.stats.out(int64(len(out.Batches)))
	return out, nil
}

// Records visits the records in the part, without those of aborted transactions. The slices of a record are good until the
// next one. An error ends it.
func (f *Fetched) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var err error
		if f.each(func(r Record) bool { return yield(r, nil) }, &err) && err != nil {
			yield(Record{}, err)
		}
	}
}

// maxLocalDecoded bounds the size of a batch when it is decompressed.
const maxLocalDecoded = 256 << 20

// each is Records. It reports false when the visitor wants no more.
func (f *Fetched) each(visit func(Record) bool, fail *error) bool {
	aborted := make(map[kafkawire.ProducerID]bool)
	pending := f.Aborted
	var buf []byte
	var rec kafka.Record
	for rest := f.Batches; len(rest) > 0; {
		entry, more, err := kafka.Split(rest)
		if err != nil || entry == nil {
			*fail = err
			return true
		}
		rest = more
		if kafka.Magic(entry) == 2 {
			batch := kafka.Batch(entry)
			for len(pending) > 0 && pending[0].FirstOffset <= batch.LastOffset() {
				aborted[pending[0].ProducerID] = true
				pending = pending[1:]
			}
			if a := batch.Attributes(); a.Control() {
				delete(aborted, batch.ProducerID())
				continue
			} else if a.Transactional() && aborted[batch.ProducerID()] {
				continue
			}
		}
		recs, err := kafka.Open(entry, buf, maxLocalDecoded)
		if err != nil {
			*fail = err
			return true
		}
		for recs.Next(&rec) {
			if rec.Offset < f.First {
				continue
			}
			r := Record{Offset: rec.Offset, Key: rec.Key, Value: rec.Value}
			if rec.Timestamp >= 0 {
				r.Timestamp = time.UnixMilli(rec.Timestamp)
			}
			for h := range rec.Headers.All() {
				r.Headers = append(r.Headers, h)
			}
			if !visit(r) {
				return false
			}
		}
		if *fail = recs.Err(); *fail != nil {
			return true
		}
		buf = recs.Buffer()
	}
	return true
}

// watch returns a channel that is closed when there is more to read.
func (p *partition) watch() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
		p.waiting.Add(1)
	}
	return p.changed
}
