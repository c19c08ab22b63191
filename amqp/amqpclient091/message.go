package amqpclient091

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Message is a message to publish. The client has copied what it needs when Publish or PublishAsync returns.
type Message struct {
	// Exchange is where the message goes. Empty is the default exchange, whose routing keys are the names of queues.
	Exchange   string
	RoutingKey string
	// Mandatory makes it an error when no queue takes the message: see ReturnedError. Otherwise the server drops it, and
	// confirms it.
	Mandatory bool
	// Properties are those of the message. A message survives a restart of the server with DeliveryMode
	// amqp091.Persistent, in a durable queue.
	Properties amqp091.Properties
	// Raw, when it is not nil, is taken in the place of Properties: for a message that is passed on as it came.
	Raw  amqp091.RawProperties
	Body []byte
}

// appendProperties appends the message's properties on the wire.
func (m *Message) appendProperties(dst []byte) ([]byte, error) {
	if m.Raw != nil {
		if err := m.Raw.Validate(); err != nil {
			return dst, err
		}
		return append(dst, m.Raw...), nil
	}
	return m.Properties.Append(dst)
}

// Delivery is a message that came. It belongs to the receiver, who may keep and change its slices.
type Delivery struct {
	Exchange   string // to which it was published
	RoutingKey string
	Body       []byte
	// Raw are the properties, in wire form, for reading without allocations. Properties decodes them.
	Raw amqp091.RawProperties
	// Tag numbers the deliveries of a channel on one connection.
	Tag uint64
	// Redelivered: it may have been delivered before.
	Redelivered bool
	// Remaining is how many messages are left in the queue, with Get only.
	Remaining uint32

	in   *link // on which it came; nil when it needs no acknowledgement
	done bool  // it is settled; guarded by c.mu
}

// Properties decodes the properties, each time.
func (d *Delivery) Properties() amqp091.Properties {
	var p amqp091.Properties
	d.Raw.Decode(&p) // the machine has validated them
	return p
}

// Ack acknowledges the delivery. It does not wait, and there is no answer: the server forgets the message when it reads
// the acknowledgement. A delivery of a consumer without acknowledgements needs none; then Ack does nothing.
//
// The error is ErrStale when the connection or the channel has gone, so that the server delivers the message again,
// and ErrSettled when the delivery was settled before.
func (d *Delivery) Ack() error { return d.settle(outcome{}) }

// AckThrough acknowledges the delivery and all earlier ones of its channel that are not settled.
func (d *Delivery) AckThrough() error { return d.settle(outcome{multiple: true}) }

// Reject refuses the delivery for good: the server drops the message, or passes it to the queue's dead letter exchange.
// The errors are those of Ack.
func (d *Delivery) Reject() error { return d.settle(outcome{reject: true}) }

// Requeue gives the message back to its queue, in its old place where possible; it comes again, to this consumer or to
// another one. The errors are those of Ack.
func (d *Delivery) Requeue() error { return d.settle(outcome{reject: true, requeue: true}) }

// Nack is Reject or Requeue, for this delivery or for many. It needs a server that knows basic.nack, as RabbitMQ does.
func (d *Delivery) Nack(o NackOptions) error {
	return d.settle(outcome{reject: true, requeue: o.Requeue, multiple: o.Multiple})
}

// NackOptions are the options of Delivery.Nack.
type NackOptions struct {
	Requeue  bool // give the messages back to their queue
	Multiple bool // also all earlier deliveries of the channel that are not settled
}

// outcome is what becomes of a delivery. The zero value acknowledges it.
type outcome struct{ reject, requeue, multiple bool }

// The blocks below let a delivery and its bytes be one allocation. Their sizes are those of Go's allocator.
type deliveryBlock[B any] struct {
	Delivery
	b B
}

// newDelivery returns a delivery with copies of properties and body. An owned body is taken as it is.
func newDelivery(c *amqp091.Content) *Delivery {
	if c.Owned && len(c.Body) > maxBlock {
		d := new(Delivery)
		d.Raw, d.Body = append(amqp091.RawProperties(nil), c.Properties...), c.Body
		return d
	}
	d, b := newDeliveryBlock(len(c.Properties) + len(c.Body))
	b = append(b, c.Properties...)
	n := len(b)
	b = append(b, c.Body...)
	d.Raw, d.Body = amqp091.RawProperties(b[:n:n]), b[n:]
	return d
}

// maxBlock is the largest body in one block with its delivery.
const maxBlock = 1040

func newDeliveryBlock(n int) (*Delivery, []byte) {
	switch {
	case n <= 32:
		x := new(deliveryBlock[[32]byte])
		return &x.Delivery, x.b[:0]
	case n <= 80:
		x := new(deliveryBlock[[80]byte])
		return &x.Delivery, x.b[:0]
	case n <= 144:
		x := new(deliveryBlock[[144]byte])
		return &x.Delivery, x.b[:0]
	case n <= 272:
		x := new(deliveryBlock[[272]byte])
		return &x.Delivery, x.b[:0]
	case n <= 528:
		x := new(deliveryBlock[[528]byte])
		return &x.Delivery, x.b[:0]
	case n <= maxBlock:
		x := new(deliveryBlock[[maxBlock]byte])
		return &x.Delivery, x.b[:0]
	}
	return new(Delivery), make([]byte, 0, n)
}
