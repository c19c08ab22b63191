package mqttclient

import (
	"sync/atomic"

	"github.com/quartet-mq/quartet/mqtt"
)

// Message is an application message, published or received.
//
// To publish one, set the fields; Dup is ignored. The client has copied what it needs when Publish or PublishAsync
// returns.
//
// A received message belongs to the receiver. Its slices may be kept; they must not be changed when several
// subscriptions overlap, because those share them.
type Message struct {
	Topic   string
	Payload []byte
	// Properties are those of version 5, in wire form: build them with Properties.AppendString and its siblings, read
	// them with Properties.String and its siblings. They are ignored when the connection speaks MQTT 3.1.1.
	Properties mqtt.Properties
	QoS        mqtt.QoS
	Retain     bool
	Dup        bool // received: the server may have sent it before
	// Priority, from 0 to 7, says which stream takes a message that is published, when Options.Streams has
	// StreamPerPriority. Higher ones go first. It is not sent.
	Priority uint8

	in *delivery
}

// delivery is the one acknowledgement that a received message of QoS 1 or 2 needs, however many subscriptions got it.
type delivery struct {
	c          *Client
	prev, next *delivery // list of the deliveries without an acknowledgement; this and what follows is guarded by c.mu
	conn       *conn     // on which the server sent it last
	epoch      uint64    // of the session that it came in; 0 when nobody waits for the acknowledgement
	id         uint16
	qos        mqtt.QoS
	lane       uint8 // of the data stream that it came on, 0 when there is none
	acked      bool  // while the connection was gone
	reason     mqtt.ReasonCode
	open       atomic.Int32 // how many subscriptions have not acknowledged it
}

// Ack acknowledges a message of QoS 1 or 2 of a subscription with ManualAck: PUBACK or PUBREC is sent when the messages
// before it are acknowledged, too. It does not wait. A message that several subscriptions received is acknowledged when
// the last of them does. Call it or Nack once for each such message; later calls do nothing, as calls for other messages.
//
// After a reconnection that resumed the session it acknowledges the message there. When the session is gone it does
// nothing: the server does not know the message any more.
func (m *Message) Ack() { m.settle(mqtt.ReasonSuccess) }

// Nack acknowledges a message as failed: with version 5 the server learns the reason, an error code that PUBACK allows
// such as mqtt.ReasonUnspecifiedError. It does not send the message again [MQTT-4.8.2-6]. With MQTT 3.1.1 it is Ack.
func (m *Message) Nack(reason mqtt.ReasonCode) { m.settle(reason) }

func (m *Message) settle(reason mqtt.ReasonCode) {
	d := m.in
	if d == nil {
		return
	}
	m.in = nil
	if d.open.Add(-1) > 0 {
		return
	}
	d.c.ack(d, reason)
}

// size is what a message counts in a queue of bytes.
func (m *Message) size() int { return len(m.Topic) + len(m.Payload) + len(m.Properties) }

// The blocks below let a received message and its bytes be one allocation. Their sizes are those of Go's allocator.
type (
	messageBlock[B any] struct {
		Message
		b B
	}
	deliveryBlock[B any] struct {
		Message
		d delivery
		b B
	}
)

// newMessage returns a message with copies of payload and properties, with room for its delivery at QoS 1 and 2.
func newMessage(topic string, p *mqtt.Publish) *Message {
	m, b := newBlock(len(p.Payload)+len(p.Properties), p.QoS > mqtt.QoS0)
	m.Topic, m.QoS, m.Retain, m.Dup = topic, p.QoS, p.Retain, p.Dup
	b = append(b, p.Payload...)
	n := len(b)
	b = append(b, p.Properties...)
	m.Payload = b[:n:n]
	if len(b) > n {
		m.Properties = mqtt.Properties(b[n:])
	}
	return m
}

func newBlock(n int, deliver bool) (*Message, []byte) {
	if deliver {
		return newDeliveryBlock(n)
	}
	switch {
	case n <= 32:
		x := new(messageBlock[[32]byte])
		return &x.Message, x.b[:0]
	case n <= 96:
		x := new(messageBlock[[96]byte])
		return &x.Message, x.b[:0]
	case n <= 160:
		x := new(messageBlock[[160]byte])
		return &x.Message, x.b[:0]
	case n <= 288:
		x := new(messageBlock[[288]byte])
		return &x.Message, x.b[:0]
	case n <= 544:
		x := new(messageBlock[[544]byte])
		return &x.Message, x.b[:0]
	case n <= 1056:
		x := new(messageBlock[[1056]byte])
		return &x.Message, x.b[:0]
	}
	return new(Message), make([]byte, 0, n)
}

func newDeliveryBlock(n int) (*Message, []byte) {
	switch {
	case n <= 48:
		x := new(deliveryBlock[[48]byte])
		x.in = &x.d
		return &x.Message, x.b[:0]
	case n <= 112:
		x := new(deliveryBlock[[112]byte])
		x.in = &x.d
		return &x.Message, x.b[:0]
	case n <= 304:
		x := new(deliveryBlock[[304]byte])
		x.in = &x.d
		return &x.Message, x.b[:0]
	case n <= 560:
		x := new(deliveryBlock[[560]byte])
		x.in = &x.d
		return &x.Message, x.b[:0]
	case n <= 1072:
		x := new(deliveryBlock[[1072]byte])
		x.in = &x.d
		return &x.Message, x.b[:0]
	}
	m := new(Message)
	m.in = new(delivery)
	return m, make([]byte, 0, n)
}
