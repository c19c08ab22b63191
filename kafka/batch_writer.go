package kafka

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// BatchOptions say what goes into the header of a batch. nil and the zero value make a batch as a producer without
// idempotence sends it.
type BatchOptions struct {
	// Compression is the method, with the level of package compress.
	Compression compress.Method
	Level       int

	// Producer makes the batch idempotent. nil means that it is not.
	Producer *Producer

	// Transactional puts the batch into the transaction of the producer.
	Transactional bool

	// BaseOffset is the offset of the first record, for those who are not producers.
	BaseOffset int64
}

// Producer is who produces, and where it is in its sequence of records.
type Producer struct {
	ID       kafkawire.ProducerID
	Epoch    int16
	Sequence int32 // of the first record of the batch
}

// BatchWriter collects records and makes a [Batch] of them. The zero value is ready to use; Reset starts the next batch
// and keeps the memory.
type BatchWriter struct {
	buf     []byte // room for the header, then the records
	summed  int    // so many bytes of the records are in sum
	sum     uint32
	running bool
	count   int32
	last    int32 // offset delta of the last record
	base    int64 // timestamp
	fixed   bool  // base is not that of the first record
	max     int64
	scratch []byte // decompressed records, of Rewrite
}

// Reset drops all records.
func (w *BatchWriter) Reset() {
	*w = BatchWriter{buf: w.buf[:0], scratch: w.scratch, running: w.running}
}

// Checksum makes w compute the checksum of records soon after they were added, while the processor has them at hand. It
// makes Seal cheap, which has to read all records otherwise, and is a waste without it. It is for an empty w.
func (w *BatchWriter) Checksum() { w.running = true }

// sumStep is how many bytes go into the checksum at once.
const sumStep = 4 << 10

// Count is the number of records.
func (w *BatchWriter) Count() int { return int(w.count) }

// Len is the size of the batch without compression.
func (w *BatchWriter) Len() int { return max(len(w.buf), BatchHeaderSize) }

// Cap is how many bytes the writer has memory for.
func (w *BatchWriter) Cap() int { return cap(w.buf) }

// Grow makes room for a batch of n bytes.
func (w *BatchWriter) Grow(n int) {
	if n > cap(w.buf) {
		w.buf = slices.Grow(w.buf, n-len(w.buf))
	}
}

// records are the records so far.
func (w *BatchWriter) records() []byte {
	if len(w.buf) == 0 {
		return nil
	}
	return w.buf[BatchHeaderSize:]
}

// Add adds a record with the next offset. The time is in milliseconds; a nil key or value is null. Everything is copied.
func (w *BatchWriter) Add(timestamp int64, key, value []byte, headers ...Header) {
	delta := int32(0)
	if w.count > 0 {
		delta = w.last + 1
	}
	w.add(delta, timestamp, key, value, headers)
}

// RecordSize is how many bytes a record takes in a batch, with its distance from the first record's offset, and from its
// timestamp in milliseconds. A batch has [BatchHeaderSize] bytes and those of its records.
func RecordSize(offset int32, time int64, key, value []byte, headers ...Header) int {
	n := recordSize(offset, time, key, value, headers)
	return codec.SizeVarint32(int32(n)) + n
}

func recordSize(delta int32, time int64, key, value []byte, headers []Header) int {
	n := 1 + codec.SizeVarint64(time) + codec.SizeVarint32(delta) + sizeBytes(key) + sizeBytes(value)
	n += codec.SizeVarint32(int32(len(headers)))
	for _, h := range headers {
		n += codec.SizeVarint32(int32(len(h.Key))) + len(h.Key) + sizeBytes(h.Value)
	}
	return n
}

