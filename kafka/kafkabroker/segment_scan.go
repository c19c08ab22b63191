package kafkabroker

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka"
)

// Where fields of an entry are, in all formats.
const (
	entryLengthAt  = 8
	entryHead      = 12 // offset and length
	entryMagicAt   = 16
	batchCRCAt     = 17
	batchDataAt    = 21 // what the checksum covers
	maxTimestampAt = 35
	messageDataAt  = 16 // the same in the formats before record batches
	messageCRCAt   = 12
	messageHead    = 26 // up to and with the timestamp
)

// batchHead is the head of an entry of the log: a record batch, or a message of the formats before those.
type batchHead struct {
	pos  int64 // in the file
	size int64
	base int64 // of a message: its offset
	last int64
	time int64 // latest timestamp
	raw  kafka.Batch
}

func (h *batchHead) magic() int8 { return int8(h.raw[entryMagicAt]) }
func (h *batchHead) end() int64  { return h.pos + h.size }

// scanner walks over the entries of a segment's file. It reads large pieces, and only heads where entries are larger.
type scanner struct {
	name  string
	f     io.ReaderAt
	pos   int64 // of the next entry
	limit int64 // here the file ends
	few   bool  // read only what is asked for
	buf   []byte
	from  int64 // where the content of buf is in the file
	head  batchHead
	raw   [kafka.BatchHeaderSize]byte // of head
	err   error
}

const scanBuffer = 256 << 10

// newScanner returns a scanner that begins at pos, where an entry begins, and ends at limit. buf may be nil.
func newScanner(name string, f io.ReaderAt, pos, limit int64, buf []byte) *scanner {
	if cap(buf) < scanBuffer {
		buf = make([]byte, 0, scanBuffer)
	}
	return &scanner{name: name, f: f, pos: pos, limit: limit, buf: buf[:0]}
}

// window returns n bytes of the file at pos, or what there is of them, and reads more of the file when it must.
func (s *scanner) window(pos, n int64) ([]byte, error) {
	n = min(n, s.limit-pos)
	if at := pos - s.from; at >= 0 && at+n <= int64(len(s.buf)) {
		return s.buf[at : at+n], nil
	}
	s.from = pos
	s.buf = s.buf[:min(int64(cap(s.buf)), s.limit-pos)]
	if s.few {
		s.buf = s.buf[:n]
	}
	got, err := s.f.ReadAt(s.buf, pos)
	s.buf = s.buf[:got]
	if err != nil && err != io.EOF {
		return nil, err
	}
	return s.buf[:min(n, int64(got))], nil
}

// next reads the head of the next entry and reports whether there is one. After false, err says whether the end was
// reached or what is wrong: a *corruptError is about the content, everything else about reading it.
func (s *scanner) next() bool {
	if s.err != nil || s.pos >= s.limit {
		return false
	}
	b, err := s.window(s.pos, kafka.BatchHeaderSize)
	if err == nil {
		err = s.parse(b)
	}
	if err != nil {
		s.err = err
		return false
	}
	s.pos = s.head.end()
	return true
}

func (s *scanner) corrupt(text string) error { return &corruptError{s.name, s.pos, text} }

func (s *scanner) parse(b []byte) error {
	if len(b) < messageHead {
		return s.corrupt("an entry that is cut off")
	}
	base := int64(binary.BigEndian.Uint64(b))
	size := int64(int32(binary.BigEndian.Uint32(b[entryLengthAt:]))) + entryHead
	h := batchHead{pos: s.pos, size: size, base: base, last: base, time: -1, raw: s.raw[:copy(s.raw[:], b)]}
	least := int64(messageHead)
	switch h.magic() {
	case 0, 1:
	case 2:
		least = kafka.BatchHeaderSize
	default:
		return s.corrupt("unknown magic")
	}
	switch {
	case size < least:
		return s.corrupt("an entry that is too short")
	case s.pos+size > s.limit:
		return s.corrupt("an entry that is cut off")
	}
	switch h.magic() {
	case 1:
		h.time = kafka.Message(b).Timestamp()
	case 2:
		h.time = h.raw.MaxTimestamp()
		delta := h.raw.LastOffsetDelta()
		if h.last += int64(delta); delta < 0 {
			return s.corrupt("a batch that ends before it begins")
		}
	}
	if h.base < 0 || h.last < 0 || h.last == math.MaxInt64 {
		return s.corrupt("an offset that cannot be")
	}
	s.head = h
	return nil
}

// check verifies the checksum of the entry that next has found. It needs no more memory than the scanner has.
func (s *scanner) check() error {
	h := &s.head
	want, from, update := binary.BigEndian.Uint32(h.raw[batchCRCAt:]), int64(batchDataAt), codec.UpdateCRC32C
	if h.magic() < 2 {
		want, from = binary.BigEndian.Uint32(h.raw[messageCRCAt:]), messageDataAt
		update = func(crc uint32, b []byte) uint32 { return crc32.Update(crc, crc32.IEEETable, b) }
	}
	crc := uint32(0)
	for at := h.pos + from; at < h.end(); {
		n := h.end() - at
		if n > int64(cap(s.buf)) { // in pieces of what there is, then of the buffer
			n = max(min(n, s.from+int64(len(s.buf))-at), 0)
			if n == 0 {
				n = int64(cap(s.buf))
			}
		}
		b, err := s.window(at, n)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return io.ErrUnexpectedEOF
		}
		crc = update(crc, b)
		at += int64(len(b))
	}
	if crc != want {
		return &corruptError{s.name, h.pos, "wrong checksum"}
	}
	return nil
}

// entry reads the entry that next has found as a whole. It appends it to dst when it is not in the scanner's buffer; the
// result is valid until the next call in either case.
func (s *scanner) entry(dst []byte) ([]byte, error) {
	h := s.head
	if h.size <= int64(cap(s.buf)) {
		b, err := s.window(h.pos, h.size)
		if err == nil && int64(len(b)) < h.size {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	n := len(dst)
	if int64(cap(dst)-n) < h.size {
		dst = append(make([]byte, 0, int64(n)+h.size), dst...)
	}
	dst = dst[:int64(n)+h.size]
	return dst[n:], readFull(s.f, dst[n:], h.pos)
}
