package kafkawire

import (
	"math"

	"github.com/quartet-mq/quartet/codec"
)

// FetchView is a fetch request that is read in place: everything in it is part of the input and valid as long as that.
// Decode checks the whole request; Next then goes from partition to partition, and NextForgotten over those that leave
// the session. It allocates nothing.
type FetchView struct {
	// ReplicaID is that of a follower, -1 for a consumer, in all versions.
	ReplicaID      BrokerID
	ReplicaEpoch   int64
	MaxWaitMs      int32
	MinBytes       int32
	MaxBytes       int32
	IsolationLevel int8
	SessionID      int32
	SessionEpoch   int32
	RackID         []byte

	// Topics and Partitions tell how many there are in the request, without those that are forgotten.
	Topics, Partitions int

	// FetchPlace is where the view is, after Next.
	FetchPlace

	start, at              topics
	forgotten, forgottenAt topics
}

// FetchPlace is one partition of a fetch request.
type FetchPlace struct {
	Topic              Topic
	Partition          int32
	CurrentLeaderEpoch int32
	FetchOffset        int64
	LastFetchedEpoch   int32
	LogStartOffset     int64
	PartitionMaxBytes  int32
	ReplicaDirectoryID UUID
	HighWatermark      int64
}

// Decode begins to read a request in a version. It accepts what [FetchRequest.Decode] accepts.
func (v *FetchView) Decode(b []byte, version int16) error {
	*v = FetchView{ReplicaID: -1, ReplicaEpoch: -1, SessionEpoch: -1}
	w := walk{Reader: codec.NewReader(b), version: version, flexible: version >= KeyFetch.FlexibleVersion()}
	if !KeyFetch.Supports(version) {
		return &Error{Message: "FetchRequest", Version: version, Err: ErrVersion}
	}
	if version <= 14 {
		v.ReplicaID = BrokerID(w.Int32())
	}
	v.MaxWaitMs = w.Int32()
	v.MinBytes = w.Int32()
	v.MaxBytes = w.Int32()
	v.IsolationLevel = w.Int8()
	if version >= 7 {
		v.SessionID = w.Int32()
		v.SessionEpoch = w.Int32()
	}
	v.Topics = w.array(3)
	v.start = newTopics(w, v.Topics)
	v.at = v.start
	for v.Next() {
		v.Partitions++
	}
	w = v.at.walk
	if version >= 7 {
		n := w.array(3)
		v.forgotten = newTopics(w, n)
		v.forgottenAt = v.forgotten
		for ok := true; ok; {
			_, _, ok = v.NextForgotten()
		}
		w = v.forgottenAt.walk
	}
	if version >= 11 {
		v.RackID = w.notNull(w.text())
	}
	t := w.tags()
	for t.next(&w) {
		switch {
		case t.id == 0:
			w.text() // the id of the cluster, for controllers only
		case t.id == 1 && version >= 15:
			v.ReplicaID = BrokerID(w.Int32())
			v.ReplicaEpoch = w.Int64()
			w.skipTags()
		default:
			w.Skip(w.Len())
		}
	}
	err := w.end("FetchRequest")
	v.Rewind()
	return err
}

// Rewind goes before the first partition, in both lists.
func (v *FetchView) Rewind() { v.at, v.forgottenAt = v.start, v.forgotten }

// Next goes to the next partition and reports whether there is one.
func (v *FetchView) Next() bool {
	w := &v.at
	if !w.next(16) {
		return false
	}
	p := &v.FetchPlace
	*p = FetchPlace{
		Topic: w.topic, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, HighWatermark: math.MaxInt64,
	}
	p.Partition = w.Int32()
	if w.version >= 9 {
		p.CurrentLeaderEpoch = w.Int32()
	}
	p.FetchOffset = w.Int64()
	if w.version >= 12 {
		p.LastFetchedEpoch = w.Int32()
	}
	if w.version >= 5 {
		p.LogStartOffset = w.Int64()
	}
	p.PartitionMaxBytes = w.Int32()
	t := w.tags()
	for t.next(&w.walk) {
		switch {
		case t.id == 0 && w.version >= 17:
			copy(p.ReplicaDirectoryID[:], w.Bytes(len(p.ReplicaDirectoryID)))
		case t.id == 1 && w.version >= 18:
			p.HighWatermark = w.Int64()
		default:
			w.Skip(w.Len())
		}
	}
	return w.Err() == nil
}

// NextForgotten returns the next partition that leaves the session; ok is false after the last.
func (v *FetchView) NextForgotten() (topic Topic, partition int32, ok bool) {
	if !v.forgottenAt.next(4) {
		return Topic{}, 0, false
	}
	partition = v.forgottenAt.Int32()
	return v.forgottenAt.topic, partition, v.forgottenAt.Err() == nil
}
