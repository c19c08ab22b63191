package amqp091

import (
	"encoding/binary"
	"math"
)

// AppendPublish appends a frame with basic.publish, and allocates nothing unless dst is too small. The error is that of
// [AppendMethod].
func AppendPublish(dst []byte, channel uint16, exchange, routingKey string, mandatory bool) ([]byte, error) {
	if len(exchange) > math.MaxUint8 || len(routingKey) > math.MaxUint8 {
		return dst, errLongName(IDBasicPublish)
	}
	if !validShort(exchange) || !validShort(routingKey) {
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
