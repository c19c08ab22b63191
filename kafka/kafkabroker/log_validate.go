package kafkabroker

import (
	"encoding/binary"
	"math"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// checkAppend checks what needs no look at the log: sizes, checksums, flags, records. It sets the time of appending.
func checkAppend(r *appendRequest, c *logConfig, d *decoders) error {
	if len(r.records) == 0 {
		return logError(kafkawire.ErrInvalidRecord, "no record batch")
	}
	if r.origin == fromClient {
		b, err := kafka.SplitProduced(r.records)
		if err == nil {
			err = checkProduced(b, r.now, c, d)
		}
		if err == nil && c.recompress && b.Attributes().Compression() != c.method {
			b, err = recompress(b, c, d)
			r.records = b
		}
		if err == nil && c.appendTime {
			b.SetLogAppendTime(r.now)
		}
		return err
	}
	for rest := r.records; len(rest) > 0; {
		entry, more, err := kafka.Split(rest)
		switch {
		case err != nil:
			return err
		case entry == nil:
			return logError(kafkawire.ErrCorruptMessage, "a record batch that is cut off")
		}
		rest = more
		if kafka.Magic(entry) != 2 {
			if r.origin != fromLeader {
				return logError(kafkawire.ErrUnsupportedForMessageFormat, "a message set")
			}
			if err := kafka.Message(entry).Check(); err != nil {
				return err
			}
			continue
		}
		b := kafka.Batch(entry)
		if err := b.Check(); err != nil {
			return err
		}
		if r.origin == fromLeader {
			continue
		}
		if !b.Attributes().Control() { // without its marker a transaction would not end
			if err := checkSize(b, c); err != nil {
				return err
			}
		}
		if b.Count() <= 0 || b.LastOffsetDelta() != b.Count()-1 {
			return logError(kafkawire.ErrInvalidRecord, "the last offset does not fit the number of records")
		}
		if c.appendTime {
			b.SetLogAppendTime(r.now)
		}
	}
	return nil
}

// recompress compresses a batch of a client as the topic wants it. Whether it is too large is decided by what the client sent,
// and by what becomes of it.
func recompress(b kafka.Batch, c *logConfig, d *decoders) (kafka.Batch, error) {
	d.large.Lock()
	defer d.large.Unlock()
	out, _, err := b.Recompress(nil, nil, c.method, c.level, int(min(c.maxDecoded, math.MaxInt32)))
	if err != nil {
		return b, err
	}
	return out, checkSize(out, c)
}

func checkSize(b kafka.Batch, c *logConfig) error {
	if int64(len(b)) > c.maxMessage {
		return logError(kafkawire.ErrMessageTooLarge, "a record batch of %d bytes, and %d are allowed", len(b), c.maxMessage)
	}
	return nil
}

// checkProduced checks a batch of a client.
func checkProduced(b kafka.Batch, now int64, c *logConfig, d *decoders) error {
	if err := checkSize(b, c); err != nil {
		return err
	}
	if b.BaseOffset() != 0 {
		return logError(kafkawire.ErrInvalidRecord, "a produced batch with the base offset %d", b.BaseOffset())
	}
	if err := b.CheckProduced(); err != nil {
		return err
	}
	if int64(b.Count()) > c.maxDecoded/minRecord {
		// Each would have a segment of its own, and be of no use for consumers.
		return logError(kafkawire.ErrInvalidRecord, "a batch of %d records in %d bytes", b.Count(), len(b))
	}
	// The times of the head bound those of the records.
	times := !c.appendTime && (c.beforeMaxMs < math.MaxInt64 || c.afterMaxMs < math.MaxInt64)
	late := times && !inTime(b.MaxTimestamp(), now, c)
	if b.Attributes().Compression() != compress.None && c.trustPacked && !c.compact && !late {
		return nil
	}
	return checkRecords(b, now, times, c, d)
}

// inTime reports whether a time is within the bounds of the topic. None always is.
func inTime(t, now int64, c *logConfig) bool {
	if t < 0 {
		return true
	}
	return (c.afterMaxMs == math.MaxInt64 || t-now <= c.afterMaxMs) && (c.beforeMaxMs == math.MaxInt64 || now-t <= c.beforeMaxMs)
}

// maxRecordErrors bounds how many records of a batch are named in an error.
const maxRecordErrors = 1000

// checkRecords checks the records of a batch one by one.
func checkRecords(b kafka.Batch, now int64, times bool, c *logConfig, d *decoders) error {
	if b.Attributes().Compression() == compress.None {
		recs, err := kafka.Open(b, nil, 0)
		if err != nil {
			return err
		}
		return checkEach(&recs, b, now, times, c)
	}
	return d.open(b, c.maxDecoded, func(recs *kafka.Records) error { return checkEach(recs, b, now, times, c) })
}

// checkEach checks records and sets the latest time of the batch to that of its records.
func checkEach(recs *kafka.Records, b kafka.Batch, now int64, times bool, c *logConfig) error {
	var bad []recordError
	var code kafkawire.ErrorCode
	refuse := func(i int, why kafkawire.ErrorCode, text string) {
		if code = why; len(bad) < maxRecordErrors {
			bad = append(bad, recordError{i, text})
		}
	}
	var rec kafka.Record
	next, latest := b.BaseOffset(), int64(noTime)
	for i := 0; recs.Next(&rec); i++ {
		switch {
		case rec.Offset != next:
			return logError(kafkawire.ErrInvalidRecord, "the offsets of the records are not consecutive")
		case c.compact && rec.Key == nil:
			refuse(i, kafkawire.ErrInvalidRecord, "a compacted topic needs a key")
		case times && !inTime(rec.Timestamp, now, c):
			refuse(i, kafkawire.ErrInvalidTimestamp, "a timestamp out of the bounds of the topic")
		}
		next++
		latest = max(latest, rec.Timestamp)
	}
	if err := recs.Err(); err != nil {
		return err
	}
	if len(bad) > 0 {
		return &batchError{cause: kafka.Error{Code: code, Text: bad[0].text}, records: bad}
	}
	if b.MaxTimestamp() != latest { // some clients leave it out, and everything by time relies on it
		binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(latest))
		binary.BigEndian.PutUint32(b[batchCRCAt:], codec.CRC32C(b[batchDataAt:]))
	}
	return nil
}
