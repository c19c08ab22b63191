// Package kafkaclient is a Kafka client for brokers of Kafka 2.1 and later.
//
// [New] makes a [Client]: the connections to the brokers of a cluster, and what is known about it. It connects when there
// is something to do. Producers, consumers and [Admin] work on top of it and share it.
//
// # Producing
//
// A [Producer] gathers records in batches. [Producer.Produce] waits for acknowledgements, [Producer.ProduceAsync] calls a
// function. Without a Linger a record is sent at once when nothing is under way to its broker, and with what has gathered
// meanwhile otherwise: one record at a time has the latency of one request, and many of them make large batches.
//
// By default all replicas in sync must have a record, and producers are idempotent: brokers recognise what comes again,
// so that a record is in its partition once and records of a partition are in the order of the calls, whatever happens to
// connections and leaders. A record that was not acknowledged within DeliveryTimeout fails; [ProduceError] tells whether
// it may be in the log all the same.
//
// What is buffered is bounded by the options. Calls wait for room, or fail with [ErrFull].
//
// # Transactions
//
// A producer with a TransactionalID produces between [Producer.Begin] and [Producer.Commit] or [Producer.Abort], and makes
// the offsets of a consumer a part of the transaction with [Producer.SendOffsets]: what was consumed counts exactly if what
// was produced does. [Producer.Transact] does all that around a function. After an [Abortable] error the transaction can
// be aborted only; a [Fatal] one, as when another producer took the name over, ends the producer.
//
// # Consuming
//
// [Client.NewConsumer] makes a [Consumer] of a group, which divides the partitions of topics among its consumers, or of
// partitions that are named. Records are pulled:
//
//	for r, err := range consumer.All(ctx) {
//		if err != nil {
//			return err
//		}
//		handle(r)
//	}
//
// What the loop has finished is committed every few seconds. With [CommitDone] records may be handed to workers instead,
// which are done in any order ([Record.Done]). Fetching and heartbeats go on in the background. A rebalance waits for the
// loop to come for the next record, or for Poll, and the functions of [ConsumerOptions] that are told of it run there, so
// nothing is taken away while the application works on it, unless it takes longer than MaxPollInterval: then the
// consumer leaves the group, and an error says so.
//
// # Transports
//
// Addresses with the scheme kafka are reached with TCP, those with kafkas with TLS on top of it, and [Options.Dialers] adds
// others, such as QUIC:
//
//	d := &quicnet.Dialer{}
//	o := &kafkaclient.Options{
//		Addrs:   []string{"kafka+quic://broker.example"},
//		Dialers: map[string]kafkaclient.DialFunc{"kafka+quic": d.DialURL},
//	}
//
// The client has several connections to a broker, so that what must not wait does not wait for what may. Where a connection
// has streams (kafka-streams/1, docs/quic-profiles.md) they are streams of it, and partitions that are produced to are spread
// over some. What is written before the end of a handshake (0-RTT) changes nothing, unless EarlyProduce allows it.
//
// # Errors
//
// What a broker says is a *kafka.Error with Remote set, which wraps its code: errors.Is(err,
// kafkawire.ErrTopicAuthorizationFailed). What happened to a connection is a [*ConnError]. [Retriable] tells whether it
// can succeed later, and [Fatal] whether it never will. Errors that pass are tried again by the client itself, for as long
// as a ctx and the options allow.
//
// # Concurrency
//
// All methods of all types may be called concurrently, unless they say otherwise. Functions of the application are called
// on goroutines that nothing else needs, besides those of [Trace] and a [Partitioner]: they may call everything and wait.
// After [Client.Close] all goroutines of a client end.
package kafkaclient
