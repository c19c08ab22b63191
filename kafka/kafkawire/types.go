package kafkawire

import (
	"encoding/base64"
	"errors"
	"strconv"
)

// The names and numbers of Kafka that are easily mistaken for each other have types of their own.
type (
	// TopicName is the name of a topic.
	TopicName string
	// GroupID is the name of a group.
	GroupID string
	// TransactionalID is the name under which a producer runs transactions.
	TransactionalID string
	// BrokerID is the number of a broker, also called a node.
	BrokerID int32
	// ProducerID is the number that a broker gives to an idempotent producer.
	ProducerID int64
)

// String returns the number in decimal.
func (b BrokerID) String() string { return strconv.Itoa(int(b)) }

// String returns the number in decimal.
func (p ProducerID) String() string { return strconv.FormatInt(int64(p), 10) }

// UUID identifies a topic, a directory or a client. The zero UUID stands for none.
type UUID [16]byte

// String returns the UUID as Kafka writes it: 22 characters of URL-safe base64.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// IsZero reports whether u stands for none.
func (u UUID) IsZero() bool { return u == UUID{} }

var errUUID = errors.New("kafkawire: not a UUID of 22 characters")

// ParseUUID reads what [UUID.String] writes.
func ParseUUID(s string) (u UUID, err error) {
	if base64.RawURLEncoding.DecodedLen(len(s)) != len(u) {
		return UUID{}, errUUID
	}
	if n, err := base64.RawURLEncoding.Decode(u[:], []byte(s)); err != nil || n != len(u) {
		return UUID{}, errUUID
	}
	return u, nil
}

// Tag is a tagged field that the schema does not know.
type Tag struct {
	// ID is the number of the field.
	ID uint32
	// Data is what the field holds, after decoding a part of the input.
	Data []byte
}
