package amqp

// HeaderSize is the length of every protocol header.
const HeaderSize = 8

// Header is a protocol header: what a client sends first, and with what a server answers it.
type Header string

// The protocol headers. AMQP 1.0 has three, for a connection in clear, for SASL, and for TLS that begins after it.
const (
	Header091  Header = "AMQP\x00\x00\x09\x01"
	Header10   Header = "AMQP\x00\x01\x00\x00"
	HeaderSASL Header = "AMQP\x03\x01\x00\x00"
	HeaderTLS  Header = "AMQP\x02\x01\x00\x00"
)

// String returns the name of the protocol.
func (h Header) String() string {
	switch h {
	case Header091:
		return "AMQP 0-9-1"
	case Header10:
		return "AMQP 1.0"
	case HeaderSASL:
		return "AMQP 1.0 SASL"
	case HeaderTLS:
		return "AMQP 1.0 TLS"
	case "":
		return "no protocol header"
	}
	return "unknown protocol header"
}
