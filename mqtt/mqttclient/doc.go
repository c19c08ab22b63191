// Package mqttclient is an MQTT client for versions 5.0 and 3.1.1.
//
// [New] makes a [Client] that connects and stays connected by itself: it tries its servers in turn, backs off with
// jitter, resumes the session, subscribes again where the server has lost the session, and sends what was published
// meanwhile. [Dial] is New that waits for the first connection.
//
// # Publishing
//
// [Client.Publish] returns when the quality of service is complete: at QoS 0 when the message is in the connection's
// output buffer, at QoS 1 with PUBACK, at QoS 2 with PUBCOMP. [Client.PublishAsync] returns a [Publication] to wait for.
// Both may be used while there is no connection: messages wait in a bounded queue ([Queue]). Messages leave in the order
// of the calls, whatever their QoS.
//
// # Subscribing
//
// [Client.Subscribe] returns a [Subscription], whose messages are pulled:
//
//	for m, err := range sub.Messages(ctx) {
//		if err != nil {
//			return err
//		}
//		handle(m)
//	}
//
// A message is acknowledged when the loop asks for the next one, or with [Message.Ack] when the subscription has
// ManualAck set. Each subscription has a buffer of its own. The goroutine that reads from the network never waits for
// a consumer, so no consumer, however slow, stops keep alive, other subscriptions or publishing; and a loop may publish,
// subscribe and unsubscribe. At QoS 1 and 2 the server stops by itself when Limits.ReceiveMaximum messages are not
// acknowledged; MQTT 3.1.1 has no such limit, there the window of the server holds, at most 65,535 messages. At QoS 0 a
// full buffer drops messages and counts them.
//
// Acknowledgements are sent in the order in which the messages came [MQTT-4.6.0-2], so a message that is never
// acknowledged holds back those of all subscriptions that came after it. Close a subscription that is not read any more.
//
// # A directory
//
// With [Options].Dir the client keeps in a directory what must outlive the process, and a client that is made for the
// same directory later goes on: it resumes the session, sends what was in flight again, and then what waited, in the
// order of the calls.
//
//   - A message of QoS 1 or 2 is stored when PublishAsync returns without an error, or complete. Publish, which returns
//     when the QoS is complete, stores it at the same time as it sends it. An error of either that [SafeToRetry] accepts
//     says that the message is not stored any more, or is not once the next message is. Without a connection nothing is
//     different: messages wait in the queue, whose bounds count what is on the disk, while about 1 MiB of it is in memory.
//   - At QoS 2 a message is sent when it is durable under which packet identifier, and PUBREL when it is durable that the
//     server has the message. So it arrives exactly once, whenever the process or the machine stops, as long as the server
//     keeps the session: choose SessionExpiry to be longer than what the client may be away. When the server has lost the
//     session, messages in flight are published anew at QoS 1 and fail with ErrSessionLost at QoS 2, and those that wait
//     are sent. The Publications of an earlier process are gone: what becomes of its messages is not told.
//   - A received message of QoS 2 belongs to the application when that has acknowledged it: then its identifier is stored,
//     and PUBREC is sent when it is durable. A message that was not acknowledged, or not durably so, when the process
//     stopped comes again. Subscriptions are not stored: subscribe again, or set Unrouted.
//   - Messages of QoS 0 are not stored.
//
// When the disk is full, QueueBlock makes publishing wait for as long as its ctx allows; the other policies let it fail
// with ErrQueueFull. A failed write or sync ends the client with a [*StorageError]: it acknowledges nothing that is not
// stored. What is done is cleaned away in the background, so a directory stays in proportion to what waits.
//
// # Several streams
//
// With Options.Streams a client uses several streams of connections that have them, which are those over QUIC (package
// quic/quicnet): stream 0 as on TCP, and data streams for its messages, by topic, by a key of the application or by
// priority, and for subscriptions ([SubscribeOptions].Stream). The order of messages holds on each stream, not between
// them. A stream on which nothing moves delays no other: what waits in the client is bounded for all of them together, and
// each may have as much as it leaves to others. QoS 0 may travel in datagrams. On other connections, such as the fallback
// over TLS, the same client works as without. See [Streams] for what becomes of messages in flight when a stream ends.
//
// Disconnect and Close close the data streams first and send DISCONNECT when the server has closed its side of them, so
// everything that was written arrives; they wait 5 seconds for that at most, in the background. When a connection moves to
// another address (migration) the client notices nothing.
//
// On a connection with early data (0-RTT) the client sends before the end of the handshake what [mqtt.EarlyData] calls safe
// or guarded, such as a CONNECT without a password, and messages of QoS 0 and 1 where Options.EarlyPublish allows it.
// Everything else waits, and whatever follows it on its stream.
//
// # Cancellation
//
// A ctx bounds waiting only. When the ctx of Publish ends while the message is under way, the message may still be
// delivered; [SafeToRetry] tells whether an error leaves that open.
//
// # Concurrency
//
// All methods of all types may be called concurrently, unless they say otherwise. No code of the user runs on the
// reading goroutine but the functions of [Trace].
package mqttclient
