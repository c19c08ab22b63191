package kafka

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Split takes the next entry off, a [Batch] when [Magic] of it is 2 and a [Message] when it is 0 or 1. When b ends within
// the entry, as what a broker sends may, entry is nil and rest is b. An error is an [*Error] with the code
// CORRUPT_MESSAGE.
func Split(b []byte) (entry, rest []byte, err error) {
	if len(b) <= atMagic {
		return nil, b, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(b[atLength:])))
	least := int64(BatchHeaderSize - entryHead)
	switch b[atMagic] {
	case 0, 1:
		least = int64(messageSize(b[atMagic]) - entryHead)
	case 2:
	default:
		return nil, b, corrupt("unknown magic")
	}
	if size < least {
		return nil, b, corrupt("an entry that is shorter than its fields")
	}
	if size += entryHead; size > int64(len(b)) {
		return nil, b, nil
	}
	return b[:size:size], b[size:], nil
}

// Magic returns the version of the format of an entry.
func Magic(entry []byte) int8 { return int8(entry[atMagic]) }

// SplitProduced takes the one batch from what a produce request has for a partition. Since version 3 of the request
// there must be exactly one.
func SplitProduced(records []byte) (Batch, error) {
	entry, rest, err := Split(records)
	switch {
	case err != nil:
		return nil, err
	case entry == nil:
		return nil, corrupt("a record batch that is cut off")
	case Magic(entry) != 2:
		return nil, &Error{Code: kafkawire.ErrUnsupportedForMessageFormat, Text: "a message set"}
	case len(rest) > 0:
		return nil, invalid("more than one record batch")
	}
	return Batch(entry), nil
}
