package amqp091

import (
	"encoding/binary"
	"time"

	"github.com/quartet-mq/quartet/codec"
)

// RawProperties are the properties of a message as on the wire: two bytes of flags and the properties that these
// announce. Nil, like two zero bytes, means none. The accessors allocate nothing and return parts of r; they treat a
// property that is malformed as absent. [RawProperties.Validate] tells whether something is.
type RawProperties []byte

// flags returns the flags and the properties.
func (r RawProperties) split() (propertyFlags, []byte) {
	if len(r) < 2 {
		return 0, nil
	}
	return propertyFlags(binary.BigEndian.Uint16(r)), r[2:]
}

// find returns where a property is in r, with its length.
func (r RawProperties) find(want propertyFlags) (start, end int, ok bool) {
	flags, b := r.split()
	if flags&want == 0 {
		return 0, 0, false
	}
	at := 2
	for f := propContentType; f >= want; f >>= 1 {
		if flags&f == 0 {
			continue
		}
		n := f.skip(b)
		if n < 0 {
			return 0, 0, false
		}
		if f == want {
			return at, at + n, true
		}
		at, b = at+n, b[n:]
	}
	return 0, 0, false
}

func (r RawProperties) short(want propertyFlags) ([]byte, bool) {
	start, end, ok := r.find(want)
	if !ok {
		return nil, false
	}
	return r[start+1 : end : end], true
}

func (r RawProperties) octet(want propertyFlags) (uint8, bool) {
	start, _, ok := r.find(want)
	if !ok {
		return 0, false
	}
	return r[start], true
}

// ContentType returns the property content-type.
func (r RawProperties) ContentType() ([]byte, bool) { return r.short(propContentType) }

// ContentEncoding returns the property content-encoding.
func (r RawProperties) ContentEncoding() ([]byte, bool) { return r.short(propContentEncoding) }

// Headers returns the property headers, nil when it is absent or empty.
func (r RawProperties) Headers() RawTable {
	start, end, ok := r.find(propHeaders)
	if !ok || end-start == 4 {
		return nil
	}
	return RawTable(r[start+4 : end : end])
}

// DeliveryMode returns the property delivery-mode, 0 when it is absent.
func (r RawProperties) DeliveryMode() uint8 {
	v, _ := r.octet(propDeliveryMode)
	return v
}

// Priority returns the property priority.
func (r RawProperties) Priority() (uint8, bool) { return r.octet(propPriority) }

// CorrelationID returns the property correlation-id.
func (r RawProperties) CorrelationID() ([]byte, bool) { return r.short(propCorrelationID) }

// ReplyTo returns the property reply-to.
func (r RawProperties) ReplyTo() ([]byte, bool) { return r.short(propReplyTo) }

// Expiration returns the property expiration: milliseconds in decimal, if the publisher did right.
func (r RawProperties) Expiration() ([]byte, bool) { return r.short(propExpiration) }

// MessageID returns the property message-id.
func (r RawProperties) MessageID() ([]byte, bool) { return r.short(propMessageID) }

// Timestamp returns the property timestamp.
func (r RawProperties) Timestamp() (time.Time, bool) {
	start, end, ok := r.find(propTimestamp)
	if !ok {
		return time.Time{}, false
	}
	return fromTimestamp(binary.BigEndian.Uint64(r[start:end])), true
}

// Type returns the property type.
func (r RawProperties) Type() ([]byte, bool) { return r.short(propType) }

// UserID returns the property user-id.
func (r RawProperties) UserID() ([]byte, bool) { return r.short(propUserID) }

// AppID returns the property app-id.
func (r RawProperties) AppID() ([]byte, bool) { return r.short(propAppID) }

// ClusterID returns the reserved property cluster-id.
func (r RawProperties) ClusterID() ([]byte, bool) { return r.short(propClusterID) }

// Validate returns an error, a FRAME_ERROR, when r is not what its flags announce, has flags that this version lacks,
// or has malformed headers. It allocates nothing when r is valid.
func (r RawProperties) Validate() error {
	if err := r.check(); err != nil {
		return &Error{Code: FrameError, Text: "cannot decode properties", Hard: true, Err: err}
	}
	return nil
}

func (r RawProperties) check() error {
	flags, b := r.split()
	if len(r) == 1 {
		return codec.ErrShort
	}
	if flags&propNone != 0 {
		return errFlags
	}
	for f := propContentType; f > propNone; f >>= 1 {
		if flags&f == 0 {
			continue
		}
		n := f.skip(b)
		if n < 0 {
			return codec.ErrShort
		}
		if f == propHeaders {
			if err := validTable(RawTable(b[4:n]), 1); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	if len(b) > 0 {
		return errTrailing
	}
	return nil
}

// Decode sets all fields of p. Nothing of p is part of r afterwards. The error is that of Validate, and p is then not
// changed.
func (r RawProperties) Decode(p *Properties) error {
	if err := r.Validate(); err != nil {
		return err
	}
	headers, err := r.Headers().Decode()
	if err != nil {
		return err
	}
	str := func(want propertyFlags) string {
		b, _ := r.short(want)
		return string(b)
	}
	*p = Properties{
		ContentType:     str(propContentType),
		ContentEncoding: str(propContentEncoding),
		Headers:         headers,
		DeliveryMode:    r.DeliveryMode(),
		CorrelationID:   str(propCorrelationID),
		ReplyTo:         str(propReplyTo),
		Expiration:      str(propExpiration),
		MessageID:       str(propMessageID),
		Type:            str(propType),
		UserID:          str(propUserID),
		AppID:           str(propAppID),
		ClusterID:       str(propClusterID),
	}
	p.Priority, _ = r.Priority()
	p.Timestamp, _ = r.Timestamp()
	return nil
}

// WithHeaders appends a copy of r that has the headers t, or none when t is empty. r must be valid.
func (r RawProperties) WithHeaders(dst []byte, t RawTable) []byte {
	return r.Edit(dst, PropertyEdit{SetHeaders: true, Headers: t})
}

// WithoutExpiration appends a copy of r without expiration. r must be valid.
func (r RawProperties) WithoutExpiration(dst []byte) []byte {
	return r.Edit(dst, PropertyEdit{DropExpiration: true})
}

// PropertyEdit says what [RawProperties.Edit] changes.
type PropertyEdit struct {
	SetHeaders     bool     // replace the headers by Headers
	Headers        RawTable // empty: no headers
	DropExpiration bool
	DropUserID     bool
	DeliveryMode   uint8 // unless 0
}

// Edit appends a copy of r with the changes of e. r must be valid. dst must not share memory with r or e.
func (r RawProperties) Edit(dst []byte, e PropertyEdit) []byte {
	flags, b := r.split()
	start := len(dst)
	dst = append(dst, 0, 0)
	out := propertyFlags(0)
	for f := propContentType; f > propNone; f >>= 1 {
		n := 0
		if flags&f != 0 {
			if n = f.skip(b); n < 0 {
				break
			}
		}
		was := b[:n]
		b = b[n:]
		switch {
		case f == propHeaders && e.SetHeaders:
			if len(e.Headers) == 0 {
				continue
			}
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.Headers)))
			dst = append(dst, e.Headers...)
		case f == propDeliveryMode && e.DeliveryMode != 0:
			dst = append(dst, e.DeliveryMode)
		case n == 0, f == propExpiration && e.DropExpiration, f == propUserID && e.DropUserID:
			continue
		default:
			dst = append(dst, was...)
		}
		out |= f
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(out))
	return dst
}
