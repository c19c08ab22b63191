package kafkawire

import (
	"encoding/binary"
	"math"

	"github.com/quartet-mq/quartet/codec"
)

// RequestHeader comes before each request.
type RequestHeader struct {
	Key           APIKey
	Version       int16
	CorrelationID int32 // the response has the same
	ClientID      []byte
	UnknownTags   []Tag
}

// RequestHeaderVersion returns the version of the header before a request. Versions beyond those that are known have the
// header of the last one, so that a broker can read who asks for them.
func (k APIKey) RequestHeaderVersion(version int16) int16 {
	switch {
	case version >= k.FlexibleVersion():
		return 2
	case k == KeyControlledShutdown && version == 0:
		return 0
	}
	return 1
}

// ResponseHeaderVersion returns the version of the header before a response. That of APIVersions is 0 always: the client
// does not know yet what the broker knows.
func (k APIKey) ResponseHeaderVersion(version int16) int16 {
	if k != KeyAPIVersions && version >= k.FlexibleVersion() {
		return 1
	}
	return 0
}

// code codes the header. The client id has a long length even in flexible versions.
func (h *RequestHeader) code(c *coder) {
	c.message = "RequestHeader"
	c.int16((*int16)(&h.Key))
	c.int16(&h.Version)
	c.int32(&h.CorrelationID)
	c.version = h.Key.RequestHeaderVersion(h.Version)
	if c.version > 0 {
		n := len(h.ClientID)
		if h.ClientID == nil {
			n = -1
		}
		n = c.stringLength(n)
		if !c.decoding {
			c.out = append(c.out, h.ClientID...)
		} else if n >= 0 {
			h.ClientID = c.r.Bytes(n)
		}
	}
	if c.version > 1 {
		c.flexible = true
		c.unknownTags(&h.UnknownTags)
	}
}

// Append appends the header.
func (h *RequestHeader) Append(dst []byte) ([]byte, error) {
	c := coder{out: dst, start: len(dst)}
	h.code(&c)
	return c.appended()
}

// Decode reads the header at the start of b and returns what comes after it. It takes every key and version: a broker
// asks [APIKey.Supports] next. ClientID and tags are parts of b.
func (h *RequestHeader) Decode(b []byte) (body []byte, err error) { return h.DecodeLimited(b, 0) }

// DecodeLimited is Decode that fails with [ErrElements] when there are more than so many tagged fields. 0 is no bound.
func (h *RequestHeader) DecodeLimited(b []byte, tags int) (body []byte, err error) {
	c := coder{decoding: true, in: b, r: codec.NewReader(b), limit: tags}
	*h = RequestHeader{}
	h.code(&c)
	body = c.r.Bytes(c.r.Len())
	if err := c.decoded(); err != nil {
		return nil, err
	}
	return body, nil
}

// AppendResponseHeader appends the header of a response to a request of the key and version.
func AppendResponseHeader(dst []byte, key APIKey, version int16, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if key.ResponseHeaderVersion(version) > 0 {
		dst = append(dst, 0)
	}
	return dst
}

// DecodeResponseHeader reads the header of a response to a request of the key and version and returns the number of the
// request and what comes after the header. Tagged fields are passed over and take no memory: there are none so far.
func DecodeResponseHeader(b []byte, key APIKey, version int16) (correlationID int32, body []byte, err error) {
	c := coder{decoding: true, in: b, r: codec.NewReader(b), message: "ResponseHeader"}
	c.version = key.ResponseHeaderVersion(version)
	c.int32(&correlationID)
	if c.version > 0 {
		c.flexible = true
		for t := c.tags(0, true); t.next(&c, nil); {
			c.r.Skip(c.r.Len())
		}
	}
	body = c.r.Bytes(c.r.Len())
	if err := c.decoded(); err != nil {
		return 0, nil, err
	}
	return correlationID, body, nil
}

// AppendRequest appends a request as it travels: its size in four bytes, the header and the body. It sets the key of the
// header.
func AppendRequest(dst []byte, h RequestHeader, m Request) ([]byte, error) {
	h.Key = m.Key()
	out, err := h.Append(append(dst, 0, 0, 0, 0))
	if err == nil {
		out, err = m.Append(out, h.Version)
	}
	if err != nil {
		return dst, err
	}
	return sized(out, len(dst), "Request")
}

// AppendResponse appends a response as it travels: its size in four bytes, the header and the body.
func AppendResponse(dst []byte, correlationID int32, m Response, version int16) ([]byte, error) {
	out := AppendResponseHeader(append(dst, 0, 0, 0, 0), m.Key(), version, correlationID)
	out, err := m.Append(out, version)
	if err != nil {
		return dst, err
	}
	return sized(out, len(dst), "Response")
}

// sized sets the size of what starts at an offset.
func sized(b []byte, at int, message string) ([]byte, error) {
	n := len(b) - at - 4
	if n > math.MaxInt32 {
		return b[:at], &Error{Message: message, Err: ErrLong}
	}
	binary.BigEndian.PutUint32(b[at:], uint32(n))
	return b, nil
}
