package mqtt

import "github.com/quartet-mq/quartet/codec"

// Append appends the encoding of p in protocol version v to dst and returns the extended slice. It does not keep p.
//
// The error is an *[Error], and dst is returned as it was, when p must not be sent: the code is the reason code with
// which a strict receiver would refuse the packet. Fields that version v lacks are not sent, such as the reason of a
// PUBACK before version 5; properties, which would change the meaning by their absence, are an error there. A CONNECT
// is encoded in its own Version; v counts when that is zero.
//
// Lengths that a peer sets, such as its maximum packet size, are for the caller to check.
func Append(dst []byte, p Packet, v Version) ([]byte, error) {
	if err := p.check(v); err != nil {
		return dst, err
	}
	return p.appendTo(dst, v)
}

// AppendIllegal is [Append] without the checks of values: tests build with it what a broken or hostile peer sends. The
// structure remains that of a packet: lengths are right, strings longer than 65,535 bytes are cut.
func AppendIllegal(dst []byte, p Packet, v Version) ([]byte, error) {
	return p.appendTo(dst, v)
}

// begin appends the first byte of a packet and a place for its length; finish puts the length there.
func begin(dst []byte, first byte) []byte { return append(dst, first, 0) }

// finish sets the remaining length of the packet that begins at start and ends with dst.
func finish(dst []byte, start int) ([]byte, error) {
	n := len(dst) - start - 2
	if n < 0x80 {
		dst[start+1] = byte(n)
		return dst, nil
	}
	if n > codec.MaxUvarint28 {
		return dst[:start], errTooLarge()
	}
	more := codec.SizeUvarint28(uint32(n)) - 1
	dst = append(dst, 0, 0, 0)[:len(dst)+more]
	copy(dst[start+2+more:], dst[start+2:start+2+n])
	codec.AppendUvarint28(dst[:start+1], uint32(n))
	return dst, nil
}

// checkVersion returns an error for a version that the codec does not have.
func checkVersion(v Version) error {
	if v < Version31 || v > Version5 {
		return &Error{Code: ReasonUnsupportedProtocolVersion, Reason: "no such protocol version"}
	}
	return nil
}
