package amqpbroker

// settings are what the arguments of a queue and its policy say.
type settings struct {
	ttl           int64 // milliseconds; negative for none, as with all numbers here
	expires       int64
	maxLength     int64
	maxBytes      int64
	deliveryLimit int64
	overflow      overflow
	deadLetter    bool // there is a dead letter exchange
	exchange      string
	rekey         bool // dead letters get another routing key
	key           string
	timeout       int64 // for consumers, milliseconds; zero is the broker's
}

// overflow is what happens when a queue is full.
type overflow uint8

const (
	overflowDropHead overflow = iota
	overflowReject
	overflowRejectDLX
)

// noSettings are the settings of a queue without arguments.
var noSettings = settings{ttl: -1, expires: -1, maxLength: -1, maxBytes: -1, deliveryLimit: -1}

// bounded reports whether the length of the queue is limited.
func (s *settings) bounded() bool { return s.maxLength >= 0 || s.maxBytes >= 0 }
