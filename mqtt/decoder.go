package mqtt

import "github.com/quartet-mq/quartet/codec"

// maxString is the largest size of a string or of binary data, in bytes (sections 1.5.4 and 1.5.6).
const maxString = 65_535

// Decoder decodes packets from the front of byte slices. It is strict: it refuses everything that the standard calls
// malformed or a protocol error and that can be seen in a single packet.
//
// The zero value is ready to use. A Decoder is not safe for concurrent use. It is a small value without resources; it
// may be kept in a pool.
type Decoder struct {
	// MaxSize is the largest packet that is accepted, in bytes with its fixed header. Zero means what the protocol
	// allows.
	MaxSize int

	// From is the role of the peer that sends the packets. It makes the decoder refuse packets and properties that only
	// the other role may send. Zero allows both directions.
	From Role

	publish Publish
	ack     ack // of all four types
}

// Decode decodes the packet at the front of b and returns it and its size in bytes. When b does not hold the whole
// packet yet, p and n and err are zero: call it again with more input.
//
// v is the protocol version of the connection. CONNECT chooses the version itself and is decoded whatever v is; when v
// is zero, before CONNECT, another packet is a protocol error [MQTT-3.1.0-1].
//
// A *[Publish] and its slices, and the four acknowledgements, belong to the decoder and to b: they are valid until the
// next call, and until b is reused. Other packets are newly allocated and may be kept.
//
// The error is an *[Error] with the reason code with which the connection is to be closed: [ReasonMalformedPacket],
// [ReasonProtocolError], [ReasonTopicNameInvalid], [ReasonTopicFilterInvalid]; [ReasonPacketTooLarge] as soon as the
// fixed header of a packet over MaxSize is there. For CONNECT also [ReasonUnsupportedProtocolVersion] and
// [ReasonClientIdentifierNotValid]. When a CONNECT is refused p is not nil: it is a *[Connect] of which Version is what
// the client asked for, as far as that can be told, so that a server knows in which version to answer. After an error
// the stream cannot be decoded further.
func (d *Decoder) Decode(b []byte, v Version) (p Packet, n int, err error) {
	if len(b) < 2 {
		return d.wait(b, v)
	}
	head, size := 2, int(b[1])
	if size >= 0x80 {
		if len(b) > 2 && b[2]-1 < 0x7f { // two bytes, as most have
			head, size = 3, size&0x7f|int(b[2])<<7
		} else if head, size, err = longHeader(b); err != nil {
			return nil, 0, err
		}
	}
	n = head + size
	if d.MaxSize > 0 && n > d.MaxSize {
		return nil, 0, errTooLarge()
	}
	if n > len(b) || head == 0 {
		return d.wait(b, v)
	}
	body := b[head:n:n]
	if v < Version31 || v > Version5 {
		return decodeOther(b[0], body, n, v, d.From)
	}
	switch t := PacketType(b[0] >> 4); {
	case t == TypePublish:
		if err := d.publish.decode(b[0], body, v, d.From); err != nil {
			return nil, 0, err
		}
		return &d.publish, n, nil
	case t >= TypePuback && t <= TypePubcomp:
		if b[0]&0x0f != t.flags() {
			if err := checkFirst(b[0], v, d.From); err != nil {
				return nil, 0, err
			}
		}
		if err := d.ack.decode(body, t, v); err != nil {
			return nil, 0, err
		}
		return d.ack.packet(t), n, nil
	}
	return decodeOther(b[0], body, n, v, d.From)
}

// wait says that more input is needed, unless the first byte is wrong already. It lets go of earlier input, so that an
// idle connection does not keep it.
func (d *Decoder) wait(b []byte, v Version) (Packet, int, error) {
	d.publish, d.ack = Publish{}, ack{}
	if len(b) == 0 {
		return nil, 0, nil
	}
	return nil, 0, checkFirst(b[0], v, d.From)
}

