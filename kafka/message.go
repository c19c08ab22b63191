package kafka

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Message is an entry of a message set, with magic 0 or 1: the formats before Kafka 0.11. A compressed one holds a message
// set of its own. Messages can be read and not written. As with [Batch], the accessors are for what comes from [Split].
type Message []byte

// Where the fields of a message are; the offset, the size and the magic are where those of a batch are.
const (
	atMessageCRC        = 12 // over everything from the magic on
	atMessageAttributes = 17
	atMessageTimestamp  = 18
)

// messageSize is the size of a message with a null key and a null value.
func messageSize(magic byte) int {
	if magic == 0 {
		return atMessageTimestamp + 8
	}
	return atMessageTimestamp + 16
}

// Offset is the offset of the message; of a compressed one, that of the last one in it.
func (m Message) Offset() int64 { return int64(binary.BigEndian.Uint64(m[atBaseOffset:])) }

// Attributes are the flags: the compression, and from magic 1 on the kind of timestamp.
func (m Message) Attributes() Attributes { return Attributes(m[atMessageAttributes]) }

// Timestamp is the time of the message in milliseconds, -1 with magic 0, which has none.
func (m Message) Timestamp() int64 {
	if Magic(m) == 0 {
		return -1
	}
	return int64(binary.BigEndian.Uint64(m[atMessageTimestamp:]))
}

// SetOffset changes the offset, which the checksum does not cover.
func (m Message) SetOffset(offset int64) {
	binary.BigEndian.PutUint64(m[atBaseOffset:], uint64(offset))
}

// Check fails when the checksum is wrong. Those of the messages in a compressed one are not looked at.
func (m Message) Check() error {
	if crc32.ChecksumIEEE(m[atMagic:]) != binary.BigEndian.Uint32(m[atMessageCRC:]) {
		return corrupt("wrong checksum of a message")
	}
	return nil
}

// content reads the key and the value.
func (m Message) content() (key, value []byte, err error) {
	r := codec.NewReader(m[messageSize(m[atMagic])-8:])
	bytes := func() []byte {
		n := int32(r.Uint32())
		if n == -1 {
			return nil
		}
		return r.Bytes(int(n))
	}
	key, value = bytes(), bytes()
	if r.Err() == nil && r.Len() > 0 {
		r.Fail(codec.ErrSyntax)
	}
	if err := r.Err(); err != nil {
		return nil, nil, corrupt("message: " + err.Error())
	}
	return key, value, nil
}

func (m Message) open(buf []byte, limit int) (Records, error) {
	a := m.Attributes()
	recs := Records{buf: buf, time: m.Timestamp(), append: a.LogAppendTime() && Magic(m) == 1}
	method := a.Compression()
	if method == compress.None {
		recs.b, recs.kind = m, plainMessage
		return recs, nil
	}
	_, value, err := m.content()
	if err != nil {
		return recs, err
	}
	if value == nil || method > compress.LZ4 {
		return recs, corrupt("a message that cannot be compressed so")
	}
	if method == compress.LZ4 && Magic(m) == 0 {
		recs.buf, err = compress.DecodeOldLZ4(buf[:0], value, limit)
	} else {
		recs.buf, err = compress.Decode(buf[:0], value, method, limit)
	}
	if err != nil {
		return Records{buf: buf}, decompressing(err)
	}
	last, err := lastOffset(recs.buf, Magic(m))
	if err != nil {
		return Records{buf: recs.buf}, err
	}
	if Magic(m) == 1 {
		recs.base = m.Offset() - last // with magic 1 the offsets within are relative
	}
	recs.b, recs.kind = recs.buf, insideMessages
	return recs, nil
}

// lastOffset checks what is in a compressed message and returns the offset of the last one.
func lastOffset(b []byte, magic int8) (last int64, err error) {
	if len(b) == 0 {
		return 0, corrupt("an empty message set")
	}
	for len(b) > 0 {
		entry, rest, err := Split(b)
		switch {
		case err != nil:
			return 0, err
		case entry == nil:
			return 0, corrupt("a message set that is cut off")
		case Magic(entry) != magic:
			return 0, corrupt("different formats within a message")
		case Message(entry).Attributes().Compression() != compress.None:
			return 0, corrupt("a compressed message in a compressed message")
		}
		last, b = Message(entry).Offset(), rest
	}
	return last, nil
}

// nextPlain reads a message that is not compressed: it is the record.
func (r *Records) nextPlain(rec *Record) bool {
	if len(r.b) == 0 {
		return false
	}
	m := Message(r.b)
	r.b = nil
	return r.take(m, rec)
}

// nextMessage reads the next of the messages in a compressed one.
func (r *Records) nextMessage(rec *Record) bool {
	entry, rest, err := Split(r.b)
	if err != nil || entry == nil {
		r.err = err
		return false
	}
	r.b = rest
	return r.take(entry, rec)
}

func (r *Records) take(m Message, rec *Record) bool {
	*rec = Record{Offset: r.base + m.Offset(), Timestamp: m.Timestamp()}
	if r.append {
		rec.Timestamp = r.time
	}
	rec.Key, rec.Value, r.err = m.content()
	return r.err == nil
}

// decompressing turns an error of package compress into one with a code.
func decompressing(err error) error {
	e := &Error{Code: kafkawire.ErrCorruptMessage, Text: err.Error()}
	switch {
	case errors.Is(err, codec.ErrLimit):
		e.Code = kafkawire.ErrMessageTooLarge
	case errors.Is(err, compress.ErrMethod):
		e.Code = kafkawire.ErrUnsupportedCompressionType
	}
	return e
}
