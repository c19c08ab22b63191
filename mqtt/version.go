package mqtt

// Version is an MQTT protocol version, as the protocol level byte of CONNECT has it (section 3.1.2.2).
type Version uint8

// The protocol versions that Quartet speaks. Zero is no version.
const (
	Version31  Version = 3 // MQTT 3.1, protocol name "MQIsdp"
	Version311 Version = 4 // MQTT 3.1.1
	Version5   Version = 5 // MQTT 5.0
)

// String returns "3.1", "3.1.1" or "5.0".
func (v Version) String() string {
	switch v {
	case Version31:
		return "3.1"
	case Version311:
		return "3.1.1"
	case Version5:
		return "5.0"
	}
	return "unknown version"
}

// QoS is a quality of service level (section 4.3).
type QoS uint8

// The quality of service levels.
const (
	QoS0 QoS = 0 // at most once
	QoS1 QoS = 1 // at least once
	QoS2 QoS = 2 // exactly once
)

// Role tells which end of a connection something acts for.
type Role uint8

// The two roles.
const (
	Client Role = iota + 1
	Server
)
