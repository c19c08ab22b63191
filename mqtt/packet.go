package mqtt

import "strconv"

// PacketType is an MQTT control packet type (section 2.1.2).
type PacketType uint8

// The control packet types.
const (
	TypeConnect PacketType = iota + 1
	TypeConnack
	TypePublish
	TypePuback
	TypePubrec
	TypePubrel
	TypePubcomp
	TypeSubscribe
	TypeSuback
	TypeUnsubscribe
	TypeUnsuback
	TypePingreq
	TypePingresp
	TypeDisconnect
	TypeAuth
)

// String returns the name of the standard, such as "CONNECT".
func (t PacketType) String() string {
	switch t {
	case TypeConnect:
		return "CONNECT"
	case TypeConnack:
		return "CONNACK"
	case TypePublish:
		return "PUBLISH"
	case TypePuback:
		return "PUBACK"
	case TypePubrec:
		return "PUBREC"
	case TypePubrel:
		return "PUBREL"
	case TypePubcomp:
		return "PUBCOMP"
	case TypeSubscribe:
		return "SUBSCRIBE"
	case TypeSuback:
		return "SUBACK"
	case TypeUnsubscribe:
		return "UNSUBSCRIBE"
	case TypeUnsuback:
		return "UNSUBACK"
	case TypePingreq:
		return "PINGREQ"
	case TypePingresp:
		return "PINGRESP"
	case TypeDisconnect:
		return "DISCONNECT"
	case TypeAuth:
		return "AUTH"
	}
	return "packet type " + strconv.Itoa(int(t))
}

// MaxPacketSize is the largest packet that the remaining length field can describe, with its fixed header:
// 268,435,455 bytes and a header of five (section 2.1.4).
const MaxPacketSize = 268_435_455 + 5

// Packet is one of the fifteen control packets: *[Connect], *[Connack], *[Publish], *[Puback], *[Pubrec], *[Pubrel],
// *[Pubcomp], *[Subscribe], *[Suback], *[Unsubscribe], *[Unsuback], *[Pingreq], *[Pingresp], *[Disconnect] or *[Auth].
//
// The text of a packet (String) is one line, stable, and meant for traces and golden files. It shows at most the first
// 64 bytes of a payload, and the length only of passwords and authentication data.
type Packet interface {
	// Type returns the control packet type.
	Type() PacketType
	// String returns the text form of the packet.
	String() string
	// check returns an error when the packet may not be sent in version v.
	check(v Version) error
	// appendTo encodes the packet, whatever its values, and fails only when that is impossible.
	appendTo(dst []byte, v Version) ([]byte, error)
}
