package kafkabroker

// configType is the type of a config's value, in Kafka's numbers.
type configType int8

// The types of configs.
const (
	typeBool     configType = 1
	typeString   configType = 2
	typeInt      configType = 3
	typeShort    configType = 4
	typeLong     configType = 5
	typeDouble   configType = 6
	typeList     configType = 7
	typeClass    configType = 8
	typePassword configType = 9
)

// configDef is a config that a topic or a broker has.
type configDef struct {
	name    string
	typ     configType
	def     string
	null    bool     // without def there is no value
	min     float64  // of numbers
	max     float64  // of numbers, 0 for what the type can hold
	oneOf   []string // the values, or the elements of a list
	from    string   // of topics: the broker's config that is the default
	dynamic bool     // of brokers: can be changed while the broker runs
	alias   []configAlias
	doc     string
}

// configAlias is a config of a broker that says the same in another unit, for when the former is not set.
type configAlias struct {
	name   string
	factor int64
}

const (
	forever     = "9223372036854775807"
	maxIntValue = "2147483647"
)

var compressions = []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}

// topicDefs are the configs of topics, in the order of their names.
var topicDefs = []configDef{
	{name: "cleanup.policy", typ: typeList, def: "delete", oneOf: []string{"compact", "delete"}, from: "log.cleanup.policy",
		doc: "What becomes of old records: delete drops segments by age and size, compact keeps the last record of each key."},
	{name: "compression.gzip.level", typ: typeInt, def: "-1", min: -1, max: 9, from: "compression.gzip.level",
		doc: "The level of gzip when the broker compresses."},
	{name: "compression.lz4.level", typ: typeInt, def: "9", min: 1, max: 17, from: "compression.lz4.level",
		doc: "The level of LZ4 when the broker compresses."},
	{name: "compression.type", typ: typeString, def: "producer", oneOf: compressions, from: "compression.type",
		doc: "How batches are compressed in the log. producer leaves them as they come."},
	{name: "compression.zstd.level", typ: typeInt, def: "3", min: -131072, max: 22, from: "compression.zstd.level",
		doc: "The level of Zstandard when the broker compresses."},
	{name: "delete.retention.ms", typ: typeLong, def: "86400000", from: "log.cleaner.delete.retention.ms",
		doc: "How long compaction keeps records without a value, which delete their key."},
	{name: "file.delete.delay.ms", typ: typeLong, def: "60000", from: "log.segment.delete.delay.ms",
		doc: "How long a removed file stays. This broker removes files at once; who reads them is not disturbed."},
	{name: "flush.messages", typ: typeLong, def: forever, min: 1, from: "log.flush.interval.messages",
		doc: "After how many records the log is made durable. 1 does so before a write with acks=all is acknowledged."},
	{name: "flush.ms", typ: typeLong, def: forever, from: "log.flush.interval.ms",
		doc: "How long records may wait until they are made durable."},
	{name: "follower.replication.throttled.replicas", typ: typeList,
		doc: "Replicas whose copying is throttled on the side of the follower. There are none here."},
	{name: "index.interval.bytes", typ: typeInt, def: "4096", from: "log.index.interval.bytes",
		doc: "How many bytes of records there are between two entries of the offset index."},
	{name: "leader.replication.throttled.replicas", typ: typeList,
		doc: "Replicas whose copying is throttled on the side of the leader. There are none here."},
	{name: "local.retention.bytes", typ: typeLong, def: "-2", min: -2,
		doc: "retention.bytes for what is in another tier of storage too. There is no other tier here."},
	{name: "local.retention.ms", typ: typeLong, def: "-2", min: -2,
		doc: "retention.ms for what is in another tier of storage too. There is no other tier here."},
	{name: "max.compaction.lag.ms", typ: typeLong, def: forever, min: 1, from: "log.cleaner.max.compaction.lag.ms",
		doc: "How long a record may stay without being compacted."},
	{name: "max.message.bytes", typ: typeInt, def: "1048588", from: "message.max.bytes",
		doc: "How large a batch of records may be, as it is on the wire."},
	{name: "message.timestamp.after.max.ms", typ: typeLong, def: "3600000", from: "log.message.timestamp.after.max.ms",
		doc: "How far ahead of the broker's clock the time of a record may be."},
	{name: "message.timestamp.before.max.ms", typ: typeLong, def: forever, from: "log.message.timestamp.before.max.ms",
		doc: "How far behind the broker's clock the time of a record may be."},
	{name: "message.timestamp.type", typ: typeString, def: "CreateTime", oneOf: []string{"CreateTime", "LogAppendTime"}, from: "log.message.timestamp.type",
		doc: "Whether records have the time that the producer gave, or that of their appending."},
	{name: "min.cleanable.dirty.ratio", typ: typeDouble, def: "0.5", max: 1, from: "log.cleaner.min.cleanable.ratio",
		doc: "From which share of records that were not compacted on the log is compacted."},
	{name: "min.compaction.lag.ms", typ: typeLong, def: "0", from: "log.cleaner.min.compaction.lag.ms",
		doc: "How long a record stays without being compacted."},
	{name: "min.insync.replicas", typ: typeInt, def: "1", min: 1, from: "min.insync.replicas",
		doc: "How many replicas must be in sync for a write with acks=all."},
	{name: "preallocate", typ: typeBool, def: "false", from: "log.preallocate",
		doc: "Whether files are made in their full size. This broker does not do that."},
	{name: "remote.log.copy.disable", typ: typeBool, def: "false",
		doc: "Whether nothing more is copied to another tier of storage. There is no other tier here."},
	{name: "remote.log.delete.on.disable", typ: typeBool, def: "false",
		doc: "Whether the copies in another tier go with remote.storage.enable. There is no other tier here."},
	{name: "remote.storage.enable", typ: typeBool, def: "false", oneOf: []string{"false"},
		doc: "Whether segments are copied to another tier of storage. There is no other tier here."},
	{name: "retention.bytes", typ: typeLong, def: "-1", min: -1, from: "log.retention.bytes",
		doc: "How many bytes of records a partition keeps with the policy delete, -1 for no bound."},
	{name: "retention.ms", typ: typeLong, def: "604800000", min: -1, from: "log.retention.ms",
		doc: "How long records are kept with the policy delete, -1 for no bound."},
	{name: "segment.bytes", typ: typeInt, def: "1073741824", min: 14, from: "log.segment.bytes",
		doc: "How large a file of records may be."},
	{name: "segment.index.bytes", typ: typeInt, def: "10485760", min: 4, from: "log.index.size.max.bytes",
		doc: "How large the index of a file of records may be."},
	{name: "segment.jitter.ms", typ: typeLong, def: "0", from: "log.roll.jitter.ms",
		doc: "By how much, at random, segment.ms is shortened. This broker does not do that."},
	{name: "segment.ms", typ: typeLong, def: "604800000", min: 1, from: "log.roll.ms",
		doc: "After which time a new file of records is begun."},
	{name: "unclean.leader.election.enable", typ: typeBool, def: "false", from: "unclean.leader.election.enable",
		doc: "Whether a replica that is not in sync may become the leader."},
}

