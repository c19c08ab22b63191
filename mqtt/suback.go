package mqtt

import (
	"bytes"

	"github.com/quartet-mq/quartet/codec"
)

// Suback is the SUBACK packet (section 3.9): one reason for each filter of the SUBSCRIBE, in its order. Before version
// 5 every failure is sent as 0x80, which is decoded as [ReasonUnspecifiedError].
type Suback struct {
	ID         uint16
	Reasons    []ReasonCode
	Properties Properties // version 5 only
}

// Type returns [TypeSuback].
func (p *Suback) Type() PacketType { return TypeSuback }

func decodeSuback(b []byte, v Version) (Packet, error) {
	p := new(Suback)
	var err error
	p.ID, p.Properties, p.Reasons, err = decodeReasons(b, v)
	if err != nil {
		return nil, err
	}
	if v < Version5 {
		for _, c := range p.Reasons {
			if c > ReasonGrantedQoS2 && c != ReasonUnspecifiedError {
				return nil, errReason(TypeSuback, c) // [MQTT311-3.9.3-2]
			}
		}
	}
	return p, checkReasons(p.ID, p.Reasons, TypeSuback)
}

// decodeReasons decodes what SUBACK and UNSUBACK have in common.
func decodeReasons(b []byte, v Version) (id uint16, props Properties, list []ReasonCode, err error) {
	r := codec.NewReader(b)
	id = r.Uint16()
	props, _, err = ackProps.read(&r, v)
	if n := r.Len(); n > 0 && err == nil {
		list = make([]ReasonCode, n)
		for i, c := range r.Rest() {
			list[i] = ReasonCode(c)
		}
	}
	return id, bytes.Clone(props), list, end(&r, err)
}

// checkReasons checks the packet identifier and the list of reasons of SUBACK and UNSUBACK.
func checkReasons(id uint16, list []ReasonCode, t PacketType) error {
	switch {
	case id == 0:
		return errZeroID()
	case len(list) == 0:
		return errProtocol(t.String() + " has no reason code")
	}
	for _, c := range list {
		if !c.ValidFor(t) {
			return errReason(t, c)
		}
	}
	return nil
}

func (p *Suback) check(v Version) error {
	if _, err := ackProps.checkFor(p.Properties, v); err != nil {
		return err
	}
	return checkReasons(p.ID, p.Reasons, TypeSuback)
}

func (p *Suback) appendTo(dst []byte, v Version) ([]byte, error) {
	start := len(dst)
	dst = append(begin(dst, byte(TypeSuback)<<4), byte(p.ID>>8), byte(p.ID))
	dst = p.Properties.appendTo(dst, v)
	for _, c := range p.Reasons {
		if v < Version5 && c.IsError() {
			c = ReasonUnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return finish(dst, start)
}

// String returns the text form of the packet.
func (p *Suback) String() string {
	b := appendNumber([]byte("SUBACK"), "id", p.ID)
	b = appendReasons(b, p.Reasons)
	return string(p.Properties.appendText(b, "props"))
}
