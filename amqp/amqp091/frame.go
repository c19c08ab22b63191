package amqp091

import (
	"encoding/binary"
	"math"
)

// ProtocolHeader is what a client sends first.
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// FrameType is the kind of a frame.
type FrameType uint8

// The types of frames.
const (
	FrameMethod    FrameType = 1
	FrameHeader    FrameType = 2
	FrameBody      FrameType = 3
	FrameHeartbeat FrameType = 8
)

const (
	// FrameEnd is the last byte of every frame.
	FrameEnd = 0xCE
	// FrameMinSize is the smallest frame-max that a peer may ask for, in bytes.
	FrameMinSize = 4096
	// FrameOverhead is how many bytes of a frame are not payload: a frame-max of n allows payloads of n-FrameOverhead.
	FrameOverhead = 8

	frameHeaderSize = 7
)

// String returns the name of the type in lower case.
func (t FrameType) String() string {
	switch t {
	case FrameMethod:
		return "method"
	case FrameHeader:
		return "header"
	case FrameBody:
		return "body"
	case FrameHeartbeat:
		return "heartbeat"
	}
	return "frame type " + utoa(uint64(t))
}

// Frame is one frame. Its payload, when it comes from [NextFrame], is part of the input.
type Frame struct {
	Type    FrameType
	Channel uint16
	Payload []byte
}

// NextFrame takes the first frame from b and returns it with its size n. The payload is part of b. When b holds only
// the beginning of a frame, n is 0 and err nil. max is the most that a frame may have with everything, the frame-max of
// the connection; 0 means no limit. What can be known from the first seven bytes fails as soon as they are there, so
// that nobody waits for the rest of a frame that is too large.
//
// The error is an *[Error] with code FRAME_ERROR: an unknown type, too large, a wrong end, or a heartbeat with a
// payload.
func NextFrame(b []byte, max uint32) (f Frame, n int, err error) {
	if len(b) == 0 {
		return Frame{}, 0, nil
	}
	f.Type = FrameType(b[0])
	switch f.Type {
	case FrameMethod, FrameHeader, FrameBody, FrameHeartbeat:
	default:
		return Frame{}, 0, errFrame("unknown frame type " + utoa(uint64(f.Type)))
	}
	if len(b) < frameHeaderSize {
		return Frame{}, 0, nil
	}
	f.Channel = binary.BigEndian.Uint16(b[1:])
	size := uint64(binary.BigEndian.Uint32(b[3:])) + FrameOverhead
	if max != 0 && size > uint64(max) || size > math.MaxInt {
		return Frame{}, 0, errFrame("frame of " + utoa(size) + " bytes is larger than " + utoa(uint64(max)))
	}
	if f.Type == FrameHeartbeat && size != FrameOverhead {
		return Frame{}, 0, errFrame("heartbeat with a payload")
	}
	if uint64(len(b)) < size {
		return Frame{}, 0, nil
	}
	n = int(size)
	if b[n-1] != FrameEnd {
		return Frame{}, 0, errFrame("frame ends with " + utoa(uint64(b[n-1])))
	}
	f.Payload = b[frameHeaderSize : n-1 : n-1]
	return f, n, nil
}

// AppendFrame appends f to dst and returns the extended slice. Whether the peer takes a frame of that size is for the
// caller to know.
func AppendFrame(dst []byte, f Frame) []byte {
	dst = beginFrame(dst, f.Type, f.Channel)
	start := len(dst)
	return finishFrame(append(dst, f.Payload...), start)
}

// AppendHeartbeat appends a heartbeat frame.
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, byte(FrameHeartbeat), 0, 0, 0, 0, 0, 0, FrameEnd)
}

// beginFrame appends the first seven bytes of a frame, with a size of zero.
func beginFrame(dst []byte, t FrameType, channel uint16) []byte {
	return append(dst, byte(t), byte(channel>>8), byte(channel), 0, 0, 0, 0)
}

// finishFrame sets the size of the frame whose payload begins at start and ends with dst, and appends the end.
func finishFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return append(dst, FrameEnd)
}
