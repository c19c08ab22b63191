package kafka

import (
	"encoding/binary"
	"math"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Recompress appends the batch to dst with its records compressed with another method, at a level of package compress, and
// returns the extended slice and the memory that it has used, for the next time. The records may have limit bytes without
// compression. Nothing else about the batch changes but its checksum. An error has a code of the protocol.
func (b Batch) Recompress(dst, buf []byte, m compress.Method, level, limit int) (out, scratch []byte, err error) {
	records := []byte(b[BatchHeaderSize:])
	if from := b.Attributes().Compression(); from != compress.None {
		if records, err = compress.Decode(buf[:0], records, from, limit); err != nil {
			return dst, buf, decompressing(err)
		}
		buf = records
	}
	at := len(dst)
	out = append(dst, b[:BatchHeaderSize]...)
	if out, err = compress.Append(out, records, m, level); err != nil {
		return dst, buf, decompressing(err)
	}
	n := len(out) - at - entryHead
	if n > math.MaxInt32-entryHead {
		return dst, buf, &Error{Code: kafkawire.ErrRecordListTooLarge}
	}
	c := Batch(out[at:])
	binary.BigEndian.PutUint32(c[atLength:], uint32(n))
	binary.BigEndian.PutUint16(c[atAttributes:], uint16(c.Attributes()&^compressionMask|Attributes(m)))
	c.setCRC()
	return out, buf, nil
}
