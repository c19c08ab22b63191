package kafkabroker

import (
	"encoding/binary"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The versions of the keys in the offsets topic. Others are of coordinators that this is not; they are left alone.
const (
	offsetKeyVersion = 1 // 0 is the same
	groupKeyVersion  = 2
)

// addGroup adds the record of a group to the batch, a tombstone when v is nil. The caller holds mu.
func (s *groupShard) addGroup(now time.Time, id string, v *kafkawire.GroupMetadataValue) error {
	if v == nil {
		return s.addRecord(now, &kafkawire.GroupMetadataKey{Group: kafkawire.GroupID(id)}, groupKeyVersion, nil, 0)
	}
	return s.addRecord(now, &kafkawire.GroupMetadataKey{Group: kafkawire.GroupID(id)}, groupKeyVersion, v, kafka.GroupRecordVersion)
}

// addOffset adds the record of an offset to the batch, a tombstone when c is nil. The caller holds mu.
func (s *groupShard) addOffset(now time.Time, group string, k offsetKey, c *committedOffset) error {
	key := kafkawire.OffsetCommitKey{Group: kafkawire.GroupID(group), Topic: kafkawire.TopicName(k.topic), Partition: k.partition}
	if c == nil {
		return s.addRecord(now, &key, offsetKeyVersion, nil, 0)
	}
	v := kafkawire.OffsetCommitValue{
		Offset: c.offset, LeaderEpoch: c.epoch, Metadata: c.metadata, CommitTimestamp: c.at, ExpireTimestamp: c.expire,
	}
	version := int16(3)
	if c.expire >= 0 {
		version, v.LeaderEpoch = 1, -1 // of those with a time of expiry the last one
	}
	return s.addRecord(now, &key, offsetKeyVersion, &v, version)
}

// addRecord adds a record to the batch, a tombstone when the value is nil. A record that cannot be written is not there.
func (s *groupShard) addRecord(now time.Time, key kafkawire.Message, keyVersion int16, value kafkawire.Message, version int16) error {
	b, err := kafkawire.AppendVersioned(s.scratch[:0], key, keyVersion)
	if err != nil {
		return err
	}
	n := len(b)
	if value == nil {
		s.batch.Add(now.UnixMilli(), b, nil)
	} else {
		if b, err = kafkawire.AppendVersioned(b, value, version); err != nil {
			return err
		}
		s.batch.Add(now.UnixMilli(), b[:n], b[n:])
	}
	if cap(b) <= maxScratch {
		s.scratch = b
	}
	return nil
}

// maxScratch bounds the memory that a shard keeps for its next records.
const maxScratch = 64 << 10

// groupRecord is a record of the offsets topic.
type groupRecord struct {
	kind   int16 // the version of its key
	group  string
	offset offsetKey                     // of an offset
	value  []byte                        // nil for a tombstone
	commit kafkawire.OffsetCommitValue   // of an offset that is there
	state  *kafkawire.GroupMetadataValue // of a group that is there
}

// decode reads a record. ok is false when it is about something else.
func (r *groupRecord) decode(key, value []byte) (ok bool, err error) {
	if len(key) < 2 {
		return false, nil
	}
	*r = groupRecord{kind: int16(binary.BigEndian.Uint16(key)), value: value}
	switch r.kind {
	case 0, offsetKeyVersion:
		var k kafkawire.OffsetCommitKey
		if _, err := kafkawire.DecodeVersioned(key, &k); err != nil {
			return false, err
		}
		r.kind = offsetKeyVersion
		r.group, r.offset = string(k.Group), offsetKey{string(k.Topic), k.Partition}
		if value != nil {
			_, err = kafkawire.DecodeVersioned(value, &r.commit)
		}
	case groupKeyVersion:
		var k kafkawire.GroupMetadataKey
		if _, err := kafkawire.DecodeVersioned(key, &k); err != nil {
			return false, err
		}
		r.group = string(k.Group)
		if value != nil {
			r.state = new(kafkawire.GroupMetadataValue)
			_, err = kafkawire.DecodeVersioned(value, r.state)
		}
	default:
		return false, nil
	}
	return err == nil, err
}

// committed returns the offset that a record has.
func (r *groupRecord) committed(record int64) committedOffset {
	v := &r.commit
	return committedOffset{
		offset: v.Offset, epoch: v.LeaderEpoch, metadata: v.Metadata, at: v.CommitTimestamp, expire: v.ExpireTimestamp, record: record,
	}
}