// brokerDefs are the configs of brokers, in the order of their names. Those of topics get their defaults from here.
var brokerDefs = []configDef{
	{name: "advertised.listeners", typ: typeString, null: true, doc: "What clients are told of where the broker is."},
	{name: "auto.create.topics.enable", typ: typeBool, def: "true", doc: "Whether a topic is made when a client asks for it."},
	{name: "auto.leader.rebalance.enable", typ: typeBool, def: "true", doc: "Whether partitions go back to their preferred leaders by themselves."},
	{name: "background.threads", typ: typeInt, def: "10", min: 1, doc: "Has no effect here."},
	{name: "broker.id", typ: typeInt, def: "-1", min: -1, doc: "The id of the broker."},
	{name: "broker.rack", typ: typeString, null: true, doc: "Where the broker is."},
	{name: "compression.gzip.level", typ: typeInt, def: "-1", min: -1, max: 9, dynamic: true, doc: "The level of gzip when the broker compresses."},
	{name: "compression.lz4.level", typ: typeInt, def: "9", min: 1, max: 17, dynamic: true, doc: "The level of LZ4 when the broker compresses."},
	{name: "compression.type", typ: typeString, def: "producer", oneOf: compressions, dynamic: true, doc: "How batches are compressed in the log."},
	{name: "compression.zstd.level", typ: typeInt, def: "3", min: -131072, max: 22, dynamic: true, doc: "The level of Zstandard when the broker compresses."},
	{name: "connections.max.idle.ms", typ: typeLong, def: "600000", doc: "How long a connection may be idle."},
	{name: "default.replication.factor", typ: typeInt, def: "1", min: 1, doc: "How many replicas a topic has unless it is said."},
	{name: "delete.topic.enable", typ: typeBool, def: "true", doc: "Whether topics can be deleted."},
	{name: "fetch.max.bytes", typ: typeInt, def: "57671680", min: 1024, doc: "How many bytes of records the response to a fetch has at most."},
	{name: "group.initial.rebalance.delay.ms", typ: typeInt, def: "3000", doc: "How long the first members of a group wait for others."},
	{name: "group.max.session.timeout.ms", typ: typeInt, def: "1800000", doc: "The longest session timeout that a member of a group may ask for."},
	{name: "group.max.size", typ: typeInt, def: maxIntValue, min: 1, doc: "How many members a group may have."},
	{name: "group.min.session.timeout.ms", typ: typeInt, def: "6000", doc: "The shortest session timeout that a member of a group may ask for."},
	{name: "listeners", typ: typeString, null: true, doc: "Where the broker listens."},
	{name: "log.cleaner.delete.retention.ms", typ: typeLong, def: "86400000", dynamic: true, doc: "delete.retention.ms of topics."},
	{name: "log.cleaner.enable", typ: typeBool, def: "true", doc: "Whether logs are compacted. They always are here."},
	{name: "log.cleaner.max.compaction.lag.ms", typ: typeLong, def: forever, min: 1, dynamic: true, doc: "max.compaction.lag.ms of topics."},
	{name: "log.cleaner.min.cleanable.ratio", typ: typeDouble, def: "0.5", max: 1, dynamic: true, doc: "min.cleanable.dirty.ratio of topics."},
	{name: "log.cleaner.min.compaction.lag.ms", typ: typeLong, def: "0", dynamic: true, doc: "min.compaction.lag.ms of topics."},
	{name: "log.cleanup.policy", typ: typeList, def: "delete", oneOf: []string{"compact", "delete"}, dynamic: true, doc: "cleanup.policy of topics."},
	{name: "log.dirs", typ: typeString, null: true, doc: "Where the logs are."},
	{name: "log.flush.interval.messages", typ: typeLong, def: forever, min: 1, dynamic: true, doc: "flush.messages of topics."},
	{name: "log.flush.interval.ms", typ: typeLong, def: forever, dynamic: true, doc: "flush.ms of topics."},
	{name: "log.index.interval.bytes", typ: typeInt, def: "4096", dynamic: true, doc: "index.interval.bytes of topics."},
	{name: "log.index.size.max.bytes", typ: typeInt, def: "10485760", min: 4, dynamic: true, doc: "segment.index.bytes of topics."},
	{name: "log.message.timestamp.after.max.ms", typ: typeLong, def: "3600000", dynamic: true, doc: "message.timestamp.after.max.ms of topics."},
	{name: "log.message.timestamp.before.max.ms", typ: typeLong, def: forever, dynamic: true, doc: "message.timestamp.before.max.ms of topics."},
	{name: "log.message.timestamp.type", typ: typeString, def: "CreateTime", oneOf: []string{"CreateTime", "LogAppendTime"}, dynamic: true, doc: "message.timestamp.type of topics."},
	{name: "log.preallocate", typ: typeBool, def: "false", dynamic: true, doc: "preallocate of topics."},
	{name: "log.retention.bytes", typ: typeLong, def: "-1", min: -1, dynamic: true, doc: "retention.bytes of topics."},
	{name: "log.retention.hours", typ: typeInt, def: "168", min: -1, doc: "log.retention.ms in hours."},
	{name: "log.retention.minutes", typ: typeInt, null: true, min: -1, doc: "log.retention.ms in minutes."},
	{name: "log.retention.ms", typ: typeLong, null: true, min: -1, dynamic: true, doc: "retention.ms of topics.",
		alias: []configAlias{{"log.retention.minutes", 60_000}, {"log.retention.hours", 3600_000}}},
	{name: "log.roll.hours", typ: typeInt, def: "168", min: 1, doc: "log.roll.ms in hours."},
	{name: "log.roll.jitter.hours", typ: typeInt, def: "0", doc: "log.roll.jitter.ms in hours."},
	{name: "log.roll.jitter.ms", typ: typeLong, null: true, dynamic: true, doc: "segment.jitter.ms of topics.", alias: []configAlias{{"log.roll.jitter.hours", 3600_000}}},
	{name: "log.roll.ms", typ: typeLong, null: true, min: 1, dynamic: true, doc: "segment.ms of topics.", alias: []configAlias{{"log.roll.hours", 3600_000}}},
	{name: "log.segment.bytes", typ: typeInt, def: "1073741824", min: 14, dynamic: true, doc: "segment.bytes of topics."},
	{name: "log.segment.delete.delay.ms", typ: typeLong, def: "60000", dynamic: true, doc: "file.delete.delay.ms of topics."},
	{name: "message.max.bytes", typ: typeInt, def: "1048588", dynamic: true, doc: "max.message.bytes of topics."},
	{name: "min.insync.replicas", typ: typeInt, def: "1", min: 1, dynamic: true, doc: "min.insync.replicas of topics."},
	{name: "node.id", typ: typeInt, def: "-1", min: -1, doc: "The id of the broker."},
	{name: "num.io.threads", typ: typeInt, def: "8", min: 1, doc: "Has no effect here."},
	{name: "num.network.threads", typ: typeInt, def: "3", min: 1, doc: "Has no effect here."},
	{name: "num.partitions", typ: typeInt, def: "1", min: 1, doc: "How many partitions a topic has unless it is said."},
	{name: "offset.metadata.max.bytes", typ: typeInt, def: "4096", doc: "How long the text beside a committed offset may be."},
	{name: "offsets.retention.check.interval.ms", typ: typeLong, def: "600000", min: 1, doc: "How often committed offsets are looked for that are not kept any more."},
	{name: "offsets.retention.minutes", typ: typeInt, def: "10080", min: 1, doc: "How long committed offsets of a group without members are kept."},
	{name: "offsets.topic.num.partitions", typ: typeInt, def: "50", min: 1, doc: "How many partitions __consumer_offsets has when it is made."},
	{name: "offsets.topic.replication.factor", typ: typeShort, def: "1", min: 1, doc: "How many replicas __consumer_offsets has when it is made."},
	{name: "offsets.topic.segment.bytes", typ: typeInt, def: "104857600", min: 1, doc: "segment.bytes of __consumer_offsets when it is made."},
	{name: "process.roles", typ: typeList, def: "broker,controller", doc: "What the process is."},
	{name: "producer.id.expiration.ms", typ: typeInt, def: "86400000", min: 1, doc: "How long a producer id is remembered without records."},
	{name: "replica.fetch.max.bytes", typ: typeInt, def: "1048576", doc: "How much of a partition a follower asks for. There are none here."},
	{name: "socket.request.max.bytes", typ: typeInt, def: "104857600", min: 1, doc: "How large a request may be."},
	{name: "transaction.max.timeout.ms", typ: typeInt, def: "900000", min: 1, doc: "The longest timeout that a transaction may ask for."},
	{name: "transaction.partition.verification.enable", typ: typeBool, def: "true", dynamic: true, doc: "Whether the coordinator is asked before a transaction writes to a partition."},
	{name: "transaction.state.log.min.isr", typ: typeInt, def: "1", min: 1, doc: "min.insync.replicas of __transaction_state when it is made."},
	{name: "transaction.state.log.num.partitions", typ: typeInt, def: "50", min: 1, doc: "How many partitions __transaction_state has when it is made."},
	{name: "transaction.state.log.replication.factor", typ: typeShort, def: "1", min: 1, doc: "How many replicas __transaction_state has when it is made."},
	{name: "transaction.state.log.segment.bytes", typ: typeInt, def: "104857600", min: 1, doc: "segment.bytes of __transaction_state when it is made."},
	{name: "transactional.id.expiration.ms", typ: typeInt, def: "604800000", min: 1, doc: "How long a transactional id is remembered without a transaction."},
	{name: "unclean.leader.election.enable", typ: typeBool, def: "false", dynamic: true, doc: "unclean.leader.election.enable of topics."},
}
