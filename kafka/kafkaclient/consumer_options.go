package kafkaclient

import (
	"errors"
	"regexp"
	"time"

	"github.com/quartet-mq/quartet/kafka"
)

// ConsumerOptions configures a [Consumer]. NewConsumer copies it; what it points to must not change afterwards.
type ConsumerOptions struct {
	// Group is the consumer group. With Topics or Pattern the group divides the partitions among its consumers; with Assign
	// it only keeps the committed offsets. Empty is no group: then only Assign is possible, and nothing is committed.
	Group string

	// InstanceID makes the consumer a static member of the group (KIP-345): when it is closed or killed and comes back with
	// the same InstanceID within SessionTimeout, it gets its partitions again and nobody else notices.
	InstanceID string

	// Topics are the topics to subscribe to. Those that do not exist yet are waited for.
	Topics []string

	// Pattern subscribes to all topics with a matching name, those that are made later too. It need not match the whole
	// name: use ^ and $. Internal topics do not count. It cannot be used together with Topics.
	Pattern *regexp.Regexp

	// Assign are partitions to consume without dividing them, and where to begin.
	Assign map[kafka.TopicPartition]Start

	// Assignors are how the group may divide partitions, best first. All members must have one in common, which is that of
	// most of them. If all are cooperative, consumers keep what they can in a rebalance. None is range and
	// cooperative-sticky, as the Java client has it.
	Assignors []kafka.Assignor

	// Reset is where to begin without a committed offset, or when the offset has been deleted.
	Reset Reset

	// ResetAge is the age of records for [ResetByAge].
	ResetAge time.Duration

	// Commit is what is committed by itself.
	Commit CommitMode

	// CommitInterval is how often. Zero is 5 seconds.
	CommitInterval time.Duration

	// ReadCommitted leaves records of transactions out that were aborted, and waits for the end of those that are open.
	ReadCommitted bool

	// MaxPollRecords is how many records Poll returns at most. Zero is 500.
	MaxPollRecords int

	// MaxPollInterval is how long the application may take for what Poll returned, or for one record of All, until it
	// polls again. After that the group gives its partitions to others, and the next Poll fails with an error that wraps
	// [kafka.ErrPollInterval]. Zero is 5 minutes.
	MaxPollInterval time.Duration

	// SessionTimeout is how long the group waits for a sign of life from the process. Zero is 45 seconds.
	SessionTimeout time.Duration

	// HeartbeatInterval is how often the consumer gives one, whatever the application does. Zero is 3 seconds.
	HeartbeatInterval time.Duration

	// FetchMinBytes is for how many bytes a broker waits, for FetchMaxWait at most. Zero is 1 byte and 500 milliseconds.
	FetchMinBytes int32
	FetchMaxWait  time.Duration

	// FetchMaxBytes is how much a broker may return at once, and PartitionMaxBytes for each partition. Single batches may be
	// larger. Zero is 50 MiB and 1 MiB.
	FetchMaxBytes     int32
	PartitionMaxBytes int32

	// MaxBuffered is how many bytes of records, as they came, wait for Poll at most, about. Zero is 32 MiB.
	MaxBuffered int

	// MaxBatchBytes is how large a record batch may be without compression. Zero is 256 MiB.
	MaxBatchBytes int

	// SkipCRC does without looking at the checksums of batches.
	SkipCRC bool

	// OnAssigned, when it is not nil, is told of partitions that the consumer gets, before it fetches from them.
	// OnRevoked is told of those that it gives back while they are still its own: it may commit. OnLost is told of those
	// that may be somebody else's already.
	//
	// They are called by Poll, All and Shutdown, one at a time, and no lock is held: all methods may be called but Poll and
	// All. Poll does not return before they do.
	OnAssigned func(c *Consumer, partitions []kafka.TopicPartition)
	OnRevoked  func(c *Consumer, partitions []kafka.TopicPartition)
	OnLost     func(c *Consumer, partitions []kafka.TopicPartition)
}

