package amqp091

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// PublishView is basic.publish without its ticket. Names are parts of the payload that it was decoded from.
type PublishView struct {
	Exchange, RoutingKey []byte
	Mandatory, Immediate bool
}

// Decode decodes the payload of a method frame that holds basic.publish, and allocates nothing. The error is that of
// [DecodeMethod]; a payload with another method is a FRAME_ERROR.
func (v *PublishView) Decode(payload []byte) error {
	d := newViewDecoder(payload, IDBasicPublish)
	d.Skip(2)
	v.Exchange = d.shortBytes()
	v.RoutingKey = d.shortBytes()
	bits := d.Uint8()
	v.Mandatory, v.Immediate = bits&1 != 0, bits&2 != 0
	return d.end(IDBasicPublish)
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
	d := newViewDecoder(payload, IDBasicDeliver)
	v.ConsumerTag = d.shortBytes()
	v.DeliveryTag = d.Uint64()
	v.Redelivered = d.Uint8()&1 != 0
	v.Exchange = d.shortBytes()
	v.RoutingKey = d.shortBytes()
	return d.end(IDBasicDeliver)
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
	d := newViewDecoder(payload, IDBasicGetOK)
	v.DeliveryTag = d.Uint64()
	v.Redelivered = d.Uint8()&1 != 0
	v.Exchange = d.shortBytes()
	v.RoutingKey = d.shortBytes()
	v.MessageCount = d.Uint32()
	return d.end(IDBasicGetOK)
}

// ReturnView is basic.return. Names are parts of the payload that it was decoded from.
type ReturnView struct {
	ReplyCode            Code
	ReplyText            []byte
	Exchange, RoutingKey []byte
}

// Decode is as that of [PublishView], for basic.return.
func (v *ReturnView) Decode(payload []byte) error {
	d := newViewDecoder(payload, IDBasicReturn)
	v.ReplyCode = d.code()
	v.ReplyText = d.shortBytes()
	v.Exchange = d.shortBytes()
	v.RoutingKey = d.shortBytes()
	return d.end(IDBasicReturn)
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
	d := newViewDecoder(payload, want)
	v.DeliveryTag = d.Uint64()
	bits := d.Uint8()
	switch want {
	case IDBasicReject:
		v.Multiple, v.Requeue = false, bits&1 != 0
	case IDBasicNack:
		v.Multiple, v.Requeue = bits&1 != 0, bits&2 != 0
	default:
		v.Multiple, v.Requeue = bits&1 != 0, false
	}
	return d.end(want)
}

// newViewDecoder returns a decoder for the arguments in a payload, which has failed when the method is another one.
func newViewDecoder(payload []byte, want MethodID) decoder {
	if id, _ := PeekMethod(payload); id != want {
		d := newDecoder(nil)
		d.Fail(errOtherMethod)
		return d
	}
	return newDecoder(payload[4:])
}

// AppendPublish appends a frame with basic.publish, and allocates nothing unless dst is too small. The error is that of
// [AppendMethod].
func AppendPublish(dst []byte, channel uint16, exchange, routingKey string, mandatory bool) ([]byte, error) {
	if len(exchange) > math.MaxUint8 || len(routingKey) > math.MaxUint8 {
		return dst, errLongName(IDBasicPublish)
	}
	if !utf8.ValidString(exchange) || !utf8.ValidString(routingKey) {
		return dst, withMethod(errEncode("a name is not UTF-8"), IDBasicPublish)
	}
	out := append(beginMethod(dst, channel, IDBasicPublish), 0, 0)
	out = appendShort(appendShort(out, exchange), routingKey)
	return finishFrame(append(out, bit(mandatory)), len(dst)+frameHeaderSize), nil
}

// AppendDeliver appends a frame with basic.deliver, as AppendPublish does, but does not look whether names are UTF-8:
// those that came with a publication are.
func AppendDeliver(dst []byte, channel uint16, consumerTag string, deliveryTag uint64, redelivered bool, exchange,
	routingKey string) ([]byte, error) {
	if len(consumerTag) > math.MaxUint8 || len(exchange) > math.MaxUint8 || len(routingKey) > math.MaxUint8 {
		return dst, errLongName(IDBasicDeliver)
	}
	out := appendShort(beginMethod(dst, channel, IDBasicDeliver), consumerTag)
	out = append(binary.BigEndian.AppendUint64(out, deliveryTag), bit(redelivered))
	out = appendShort(appendShort(out, exchange), routingKey)
	return finishFrame(out, len(dst)+frameHeaderSize), nil
}

// AppendGetOK appends a frame with basic.get-ok, as AppendDeliver does.
func AppendGetOK(dst []byte, channel uint16, deliveryTag uint64, redelivered bool, exchange, routingKey string,
	messageCount uint32) ([]byte, error) {
	if len(exchange) > math.MaxUint8 || len(routingKey) > math.MaxUint8 {
		return dst, errLongName(IDBasicGetOK)
	}
	out := binary.BigEndian.AppendUint64(beginMethod(dst, channel, IDBasicGetOK), deliveryTag)
	out = appendShort(appendShort(append(out, bit(redelivered)), exchange), routingKey)
	out = binary.BigEndian.AppendUint32(out, messageCount)
	return finishFrame(out, len(dst)+frameHeaderSize), nil
}

// AppendReturn appends a frame with basic.return, as AppendDeliver does.
func AppendReturn(dst []byte, channel uint16, code Code, text, exchange, routingKey string) ([]byte, error) {
	if len(text) > math.MaxUint8 || len(exchange) > math.MaxUint8 || len(routingKey) > math.MaxUint8 {
		return dst, errLongName(IDBasicReturn)
	}
	out := binary.BigEndian.AppendUint16(beginMethod(dst, channel, IDBasicReturn), uint16(code))
	out = appendShort(appendShort(appendShort(out, text), exchange), routingKey)
	return finishFrame(out, len(dst)+frameHeaderSize), nil
}

// AppendAck appends a frame with basic.ack.
func AppendAck(dst []byte, channel uint16, tag uint64, multiple bool) []byte {
	return appendTag(dst, channel, IDBasicAck, tag, bit(multiple))
}

// AppendNack appends a frame with basic.nack.
func AppendNack(dst []byte, channel uint16, tag uint64, multiple, requeue bool) []byte {
	return appendTag(dst, channel, IDBasicNack, tag, bit(multiple)|bit(requeue)<<1)
}

// AppendReject appends a frame with basic.reject.
func AppendReject(dst []byte, channel uint16, tag uint64, requeue bool) []byte {
	return appendTag(dst, channel, IDBasicReject, tag, bit(requeue))
}

func appendTag(dst []byte, channel uint16, id MethodID, tag uint64, bits byte) []byte {
	start := len(dst) + frameHeaderSize
	dst = binary.BigEndian.AppendUint64(beginMethod(dst, channel, id), tag)
	return finishFrame(append(dst, bits), start)
}

func appendShort(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func errLongName(id MethodID) error {
	return withMethod(errEncode("a name is longer than 255 bytes"), id)
}
