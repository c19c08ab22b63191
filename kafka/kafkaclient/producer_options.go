package kafkaclient

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
)

// Acks says which replicas have a record when it counts as produced.
type Acks int8

// The acknowledgements that a producer may ask for.
const (
	AllReplicas Acks = iota // all replicas in sync
	LeaderOnly              // the leader: records are lost when it fails right after
	NoAcks                  // nobody: a record counts as produced when it was written to the connection
)

// wire is the number in requests.
func (a Acks) wire() int16 {
	switch a {
	case LeaderOnly:
		return 1
	case NoAcks:
		return 0
	}
	return -1
}

// ProducerOptions configures a [Producer]. NewProducer copies it.
type ProducerOptions struct {
	// Acks is who must have a record. The default is all replicas in sync.
	Acks Acks

	// NoIdempotence makes the producer do without numbers in its batches, by which brokers recognise what comes again.
	// Then an error in the middle may produce records twice. It is implied by other Acks than AllReplicas.
	NoIdempotence bool

	// TransactionalID makes the producer a transactional one: records can be produced between Begin and Commit or Abort
	// only. There is one producer of a name at a time: a later one fences the former.
	TransactionalID string
	// TransactionTimeout is how long a transaction may take before the broker aborts it. Zero is one minute.
	TransactionTimeout time.Duration

	// Linger is how long a record may wait for others to go out with it. With zero it is sent at once when nothing is
	// under way to its broker, and with what has gathered otherwise: batches grow with the load, and the wait is one round
	// trip at most. More than that is of use when many producers keep a broker busy with small batches. In transactions,
	// records of ProduceAsync wait for a millisecond, or for Commit, even so.
	Linger time.Duration

	// BatchSize is the size of batches in bytes, before compression. A larger record has one of its own. Zero is 960 KiB,
	// a little less than what brokers take by default; batches that turn out to be too large are split.
	BatchSize int

	// Compression is the method, with a level of package compress, for the records in a batch.
	Compression      compress.Method
	CompressionLevel int

	// Partitioner chooses partitions. Nil is [DefaultPartitioner].
	Partitioner Partitioner

	// MaxBufferedRecords and MaxBufferedBytes bound what was produced and not acknowledged yet. The bytes are those of
	// keys, values and headers; while they are sent there may be twice as many. A record larger than the bound is taken
	// when there is no other. Zero is 100,000 records and 32 MiB.
	MaxBufferedRecords int
	MaxBufferedBytes   int

	// FailWhenFull makes records fail with [ErrFull] when they do not fit. Otherwise calls wait for room.
	FailWhenFull bool

	// MaxInFlight is how many requests may be under way to a broker. Zero is 5.
	MaxInFlight int

	// Reorder lets a producer without idempotence have more than one batch of a partition under way. When one of them
	// fails and is sent again, it comes after others.
	Reorder bool

	// DeliveryTimeout is how long a record is tried before it fails with ErrTimeout. A request that is under way then is
	// waited for. Zero is 2 minutes, negative is off.
	DeliveryTimeout time.Duration
}

// Partitioner chooses the partition of a record among those of its topic, which are numbered from 0 to n-1. A negative
// result leaves the choice to the producer, which fills a batch for one partition and then goes to another.
//
// It is called with a lock held and must not call the producer.
type Partitioner func(r *Record, n int32) int32

// DefaultPartitioner does as the Java client: records with the same key go to the same partition, others to any.
func DefaultPartitioner(r *Record, n int32) int32 {
	if r.Key == nil {
		return -1
	}
	return kafka.JavaPartition(r.Key, n)
}

// ManualPartitioner takes the partition that the record names.
func ManualPartitioner(r *Record, _ int32) int32 { return max(r.Partition, 0) }

// ByKey returns a partitioner that applies a function of package kafka, such as [kafka.ConsistentPartition], to keys, and
// leaves records without one to the producer.
func ByKey(f func(key []byte, n int32) int32) Partitioner {
	return func(r *Record, n int32) int32 {
		if r.Key == nil {
			return -1
		}
		return f(r.Key, n)
	}
}

// maxRequest is the size from which on no more batches are added to a request.
const maxRequest = 8 << 20

// producerConfig is ProducerOptions with defaults filled in.
type producerConfig struct {
	ProducerOptions
	idempotent bool
}

func newProducerConfig(o *ProducerOptions) (*producerConfig, error) {
	if o == nil {
		o = new(ProducerOptions)
	}
	c := &producerConfig{ProducerOptions: *o}
	if c.Acks < AllReplicas || c.Acks > NoAcks {
		return nil, errors.New("kafkaclient: unknown acks")
	}
	c.idempotent = c.Acks == AllReplicas && !c.NoIdempotence
	if c.TransactionalID != "" && !c.idempotent {
		return nil, errors.New("kafkaclient: transactions need acks of all replicas and idempotence")
	}
	if len(c.TransactionalID) > 32767 {
		return nil, errors.New("kafkaclient: the transactional id is too long")
	}
	if c.Compression > compress.Zstd {
		return nil, compress.ErrMethod
	}
	c.TransactionTimeout = orDefault(c.TransactionTimeout, time.Minute)
	c.BatchSize = orDefault(c.BatchSize, 960<<10)
	if c.Partitioner == nil {
		c.Partitioner = DefaultPartitioner
	}
	c.MaxBufferedRecords = orDefault(c.MaxBufferedRecords, 100_000)
	c.MaxBufferedBytes = orDefault(c.MaxBufferedBytes, 32<<20)
	c.MaxInFlight = max(orDefault(c.MaxInFlight, 5), 1)
	c.DeliveryTimeout = orDefault(c.DeliveryTimeout, 2*time.Minute)
	return c, nil
}
