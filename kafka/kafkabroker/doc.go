// Package kafkabroker is a Kafka broker to be embedded. A [Broker] is a backend of package kafkaserver, which owns the
// connections, and has verbs for the application that it lives in: produce, fetch, administration.
//
//	b, err := kafkabroker.Open(&kafkabroker.Options{Dir: dir, Authenticate: kafkabroker.AllowAll})
//	server := kafkaserver.New(b, nil)
//	err = server.ListenAndServe("127.0.0.1:9092", nil)
//
// The zero Options let nobody in. What a client can observe is what Apache Kafka 4 does.
//
// # What there is
//
// Produce and fetch with all versions that Kafka 4.4 takes, fetch sessions, idempotent producers, transactions, groups of the
// classic protocol, administration of topics, configs, records, groups, users and access control lists. APIVersions tells
// of what there is and of nothing else: KIP-848 groups, share groups, quotas, telemetry and delegation tokens are not there.
//
// It is one node. [Options].Nodes makes it look like several to clients, for tests: each leads some of the partitions, and
// [Broker.MoveLeader] moves them. They share logs and coordinators; there is no replication, so all replicas are in sync.
//
// # Storage
//
// [Options].Dir has two directories. logs has the partitions in the files of Apache Kafka, described in
// docs/format/kafka-log.md; meta has a journal of everything else: topics, configs, access control lists, users, producer ids,
// see docs/format/kafka-meta.md. Committed offsets and the state of transactions are records of __consumer_offsets and
// __transaction_state, in Kafka's format.
//
// A directory that Apache Kafka wrote can take the place of logs: the broker takes its cluster and node id, and topics with their
// ids from it. Their configs are in Kafka's own metadata and start from the defaults. Apache Kafka can open logs in turn; it takes
// over topics that its own metadata know.
//
// # Durability
//
// Records are in the operating system's hands before they are acknowledged, so they survive the end of the process, however
// sudden. [Options].Sync says when they are safe from the end of the machine:
//
//   - [SyncAcks], the default with a directory: before an acknowledgement with acks=all. One sync serves all who wait, whatever
//     their partition. A loss of power loses nothing that was acknowledged so; of records with acks=1 or 0 it loses those of the
//     last [Options].SyncEvery. This is flush.messages=1.
//   - [SyncInterval]: within [Options].SyncEvery. A loss of power loses what was acknowledged since.
//   - [SyncNever], which is what Apache Kafka does unless it is told otherwise: when a segment is full, and when the operating
//     system sees fit. A loss of power loses the last moments, about 30 seconds on Linux.
//
// flush.messages and flush.ms of a topic say it for that topic. Without [Options].Dir nothing outlives the broker.
//
// Readers see records before they are durable: a record that was read can be gone after a loss of power, and another one have its
// offset. Leader epochs tell clients: after every end that was not orderly they go up. Changes of topics and configs are durable
// when they are answered, whatever Sync says, and so is the deletion of records.
//
// When a sync fails nobody knows what the disk has. The broker takes nothing any more then: producers get KAFKA_STORAGE_ERROR,
// [Events].Failed is called. A full disk is no failure: [Options].DiskReserve refuses records before, and records for which there
// is no room are refused and leave the log as it was.
//
// # Order and waiting
//
// Batches of a partition have the order in which their requests were read; those of one connection keep theirs. Requests of a
// connection whose records wait for a sync do not hold back the next ones. A fetch that waits costs no goroutine: who appends
// answers it. Of many that wait for one partition the appender answers one, and the others are answered by goroutines that end
// then.
//
// # Transactions
//
// The broker says transaction.version 2, so clients that know KIP-890 have an epoch for each transaction and partitions join by
// being written to; older clients have transactions as before. A decision is durable before EndTxn is answered, as far as
// [Options].Sync says so, and its markers are in the logs: who commits and then reads finds the records. What a sudden end
// interrupts goes on when the broker is opened, and a transaction in a log of which no coordinator knows is aborted then.
// A producer with several batches on the way may send the last five of each partition again after any number of restarts.
//
// [Broker.Transactions] lists transactional ids. Transactions that take longer than their producer has asked for are aborted,
// ids that were not used for a week are forgotten.
//
// # Groups
//
// A group is coordinated by the node that leads its partition of __consumer_offsets, which is chosen as Kafka chooses it, and is a
// [kafka.Group]. What clients are told depends on records that are as durable as [Options].Sync says: an assignment, the place
// of a static member, a commit, the end of a group. Members whose records are there go on after a restart; they have their session timeout to be heard of.
// Those that were joining begin anew.
//
// Offsets are removed when offsets.retention.minutes are over, as Kafka counts them, and with their topics. [Events].GroupChanged
// tells of states; [Broker.Groups] and its siblings are for the application.
//
// # Limits
//
// [Options].MaxPartitions, DiskReserve, and the configs message.max.bytes and fetch.max.bytes bound what clients can take. When more
// than 256 MiB of records are on their way to clients, responses become small, but for a first batch in each. A JoinGroup has at most
// 2 MiB: a record of the group would not have room for more. The package kafkaserver bounds connections and requests.
//
// Some of Kafka's configs are accepted and have no effect, as their text in DescribeConfigs says.
package kafkabroker
