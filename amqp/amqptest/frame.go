package amqptest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/amqp"
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// maxFrame is the size of the largest frame that is taken for one, in bytes.
const maxFrame = 128 << 20

var errNoFrame = errors.New("no frame of AMQP 0-9-1")

// frameSize returns how many bytes the frame or protocol header has with which b begins; 0 when b is too short to tell. How
// a frame ends does not matter.
func frameSize(b []byte) (int, error) {
	if isHeader(b) {
		return amqp.HeaderSize, nil
	}
	switch amqp091.FrameType(b[0]) {
	case amqp091.FrameMethod, amqp091.FrameHeader, amqp091.FrameBody, amqp091.FrameHeartbeat:
	default:
		return 0, errNoFrame
	}
	if len(b) < amqp091.FrameOverhead-1 {
		return 0, nil
	}
	n := uint64(binary.BigEndian.Uint32(b[3:])) + amqp091.FrameOverhead
	if n > maxFrame {
		return 0, errNoFrame
	}
	return int(n), nil
}

// isHeader reports whether b begins a protocol header.
func isHeader(b []byte) bool {
	const name = "AMQP"
	n := min(len(b), len(name))
	return n > 0 && string(b[:n]) == name[:n]
}

// headerText returns the text of a protocol header.
func headerText(b []byte) string {
	h := amqp.Header(b)
	switch h {
	case amqp.Header091, amqp.Header10, amqp.HeaderSASL, amqp.HeaderTLS:
		return h.String()
	}
	return fmt.Sprintf("%v %q", h, b)
}

// unitText returns the text of a frame or protocol header, or of bytes that are neither.
func unitText(b []byte) string {
	if isHeader(b) {
		return headerText(b)
	}
	f, n, err := amqp091.NextFrame(b, 0)
	if err != nil || n != len(b) {
		if err == nil {
			err = errNoFrame
		}
		return fmt.Sprintf("%s (%v)", hexLine(b), err)
	}
	return f.String()
}

// hexLine returns bytes in hexadecimal on one line, 64 at most.
func hexLine(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("% x...", b[:most])
	}
	return fmt.Sprintf("% x", b)
}
