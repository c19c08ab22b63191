package kafkaserver

import (
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// isConfirmed reports whether what is read from now on is no early data.
func (c *Conn) isConfirmed() bool {
	select {
	case <-c.early:
		return true
	default:
		return c.early == nil
	}
}

// mayEarly reports whether a request may be handled although it may be a repetition, see [kafkawire.EarlyData].
func (c *Conn) mayEarly(r *Request) bool {
	switch kafkawire.EarlyData(r.Key) {
	case kafkawire.EarlySafe:
		switch r.Key {
		case kafkawire.KeyMetadata:
			return !createsTopics(r)
		case kafkawire.KeyFetch:
			var v kafkawire.FetchView
			return v.Decode(r.Body, r.Version) != nil || v.SessionID == 0 // that of another connection would end, or go on
		}
		return true
	case kafkawire.EarlyOptIn:
		return c.listener.EarlyProduce && isIdempotent(r)
	}
	return false
}

// createsTopics reports whether a Metadata request may create topics.
func createsTopics(r *Request) bool {
	var m kafkawire.MetadataRequest
	return r.Key.Supports(r.Version) && r.Decode(&m) == nil && len(m.Topics) > 0 && (r.Version < 4 || m.AllowAutoTopicCreation)
}

// isIdempotent reports whether all batches of a Produce request are of an idempotent producer, in no transaction, and have a
// response.
func isIdempotent(r *Request) bool {
	var v kafkawire.ProduceView
	if v.Decode(r.Body, r.Version) != nil || v.Acks == 0 || v.TransactionalID != nil {
		return false
	}
	for v.Next() {
		b, err := kafka.SplitProduced(v.Records)
		if err != nil || b.ProducerID() < 0 || b.Attributes().Transactional() {
			return false
		}
	}
	return true
}
