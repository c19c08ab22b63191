package mqtttest

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/mqtt"
)

// sameButOrder reports whether two encoded packets differ only in the order of their properties. The order of
// properties of one kind counts (section 3.3.2.3.7).
func (p *Peer) sameButOrder(a, b []byte) bool {
	if p.version < mqtt.Version5 || len(a) != len(b) || a[0] != b[0] {
		return false
	}
	x, y := p.ordered(a), p.ordered(b)
	return x != nil && bytes.Equal(x, y)
}

// ordered returns an encoded packet with its properties ordered by their identifier; nil when it is malformed.
func (p *Peer) ordered(b []byte) []byte {
	var d mqtt.Decoder
	packet, _, err := d.Decode(b, p.version)
	if err != nil || packet == nil {
		return nil
	}
	for _, props := range propertiesOf(packet) {
		list := slices.SortedStableFunc(props.All(), func(a, b mqtt.Property) int { return cmp.Compare(a.ID, b.ID) })
		*props = nil
		for _, q := range list {
			*props = props.Append(q)
		}
	}
	b, err = mqtt.AppendIllegal(nil, packet, p.version)
	if err != nil {
		return nil
	}
	return b
}

// propertiesOf returns where a packet keeps its properties.
func propertiesOf(packet mqtt.Packet) []*mqtt.Properties {
	switch p := packet.(type) {
	case *mqtt.Connect:
		if p.Will != nil {
			return []*mqtt.Properties{&p.Properties, &p.Will.Properties}
		}
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Connack:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Publish:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Puback:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Pubrec:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Pubrel:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Pubcomp:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Subscribe:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Suback:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Unsubscribe:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Unsuback:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Disconnect:
		return []*mqtt.Properties{&p.Properties}
	case *mqtt.Auth:
		return []*mqtt.Properties{&p.Properties}
	}
	return nil
}
