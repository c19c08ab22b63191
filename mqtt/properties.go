package mqtt

import (
	"encoding/binary"
	"iter"

	"github.com/quartet-mq/quartet/codec"
)

// Properties are the version 5 properties of a packet or will (section 2.2.2) in their wire form, without the length
// that precedes them there. Those that [Decoder] returns are valid for their packet. Nil has no properties.
//
// Build them by appending:
//
//	var props mqtt.Properties
//	props = props.AppendUint32(mqtt.PropMessageExpiryInterval, 60)
//	props = props.AppendUser("trace", "7f")
//
// The methods named Append return the extended list, as the built-in append does. They do not check whether the
// property has a value of that type or may be repeated: [Append] does when the packet is sent. Strings and binary data
// longer than 65,535 bytes are cut. The methods that read stop at the first byte that is no property.
type Properties []byte

// next takes the first property off. ok is false at the end and at the first byte that is no property.
func (p Properties) next() (q Property, rest Properties, ok bool) {
	if len(p) < 2 {
		return Property{}, nil, false
	}
	q.ID = PropertyID(p[0])
	n := q.ID.kind().size(p[1:])
	if n == 0 {
		return Property{}, nil, false
	}
	n++
	q.value = p[1:n:n]
	return q, p[n:], true
}

// find returns the first property with that identifier; its value is nil when there is none.
func (p Properties) find(id PropertyID) Property {
	for q, rest, ok := p.next(); ok; q, rest, ok = rest.next() {
		if q.ID == id {
			return q
		}
	}
	return Property{}
}

// All returns the properties in their order.
func (p Properties) All() iter.Seq[Property] {
	return func(yield func(Property) bool) {
		for q, rest, ok := p.next(); ok; q, rest, ok = rest.next() {
			if !yield(q) {
				return
			}
		}
	}
}

// Has reports whether there is a property with that identifier.
func (p Properties) Has(id PropertyID) bool { return p.find(id).value != nil }

// number returns the first property with that identifier when its value is of kind k.
func (p Properties) number(id PropertyID, k propertyKind) (v uint32, ok bool) {
	if id.kind() != k {
		return 0, false
	}
	q := p.find(id)
	if q.value == nil {
		return 0, false
	}
	return q.Uint(), true
}

// Byte returns the value of a property that is a byte. ok is false when it is absent or of another type.
func (p Properties) Byte(id PropertyID) (v byte, ok bool) {
	n, ok := p.number(id, kindByte)
	return byte(n), ok
}

// Uint16 returns the value of a property that is a two byte integer. ok is false when it is absent or of another type.
func (p Properties) Uint16(id PropertyID) (v uint16, ok bool) {
	n, ok := p.number(id, kindUint16)
	return uint16(n), ok
}

// Uint32 returns the value of a property that is a four byte integer. ok is false when it is absent or of another type.
func (p Properties) Uint32(id PropertyID) (v uint32, ok bool) { return p.number(id, kindUint32) }

// Uvarint returns the value of the first property with that identifier, a variable byte integer. ok is false when it is
// absent or of another type.
func (p Properties) Uvarint(id PropertyID) (v uint32, ok bool) { return p.number(id, kindUvarint) }

// Bytes returns the value of a property that is a string or binary data. It aliases p. ok is false when it is absent or
// of another type.
func (p Properties) Bytes(id PropertyID) (v []byte, ok bool) {
	switch id.kind() {
	case kindBinary, kindString:
		q := p.find(id)
		return q.Bytes(), q.value != nil
	}
	return nil, false
}

// String returns the value of a property that is a string or binary data, as a string. ok is false when it is absent or
// of another type.
func (p Properties) String(id PropertyID) (v string, ok bool) {
	b, ok := p.Bytes(id)
	return string(b), ok
}

// UserProperties returns the names and values of the user properties, in their order. A name may come more than once.
func (p Properties) UserProperties() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for q := range p.All() {
			if q.ID != PropUserProperty {
				continue
			}
			name, value := q.User()
			if !yield(string(name), string(value)) {
				return
			}
		}
	}
}

// SubscriptionIDs returns the subscription identifiers, in their order.
func (p Properties) SubscriptionIDs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for q := range p.All() {
			if q.ID == PropSubscriptionIdentifier && !yield(q.Uint()) {
				return
			}
		}
	}
}

// Append appends a property of another list.
func (p Properties) Append(q Property) Properties {
	return append(append(p, byte(q.ID)), q.value...)
}

// AppendByte appends a property that is a byte.
func (p Properties) AppendByte(id PropertyID, v byte) Properties {
	return append(p, byte(id), v)
}

// AppendUint16 appends a property that is a two byte integer.
func (p Properties) AppendUint16(id PropertyID, v uint16) Properties {
	return binary.BigEndian.AppendUint16(append(p, byte(id)), v)
}

// AppendUint32 appends a property that is a four byte integer.
func (p Properties) AppendUint32(id PropertyID, v uint32) Properties {
	return binary.BigEndian.AppendUint32(append(p, byte(id)), v)
}

// AppendUvarint appends a property that is a variable byte integer. v is at most 268,435,455; bits above are dropped.
func (p Properties) AppendUvarint(id PropertyID, v uint32) Properties {
	return codec.AppendUvarint28(append(p, byte(id)), v)
}

// AppendBytes appends a property that is binary data (or a string).
func (p Properties) AppendBytes(id PropertyID, v []byte) Properties {
	return codec.AppendBytes16(append(p, byte(id)), v)
}

// AppendString appends a property that is a string.
func (p Properties) AppendString(id PropertyID, v string) Properties {
	return codec.AppendString16(append(p, byte(id)), v)
}

// AppendUser appends a user property.
func (p Properties) AppendUser(name, value string) Properties {
	return codec.AppendString16(codec.AppendString16(append(p, byte(PropUserProperty)), name), value)
}

// appendTo appends the length and the properties, as a packet of version 5 has them; nothing before version 5.
func (p Properties) appendTo(dst []byte, v Version) []byte {
	switch {
	case v < Version5:
		return dst
	case len(p) == 0:
		return append(dst, 0)
	}
	return append(codec.AppendUvarint28(dst, uint32(len(p))), p...)
}

// wireSize returns how many bytes appendTo appends.
func (p Properties) wireSize(v Version) int {
	if v < Version5 {
		return 0
	}
	return codec.SizeUvarint28(uint32(len(p))) + len(p)
}

// appendText appends the text form, with a space before it, or nothing for no properties.
func (p Properties) appendText(dst []byte, key string) []byte {
	if len(p) == 0 {
		return dst
	}
	dst = append(append(append(dst, ' '), key...), "={"...)
	n := len(dst)
	for q, rest, ok := p.next(); ok; q, rest, ok = p.next() {
		if len(dst) > n {
			dst = append(dst, ' ')
		}
		dst = q.appendText(dst)
		p = rest
	}
	if len(p) > 0 { // built by hand and broken
		dst = appendBlob(append(dst, " broken="...), p)
	}
	return append(dst, '}')
}
