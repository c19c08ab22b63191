// Package amqpclient091 is an AMQP 0-9-1 client, for RabbitMQ and what speaks its dialect.
//
// [New] makes a [Client] that connects and stays connected by itself: it tries its servers in turn, backs off with
// jitter, and then puts everything back in its place: exchanges, queues and bindings, channels, prefetch and consumers.
// [Dial] is New that waits for the first connection.
//
// # Topology
//
// [Exchange], [Queue] and [Binding] are plain structs; [Client.Declare] declares many at once, [Client.DeclareQueue] and
// its siblings one. What was declared is declared again after a reconnection. A queue that the server names gets a new
// name then, and bindings and consumers follow: the old name, or the [Queue].Alias, stands for the new one in every call.
// Declarations go over a channel of their own, so that a refusal disturbs nobody: it is an *amqp091.Error, and that is
// all.
//
// # Publishing
//
// [Client.Publish] and [Channel.Publish] return when the server has confirmed the message, which says that the server is
// responsible for it. A message that no queue takes is a [*ReturnedError], if it is mandatory. [Channel.PublishAsync]
// returns a [Publication] to wait for; a bounded window is under way at a time. A message whose confirm was lost with the
// connection fails with an [*UnknownError], or is sent again where [ChannelOptions].Republish says so. Messages leave in
// the order of the calls.
//
// While the server takes no messages (connection.blocked), they wait, and so does Publish, as long as its ctx allows.
//
// # Consuming
//
// [Client.Consume] returns a [Consumer], whose deliveries are pulled:
//
//	for d, err := range consumer.Deliveries(ctx) {
//		if err != nil {
//			return err
//		}
//		handle(d)
//		if err := d.Ack(); err != nil {
//			return err
//		}
//	}
//
// The server sends as many as the prefetch allows, so the buffer is bounded. The goroutine that reads from the network
// never waits for a consumer, so no consumer, however slow, stops heartbeats, other consumers or publishing, and a loop
// may publish, declare and cancel. (Consumers with [AckNone] are the exception, for they have no prefetch: see there.)
//
// What was not acknowledged when a connection is lost comes again, from the server: what waits in the buffer is dropped,
// and a delivery that the application has can not be settled any more, which [Delivery.Ack] says with [ErrStale].
//
// # Cancellation
//
// A ctx bounds waiting only. When the ctx of Publish ends while the message is under way, the message may still arrive;
// [SafeToRetry] tells whether an error leaves that open.
//
// # Streams
//
// A dialer of Options.Dialers may return a connection that has streams, such as one over QUIC (package quic/quicnet), and has agreed
// with the server on the profile [amqp091.Streams]. Then each [Channel] has a stream of its own: a packet that is lost delays one
// channel and no other, and a server that does not read one, or a consumer with [AckNone] that is not read, holds up that
// channel alone. There is no order between channels, then; Publish and the calls that wait for an answer have one all the same.
// Close and Shutdown close the channels before the connection, so that acknowledgements count that came before. A connection whose
// handshake is not complete (0-RTT) carries the protocol header; the login waits.
//
// # Concurrency
//
// All methods of all types may be called concurrently, unless they say otherwise. No code of the user runs on the reading
// goroutine but the functions of [Trace].
package amqpclient091