func sizeBytes(b []byte) int {
	if b == nil {
		return 1
	}
	return codec.SizeVarint32(int32(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // -1
	}
	return append(codec.AppendVarint32(dst, int32(len(b))), b...)
}

func (w *BatchWriter) add(delta int32, timestamp int64, key, value []byte, headers []Header) {
	if w.count == 0 {
		w.buf = append(w.buf[:0], make([]byte, BatchHeaderSize)...)
		w.max = timestamp
		if !w.fixed {
			w.base = timestamp
		}
	}
	w.max = max(w.max, timestamp)
	time := timestamp - w.base
	b := codec.AppendVarint32(w.buf, int32(recordSize(delta, time, key, value, headers)))
	b = append(b, 0) // attributes
	b = codec.AppendVarint64(b, time)
	b = codec.AppendVarint32(b, delta)
	b = appendBytes(b, key)
	b = appendBytes(b, value)
	b = codec.AppendVarint32(b, int32(len(headers)))
	for _, h := range headers {
		b = append(codec.AppendVarint32(b, int32(len(h.Key))), h.Key...)
		b = appendBytes(b, h.Value)
	}
	w.buf, w.last = b, delta
	w.count++
	if w.running && len(b)-BatchHeaderSize-w.summed >= sumStep {
		w.updateSum()
	}
}

// updateSum computes the checksum of the records.
func (w *BatchWriter) updateSum() {
	records := w.records()
	w.sum = codec.UpdateCRC32C(w.sum, records[w.summed:])
	w.summed = len(records)
}

// Append appends the batch to dst and returns the extended slice. It fails with an [*Error] when there are no records, or
// too many bytes of them for a batch, or no such compression.
func (w *BatchWriter) Append(dst []byte, o *BatchOptions) ([]byte, error) {
	h, err := w.header(o)
	if err != nil {
		return dst, err
	}
	level := 0
	if o != nil {
		level = o.Level
	}
	return h.append(dst, w.records(), level)
}

// Seal returns the batch without copying the records: it is in the memory of w and stays what it is until the next Add or
// Reset. It does not compress, whatever the options say, and fails as Append does.
func (w *BatchWriter) Seal(o *BatchOptions) (Batch, error) {
	h, err := w.header(o)
	if err != nil {
		return nil, err
	}
	h.attributes &^= compressionMask
	if len(w.buf) > math.MaxInt32 {
		return nil, &Error{Code: kafkawire.ErrRecordListTooLarge}
	}
	h.put(w.buf[:0])
	b := Batch(w.buf)
	if !w.running {
		b.finish()
		return b, nil
	}
	w.updateSum()
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-entryHead))
	sum := codec.CombineCRC32C(codec.CRC32C(b[atAttributes:BatchHeaderSize]), w.sum, len(b)-BatchHeaderSize)
	binary.BigEndian.PutUint32(b[atCRC:], sum)
	return b, nil
}

// header returns the header of the batch.
func (w *BatchWriter) header(o *BatchOptions) (h header, err error) {
	if o == nil {
		o = new(BatchOptions)
	}
	h = header{
		offset: o.BaseOffset, epoch: -1, attributes: Attributes(o.Compression) & compressionMask,
		lastDelta: w.last, baseTime: w.base, maxTime: w.max, producer: Producer{-1, -1, -1}, count: w.count,
	}
	if o.Transactional {
		h.attributes |= transactional
	}
	if o.Producer != nil {
		h.producer = *o.Producer
	}
	if w.count == 0 {
		return h, invalid("a record batch without records")
	}
	return h, nil
}

// finish sets the length and the checksum of a batch that is complete otherwise.
func (b Batch) finish() {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-entryHead))
	b.setCRC()
}

// header is everything in a batch but its records.
type header struct {
	offset            int64
	epoch             int32
	attributes        Attributes
	lastDelta         int32
	baseTime, maxTime int64
	producer          Producer
	count             int32
}

// put appends the header, without length and checksum.
func (h *header) put(dst []byte) []byte {
	b := binary.BigEndian.AppendUint64(dst, uint64(h.offset))
	b = append(b, 0, 0, 0, 0) // length
	b = binary.BigEndian.AppendUint32(b, uint32(h.epoch))
	b = append(b, 2, 0, 0, 0, 0) // magic, checksum
	b = binary.BigEndian.AppendUint16(b, uint16(h.attributes))
	b = binary.BigEndian.AppendUint32(b, uint32(h.lastDelta))
	b = binary.BigEndian.AppendUint64(b, uint64(h.baseTime))
	b = binary.BigEndian.AppendUint64(b, uint64(h.maxTime))
	b = binary.BigEndian.AppendUint64(b, uint64(h.producer.ID))
	b = binary.BigEndian.AppendUint16(b, uint16(h.producer.Epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(h.producer.Sequence))
	return binary.BigEndian.AppendUint32(b, uint32(h.count))
}

// append appends a batch. The attributes say how the records are to be compressed.
func (h *header) append(dst, records []byte, level int) ([]byte, error) {
	at := len(dst)
	b, err := compress.Append(h.put(dst), records, h.attributes.Compression(), level)
	if err != nil {
		return dst, decompressing(err)
	}
	if n := len(b) - at - entryHead; n > math.MaxInt32-entryHead {
		return dst, &Error{Code: kafkawire.ErrRecordListTooLarge}
	}
	Batch(b[at:]).finish()
	return b, nil
}
