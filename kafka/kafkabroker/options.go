package kafkabroker

import (
	"context"
	"log/slog"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// Options are the options of a [Broker]. The zero value is a broker in memory that refuses everybody: it has no users.
type Options struct {
	// Dir is the directory in which the broker keeps everything, made if need be and locked: the logs of partitions in
	// Dir/logs, in the format of Apache Kafka, and the metadata in Dir/meta. Empty keeps everything in memory.
	Dir string
	// ClusterID identifies the cluster. Empty is what Dir says, or a new one.
	ClusterID string
	// NodeID is the id of the broker. Zero is what Dir says, or 1. With Nodes it is the first of those.
	NodeID int32
	// Nodes make the broker look like several: each leads some of the partitions, and [Broker.Node] is the backend of its
	// server. They share everything else. Nil is one node, NodeID.
	Nodes []Node

	// Sync says what an acknowledgement is worth. The default is SyncAcks, in memory SyncNever.
	Sync Sync
	// SyncEvery is how long records may wait with SyncInterval, and those without an acknowledgement with SyncAcks. The default is a second.
	SyncEvery time.Duration

	// NoAutoCreate makes an error of topics that a client asks for and that are not there. Otherwise they are made with
	// Kafka's auto.create.topics.enable.
	NoAutoCreate bool
	// DefaultPartitions is num.partitions, of topics that are made without a number. The default is 1.
	DefaultPartitions int32
	// OffsetsPartitions is offsets.topic.num.partitions. The default is 50. It holds for a new Dir.
	OffsetsPartitions int32
	// TransactionPartitions is transaction.state.log.num.partitions. The default is 50. It holds for a new Dir.
	TransactionPartitions int32
	// Config are configs of Kafka's server.properties by their names, such as "log.retention.ms" or "message.max.bytes".
	// Those that were changed with the administration protocol take precedence, and so do the options above where they are
	// set. Unknown ones are an error.
	Config map[string]string
	// MaxPartitions bounds the partitions of the broker, internal topics included. The default is 100,000, negative is no bound.
	MaxPartitions int
	// DiskReserve is how many bytes the broker leaves free on the file system of Dir. Below it producers get
	// KAFKA_STORAGE_ERROR and retry. The default is 256 MiB, negative is none.
	DiskReserve int64

	// TrustCompressed takes compressed batches without decompressing them. Otherwise, as in Apache Kafka, a producer whose
	// compressed batch cannot be read, or has other records than its head says, gets CORRUPT_MESSAGE or INVALID_RECORD, and no
	// consumer is stopped by it. That costs what decompressing costs: with LZ4 0.2 to 0.4 µs for a record of 1 KiB, with
	// Zstandard and gzip several times as much. Topics that compact, or that compress anew, look at all records in any case.
	TrustCompressed bool

	// Authenticate decides who may connect. [AllowAll] lets everybody in. Nil lets the broker's own users in, see
	// [Broker.SetUser], with SCRAM or PLAIN, and clients with a certificate that the server has verified; at first there are no
	// users. Clients that log in with SCRAM are asked about after they have proved that they know the password of a user of
	// the broker.
	Authenticate Authenticator
	// ACLs turns access control lists on, which clients with the right to do so and [Broker.AddACLs] change. Nil lets everybody
	// do everything who was let in; requests about ACLs are answered with SECURITY_DISABLED then, as by Kafka without an authorizer.
	ACLs *ACLOptions

	// Events are told.
	Events Events
	// Logger takes what goes wrong; nil is silent. Records and passwords are never logged.
	Logger *slog.Logger

	// For tests:
	fs          vfs.Tree // nil is that of the operating system
	logs        logDirOptions
	metaSegment int64 // size of the largest file of the metadata journal
}

// Node is one of the brokers that a [Broker] looks like.
type Node struct {
	ID int32
	// Host and Port are what clients are told. An empty Host is what the server of the connection says about itself, which is
	// right for a single node.
	Host string
	Port int32
	// Rack is broker.rack, empty for none.
	Rack string
}

// Sync says when records are made durable. Whatever it says, records survive the end of the process, also a sudden one: the
// operating system has them when they are acknowledged.
type Sync uint8

// The values of [Sync].
const (
	// SyncDefault is SyncAcks with [Options].Dir, otherwise SyncNever.
	SyncDefault Sync = iota
	// SyncAcks makes records durable before an acknowledgement with acks=all; one sync serves everybody who waits.
	// Others are durable after Options.SyncEvery. A loss of power loses nothing that was acknowledged with acks=all. It is
	// flush.messages=1.
	SyncAcks
	// SyncInterval makes records durable within Options.SyncEvery. A loss of power loses what was acknowledged since. It is flush.ms.
	SyncInterval
	// SyncNever leaves it to the operating system, as Apache Kafka does unless told otherwise. A loss of power loses the last
	// moments, about 30 seconds on Linux.
	SyncNever
)

// Authenticator decides who may connect: see [kafkaserver.Backend]. A nil error lets the client in.
type Authenticator func(ctx context.Context, c *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error)

// AllowAll is an [Authenticator] that lets everybody in, under whatever name the client claims.
func AllowAll(context.Context, *kafkaserver.Conn, *kafkaserver.Auth) (kafkaserver.Login, error) {
	return kafkaserver.Login{}, nil
}

// Events tell what happens. Each may be nil. They are called synchronously, some with locks held: they must be quick and must
// not call the broker.
type Events struct {
	// Connected: a client may make requests now. Disconnected: its connection has ended; cause is nil when the client
	// closed it between two requests.
	Connected    func(c *kafkaserver.Conn)
	Disconnected func(c *kafkaserver.Conn, cause error)
	// TopicCreated, TopicDeleted: there is one, or not any more.
	TopicCreated func(topic string, partitions int)
	TopicDeleted func(topic string)
	// PartitionsAdded: a topic has more partitions, as many as it says.
	PartitionsAdded func(topic string, partitions int)
	// ConfigChanged: configs of a topic or, when it is empty, of the broker were changed.
	ConfigChanged func(topic string)
	// LeaderChanged: another node leads a partition now.
	LeaderChanged func(topic string, partition, leader, epoch int32)
	// DiskFull: producers are refused since the disk has less room than [Options].DiskReserve, or not any more.
	DiskFull func(full bool)
	// GroupChanged: a group is in another state, or generation, with so many members. After Open all groups are told that are
	// not empty.
	GroupChanged func(group string, state kafka.GroupState, generation int32, members int)
	// Failed: storage has failed and the broker takes nothing any more.
	Failed func(err error)
}

// The defaults of [Options].
const (
	defaultNodeID        = 1
	defaultMaxPartitions = 100_000
	defaultReserve       = 256 << 20
)

// withDefaults returns a copy in which zeros have become their defaults, but for ids that a directory may have.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Sync == SyncDefault {
		if c.Sync = SyncAcks; c.Dir == "" {
			c.Sync = SyncNever
		}
	}
	if c.SyncEvery <= 0 {
		c.SyncEvery = time.Second
	}
	if c.MaxPartitions == 0 {
		c.MaxPartitions = defaultMaxPartitions
	}
	if c.DiskReserve == 0 {
		c.DiskReserve = defaultReserve
	}
	if len(c.Nodes) > 0 {
		c.NodeID = c.Nodes[0].ID
	}
	if c.metaSegment == 0 {
		c.metaSegment = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
