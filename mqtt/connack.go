package mqtt

import (
	"bytes"

	"github.com/quartet-mq/quartet/codec"
)

// Connack is the CONNACK packet (section 3.2). Reason is a version 5 reason code for every version; the codec
// translates the return codes of 3.1 and 3.1.1 in both directions, see [ReasonCode.ReturnCode]. MQTT 3.1 has no
// SessionPresent: it is not sent there.
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode
	Properties     Properties // version 5 only
}

// Type returns [TypeConnack].
func (p *Connack) Type() PacketType { return TypeConnack }

func decodeConnack(b []byte, v Version) (Packet, error) {
	p := new(Connack)
	r := codec.NewReader(b)
	flags, code := r.Uint8(), r.Uint8()
	props, seen, err := connackProps.read(&r, v)
	if err := end(&r, err); err != nil {
		return nil, err
	}
	if v != Version31 { // the byte is not used there
		if flags > 1 {
			return nil, errMalformed("CONNACK has reserved flags") // [MQTT-3.2.2-1]
		}
		p.SessionPresent = flags == 1
	}
	p.Reason = ReasonCode(code)
	if v < Version5 {
		reason, ok := fromReturnCode(code)
		if !ok {
			return nil, errReason(TypeConnack, p.Reason)
		}
		p.Reason = reason
	}
	p.Properties = bytes.Clone(props)
	return p, p.checkFields(seen, v)
}

// checkFields checks what remains when the form and the properties are right.
func (p *Connack) checkFields(seen propertySet, v Version) error {
	switch _, ok := p.Reason.ReturnCode(v); {
	case !ok:
		return errReason(TypeConnack, p.Reason) // [MQTT-3.2.2-8]
	case p.SessionPresent && p.Reason != ReasonSuccess:
		return errProtocol("CONNACK refuses with a session present") // [MQTT-3.2.2-6]
	}
	return seen.checkAuthentication()
}

func (p *Connack) check(v Version) error {
	seen, err := connackProps.checkFor(p.Properties, v)
	if err != nil {
		return err
	}
	return p.checkFields(seen, v)
}

func (p *Connack) appendTo(dst []byte, v Version) ([]byte, error) {
	start := len(dst)
	code, ok := p.Reason.ReturnCode(v)
	if !ok {
		code = byte(p.Reason)
	}
	flags := byte(0)
	if p.SessionPresent && v != Version31 {
		flags = 1
	}
	dst = append(begin(dst, byte(TypeConnack)<<4), flags, code)
	return finish(p.Properties.appendTo(dst, v), start)
}

// String returns the text form of the packet.
func (p *Connack) String() string {
	b := appendReason([]byte("CONNACK"), p.Reason)
	b = appendFlag(b, "session-present", p.SessionPresent)
	return string(p.Properties.appendText(b, "props"))
}
