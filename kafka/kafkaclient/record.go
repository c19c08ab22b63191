package kafkaclient

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
)

// Record is a record, to be produced or consumed.
//
// The slices of a consumed record are parts of memory that it shares with the other records of its batch, and without
// compression with what was fetched at the same time. They are the caller's for as long as it likes, and keep that memory
// alive: copy what is to be kept of few records for long.
type Record struct {
	Topic string

	// Partition is that of the topic. A producer sets it, unless its partitioner takes what the record says.
	Partition int32

	// Offset is the place in the partition. A producer sets it when the record is written, to -1 when it is not known.
	Offset int64

	// LeaderEpoch is the epoch of the leader that wrote the record, -1 when that is not known.
	LeaderEpoch int32

	// Timestamp is of the record or, as the topic says, of when the broker took it. It has milliseconds. A producer sets a
	// zero time to now.
	Timestamp time.Time

	Key     []byte // nil is null
	Value   []byte // nil is null, which deletes the key from compacted topics
	Headers []kafka.Header

	acks *acks // of a consumed record
}

// Done says that a consumed record was processed. Records of a partition may be done in any order: what is committed is
// the offset up to which all are. It counts for consumers with [ConsumerOptions.CommitDone]; a record of a partition that
// the consumer has lost meanwhile, or of one that it has sought in, does not count any more. Done may be called by any
// goroutine, and more than once.
func (r *Record) Done() {
	if r.acks != nil {
		r.acks.done(r.Offset)
	}
}
