package kafkaclient

import (
	"context"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
)

// batch is a batch of records of a partition. Until it is sent for the first time its partition's lock guards it; then it
// belongs to who sends it, and to the partition again when the attempt has ended.
type batch struct {
	part     *producerPartition
	w        kafka.BatchWriter
	entries  []entry
	contexts []contextMark
	bytes    int    // room
	flush    uint64 // generation
	made     time.Time
	deadline time.Time // zero: never
	closed   bool      // no more records
	async    bool      // there are callbacks

	id       uint64 // of the Sequencer, once it was sent
	encoded  []byte
	producer kafka.Producer // in encoded
	halve    bool           // it is too large

	// What became of it.
	err    error
	doubt  bool
	errs   map[int]string // of single records
	offset int64
	time   int64 // of appending, -1 for none
}

// contextMark says that records from an index on have a context.
type contextMark struct {
	from int
	ctx  context.Context
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func newBatch(part *producerPartition) *batch {
	b := batchPool.Get().(*batch)
	b.part, b.offset, b.time = part, -1, -1
	return b
}

// recycle gives the batch back. Nobody else may know of it.
func (b *batch) recycle() {
	clear(b.entries)
	clear(b.contexts)
	b.w.Reset()
	*b = batch{w: b.w, entries: b.entries[:0], contexts: b.contexts[:0], encoded: b.encoded[:0]}
	batchPool.Put(b)
}

// add adds a record.
func (b *batch) add(ctx context.Context, e entry, size int) {
	b.w.Add(e.r.Timestamp.UnixMilli(), e.r.Key, e.r.Value, e.r.Headers...)
	if ctx.Done() != nil || len(b.contexts) > 0 {
		if n := len(b.contexts); n == 0 || b.contexts[n-1].ctx != ctx {
			b.contexts = append(b.contexts, contextMark{len(b.entries), ctx})
		}
	}
	b.entries = append(b.entries, e)
	b.bytes += size
	b.async = b.async || e.wait == nil
}

// cancelled moves the records whose context has ended into other batches, one for each cause. The batch was not sent yet.
func (b *batch) cancelled() (dropped []*batch) {
	ended := false
	for i := range b.contexts {
		ended = ended || b.contexts[i].ctx.Err() != nil
	}
	if !ended {
		return nil
	}
	entries := append([]entry(nil), b.entries...)
	marks := append([]contextMark(nil), b.contexts...)
	b.w.Reset()
	b.entries, b.contexts, b.bytes, b.async = b.entries[:0], b.contexts[:0], 0, false
	at := func(i int) context.Context {
		ctx := context.Background()
		for _, m := range marks {
			if m.from <= i {
				ctx = m.ctx
			}
		}
		return ctx
	}
	gone := make(map[context.Context]*batch)
	for i, e := range entries {
		ctx, size := at(i), recordSize(e.r)
		if ctx.Err() == nil {
			b.add(ctx, e, size)
			continue
		}
		d := gone[ctx]
		if d == nil {
			d = newBatch(b.part)
			d.err = context.Cause(ctx)
			gone[ctx] = d
			dropped = append(dropped, d)
		}
		d.entries = append(d.entries, e)
		d.bytes += size
		d.async = d.async || e.wait == nil
	}
	return dropped
}

// encode makes the bytes of the batch for a producer.
func (b *batch) encode(p kafka.Producer) error {
	o := &b.part.p.o.ProducerOptions
	if len(b.encoded) > 0 {
		if p != b.producer {
			kafka.Batch(b.encoded).SetProducer(p)
			b.producer = p
		}
		return nil
	}
	opts := kafka.BatchOptions{Compression: o.Compression, Level: o.CompressionLevel, Transactional: o.TransactionalID != ""}
	if p.ID >= 0 {
		opts.Producer = &p
	}
	out, err := b.w.Append(b.encoded[:0], &opts)
	if err != nil {
		return err
	}
	if opts.Compression != compress.None && len(out) > b.w.Len() { // it does not shrink
		opts.Compression = compress.None
		if out, err = b.w.Append(out[:0], &opts); err != nil {
			return err
		}
	}
	b.encoded, b.producer = out, p
	return nil
}

// split moves the second half of the records to another batch.
func (b *batch) split() (rest *batch) {
	n := len(b.entries) / 2
	rest = newBatch(b.part)
	entries := b.entries
	rest.made, rest.deadline, rest.closed = b.made, b.deadline, true
	for _, e := range entries[n:] {
		rest.add(context.Background(), e, recordSize(e.r))
	}
	b.w.Reset()
	b.entries, b.contexts, b.bytes, b.async, b.encoded, b.halve = nil, b.contexts[:0], 0, false, b.encoded[:0], false
	for _, e := range entries[:n] {
		b.add(context.Background(), e, recordSize(e.r))
	}
	return rest
}

// errorOf is the error of a record. It sets what is known about the record.
func (b *batch) errorOf(i int) error {
	r := b.entries[i].r
	if b.err == nil {
		if b.offset >= 0 {
			r.Offset = b.offset + int64(i)
		}
		if b.time >= 0 {
			r.Timestamp = time.UnixMilli(b.time)
		}
		return nil
	}
	err := b.err
	if e, ok := err.(*ProduceError); ok {
		return e
	}
	if len(b.errs) > 0 {
		err = b.errorOfOne(i, err)
	}
	e := &ProduceError{Topic: r.Topic, Partition: -1, Doubt: b.doubt, Err: err}
	if b.part != nil {
		e.Partition = b.part.index
	}
	return e
}

// errorOfOne is the error of a record when the broker said which ones it does not like.
func (b *batch) errorOfOne(i int, err error) error {
	text, ok := b.errs[i]
	if !ok {
		text = "another record of the batch was refused"
	}
	if k, is := err.(*kafka.Error); is && (text != "" || !ok) {
		return &kafka.Error{Code: k.Code, Text: text, Remote: true}
	}
	return err
}
