package amqp091

import (
	"encoding/binary"
)

// PublishView is basic.publish without its ticket. Names are parts of the payload that it was decoded from.
type PublishView struct {
	Exchange, RoutingKey []byte
	Mandatory, Immediate bool
}

// Decode decodes the payload of a method frame that holds basic.publish, and allocates nothing. The error is that of
// [DecodeMethod]; a payload with another method is a FRAME_ERROR.
func (v *PublishView) Decode(payload []byte) error {
	c := newCursor(payload, IDBasicPublish)
	c.uint16() // the ticket
	v.Exchange = c.short()
	v.RoutingKey = c.short()
	bits := c.uint8()
	v.Mandatory, v.Immediate = bits&1 != 0, bits&2 != 0
	return c.end(payload, IDBasicPublish)
}

// DeliverView is basic.deliver. Names are parts of the payload that it was decoded from.
type DeliverView struct {
	ConsumerTag          []byte
	DeliveryTag          uint64
	Redelivered          bool
	Exchange, RoutingKey []byte
}

// Decode is as that of [PublishView], for basic.deliver.
func (v *DeliverView) Decode(payload []byte) error {
	c := newCursor(payload, IDBasicDeliver)
	v.ConsumerTag = c.short()
	v.DeliveryTag = c.uint64()
	v.Redelivered = c.uint8()&1 != 0
	v.Exchange = c.short()
	v.RoutingKey = c.short()
	return c.end(payload, IDBasicDeliver)
}

// GetOKView is basic.get-ok. Names are parts of the payload that it was decoded from.
type GetOKView struct {
	DeliveryTag          uint64
	Redelivered          bool
	Exchange, RoutingKey []byte
	MessageCount         uint32
}

// Decode is as that of [PublishView], for basic.get-ok.
func (v *GetOKView) Decode(payload []byte) error {
	c := newCursor(payload, IDBasicGetOK)
	v.DeliveryTag = c.uint64()
	v.Redelivered = c.uint8()&1 != 0
	v.Exchange = c.short()
	v.RoutingKey = c.short()
	v.MessageCount = c.uint32()
	return c.end(payload, IDBasicGetOK)
}

// ReturnView is basic.return. Names are parts of the payload that it was decoded from.
type ReturnView struct {
	ReplyCode            Code
	ReplyText            []byte
	Exchange, RoutingKey []byte
}

// Decode is as that of [PublishView], for basic.return.
func (v *ReturnView) Decode(payload []byte) error {
	c := newCursor(payload, IDBasicReturn)
	v.ReplyCode = Code(c.uint16())
	v.ReplyText = c.short()
	v.Exchange = c.short()
	v.RoutingKey = c.short()
	return c.end(payload, IDBasicReturn)
}

// AckView is basic.ack, basic.nack or basic.reject.
type AckView struct {
	Method      MethodID // [IDBasicAck], [IDBasicNack] or [IDBasicReject]
	DeliveryTag uint64
	Multiple    bool // never with reject
	Requeue     bool // never with ack
}

// Decode is as that of [PublishView], for basic.ack, basic.nack and basic.reject.
func (v *AckView) Decode(payload []byte) error {
	v.Method, _ = PeekMethod(payload)
	want := v.Method
	if want != IDBasicNack && want != IDBasicReject {
		want = IDBasicAck
	}
	c := newCursor(payload, want)
	v.DeliveryTag = c.uint64()
	bits := c.uint8()
	switch want {
	case IDBasicReject:
		v.Multiple, v.Requeue = false, bits&1 != 0
	case IDBasicNack:
		v.Multiple, v.Requeue = bits&1 != 0, bits&2 != 0
	default:
		v.Multiple, v.Requeue = bits&1 != 0, false
	}
	return c.end(payload, want)
}

// cursor reads the arguments of one method without remembering what is wrong with them.
type cursor struct {
	b   []byte
	bad bool
}

// newCursor returns a cursor on the arguments in a payload, which has failed when the method is another one.
func newCursor(payload []byte, want MethodID) cursor {
	if id, _ := PeekMethod(payload); id != want {
		return cursor{bad: true}
	}
	return cursor{b: payload[4:]}
}

func (c *cursor) fail() { c.b, c.bad = nil, true }

func (c *cursor) uint8() (v uint8) {
	if len(c.b) < 1 {
		c.fail()
		return 0
	}
	v, c.b = c.b[0], c.b[1:]
	return v
}

func (c *cursor) uint16() (v uint16) {
	if len(c.b) < 2 {
		c.fail()
		return 0
	}
	v, c.b = binary.BigEndian.Uint16(c.b), c.b[2:]
	return v
}

func (c *cursor) uint32() (v uint32) {
	if len(c.b) < 4 {
		c.fail()
		return 0
	}
	v, c.b = binary.BigEndian.Uint32(c.b), c.b[4:]
	return v
}

func (c *cursor) uint64() (v uint64) {
	if len(c.b) < 8 {
		c.fail()
		return 0
	}
	v, c.b = binary.BigEndian.Uint64(c.b), c.b[8:]
	return v
}

func (c *cursor) short() (v []byte) {
	if len(c.b) < 1 || len(c.b) <= int(c.b[0]) {
		c.fail()
		return nil
	}
	n := 1 + int(c.b[0])
	v, c.b = c.b[1:n:n], c.b[n:]
	if !validShort(v) {
		c.fail()
	}
	return v
}

// end returns the error of DecodeMethod for a payload that is malformed or has another method.
func (c *cursor) end(payload []byte, want MethodID) error {
	if !c.bad && len(c.b) == 0 {
		return nil
	}
	if id, _ := PeekMethod(payload); id == want {
		if _, err := DecodeMethod(payload); err != nil {
			return err
		}
	}
	d := newDecoder(nil)
	d.Fail(errOtherMethod)
	return d.end(want)
}