// decodeOther decodes the packets that are newly allocated. n is the size of the whole packet.
func decodeOther(first byte, body []byte, n int, v Version, from Role) (p Packet, _ int, err error) {
	if err := checkFirst(first, v, from); err != nil {
		return nil, 0, err
	}
	switch t := PacketType(first >> 4); t {
	case TypeConnect:
		connect, err := decodeConnect(body)
		if err != nil {
			return connect, 0, err
		}
		return connect, n, nil
	case TypeConnack:
		p, err = decodeConnack(body, v)
	case TypeSubscribe:
		p, err = decodeSubscribe(body, v)
	case TypeSuback:
		p, err = decodeSuback(body, v)
	case TypeUnsubscribe:
		p, err = decodeUnsubscribe(body, v)
	case TypeUnsuback:
		p, err = decodeUnsuback(body, v)
	case TypeDisconnect:
		p, err = decodeDisconnect(body, v, from)
	case TypeAuth:
		p, err = decodeAuth(body)
	default:
		p, err = decodePing(t, body)
	}
	if err != nil {
		return nil, 0, err
	}
	return p, n, nil
}

// FrameSize returns the size in bytes of the packet at the front of b, which need not be there as a whole. It is 0 when
// b does not hold the remaining length yet. The error is a [ReasonMalformedPacket] for a remaining length that is not
// well formed; FrameSize looks at nothing else.
func FrameSize(b []byte) (n int, err error) {
	if len(b) < 2 {
		return 0, nil
	}
	if b[1] < 0x80 {
		return 2 + int(b[1]), nil
	}
	head, size, err := longHeader(b)
	return head + size, err
}

// longHeader returns the size of the fixed header and the remaining length. Both are 0 when they are not there yet.
func longHeader(b []byte) (head, size int, err error) {
	u, n, err := codec.PeekUvarint28(b[1:])
	if err != nil {
		return 0, 0, &Error{Code: ReasonMalformedPacket, Reason: "remaining length is not well formed", Err: err}
	}
	if n == 0 {
		return 0, 0, nil
	}
	return 1 + n, int(u), nil
}

// flags returns the flags in the first byte of packets other than PUBLISH.
func (t PacketType) flags() byte {
	switch t {
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		return 2
	}
	return 0
}

// checkFirst checks the first byte of a packet: type and flags, whether that version has it and that role may send it.
func checkFirst(first byte, v Version, from Role) error {
	t := PacketType(first >> 4)
	switch {
	case t == 0 || t == TypeAuth && v != 0 && v < Version5:
		return errMalformed("no such packet type")
	case v == 0 && t != TypeConnect:
		return errProtocol(t.String() + " comes before CONNECT")
	case v != 0 && (v < Version31 || v > Version5):
		return checkVersion(v)
	case t == TypePublish:
		return checkPublishFlags(first)
	}
	flags := first & 0x0f
	if v == Version31 && t.flags() != 0 {
		flags &^= flagDup // MQTT 3.1 marks a repeated one
	}
	if flags != t.flags() {
		return errMalformed(t.String() + " has reserved flags")
	}
	if from == Client && t.serverOnly() || from == Server && (t.clientOnly() || t == TypeDisconnect && v < Version5) {
		return errProtocol(t.String() + " is not for this end to send")
	}
	return nil
}

// serverOnly reports whether only servers send such packets.
func (t PacketType) serverOnly() bool {
	return t == TypeConnack || t == TypeSuback || t == TypeUnsuback || t == TypePingresp
}

// clientOnly reports whether only clients send such packets.
func (t PacketType) clientOnly() bool {
	return t == TypeConnect || t == TypeSubscribe || t == TypeUnsubscribe || t == TypePingreq
}

// end returns what ends the decoding of a packet: err, a failure of r, or an error when there is input left.
func end(r *codec.Reader, err error) error {
	switch {
	case err != nil:
		return err
	case r.Err() != nil:
		return &Error{Code: ReasonMalformedPacket, Reason: "packet is cut or not well formed", Err: r.Err()}
	case r.Len() > 0:
		return errTrailing()
	}
	return nil
}

func errTrailing() error { return errMalformed("packet is longer than its contents") }

func errZeroID() error { return errProtocol("packet identifier is 0") }

func errReason(t PacketType, c ReasonCode) error {
	return errProtocol(t.String() + " has no reason code " + string(appendHex(nil, c)))
}

func errLong(what string) error { return errMalformed(what + " is longer than 65,535 bytes") }
