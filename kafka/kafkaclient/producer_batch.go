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
//
// The records are encoded when it is sent for the first time: their bytes are in the processor's cache when they are
// written, and a batch that waits needs no memory but for a list.
type batch struct {
	part     *producerPartition
	entries  []entry
	contexts []contextMark
	size     int   // encoded, without compression
	first    int64 // timestamp of the first record
	room     int
	flush    uint64 // generation
	made     time.Time
	deadline time.Time // zero: never
	closed   bool      // no more records
	async    bool      // there are callbacks
	awaited  bool      // there are calls of Produce

	id       uint64 // of the Sequencer, once it was sent
	encoding bool   // who sends it reads the records; guarded by the partition's lock
	w        kafka.BatchWriter
	encoded  []byte      // with compression
	sealed   kafka.Batch // without, in the memory of w
	producer kafka.Producer
	halve    bool // it is too large

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

// batches are those that are free.
type batches struct {
	mu    sync.Mutex
	free  []*batch
	bytes int
}

// spareBytes bounds the memory of batches that are free.
const spareBytes = 16 << 20

func (p *Producer) newBatch(part *producerPartition) *batch {
	s := &p.spare
	s.mu.Lock()
	var b *batch
	if n := len(s.free); n > 0 {
		b = s.free[n-1]
		s.free[n-1] = nil
		s.free = s.free[:n-1]
		s.bytes -= b.memory()
	}
	s.mu.Unlock()
	if b == nil {
		b = new(batch)
		if p.o.Compression == compress.None {
			b.w.Checksum()
		}
	}
	b.part, b.offset, b.time = part, -1, -1
	return b
}

// memory is about how much the batch has.
func (b *batch) memory() int { return b.w.Cap() + cap(b.encoded) + 24*cap(b.entries) }

// recycle gives a batch back. Nobody else may know of it.
func (p *Producer) recycle(b *batch) {
	b.clear()
	b.w.Reset()
	*b = batch{w: b.w, entries: b.entries, contexts: b.contexts, encoded: b.encoded[:0]}
	s := &p.spare
	s.mu.Lock()
	if n := s.bytes + b.memory(); n <= spareBytes {
		s.free, s.bytes = append(s.free, b), n
	}
	s.mu.Unlock()
}

// release lets go of batches that are free.
func (s *batches) release() {
	s.mu.Lock()
	s.free, s.bytes = nil, 0
	s.mu.Unlock()
}

// clear takes the records out.
func (b *batch) clear() {
	clear(b.entries)
	clear(b.contexts)
	b.entries, b.contexts, b.size, b.room, b.async = b.entries[:0], b.contexts[:0], 0, 0, false
}

// with is the size that the batch would have with another record.
func (b *batch) with(r *Record) int {
	if len(b.entries) == 0 {
		return kafka.BatchHeaderSize + kafka.RecordSize(0, 0, r.Key, r.Value, r.Headers...)
	}
	return b.size + kafka.RecordSize(int32(len(b.entries)), r.Timestamp.UnixMilli()-b.first, r.Key, r.Value, r.Headers...)
}

// add adds a record. size is that which the batch has with it, and room what the record takes of the producer's.
func (b *batch) add(ctx context.Context, e entry, size, room int) {
	if len(b.entries) == 0 {
		b.first = e.r.Timestamp.UnixMilli()
	}
	if ctx.Done() != nil || len(b.contexts) > 0 {
		if n := len(b.contexts); n == 0 || b.contexts[n-1].ctx != ctx {
			b.contexts = append(b.contexts, contextMark{len(b.entries), ctx})
		}
	}
	b.entries = append(b.entries, e)
	b.size = size
	b.room += room
	b.async = b.async || e.wait == nil
	b.awaited = b.awaited || e.wait != nil
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
	b.clear()
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
		ctx := at(i)
		if ctx.Err() == nil {
			b.add(ctx, e, b.with(e.r), recordRoom(e.r))
			continue
		}
		d := gone[ctx]
		if d == nil {
			d = b.part.p.newBatch(b.part)
			d.err = context.Cause(ctx)
			gone[ctx] = d
			dropped = append(dropped, d)
		}
		d.entries = append(d.entries, e)
		d.room += recordRoom(e.r)
		d.async = d.async || e.wait == nil
	}
	return dropped
}

// encode makes the bytes of the batch for a producer.
func (b *batch) encode(p kafka.Producer) error {
	o := &b.part.p.o.ProducerOptions
	if len(b.wire()) > 0 {
		if p != b.producer {
			b.wire().SetProducer(p)
			b.producer = p
		}
		return nil
	}
	opts := kafka.BatchOptions{Compression: o.Compression, Level: o.CompressionLevel, Transactional: o.TransactionalID != ""}
	if p.ID >= 0 {
		opts.Producer = &p
	}
	b.w.Reset()
	b.w.Grow(b.size)
	for i := range b.entries {
		r := b.entries[i].r
		b.w.Add(r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers...)
	}
	if opts.Compression != compress.None {
		out, err := b.w.Append(b.encoded[:0], &opts)
		if err != nil {
			return err
		}
		if len(out) < b.w.Len() {
			b.encoded, b.producer = out, p
			return nil
		}
		b.encoded = out[:0] // it does not shrink
	}
	sealed, err := b.w.Seal(&opts)
	if err != nil {
		return err
	}
	b.sealed, b.producer = sealed, p
	return nil
}

// wire is the encoded batch, nil before it was sent.
func (b *batch) wire() kafka.Batch {
	if b.sealed != nil {
		return b.sealed
	}
	return b.encoded
}

// split moves the second half of the records to another batch.
func (b *batch) split() (rest *batch) {
	entries := append([]entry(nil), b.entries...)
	rest = b.part.p.newBatch(b.part)
	rest.made, rest.deadline, rest.closed = b.made, b.deadline, true
	b.clear()
	b.encoded, b.sealed, b.halve = b.encoded[:0], nil, false
	for i, e := range entries {
		half := b
		if i >= len(entries)/2 {
			half = rest
		}
		half.add(context.Background(), e, half.with(e.r), recordRoom(e.r))
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