// Reset is where to begin when nothing else says so.
type Reset uint8

const (
	// ResetLatest begins with what is produced from now on.
	ResetLatest Reset = iota
	// ResetEarliest begins with the first record that there is.
	ResetEarliest
	// ResetByAge begins with the first record that is no older than ResetAge (KIP-1106).
	ResetByAge
	// ResetNone makes Poll fail with a [*PartitionError].
	ResetNone
)

// CommitMode is what a consumer commits by itself.
type CommitMode uint8

const (
	// CommitPolled commits, when Poll is called, what it returned before; with All, the records before the current one.
	// It is done at every CommitInterval, before partitions are revoked, and by Shutdown.
	CommitPolled CommitMode = iota
	// CommitDone commits, at the same times, up to the first record of each partition for which [Record.Done] was not
	// called.
	CommitDone
	// CommitManual commits nothing.
	CommitManual
)

// Start is where to begin in a partition. The zero value is the committed offset, and without one what Reset says.
type Start struct {
	kind   startKind
	offset int64 // or milliseconds
	epoch  int32
}

type startKind uint8

const (
	startCommitted startKind = iota
	startReset
	startEarliest
	startLatest
	startTime
	startOffset
)

// StartEarliest begins with the first record that there is.
func StartEarliest() Start { return Start{kind: startEarliest} }

// StartLatest begins with what is produced from now on.
func StartLatest() Start { return Start{kind: startLatest} }

// StartCommitted begins with the committed offset, and without one as Reset says.
func StartCommitted() Start { return Start{} }

// StartAt begins with an offset.
func StartAt(offset int64) Start { return Start{kind: startOffset, offset: max(offset, 0), epoch: -1} }

// StartAtTime begins with the first record that is not older than a time, at the end when there is none.
func StartAtTime(t time.Time) Start { return Start{kind: startTime, offset: max(t.UnixMilli(), 0)} }

// consumerConfig is ConsumerOptions with defaults filled in.
type consumerConfig struct {
	ConsumerOptions
}

func newConsumerConfig(o *ConsumerOptions) (*consumerConfig, error) {
	if o == nil {
		o = new(ConsumerOptions)
	}
	c := &consumerConfig{ConsumerOptions: *o}
	switch {
	case len(c.Topics) > 0 && c.Pattern != nil:
		return nil, errors.New("kafkaclient: Topics and Pattern exclude each other")
	case len(c.Assign) > 0 && (len(c.Topics) > 0 || c.Pattern != nil):
		return nil, errors.New("kafkaclient: a consumer has either a subscription or assigned partitions")
	case c.Group == "" && (len(c.Topics) > 0 || c.Pattern != nil):
		return nil, errNoGroup
	}
	c.CommitInterval = orDefault(c.CommitInterval, 5*time.Second)
	c.MaxPollRecords = max(orDefault(c.MaxPollRecords, 500), 1)
	c.MaxPollInterval = orDefault(c.MaxPollInterval, 5*time.Minute)
	c.SessionTimeout = orDefault(c.SessionTimeout, 45*time.Second)
	c.HeartbeatInterval = orDefault(c.HeartbeatInterval, 3*time.Second)
	c.FetchMinBytes = max(c.FetchMinBytes, 1)
	c.FetchMaxWait = orDefault(c.FetchMaxWait, 500*time.Millisecond)
	c.FetchMaxBytes = orDefault(c.FetchMaxBytes, 50<<20)
	c.PartitionMaxBytes = orDefault(c.PartitionMaxBytes, 1<<20)
	c.MaxBuffered = orDefault(c.MaxBuffered, 32<<20)
	c.MaxBatchBytes = orDefault(c.MaxBatchBytes, 256<<20)
	return c, nil
}

var errNoGroup = errors.New("kafkaclient: a subscription needs a group")
