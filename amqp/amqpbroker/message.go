package amqpbroker

import (
	"unsafe"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// message is a message as it came: one for all queues that it is in. It does not change.
type message struct {
	exchange string
	key      string
	props    amqp091.RawProperties
	body     []byte
	seq      uint64 // of its record in the journal; 0 when it has none
	at       int64  // when it was accepted, in unix milliseconds: rounded up where it may expire
	ttl      int64  // its expiration in milliseconds, negative for none
	priority uint8
	flags    messageFlags
}

// messageFlags say what is special about a message.
type messageFlags uint8

const (
	messagePersistent messageFlags = 1 << iota
	messageDied                    // it was dead-lettered: the broker wrote its x-death header
	messageMoved                   // it was made from another one: it is not delivered before that is durable
	messageView                    // the slices belong to the connection that it came from: see own
)

// messageStored are the flags that the journal keeps.
const (
	messageStored = messagePersistent | messageDied
)

// size is what the message counts in limits, statistics and the journal, in bytes.
func (m *message) size() int {
	return len(m.exchange) + len(m.key) + len(m.props) + len(m.body)
}

// length is what the message counts in the limit of bytes of a queue: the body.
func (m *message) length() int64 { return int64(len(m.body)) }

// own returns a message that does not share memory with a connection. The exchange and the key are strings of the broker
// already.
func (m *message) own() *message {
	c := *m
	if m.flags&messageView == 0 {
		return m
	}
	n := len(m.props)
	blob := make([]byte, n+len(m.body))
	copy(blob, m.props)
	copy(blob[n:], m.body)
	c.props, c.body = amqp091.RawProperties(blob[:n:n]), blob[n:]
	c.flags &^= messageView
	return &c
}

// text returns b as a string without a copy: b must not change any more.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
