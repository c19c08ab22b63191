package mqtt

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

// MaxPacketSize is the largest packet that the remaining length field can describe, with its fixed header:
// 268,435,455 bytes and a header of five (section 2.1.4).
const MaxPacketSize = 268_435_455 + 5

// Packet is one of the fifteen control packets: *[Connect], *[Connack], *[Publish], *[Puback], *[Pubrec], *[Pubrel],
// *[Pubcomp], *[Subscribe], *[Suback], *[Unsubscribe], *[Unsuback], *[Pingreq], *[Pingresp], *[Disconnect] or *[Auth].
// The text of a packet (String) is stable and meant for traces and golden files.
type Packet interface {
	// Type returns the control packet type.
	Type() PacketType
	// String returns the text form of the packet.
	String() string
	// appendTo encodes the packet; it closes the set of packets.
	appendTo(dst []byte, v Version, illegal bool) ([]byte, error)
}
