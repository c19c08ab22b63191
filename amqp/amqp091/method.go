package amqp091

import "encoding/binary"

// MethodID is the number of a method: its class in the upper 16 bits, its number in the class in the lower.
type MethodID uint32

// Class returns the number of the class.
func (id MethodID) Class() uint16 { return uint16(id >> 16) }

// Method returns the number of the method in its class.
func (id MethodID) Method() uint16 { return uint16(id) }

// String returns the name, such as "basic.publish", or the numbers, such as "60.7".
func (id MethodID) String() string {
	if s := id.name(); s != "" {
		return s
	}
	return utoa(uint64(id.Class())) + "." + utoa(uint64(id.Method()))
}

// Method is one of the methods of this package, such as *[QueueDeclare].
type Method interface {
	// ID returns the number of the method.
	ID() MethodID
	// String returns the method on one line, such as basic.ack(delivery-tag=1, multiple). Arguments that are zero or
	// empty are left out, secrets are not shown.
	String() string

	// decode sets all fields from the arguments on the wire.
	decode(b []byte) error
	// appendTo appends the arguments; dst comes back as it was beside an error.
	appendTo(dst []byte) ([]byte, error)
}

// PeekMethod returns the number of the method in the payload of a method frame, which may be one that this package
// does not have. It returns false when the payload is too short.
func PeekMethod(payload []byte) (MethodID, bool) {
	if len(payload) < 4 {
		return 0, false
	}
	return MethodID(binary.BigEndian.Uint32(payload)), true
}

// DecodeMethod decodes the payload of a method frame. Nothing of the result is part of payload. It takes memory in
// proportion to the length of payload.
//
// The error is an *[Error]: FRAME_ERROR when the payload is malformed, NOT_IMPLEMENTED when the method is unknown.
func DecodeMethod(payload []byte) (Method, error) {
	id, ok := PeekMethod(payload)
	if !ok {
		return nil, errFrame("method frame is too short")
	}
	m := newMethod(id)
	if m == nil {
		return nil, &Error{Code: NotImplemented, Text: "no method " + id.String(), Method: id, Hard: true}
	}
	if err := m.decode(payload[4:]); err != nil {
		return nil, err
	}
	return m, nil
}

// AppendMethod appends a frame with m to dst and returns the extended slice. Whether the peer takes a frame of that
// size is for the caller to know.
//
// The error is an *[Error] with code SYNTAX_ERROR, and dst is returned as it was, when an argument cannot be encoded: a
// short string of more than 255 bytes or not UTF-8, or a table with a value of another type than [Table] has.
func AppendMethod(dst []byte, channel uint16, m Method) ([]byte, error) {
	start := len(dst)
	out := beginMethod(dst, channel, m.ID())
	out, err := m.appendTo(out)
	if err != nil {
		return dst[:start], err
	}
	return finishFrame(out, start+frameHeaderSize), nil
}

// beginMethod appends the beginning of a method frame up to the first argument.
func beginMethod(dst []byte, channel uint16, id MethodID) []byte {
	return append(dst, byte(FrameMethod), byte(channel>>8), byte(channel), 0, 0, 0, 0,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}
