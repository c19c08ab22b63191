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
