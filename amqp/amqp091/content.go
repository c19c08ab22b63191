package amqp091

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/codec"
)

// ClassBasic is the number of the class basic, the only one with content.
const ClassBasic uint16 = 60

// contentFixed is the length of a content header before the properties: class, weight and body size.
const contentFixed = 12

// AppendContentHeader appends a frame with the content header of class basic. props must be valid. Whether the peer
// takes a frame of that size is for the caller to know: a content header cannot be split.
func AppendContentHeader(dst []byte, channel uint16, bodySize uint64, props RawProperties) []byte {
	dst = append(dst, byte(FrameHeader), byte(channel>>8), byte(channel), 0, 0, 0, 0, 0, byte(ClassBasic), 0, 0)
	start := len(dst) - 4
	dst = binary.BigEndian.AppendUint64(dst, bodySize)
	if len(props) == 0 {
		dst = append(dst, 0, 0)
	}
	return finishFrame(append(dst, props...), start)
}

// DecodeContentHeader decodes the payload of a header frame. The properties are part of payload and have been
// validated. It allocates nothing. Whether the class is that of the method before is for the caller to check.
//
// The error is an *[Error] with code FRAME_ERROR, or UNEXPECTED_FRAME when the weight, which is reserved, is not zero.
func DecodeContentHeader(payload []byte) (class uint16, bodySize uint64, props RawProperties, err error) {
	if len(payload) < contentFixed+2 {
		return 0, 0, nil, &Error{Code: FrameError, Text: "cannot decode a content header", Hard: true, Err: codec.ErrShort}
	}
	class = binary.BigEndian.Uint16(payload)
	if binary.BigEndian.Uint16(payload[2:]) != 0 {
		return 0, 0, nil, &Error{Code: UnexpectedFrame, Text: "content header with a weight", Hard: true}
	}
	bodySize = binary.BigEndian.Uint64(payload[4:])
	props = RawProperties(payload[contentFixed:])
	if err := props.Validate(); err != nil {
		return 0, 0, nil, err
	}
	return class, bodySize, props, nil
}

// AppendBody appends body as frames of at most frameMax bytes each with what is around the payload, 0 for no limit.
// An empty body takes no frame. A frameMax of 8 or less, with which nothing could be sent, counts as [FrameMinSize].
func AppendBody(dst []byte, channel uint16, body []byte, frameMax uint32) []byte {
	for len(body) > 0 {
		var part []byte
		part, body = SplitBody(body, frameMax)
		dst = AppendFrame(dst, Frame{FrameBody, channel, part})
	}
	return dst
}

// SplitBody returns the part of a body that goes into its first frame, and the rest.
func SplitBody(body []byte, frameMax uint32) (part, rest []byte) {
	n := bodyMax(frameMax)
	if uint64(len(body)) <= n {
		return body, nil
	}
	return body[:n:n], body[n:]
}

// bodyMax returns the most bytes of a body in one frame.
func bodyMax(frameMax uint32) uint64 {
	switch {
	case frameMax == 0:
		return 1<<32 - 1 - FrameOverhead
	case frameMax <= FrameOverhead:
		return FrameMinSize - FrameOverhead
	}
	return uint64(frameMax) - FrameOverhead
}

// BodySize returns how many bytes AppendBody appends for a body of n bytes.
func BodySize(n int, frameMax uint32) int {
	if n <= 0 {
		return 0
	}
	frames := (uint64(n) + bodyMax(frameMax) - 1) / bodyMax(frameMax)
	return n + int(frames)*FrameOverhead
}
