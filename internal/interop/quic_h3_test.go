package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// HTTP/3 as far as ngtcp2's programs need it, which speak nothing else (RFC 9114, RFC 9204): frames, and fields that are in
// QPACK's static table or spelled out. Neither side opens its control stream.

const (
	h3Data    = 0
	h3Headers = 1
)

// appendVarint appends an integer (RFC 9000, section 16).
func appendVarint(b []byte, v int) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return binary.BigEndian.AppendUint16(b, 1<<14|uint16(v))
	}
	return binary.BigEndian.AppendUint32(b, 2<<30|uint32(v))
}

// cutVarint returns the integer that b begins with and what follows.
func cutVarint(b []byte) (v int, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	n := 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, nil, false
	}
	v = int(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | int(c)
	}
	return v, b[n:], true
}

// h3Frame returns a frame.
func h3Frame(typ byte, payload []byte) []byte {
	return append(appendVarint([]byte{typ}, len(payload)), payload...)
}

// h3Get returns a request for a path of less than 127 bytes.
func h3Get(path string) []byte {
	fields := []byte{0, 0, 0xc0 | 17, 0xc0 | 23} // nothing dynamic, :method GET, :scheme https
	for index, value := range []string{"localhost", path} {
		fields = append(fields, 0x50|byte(index), byte(len(value))) // 0 is :authority, 1 :path
		fields = append(fields, value...)
	}
	return h3Frame(h3Headers, fields)
}

// h3OK returns a response.
func h3OK(body []byte) []byte {
	return append(h3Frame(h3Headers, []byte{0, 0, 0xc0 | 25}), h3Frame(h3Data, body)...) // :status 200
}

// h3Body reads a message and returns its body. It does not look at the fields.
func h3Body(r io.Reader) ([]byte, error) {
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var body []byte
	headers := 0
	for rest := all; len(rest) > 0; {
		typ, after, ok1 := cutVarint(rest)
		n, after, ok2 := cutVarint(after)
		if !ok1 || !ok2 || n > len(after) {
			return nil, fmt.Errorf("a frame is cut off after %d of %d bytes", len(all)-len(rest), len(all))
		}
		switch typ {
		case h3Headers:
			headers++
		case h3Data:
			body = append(body, after[:n]...)
		}
		rest = after[n:]
	}
	if headers == 0 {
		return nil, errors.New("no HEADERS frame")
	}
	return bytes.Clone(body), nil
}
