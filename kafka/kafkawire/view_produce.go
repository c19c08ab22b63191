package kafkawire

import "github.com/quartet-mq/quartet/codec"

// ProduceView is a produce request that is read in place: everything in it is part of the input and valid as long as
// that. Decode checks the whole request; Next then goes from partition to partition. It allocates nothing.
type ProduceView struct {
	// TransactionalID is nil without a transaction.
	TransactionalID []byte
	Acks            int16
	TimeoutMs       int32

	// Topics and Partitions tell how many there are in the request.
	Topics, Partitions int

	// Topic is where the view is, after Next.
	Topic Topic

	// Index is the number of the partition.
	Index int32

	// Records are record batches, nil for null.
	Records []byte

	start, at topics
}

// Decode begins to read a request in a version. It accepts what [ProduceRequest.Decode] accepts.
func (v *ProduceView) Decode(b []byte, version int16) error {
	*v = ProduceView{}
	w := walk{Reader: codec.NewReader(b), version: version, flexible: version >= KeyProduce.FlexibleVersion()}
	if !KeyProduce.Supports(version) {
		return &Error{Message: "ProduceRequest", Version: version, Err: ErrVersion}
	}
	v.TransactionalID = w.text()
	v.Acks = w.Int16()
	v.TimeoutMs = w.Int32()
	v.Topics = w.array(3)
	v.start = newTopics(w, v.Topics)
	v.Rewind()
	for v.Next() {
		v.Partitions++
	}
	v.at.skipTags()
	err := v.at.end("ProduceRequest")
	v.Rewind()
	return err
}

// Rewind goes before the first partition.
func (v *ProduceView) Rewind() { v.at = v.start }

// Next goes to the next partition and reports whether there is one.
func (v *ProduceView) Next() bool {
	if !v.at.next(6) {
		return false
	}
	v.Topic = v.at.topic
	v.Index = v.at.Int32()
	v.Records = v.at.bytes()
	v.at.skipTags()
	return v.at.Err() == nil
}
