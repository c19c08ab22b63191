// Package delivery is what the protocols share about quality of service and
// acknowledgement, without any wire format. It speaks the words of AMQP 1.0: a
// delivery is unsettled from the moment it is sent until both sides have
// settled it with an outcome, and credit says how many more may be sent.
//
//   - [Window] holds the unsettled deliveries in send order.
//   - [Credit] counts how many deliveries may still be sent.
//   - [IDs] and [Producer] recognise deliveries that came before.
//   - [Watermark] turns completions in any order into "all up to here".
//   - [Outcome] is how a delivery ended.
//
// How the protocols use them:
//
//   - MQTT: Window for QoS 1 and 2 (packet identifier = sequence number modulo
//     65535, plus 1), Credit for the receive maximum, IDs for QoS 2 packets
//     received and not released, Watermark for acknowledgements that go out in
//     receive order.
//   - AMQP 0-9-1: Window by delivery tag, [Window.SettleThrough] for the
//     multiple flag, Credit for prefetch, Watermark for publisher confirms.
//   - AMQP 1.0: Window by delivery-id, [Window.SettleRange] for a disposition,
//     [Credit.Flow] for link credit.
//   - Kafka: Window for the requests in flight of a connection, Producer for
//     idempotence, Watermark for the offset to commit.
//
// The zero value of every type is ready to use and has no memory of its own;
// it allocates when used and gives memory back when empty. No type is safe for
// concurrent use.
//
// The exported names are not stable until the Kafka packages have used them.
package delivery
