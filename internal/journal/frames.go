package journal

import (
	"encoding/binary"
	"io"
)

// frames are batches that wait to be written. Large bodies are not copied: refs tells where they go.
type frames struct {
	buf     []byte // with room for the headers
	refs    []ref
	batches []pendingBatch
	open    bool   // the last batch takes more records
	base    uint64 // LSN range
	end     uint64
	records int
	size    int64 // bytes on disk
	payload int64 // bytes of records
	live    int64
	maxTomb uint64 // LSN of the last tombstone
}

// ref is a body that belongs at an offset of buf.
type ref struct {
	at   int
	body []byte
}

// pendingBatch is a batch within frames.
type pendingBatch struct {
	batch        // without a body
	at     int   // of the header in buf
	to     int   // end of its part of buf
	refs   int   // first of its refs
	size   int   // of the body
	offset int64 // from the beginning of the frames, with bodies
}

// reset makes frames empty, beginning at an LSN, and keeps the memory.
func (f *frames) reset(base uint64) {
	clear(f.refs)
	*f = frames{buf: f.buf[:0], refs: f.refs[:0], batches: f.batches[:0], base: base, end: base}
}

// add adds a record.
func (f *frames) add(lsn uint64, head, body []byte, live int, tomb bool) {
	if !f.open {
		f.open = true
		f.batches = append(f.batches, pendingBatch{batch: batch{base: f.end}, at: len(f.buf), refs: len(f.refs), offset: f.size})
		f.buf = append(f.buf, zeroHeader...)
		f.size += batchHeader
	}
	b := &f.batches[len(f.batches)-1]
	before := len(f.buf)
	size := len(head) + len(body)
	buf := f.buf
	if delta := lsn - f.end; delta == 0 {
		buf = append(buf, 0)
	} else {
		buf = binary.AppendUvarint(buf, delta)
	}
	buf = binary.AppendUvarint(buf, uint64(size))
	buf = append(buf, head...)
	n := len(buf) - before
	if len(body) >= sharedBody {
		f.refs = append(f.refs, ref{len(buf), body})
	} else {
		buf = append(buf, body...)
		n = len(buf) - before - len(body)
	}
	f.buf = buf
	n += len(body)
	b.size += n
	b.count++
	b.to = len(buf)
	f.size += int64(n)
	f.payload += int64(size)
	f.live += int64(live)
	f.records++
	f.end = lsn + 1
	if tomb {
		b.tombs++
		f.maxTomb = lsn
	}
	if b.size >= batchTarget {
		f.open = false
	}
}

const zeroHeader = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// refsOf returns the references of a batch.
func (f *frames) refsOf(i int) []ref {
	if i+1 < len(f.batches) {
		return f.refs[f.batches[i].refs:f.batches[i+1].refs]
	}
	return f.refs[f.batches[i].refs:]
}

// finish fills the headers for the segment that the frames go to.
func (f *frames) finish(seed uint32, durable uint64) {
	for i := range f.batches {
		b := &f.batches[i]
		b.durable = durable
		h := f.buf[b.at : b.at+batchHeader]
		body := f.buf[b.at+batchHeader : b.to]
		refs := f.refsOf(i)
		if len(refs) == 0 {
			putBatch(h, &b.batch, b.size, seed, body)
			continue
		}
		pieces := make([][]byte, 0, 2*len(refs)+1)
		from := b.at + batchHeader
		for _, r := range refs {
			pieces = append(pieces, f.buf[from:r.at], r.body)
			from = r.at
		}
		putBatch(h, &b.batch, b.size, seed, append(pieces, f.buf[from:b.to])...)
	}
}

// smallWrite is up to how many bytes are written and made durable in one call.
const smallWrite = 16 << 10

// small returns the frames as one slice when they are few bytes.
func (f *frames) small() (b []byte, ok bool) {
	return f.buf, len(f.refs) == 0 && len(f.buf) <= smallWrite
}

// writeTo writes the frames at an offset and returns how many bytes were written.
func (f *frames) writeTo(w io.WriterAt, off int64) (n int64, err error) {
	put := func(p []byte) bool {
		if len(p) == 0 {
			return true
		}
		var m int
		m, err = w.WriteAt(p, off+n)
		n += int64(m)
		return err == nil
	}
	from := 0
	for _, r := range f.refs {
		if !put(f.buf[from:r.at]) || !put(r.body) {
			return n, err
		}
		from = r.at
	}
	put(f.buf[from:])
	return n, err
}
