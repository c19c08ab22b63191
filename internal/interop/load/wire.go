package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// PayloadSize is the size of every message's payload in bytes.
const PayloadSize = 256

var payload = []byte(strings.Repeat("0123456789abcdef", PayloadSize/16))

// First bytes of packets.
const (
	ConnackByte  = 0x20
	PublishByte  = 0x30 // upper half; the lower half has DUP, QoS and RETAIN
	PubackByte   = 0x40
	PubrecByte   = 0x50
	PubrelByte   = 0x62
	PubcompByte  = 0x70
	SubackByte   = 0x90
	PingrespByte = 0xD0
)

func appendLength(dst []byte, n int) []byte {
	for n >= 128 {
		dst = append(dst, byte(n)|128)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// AppendConnect appends a CONNECT without keep-alive. clean is the flag of that name: false keeps the session.
func AppendConnect(dst []byte, id, user, password string, clean bool) []byte {
	dst = append(dst, 0x10)
	dst = appendLength(dst, 10+2+len(id)+2+len(user)+2+len(password))
	dst = appendString(dst, "MQTT")
	flags := byte(0xC0)
	if clean {
		flags |= 2
	}
	dst = append(dst, 4, flags, 0, 0)
	dst = appendString(dst, id)
	dst = appendString(dst, user)
	return appendString(dst, password)
}

// AppendPublish appends a PUBLISH. id is left out at QoS 0.
func AppendPublish(dst []byte, topic string, qos byte, retain bool, id uint16) []byte {
	first := byte(PublishByte) | qos<<1
	if retain {
		first |= 1
	}
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = append(dst, first)
	dst = appendLength(dst, n)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

// AppendSubscribe appends one SUBSCRIBE for all filters.
func AppendSubscribe(dst []byte, id uint16, qos byte, filters ...string) []byte {
	n := 2
	for _, f := range filters {
		n += 2 + len(f) + 1
	}
	dst = append(dst, 0x82)
	dst = appendLength(dst, n)
	dst = binary.BigEndian.AppendUint16(dst, id)
	for _, f := range filters {
		dst = appendString(dst, f)
		dst = append(dst, qos)
	}
	return dst
}

// FrameSize returns the size of the packet at the start of b, or 0 when its header is not complete.
func FrameSize(b []byte) int {
	n := 0
	for i := 1; i < len(b) && i < 5; i++ {
		n |= int(b[i]&127) << (7 * (i - 1))
		if b[i] < 128 {
			return 1 + i + n
		}
	}
	return 0
}

// PublishID returns the packet id of a PUBLISH with QoS above 0.
func PublishID(b []byte) uint16 {
	i := 2
	for b[i-1] >= 128 {
		i++
	}
	return binary.BigEndian.Uint16(b[i+2+int(binary.BigEndian.Uint16(b[i:])):])
}

// checkSuback returns an error when the broker refused a filter.
func checkSuback(b []byte) error {
	i := 2
	for b[i-1] >= 128 {
		i++
	}
	for _, code := range b[i+2:] {
		if code >= 0x80 {
			return fmt.Errorf("subscription refused with %#x", code)
		}
	}
	return nil
}

// ErrRefused says that a broker did not take a connection.
var ErrRefused = errors.New("connection refused by the broker")
