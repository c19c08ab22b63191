package kafka

import (
	"encoding/binary"
	"iter"

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
		at := 0
		for range h.n {
			var header Header
			header.Key, at = varBytes(h.raw, at)
			header.Value, at = varBytes(h.raw, at)
			if at < 0 || !yield(header) {
				return
			}
		}
	}
}

// varint reads a zigzag varint at an offset and returns it and the offset after it, which is -1 after a failure and stays
// so when it is handed on.
func varint(b []byte, at int) (int64, int) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 {
		return int64(b[at]>>1) ^ -int64(b[at]&1), at + 1
	}
	return longVarint(b, at)
}

func longVarint(b []byte, at int) (int64, int) {
	if at < 0 || at > len(b) {
		return 0, -1
	}
	v, n := binary.Varint(b[at:])
	if n <= 0 {
		return 0, -1
	}
	return v, at + n
}

// varBytes reads a length and that many bytes, nil for null.
func varBytes(b []byte, at int) ([]byte, int) {
	n, at := varint(b, at)
	switch {
	case at < 0 || n > int64(len(b)-at) || n < -1:
		return nil, -1
	case n < 0:
		return nil, at
	}
	end := at + int(n)
	return b[at:end:end], end
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
	b      []byte // what is left of records
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
	if whole, _, err := Split(entry); err != nil || whole == nil {
		return Records{buf: buf}, corrupt("not an entry")
	}
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
	recs.b = body
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
		if len(r.b) > 0 {
			r.err = invalid("bytes after the last record")
		}
		return false
	}
	r.left--
	in, end := varBytes(r.b, 0)
	at := 1 // after the attributes, of which there are none
	var time, delta, n int64
	time, at = varint(in, at)
	delta, at = varint(in, at)
	rec.Key, at = varBytes(in, at)
	rec.Value, at = varBytes(in, at)
	n, at = varint(in, at)
	if at >= 0 && n == 0 {
		rec.Headers = Headers{}
	} else {
		rec.Headers, at = readHeaders(in, at, n)
	}
	if end < 0 || at != len(in) || delta != int64(int32(delta)) {
		r.err = invalid("a record that is not well formed")
		return false
	}
	r.b = r.b[end:]
	rec.Offset = r.base + delta
	rec.Timestamp = r.time
	if !r.append {
		rec.Timestamp += time
	}
	return true
}

// readHeaders passes over n headers and keeps them as they are.
func readHeaders(b []byte, at int, n int64) (Headers, int) {
	if at < 0 || n < 0 || n > int64(len(b)-at)/2 {
		return Headers{}, -1
	}
	start := at
	for range n {
		var key []byte
		if key, at = varBytes(b, at); key == nil {
			return Headers{}, -1 // a name is never null
		}
		_, at = varBytes(b, at)
	}
	if at < 0 {
		return Headers{}, -1
	}
	return Headers{n: int(n), raw: b[start:at:at]}, at
}
