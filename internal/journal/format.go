package journal

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/quartet-mq/quartet/codec"
)

// Version is the version of the format that this package writes, and the newest that it reads.
const Version = 1

const (
	dirMagic     = "QJRNLDIR"
	segMagic     = "QJRNLSEG"
	segHeader    = 512 // bytes of a segment before its first batch
	segHeaderLen = 64  // of which so many are covered by the checksum that follows them
	batchHeader  = 32
	maxLSN       = 1<<62 - 1
)

var le = binary.LittleEndian

// header is the content of a segment's header.
type header struct {
	seed      uint32
	dir       [16]byte
	id        uint64
	first     uint64 // of a rewritten segment: its range
	end       uint64
	rewritten uint64 // the LSN after the last record when it was rewritten, 0 for a segment as it was appended to
}

func (h *header) encode() []byte {
	b := make([]byte, segHeader)
	copy(b, segMagic)
	le.PutUint32(b[8:], Version)
	le.PutUint32(b[12:], h.seed)
	copy(b[16:], h.dir[:])
	le.PutUint64(b[32:], h.id)
	le.PutUint64(b[40:], h.first)
	le.PutUint64(b[48:], h.end)
	le.PutUint64(b[56:], h.rewritten)
	le.PutUint32(b[segHeaderLen:], codec.CRC32C(b[:segHeaderLen]))
	return b
}

// decode reads the header of a segment. A version that is not understood is refused before anything else.
func (h *header) decode(name string, b []byte) error {
	if len(b) < segHeader || string(b[:8]) != segMagic {
		return &CorruptError{File: name, Reason: "not a segment of a journal"}
	}
	if v := le.Uint32(b[8:]); v > Version {
		return &VersionError{File: name, Version: v, Supported: Version}
	}
	if le.Uint32(b[segHeaderLen:]) != codec.CRC32C(b[:segHeaderLen]) {
		return &CorruptError{File: name, Reason: "checksum of the header"}
	}
	h.seed = le.Uint32(b[12:])
	copy(h.dir[:], b[16:])
	h.id = le.Uint64(b[32:])
	h.first = le.Uint64(b[40:])
	h.end = le.Uint64(b[48:])
	h.rewritten = le.Uint64(b[56:])
	if h.rewritten != 0 && (h.first == 0 || h.first >= h.end || h.end > h.rewritten || h.rewritten > maxLSN) {
		return &CorruptError{File: name, Reason: "range of a rewritten segment"}
	}
	return nil
}

// batch is a decoded batch. body is valid until the reader's next call.
type batch struct {
	off     int64  // of its header in the file
	base    uint64 // LSN from which the first delta counts
	durable uint64 // everything below was durable when this was written
	count   uint32
	tombs   uint32
	body    []byte
}

// end is the offset after the batch.
func (b *batch) end() int64 { return b.off + batchHeader + int64(len(b.body)) }

// seal reports whether this is the mark that ends a segment.
func (b *batch) seal() bool { return b.count == 0 }

// putBatch fills the header of a batch whose body is in pieces.
func putBatch(h []byte, b *batch, size int, seed uint32, pieces ...[]byte) {
	le.PutUint32(h[4:], uint32(size))
	le.PutUint64(h[8:], b.base)
	le.PutUint64(h[16:], b.durable)
	le.PutUint32(h[24:], b.count)
	le.PutUint32(h[28:], b.tombs)
	crc := codec.UpdateCRC32C(seed, h[4:batchHeader])
	for _, p := range pieces {
		crc = codec.UpdateCRC32C(crc, p)
	}
	le.PutUint32(h, crc)
}

// batchReader reads a segment's batches one after the other.
type batchReader struct {
	f     io.ReaderAt
	seed  uint32
	off   int64 // of the next batch
	limit int64 // no batch goes beyond
	chunk int   // how much to read at once
	buf   []byte
	lo    int64 // offset of buf in the file
}

// window returns n bytes at the offset, or errInvalid when there are not so many.
func (r *batchReader) window(n int64) ([]byte, error) {
	if n > r.limit-r.off {
		return nil, errInvalid
	}
	if at := r.off - r.lo; at >= 0 && at+n <= int64(len(r.buf)) {
		return r.buf[at : at+n], nil
	}
	want := min(max(n, int64(r.chunk)), r.limit-r.off)
	r.buf = slices.Grow(r.buf[:0], int(want))[:want]
	r.lo = r.off
	got, err := r.f.ReadAt(r.buf, r.off)
	r.buf = r.buf[:got]
	if int64(got) >= n {
		return r.buf[:n], nil
	}
	if err == nil || err == io.EOF {
		err = errInvalid
	}
	return nil, err
}

// next returns the batch at the offset and moves there. errInvalid means that there is none.
func (r *batchReader) next() (b batch, err error) {
	h, err := r.window(batchHeader)
	if err != nil {
		return b, err
	}
	size := int64(le.Uint32(h[4:]))
	b = batch{off: r.off, base: le.Uint64(h[8:]), durable: le.Uint64(h[16:]), count: le.Uint32(h[24:]), tombs: le.Uint32(h[28:])}
	if b.base == 0 || b.base > maxLSN || b.tombs > b.count || int64(b.count)*2 > size {
		return b, errInvalid
	}
	all, err := r.window(batchHeader + size)
	if err != nil {
		return b, err
	}
	if codec.UpdateCRC32C(r.seed, all[4:]) != le.Uint32(all) {
		return b, errInvalid
	}
	b.body = all[batchHeader:]
	r.off += int64(len(all))
	return b, nil
}

// records walks through the body of a batch.
type records struct {
	body []byte
	lsn  uint64 // of the record after the last one, if none is left out
}

// next returns the next record. ok is false at the end and when the body is not well-formed; then rest is not empty.
func (r *records) next() (lsn uint64, record []byte, ok bool) {
	b := r.body
	// Mostly the delta is 0 and the length takes one or two bytes.
	var delta, size uint64
	var n int
	switch {
	case len(b) >= 3 && b[0] == 0 && b[1] < 0x80:
		size, n = uint64(b[1]), 2
	case len(b) >= 3 && b[0] == 0 && b[2] < 0x80:
		size, n = uint64(b[1]&0x7f)|uint64(b[2])<<7, 3
	default:
		var m int
		if delta, n = binary.Uvarint(b); n <= 0 {
			return 0, nil, false
		}
		if size, m = binary.Uvarint(b[n:]); m <= 0 {
			return 0, nil, false
		}
		n += m
	}
	if size > uint64(len(b)-n) || r.lsn > maxLSN || delta > maxLSN-r.lsn {
		return 0, nil, false
	}
	record, r.body = b[n:n+int(size):n+int(size)], b[n+int(size):]
	lsn = r.lsn + delta
	r.lsn = lsn + 1
	return lsn, record, true
}
