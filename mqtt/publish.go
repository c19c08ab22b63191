package mqtt

import (
	"encoding/binary"
	"slices"

	"github.com/quartet-mq/quartet/codec"
)

// Publish is the PUBLISH packet (section 3.3). A decoded Publish aliases the decoder's input: Topic, Payload and
// Properties are valid until that input is reused. Topic is empty when only a topic alias names the topic.
type Publish struct {
	Topic      []byte
	Payload    []byte
	Properties Properties // version 5 only
	ID         uint16     // packet identifier, 0 at QoS 0
	QoS        QoS
	Dup        bool
	Retain     bool
}

// The flags of the first byte of PUBLISH.
const (
	flagRetain = 1 << 0
	flagQoS    = 1 << 1 // two bits
	flagDup    = 1 << 3
)

// Type returns [TypePublish].
func (p *Publish) Type() PacketType { return TypePublish }

// checkPublishFlags checks the first byte of PUBLISH.
func checkPublishFlags(first byte) error {
	switch qos := QoS(first / flagQoS & 3); {
	case qos > QoS2:
		return errMalformed("PUBLISH has QoS 3") // [MQTT-3.3.1-4]
	case qos == QoS0 && first&flagDup != 0:
		return errMalformed("PUBLISH has DUP at QoS 0") // [MQTT-3.3.1-2]
	}
	return nil
}

// decode takes the first byte of the fixed header and what follows the fixed header. p aliases b.
func (p *Publish) decode(first byte, b []byte, v Version, from Role) error {
	qos := QoS(first / flagQoS & 3)
	if qos > QoS2 || qos == QoS0 && first&flagDup != 0 {
		return checkPublishFlags(first)
	}
	end := size16(b)
	if end == 0 {
		return errMalformed("topic name is cut")
	}
	p.QoS, p.Dup, p.Retain = qos, first&flagDup != 0, first&flagRetain != 0
	p.Topic, p.ID = b[2:end:end], 0
	if !plainName(p.Topic) {
		if err := checkName(p.Topic); err != nil {
			return err
		}
	}
	b = b[end:]
	if qos > QoS0 {
		if len(b) < 2 {
			return errMalformed("packet identifier is cut")
		}
		p.ID = binary.BigEndian.Uint16(b)
		if p.ID == 0 {
			return errZeroID() // [MQTT-2.2.1-3]
		}
		b = b[2:]
	}
	p.Properties = nil
	if v == Version5 {
		size, n, err := codec.PeekUvarint28(b)
		if err != nil || n == 0 || int(size) > len(b)-n {
			return errMalformed("properties are cut or their length is not well formed")
		}
		end := n + int(size)
		if size > 0 {
			p.Properties = Properties(b[n:end:end])
		}
		b = b[end:]
	}
	p.Payload = b
	if len(p.Properties) > 0 || len(p.Topic) == 0 {
		return p.checkProperties(from)
	}
	return nil
}

// checkProperties checks the properties and that something names the topic.
func (p *Publish) checkProperties(from Role) error {
	seen, err := publishProps.check(p.Properties)
	switch {
	case err != nil:
		return err
	case from == Client && seen.has(PropSubscriptionIdentifier):
		return errProtocol("PUBLISH of a client has a subscription identifier") // [MQTT-3.3.4-6]
	case len(p.Topic) == 0 && !seen.has(PropTopicAlias):
		return errProtocol("PUBLISH has neither topic name nor topic alias")
	}
	return nil
}

// first returns the first byte of the fixed header.
func (p *Publish) first() byte {
	first := byte(TypePublish)<<4 | byte(p.QoS&3)*flagQoS
	if p.Retain {
		first |= flagRetain
	}
	if p.Dup {
		first |= flagDup
	}
	return first
}

func (p *Publish) check(v Version) error {
	if err := checkVersion(v); err != nil {
		return err
	}
	switch {
	case p.QoS > QoS2 || p.Dup && p.QoS == QoS0:
		return checkPublishFlags(p.first() | byte(min(p.QoS, 3))*flagQoS)
	case p.QoS > QoS0 && p.ID == 0:
		return errZeroID()
	case len(p.Topic) > maxString:
		return errLong("topic name")
	case v < Version5 && len(p.Properties) > 0:
		return errProtocol("MQTT " + v.String() + " has no properties")
	}
	if !plainName(p.Topic) {
		if err := checkName(p.Topic); err != nil {
			return err
		}
	}
	if len(p.Properties) > 0 || len(p.Topic) == 0 {
		return p.checkProperties(0)
	}
	return nil
}

// remaining returns the remaining length.
func (p *Publish) remaining(v Version) int {
	n := 2 + min(len(p.Topic), maxString) + p.Properties.wireSize(v) + len(p.Payload)
	if p.QoS > QoS0 {
		n += 2
	}
	return n
}

// PublishSize returns how many bytes p takes on the wire in version v.
func PublishSize(p *Publish, v Version) int {
	n := p.remaining(v)
	return 1 + codec.SizeUvarint64(uint64(n)) + n
}

// AppendPublish is [Append] for PUBLISH. It allocates nothing when dst has room.
func AppendPublish(dst []byte, p *Publish, v Version) ([]byte, error) {
	if err := p.check(v); err != nil {
		return dst, err
	}
	return p.appendTo(dst, v)
}

// AppendPublishHeader appends everything of p but the bytes of the payload, which must follow on the wire: for writing
// a large payload from where it is.
func AppendPublishHeader(dst []byte, p *Publish, v Version) ([]byte, error) {
	if err := p.check(v); err != nil {
		return dst, err
	}
	n := p.remaining(v)
	if n > codec.MaxUvarint28 {
		return dst, errTooLarge()
	}
	return p.appendHeader(dst, n, v), nil
}

func (p *Publish) appendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining(v)
	if n > codec.MaxUvarint28 {
		return dst, errTooLarge()
	}
	dst = p.appendHeader(slices.Grow(dst, n+5), n, v)
	return append(dst, p.Payload...), nil
}

func (p *Publish) appendHeader(dst []byte, remaining int, v Version) []byte {
	first, n := p.first(), uint(remaining)
	switch {
	case n < 1<<7:
		dst = append(dst, first, byte(n))
	case n < 1<<14:
		dst = append(dst, first, byte(n)|0x80, byte(n>>7))
	default:
		dst = codec.AppendUvarint28(append(dst, first), uint32(n))
	}
	dst = codec.AppendBytes16(dst, p.Topic)
	if p.QoS > QoS0 {
		dst = append(dst, byte(p.ID>>8), byte(p.ID))
	}
	return p.Properties.appendTo(dst, v)
}

// String returns the text form of the packet.
func (p *Publish) String() string {
	b := append([]byte(nil), "PUBLISH"...)
	if p.ID != 0 {
		b = appendNumber(b, "id", p.ID)
	}
	b = appendNumber(b, "qos", p.QoS)
	b = appendFlag(b, "dup", p.Dup)
	b = appendFlag(b, "retain", p.Retain)
	b = appendString(b, "topic", string(p.Topic))
	b = appendBlob(append(b, " payload="...), p.Payload)
	return string(p.Properties.appendText(b, "props"))
}
