package kafka

import (
	"encoding/binary"
	"math"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Where the fields of a batch are.
const (
	atBaseOffset      = 0
	atLength          = 8 // of everything that follows
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21 // the checksum begins here
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57

	// BatchHeaderSize is the size of a batch without records.
	BatchHeaderSize = 61

	entryHead = 12 // offset and length
)

// Batch is a record batch with magic 2, the format since Kafka 0.11. It is the bytes as they travel and lie on disk;
// the accessors are for slices that come from [Split] or [BatchWriter.Append], which are never too short for them.
type Batch []byte

// Attributes are flags of a batch or message.
type Attributes uint16

const (
	compressionMask            = 7
	logAppendTime   Attributes = 1 << 3
	transactional   Attributes = 1 << 4
	control         Attributes = 1 << 5
	deleteHorizon   Attributes = 1 << 6
)

// Compression returns the method with which the records are compressed, which need not be one that there is.
func (a Attributes) Compression() compress.Method { return compress.Method(a & compressionMask) }

// LogAppendTime reports whether the time of all records is the maximal timestamp of the batch, when the broker took it.
func (a Attributes) LogAppendTime() bool { return a&logAppendTime != 0 }

// Transactional reports whether the batch is part of a transaction.
func (a Attributes) Transactional() bool { return a&transactional != 0 }

// Control reports whether the batch is one for the clients themselves, such as the marker that ends a transaction.
func (a Attributes) Control() bool { return a&control != 0 }

// DeleteHorizon reports whether the base timestamp is the time from which on tombstones may be removed.
func (a Attributes) DeleteHorizon() bool { return a&deleteHorizon != 0 }

func (b Batch) uint32(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
func (b Batch) uint64(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

// BaseOffset is the offset of the first record, at the time when the batch was made.
func (b Batch) BaseOffset() int64 { return int64(b.uint64(atBaseOffset)) }

// LeaderEpoch is the epoch of the leader that appended the batch, -1 when no leader has.
func (b Batch) LeaderEpoch() int32 { return int32(b.uint32(atLeaderEpoch)) }

// CRC is the checksum that the batch claims to have.
func (b Batch) CRC() uint32 { return b.uint32(atCRC) }

// Attributes are the flags.
func (b Batch) Attributes() Attributes { return Attributes(binary.BigEndian.Uint16(b[atAttributes:])) }

// LastOffsetDelta is the distance of the last offset from the base offset. Compaction keeps it.
func (b Batch) LastOffsetDelta() int32 { return int32(b.uint32(atLastOffsetDelta)) }

// BaseTimestamp is what the timestamps of records count from, in milliseconds.
func (b Batch) BaseTimestamp() int64 { return int64(b.uint64(atBaseTimestamp)) }

// MaxTimestamp is the latest timestamp of a record in milliseconds, -1 without any.
func (b Batch) MaxTimestamp() int64 { return int64(b.uint64(atMaxTimestamp)) }

// ProducerID is the producer of the batch, -1 without idempotence.
func (b Batch) ProducerID() kafkawire.ProducerID {
	return kafkawire.ProducerID(b.uint64(atProducerID))
}

// ProducerEpoch is the epoch of the producer, -1 without idempotence.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[atProducerEpoch:])) }

// BaseSequence is the sequence number of the first record, -1 without idempotence and in control batches.
func (b Batch) BaseSequence() int32 { return int32(b.uint32(atBaseSequence)) }

// Count is the number of records.
func (b Batch) Count() int32 { return int32(b.uint32(atCount)) }

// LastOffset is the offset of the last record, at the time when the batch was made.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// LastSequence is the sequence number of the last record, -1 without any.
func (b Batch) LastSequence() int32 {
	if b.BaseSequence() < 0 {
		return -1
	}
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// AddSequence adds to a sequence number, which begins again at zero after 2,147,483,647.
func AddSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}

// SetBaseOffset changes the base offset, which the checksum does not cover.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(offset))
}

// SetLeaderEpoch changes the leader epoch, which the checksum does not cover.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime makes the time of all records the given one, in milliseconds, and computes the checksum anew.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(b.Attributes()|logAppendTime))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.setCRC()
}

func (b Batch) setCRC() {
	binary.BigEndian.PutUint32(b[atCRC:], codec.CRC32C(b[atAttributes:]))
}

// Check fails when the checksum is wrong.
func (b Batch) Check() error {
	if codec.CRC32C(b[atAttributes:]) != b.CRC() {
		return corrupt("wrong checksum of a record batch")
	}
	return nil
}

// CheckProduced fails when the batch is not one that a producer may send: with a wrong checksum or count, for clients
// themselves, without records, or with half of what idempotence needs. The records are not looked at.
func (b Batch) CheckProduced() error {
	if err := b.Check(); err != nil {
		return err
	}
	a := b.Attributes()
	switch {
	case a.Control():
		return invalid("a producer cannot send control records")
	case a.Compression() > compress.Zstd:
		return &Error{Code: kafkawire.ErrUnsupportedCompressionType, Text: "unknown compression"}
	case a.DeleteHorizon() || a >= deleteHorizon<<1:
		return invalid("flags that a producer cannot set")
	case b.Count() <= 0:
		return invalid("a record batch without records")
	case b.LastOffsetDelta() != b.Count()-1:
		return invalid("the last offset does not fit the number of records")
	case a.LogAppendTime():
		return &Error{Code: kafkawire.ErrInvalidTimestamp, Text: "only brokers set the time of appending"}
	case b.ProducerID() < 0 && a.Transactional():
		return invalid("a transaction without a producer id")
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return invalid("a producer id without an epoch or a sequence number")
	}
	return nil
}
