package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The load generator has its own few lines of MQTT 3.1.1, so that it measures every broker with the same code and
// costs less than any of them. It trusts what it reads.

// payloadSize is the size of every message's payload in bytes.
const payloadSize = 256

var payload = []byte(strings.Repeat("0123456789abcdef", payloadSize/16))

// First bytes of packets.
const (
	connackByte  = 0x20
	publishByte  = 0x30 // upper half; the lower half has DUP, QoS and RETAIN
	pubackByte   = 0x40
	pubrecByte   = 0x50
	pubrelByte   = 0x62
	pubcompByte  = 0x70
	subackByte   = 0x90
	pingrespByte = 0xD0
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

// appendConnect appends a CONNECT with a clean session and without keep-alive.
func appendConnect(dst []byte, id, user, password string) []byte {
	dst = append(dst, 0x10)
	dst = appendLength(dst, 10+2+len(id)+2+len(user)+2+len(password))
	dst = appendString(dst, "MQTT")
	dst = append(dst, 4, 0xC2, 0, 0)
	dst = appendString(dst, id)
	dst = appendString(dst, user)
	return appendString(dst, password)
}

// appendPublish appends a PUBLISH. id is left out at QoS 0.
func appendPublish(dst []byte, topic string, qos byte, retain bool, id uint16) []byte {
	first := byte(publishByte) | qos<<1
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

// appendSubscribe appends one SUBSCRIBE for all filters.
func appendSubscribe(dst []byte, id uint16, qos byte, filters ...string) []byte {
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

// frameSize returns the size of the packet at the start of b, or 0 when its header is not complete.
func frameSize(b []byte) int {
	n := 0
	for i := 1; i < len(b) && i < 5; i++ {
		n |= int(b[i]&127) << (7 * (i - 1))
		if b[i] < 128 {
			return 1 + i + n
		}
	}
	return 0
}

// publishID returns the packet id of a PUBLISH with QoS above 0.
func publishID(b []byte) uint16 {
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

var errRefused = errors.New("connection refused by the broker")
