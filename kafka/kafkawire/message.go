package kafkawire

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/quartet-mq/quartet/codec"
)

// Message is a body that has versions.
type Message interface {
	// Append appends the message in a version and returns the extended slice. When it fails, which it does with an
	// [*Error], it returns dst as it was.
	Append(dst []byte, version int16) ([]byte, error)

	// Decode sets the message to what all of b holds in a version. It fails with an [*Error], after which the message
	// holds what was read until then.
	Decode(b []byte, version int16) error

	// Reset sets every field to its default.
	Reset()
}

// Request is a message from a client to a broker.
type Request interface {
	Message
	Key() APIKey

	// DecodeLimited is Decode with a bound on the memory that it takes: it fails with [ErrElements] when all arrays of the
	// request, and the tagged fields that the schema does not know, have more than so many elements together. 0 is no bound.
	DecodeLimited(b []byte, version int16, elements int) error

	// NewResponse returns an empty response of the same key.
	NewResponse() Response
}

// Response is the answer to a [Request].
type Response interface {
	Message
	Key() APIKey
	response()
}

// APIKey says what a request is about.
type APIKey int16

func (k APIKey) known() bool { return k >= 0 && int(k) < len(apis) }

// String returns the name, or the number of a key that has none.
func (k APIKey) String() string {
	if !k.known() {
		return "APIKey(" + strconv.Itoa(int(k)) + ")"
	}
	return apis[k].name
}

// MinVersion is the lowest version of the messages. It is above [APIKey.MaxVersion] for a key without messages.
func (k APIKey) MinVersion() int16 {
	if !k.known() {
		return 0
	}
	return apis[k].min
}

// MaxVersion is the highest version of the messages, -1 for a key without any.
func (k APIKey) MaxVersion() int16 {
	if !k.known() {
		return -1
	}
	return apis[k].max
}

// FlexibleVersion is the first version with compact lengths and tagged fields. It is above [APIKey.MaxVersion] when
// there is none.
func (k APIKey) FlexibleVersion() int16 {
	if !k.known() {
		return never
	}
	return apis[k].flexible
}

// Supports reports whether the messages have a version.
func (k APIKey) Supports(version int16) bool {
	return k.MinVersion() <= version && version <= k.MaxVersion()
}

// Keys is the number of API keys that have a name: they are 0 to Keys-1.
const Keys = len(apis)

// never is the flexible version of messages without one.
const never = math.MaxInt16

// AppendVersioned appends a version in two bytes, then the message in it. Data in records and in the metadata of groups
// have this form.
func AppendVersioned(dst []byte, m Message, version int16) ([]byte, error) {
	out, err := m.Append(binary.BigEndian.AppendUint16(dst, uint16(version)), version)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// DecodeVersioned reads what [AppendVersioned] writes and returns the version.
func DecodeVersioned(b []byte, m Message) (version int16, err error) {
	r := codec.NewReader(b)
	version = r.Int16()
	if err := r.Err(); err != nil {
		return 0, &Error{Err: err}
	}
	return version, m.Decode(b[2:], version)
}
