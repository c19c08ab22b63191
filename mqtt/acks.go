package mqtt

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/codec"
)

// Puback is the PUBACK packet, the answer to a QoS 1 PUBLISH (section 3.4). Before version 5 it has no reason and no
// properties. Decoded Properties alias the decoder's input; this holds for the four acknowledgements.
type Puback struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubrec is the PUBREC packet, the first answer to a QoS 2 PUBLISH (section 3.5).
type Pubrec struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubrel is the PUBREL packet, the answer to PUBREC (section 3.6).
type Pubrel struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubcomp is the PUBCOMP packet, the end of a QoS 2 delivery (section 3.7).
type Pubcomp struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Type returns [TypePuback].
func (p *Puback) Type() PacketType { return TypePuback }

// Type returns [TypePubrec].
func (p *Pubrec) Type() PacketType { return TypePubrec }

// Type returns [TypePubrel].
func (p *Pubrel) Type() PacketType { return TypePubrel }

// Type returns [TypePubcomp].
func (p *Pubcomp) Type() PacketType { return TypePubcomp }

// String returns the text form of the packet.
func (p *Puback) String() string { return (*ack)(p).text(TypePuback) }

// String returns the text form of the packet.
func (p *Pubrec) String() string { return (*ack)(p).text(TypePubrec) }

// String returns the text form of the packet.
func (p *Pubrel) String() string { return (*ack)(p).text(TypePubrel) }

// String returns the text form of the packet.
func (p *Pubcomp) String() string { return (*ack)(p).text(TypePubcomp) }

func (p *Puback) check(v Version) error  { return (*ack)(p).check(TypePuback, v) }
func (p *Pubrec) check(v Version) error  { return (*ack)(p).check(TypePubrec, v) }
func (p *Pubrel) check(v Version) error  { return (*ack)(p).check(TypePubrel, v) }
func (p *Pubcomp) check(v Version) error { return (*ack)(p).check(TypePubcomp, v) }

func (p *Puback) appendTo(dst []byte, v Version) ([]byte, error) {
	return (*ack)(p).appendTo(dst, TypePuback, v)
}

func (p *Pubrec) appendTo(dst []byte, v Version) ([]byte, error) {
	return (*ack)(p).appendTo(dst, TypePubrec, v)
}

func (p *Pubrel) appendTo(dst []byte, v Version) ([]byte, error) {
	return (*ack)(p).appendTo(dst, TypePubrel, v)
}

func (p *Pubcomp) appendTo(dst []byte, v Version) ([]byte, error) {
	return (*ack)(p).appendTo(dst, TypePubcomp, v)
}

// ack is what the four acknowledgements have in common: everything but the type.
type ack struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// decode takes what follows the fixed header. a aliases b.
func (a *ack) decode(b []byte, t PacketType, v Version) error {
	if len(b) < 2 {
		return errMalformed("packet identifier is cut")
	}
	a.ID, a.Reason, a.Properties = binary.BigEndian.Uint16(b), ReasonSuccess, nil
	if a.ID == 0 {
		return errZeroID()
	}
	if len(b) == 2 {
		return nil
	}
	if v < Version5 {
		return errTrailing()
	}
	a.Reason = ReasonCode(b[2])
	if !a.Reason.ValidFor(t) {
		return errReason(t, a.Reason)
	}
	if len(b) == 3 {
		return nil
	}
	r := codec.NewReader(b)
	r.Skip(3)
	props, _, err := ackProps.read(&r, v)
	a.Properties = props
	return end(&r, err)
}

// packet returns a as a packet of type t.
func (a *ack) packet(t PacketType) Packet {
	switch t {
	case TypePuback:
		return (*Puback)(a)
	case TypePubrec:
		return (*Pubrec)(a)
	case TypePubrel:
		return (*Pubrel)(a)
	}
	return (*Pubcomp)(a)
}

func (a *ack) check(t PacketType, v Version) error {
	if a.ID == 0 {
		return errZeroID()
	}
	if v == Version5 && !a.Reason.ValidFor(t) {
		return errReason(t, a.Reason)
	}
	_, err := ackProps.checkFor(a.Properties, v)
	return err
}

func (a *ack) appendTo(dst []byte, t PacketType, v Version) ([]byte, error) {
	first := byte(t)<<4 | t.flags()
	if v < Version5 || a.Reason == ReasonSuccess && len(a.Properties) == 0 {
		return append(dst, first, 2, byte(a.ID>>8), byte(a.ID)), nil
	}
	if len(a.Properties) == 0 {
		return append(dst, first, 3, byte(a.ID>>8), byte(a.ID), byte(a.Reason)), nil
	}
	start := len(dst)
	dst = append(begin(dst, first), byte(a.ID>>8), byte(a.ID), byte(a.Reason))
	return finish(a.Properties.appendTo(dst, v), start)
}

func (a *ack) text(t PacketType) string {
	b := appendNumber([]byte(t.String()), "id", a.ID)
	if a.Reason != ReasonSuccess {
		b = appendReason(b, a.Reason)
	}
	return string(a.Properties.appendText(b, "props"))
}
