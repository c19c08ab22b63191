package mqtt

import (
	"bytes"

	"github.com/quartet-mq/quartet/codec"
)

// Disconnect is the DISCONNECT packet (section 3.14). Before version 5 only clients send it, and it has no reason and
// no properties.
type Disconnect struct {
	Reason     ReasonCode
	Properties Properties
}

// Type returns [TypeDisconnect].
func (p *Disconnect) Type() PacketType { return TypeDisconnect }

func decodeDisconnect(b []byte, v Version, from Role) (Packet, error) {
	if v < Version5 && len(b) > 0 {
		return nil, errTrailing()
	}
	reason, props, seen, err := decodeEnd(b, TypeDisconnect, disconnectProps)
	if err != nil {
		return nil, err
	}
	if from == Server && seen.has(PropSessionExpiryInterval) {
		return nil, errProtocol("DISCONNECT of a server has a session expiry interval") // [MQTT-3.14.2-2]
	}
	return &Disconnect{Reason: reason, Properties: props}, nil
}

func (p *Disconnect) check(v Version) error {
	if v == Version5 && !p.Reason.ValidFor(TypeDisconnect) {
		return errReason(TypeDisconnect, p.Reason)
	}
	_, err := disconnectProps.checkFor(p.Properties, v)
	return err
}

func (p *Disconnect) appendTo(dst []byte, v Version) ([]byte, error) {
	return appendEnd(dst, TypeDisconnect, p.Reason, p.Properties, v)
}

// String returns the text form of the packet.
func (p *Disconnect) String() string {
	b := appendReason([]byte("DISCONNECT"), p.Reason)
	return string(p.Properties.appendText(b, "props"))
}

// decodeEnd decodes what DISCONNECT and AUTH have in common: a reason and properties, which may both be omitted, and
// the properties alone.
func decodeEnd(b []byte, t PacketType, allowed propertySet) (ReasonCode, Properties, propertySet, error) {
	if len(b) == 0 {
		return ReasonSuccess, nil, 0, nil
	}
	reason := ReasonCode(b[0])
	if !reason.ValidFor(t) {
		return 0, nil, 0, errReason(t, reason)
	}
	if len(b) == 1 {
		return reason, nil, 0, nil
	}
	r := codec.NewReader(b)
	r.Skip(1)
	props, seen, err := allowed.read(&r, Version5)
	if err := end(&r, err); err != nil {
		return 0, nil, 0, err
	}
	return reason, bytes.Clone(props), seen, nil
}

// appendEnd is the reverse of decodeEnd, in the shortest form.
func appendEnd(dst []byte, t PacketType, c ReasonCode, props Properties, v Version) ([]byte, error) {
	if v < Version5 || c == ReasonSuccess && len(props) == 0 {
		return append(dst, byte(t)<<4, 0), nil
	}
	if len(props) == 0 {
		return append(dst, byte(t)<<4, 1, byte(c)), nil
	}
	start := len(dst)
	dst = append(begin(dst, byte(t)<<4), byte(c))
	return finish(props.appendTo(dst, v), start)
}
