package amqp091

import (
	"encoding/binary"
	"math"
	"time"
)

// Values of the property delivery-mode.
const (
	Transient  uint8 = 1
	Persistent uint8 = 2
)

// Properties are the properties of a message. A zero field is a property that is absent; so a string that is present
// and empty, or a number that is present and zero, is only in [RawProperties].
type Properties struct {
	ContentType     string
	ContentEncoding string
	Headers         Table
	DeliveryMode    uint8 // [Transient] or [Persistent]
	Priority        uint8
	CorrelationID   string
	ReplyTo         string
	Expiration      string // milliseconds, in decimal
	MessageID       string
	Timestamp       time.Time // whole seconds
	Type            string
	UserID          string
	AppID           string
	ClusterID       string // reserved
}

// Append appends the properties as [RawProperties]. The error is an *[Error] with code SYNTAX_ERROR, and dst is
// returned as it was, when a string is longer than 255 bytes or the headers cannot be encoded.
func (p *Properties) Append(dst []byte) ([]byte, error) {
	e := newEncoder(dst)
	e.uint16(0)
	var flags propertyFlags
	str := func(flag propertyFlags, name, v string) {
		if v != "" {
			flags |= flag
			e.shortProperty(name, v)
		}
	}
	str(propContentType, "content-type", p.ContentType)
	str(propContentEncoding, "content-encoding", p.ContentEncoding)
	if len(p.Headers) > 0 {
		flags |= propHeaders
		e.table("headers", p.Headers)
	}
	if p.DeliveryMode != 0 {
		flags |= propDeliveryMode
		e.uint8(p.DeliveryMode)
	}
	if p.Priority != 0 {
		flags |= propPriority
		e.uint8(p.Priority)
	}
	str(propCorrelationID, "correlation-id", p.CorrelationID)
	str(propReplyTo, "reply-to", p.ReplyTo)
	str(propExpiration, "expiration", p.Expiration)
	str(propMessageID, "message-id", p.MessageID)
	if !p.Timestamp.IsZero() {
		flags |= propTimestamp
		e.uint64(uint64(p.Timestamp.Unix()))
	}
	str(propType, "type", p.Type)
	str(propUserID, "user-id", p.UserID)
	str(propAppID, "app-id", p.AppID)
	str(propClusterID, "cluster-id", p.ClusterID)
	if e.err != nil {
		return dst, e.err
	}
	binary.BigEndian.PutUint16(e.b[len(dst):], uint16(flags))
	return e.b, nil
}

// propertyFlags says which properties are there, one bit for each.
type propertyFlags uint16

const (
	propContentType propertyFlags = 1 << (15 - iota)
	propContentEncoding
	propHeaders
	propDeliveryMode
	propPriority
	propCorrelationID
	propReplyTo
	propExpiration
	propMessageID
	propTimestamp
	propType
	propUserID
	propAppID
	propClusterID

	propNone    propertyFlags = 3 // what this version does not have: the last property, and a second word of flags
	propNumbers               = propDeliveryMode | propPriority
)

// skip returns the length in b of the property with a flag, or -1 when it is not there as a whole.
func (f propertyFlags) skip(b []byte) int {
	n := 0
	switch {
	case f&propNumbers != 0:
		n = 1
	case f == propTimestamp:
		n = 8
	case f == propHeaders:
		if len(b) < 4 {
			return -1
		}
		size := binary.BigEndian.Uint32(b)
		if uint64(size) > math.MaxInt-4 {
			return -1
		}
		n = 4 + int(size)
	default:
		if len(b) < 1 {
			return -1
		}
		n = 1 + int(b[0])
	}
	if n > len(b) {
		return -1
	}
	return n
}
