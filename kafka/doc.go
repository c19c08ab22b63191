// Package kafka is the pure root of Quartet's support for Kafka: record batches, control records, the message sets of
// older Kafkas, and partitioners. It performs no I/O, starts no goroutine, takes no lock and reads no clock. The messages of
// the protocol are in package kafkawire.
//
// # Records
//
// What travels in produce and fetch messages, and lies in segments of a log, is a sequence of entries: [Batch] is one of
// today's, [Message] one of those before Kafka 0.11. [Split] takes the next entry off. Both are plain byte slices with
// accessors: nothing is decoded until somebody asks, and a broker patches the offset and the leader epoch in place.
// [Open] iterates over the records of an entry, decompressing it into a buffer of the caller.
//
// A [BatchWriter] collects records and makes batches of them.
//
// # Partitioners
//
// [JavaPartition], [ConsistentPartition] and [FNV1aPartition] put a key where the Java client, librdkafka and sarama
// put it. [Sticky] spreads records without a key as the Java client does.
//
// # Producers
//
// [Sequencer] is the idempotent producer of a partition as a machine without I/O: it numbers batches, says which of them to
// send again after what a broker answered or did not, and goes to the next epoch when numbers have no use any more.
//
// # Groups
//
// [Group] is the coordinator of a classic group as a machine without I/O: requests of members go in with the time, replies and
// records come out as events, and [RestoreGroup] goes on from the last record.
//
// [Member] is the other side: a member that joins, computes assignments as the leader, gives signs of life and follows
// rebalances, eager and cooperative ones. [RangeAssignor], [RoundRobinAssignor], [StickyAssignor] and
// [CooperativeStickyAssignor] give what those of the Java client give for the same members, so it does not matter which
// client is the leader.
//
// # Transactions
//
// [Txn] is the coordinator of a transactional id as a machine without I/O, for transactions before and after KIP-890: who may
// write, when a transaction is decided, and when its markers and records must be durable. [TxnRecord] is its state, as it is in
// __transaction_state. A [Marker] is the control record that ends a transaction in a partition.
//
// # Fetch sessions
//
// [FetchSession] is the client's half of a session, in which fetch requests name only what has changed.
//
// Nothing here is safe for concurrent use while somebody changes it.
package kafka
