package codec

import "encoding/binary"

// AppendBytes16 appends the length of b in two bytes and b. b is at most 65,535
// bytes long; what is beyond is dropped, so callers check before.
func AppendBytes16(dst, b []byte) []byte {
	b = b[:min(len(b), 0xffff)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

// AppendString16 is [AppendBytes16] for a string.
func AppendString16(dst []byte, s string) []byte {
	s = s[:min(len(s), 0xffff)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}
