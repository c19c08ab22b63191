package kafkaclient

import (
	"errors"
	"fmt"
)

// Errors of producers.
var (
	// ErrFull: the record does not fit in the buffer, with ProducerOptions.FailWhenFull.
	ErrFull = errors.New("kafkaclient: the buffer of the producer is full")
	// ErrAborted: the transaction was aborted before the record was sent.
	ErrAborted = errors.New("kafkaclient: the transaction was aborted")
	// ErrNoTransaction: the producer is a transactional one, and the call needs a transaction, or there is one already.
	ErrNoTransaction = errors.New("kafkaclient: not in that state of a transaction")
)

// ProduceError is why a record was not produced.
type ProduceError struct {
	Topic     string
	Partition int32 // -1 when none was chosen

	// Doubt means that the record may be in the topic all the same, since an answer was lost.
	Doubt bool

	Err error
}

// Error returns the text.
func (e *ProduceError) Error() string {
	s := fmt.Sprintf("kafkaclient: produce to %s/%d: %v", e.Topic, e.Partition, e.Err)
	if e.Partition < 0 {
		s = fmt.Sprintf("kafkaclient: produce to %s: %v", e.Topic, e.Err)
	}
	if e.Doubt {
		s += " (it may have been produced)"
	}
	return s
}

// Unwrap returns why.
func (e *ProduceError) Unwrap() error { return e.Err }
