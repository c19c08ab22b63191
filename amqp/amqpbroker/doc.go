// Package amqpbroker is a broker for AMQP 0-9-1 that users of RabbitMQ can move to. A [Broker] is a backend of package
// amqpserver, which owns the connections, and has verbs for the application that it lives in: declare, bind, publish,
// consume, get.
//
//	b, err := amqpbroker.New(&amqpbroker.Options{Definitions: amqpbroker.Guest()})
//	server := amqpserver.New(b, nil)
//	err = server.Serve(listener, nil)
//
// The zero Options let nobody in: there are no users. What a client can observe is what RabbitMQ does, errors and their texts
// included; where its versions 3.10 and 4 differ, the older behaviour is kept where clients depend on it.
//
// # What there is
//
// Virtual hosts, users, permissions, limits and policies. Exchanges of the types direct, fanout, topic, headers,
// x-consistent-hash, x-modulus-hash, x-random, x-local-random and x-delayed-message, bound to queues and to each other, with
// alternate exchanges. Queues with per-queue and per-message TTL, expiry, limits of length and bytes, dead-lettering,
// priorities from 0 to 255, a single active consumer, consumer priorities, a delivery limit and a consumer timeout. Publisher
// confirms, returns, transactions, direct reply-to. Queues of the type quorum are queues on this one node with a delivery limit.
//
// # Order
//
// The messages that one channel publishes to a queue stay in their order, within a priority. A message that is given back
// returns to its place.
//
// # What waits
//
// A queue keeps its messages in memory. Of what a durable queue has beyond a few thousand messages, persistent ones take five
// or six bytes of memory each, and are read when their turn comes. When memory or disk run short connections that publish
// are blocked, see [Options].MemoryLimit, DiskReserve and DiskLimit.
//
// A consumer in process with [ConsumeOptions].Match brings all messages that it looks at into memory.
//
// # Durability
//
// Without [Options].Dir a broker keeps everything in memory. With it, definitions, durable exchanges and queues with their
// bindings, and persistent messages in durable queues survive the end of the process and power loss. A message is confirmed
// when the disk has it, a transaction and a declaration answered likewise. A transaction is there whole or not at all.
// Acknowledgements of consumers are written soon, and nobody waits for that: after a crash messages may come again that were
// acknowledged just before, and all that may have been delivered come with the redelivered flag.
//
// When the disk fails, publishers whose messages may be lost are cut off without an answer, and nothing that must be durable is
// promised any more. [Broker.Backup] copies the directory while the broker runs.
//
// # Dead letters
//
// A dead letter and its original change places at once: power loss neither loses nor doubles it. A message that dies again
// and again without anybody rejecting it is dropped when it comes to a queue in which it has died before.
package amqpbroker
