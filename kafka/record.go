package kafka

import (
	"iter"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
)

// Record is one record. Its slices are parts of the batch or of the buffer into which that was decompressed.
type Record struct {
	Offset    int64
	Timestamp int64  // in milliseconds, -1 for none
	Key       []byte // nil for null
	Value     []byte // nil for null
	Headers   Headers
}

// Header is a name and a value that come with a record.
type Header struct {
	Key   []byte
	Value []byte // nil for null
}

// Headers are the headers of a record as they are in a batch. The zero value has none.
type Headers struct {
	n   int
	raw []byte
}

// Len is the number of headers.
func (h Headers) Len() int { return h.n }

// All iterates over the headers.
func (h Headers) All() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		r := codec.NewReader(h.raw)
		for range h.n {
			if !yield(Header{Key: varBytes(&r), Value: varBytes(&r)}) {
				return
			}
		}
	}
}

// varBytes reads a length as a varint and that many bytes, nil for null.
func varBytes(r *codec.Reader) []byte {
	n := r.Varint32()
	if n < 0 {
		if n < -1 {
			r.Fail(codec.ErrSyntax)
		}
		return nil
	}
	return r.Bytes(int(n))
}

// recordsKind tells in what the records are.
type recordsKind uint8

const (
	noRecords      recordsKind = iota
	batchRecords               // a batch
	plainMessage               // a message that is the record
	insideMessages             // messages within a compressed one
)

// Records iterates over the records of an entry.
type Records struct {
	r      codec.Reader
	left   int32
	buf    []byte
	err    error
	kind   recordsKind
	base   int64 // offset
	time   int64 // base timestamp, or that of all records
	append bool  // time is that of all records
}

// Open begins to read the records of an entry: a [Batch] or a [Message]. When it is compressed the records are put into
// buf, which grows to limit bytes at most; [Records.Buffer] returns it, to be used again after the last record.
func Open(entry []byte, buf []byte, limit int) (Records, error) {
	if Magic(entry) == 2 {
		return Batch(entry).open(buf, limit)
	}
	return Message(entry).open(buf, limit)
}

func (b Batch) open(buf []byte, limit int) (Records, error) {
	a := b.Attributes()
	recs := Records{buf: buf, left: b.Count(), kind: batchRecords, base: b.BaseOffset(), time: b.BaseTimestamp()}
	if a.LogAppendTime() {
		recs.time, recs.append = b.MaxTimestamp(), true
	}
	body := []byte(b[BatchHeaderSize:])
	if m := a.Compression(); m != compress.None {
		var err error
		if recs.buf, err = compress.Decode(buf[:0], body, m, limit); err != nil {
			return Records{buf: buf}, decompressing(err)
		}
		body = recs.buf
	}
	recs.r = codec.NewReader(body)
	// A record takes seven bytes at least.
	if recs.left < 0 || int(recs.left) > len(body)/7 {
		return Records{buf: recs.buf}, invalid("the number of records does not fit their size")
	}
	return recs, nil
}

// Buffer is the buffer that was given to [Open], perhaps a larger one in its place.
func (r *Records) Buffer() []byte { return r.buf }

// Err is nil after the last record, or says why there is none. It is an [*Error].
func (r *Records) Err() error { return r.err }

// Next reads the next record and reports whether there is one.
func (r *Records) Next(rec *Record) bool {
	if r.err == nil {
		switch r.kind {
		case batchRecords:
			return r.nextRecord(rec)
		case plainMessage:
			return r.nextPlain(rec)
		case insideMessages:
			return r.nextMessage(rec)
		}
	}
	return false
}

func (r *Records) nextRecord(rec *Record) bool {
	if r.left == 0 {
		if r.r.Len() > 0 {
			r.err = invalid("bytes after the last record")
		}
		return false
	}
	r.left--
	size := r.r.Varint32()
	in := r.r.Sub(int(size))
	in.Uint8() // attributes, of which there are none
	rec.Timestamp = in.Varint64()
	rec.Offset = r.base + int64(in.Varint32())
	rec.Key = varBytes(&in)
	rec.Value = varBytes(&in)
	rec.Headers = readHeaders(&in)
	if in.Err() == nil && in.Len() > 0 {
		in.Fail(codec.ErrSyntax)
	}
	r.r.Fail(in.Err())
	if err := r.r.Err(); err != nil {
		r.err = invalid("record: " + err.Error())
		return false
	}
	rec.Timestamp += r.time
	if r.append {
		rec.Timestamp = r.time
	}
	return true
}

// readHeaders passes over headers and keeps them as they are.
func readHeaders(r *codec.Reader) (h Headers) {
	n := r.Varint32()
	h.n = r.Count(int(n), 2)
	h.raw = nil
	whole := *r
	for range h.n {
		if varBytes(r) == nil {
			r.Fail(codec.ErrSyntax) // a name is never null
		}
		varBytes(r)
	}
	if r.Err() != nil {
		return Headers{}
	}
	if h.n > 0 {
		h.raw = whole.Bytes(r.Offset() - whole.Offset())
	}
	return h
}
