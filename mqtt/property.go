package mqtt

import (
	"encoding/binary"
	"strconv"

	"github.com/quartet-mq/quartet/codec"
)

// PropertyID is the identifier of a version 5 property (section 2.2.2.2).
type PropertyID uint8

// The properties.
const (
	PropPayloadFormatIndicator          PropertyID = 0x01 // byte: PUBLISH, will
	PropMessageExpiryInterval           PropertyID = 0x02 // four bytes, seconds: PUBLISH, will
	PropContentType                     PropertyID = 0x03 // string: PUBLISH, will
	PropResponseTopic                   PropertyID = 0x08 // string: PUBLISH, will
	PropCorrelationData                 PropertyID = 0x09 // binary: PUBLISH, will
	PropSubscriptionIdentifier          PropertyID = 0x0B // variable byte integer: PUBLISH, SUBSCRIBE
	PropSessionExpiryInterval           PropertyID = 0x11 // four bytes, seconds: CONNECT, CONNACK, DISCONNECT
	PropAssignedClientIdentifier        PropertyID = 0x12 // string: CONNACK
	PropServerKeepAlive                 PropertyID = 0x13 // two bytes, seconds: CONNACK
	PropAuthenticationMethod            PropertyID = 0x15 // string: CONNECT, CONNACK, AUTH
	PropAuthenticationData              PropertyID = 0x16 // binary: CONNECT, CONNACK, AUTH
	PropRequestProblemInformation       PropertyID = 0x17 // byte: CONNECT
	PropWillDelayInterval               PropertyID = 0x18 // four bytes, seconds: will
	PropRequestResponseInformation      PropertyID = 0x19 // byte: CONNECT
	PropResponseInformation             PropertyID = 0x1A // string: CONNACK
	PropServerReference                 PropertyID = 0x1C // string: CONNACK, DISCONNECT
	PropReasonString                    PropertyID = 0x1F // string: all answers, DISCONNECT and AUTH
	PropReceiveMaximum                  PropertyID = 0x21 // two bytes: CONNECT, CONNACK
	PropTopicAliasMaximum               PropertyID = 0x22 // two bytes: CONNECT, CONNACK
	PropTopicAlias                      PropertyID = 0x23 // two bytes: PUBLISH
	PropMaximumQoS                      PropertyID = 0x24 // byte: CONNACK
	PropRetainAvailable                 PropertyID = 0x25 // byte: CONNACK
	PropUserProperty                    PropertyID = 0x26 // string pair: all packets with properties, will
	PropMaximumPacketSize               PropertyID = 0x27 // four bytes: CONNECT, CONNACK
	PropWildcardSubscriptionAvailable   PropertyID = 0x28 // byte: CONNACK
	PropSubscriptionIdentifierAvailable PropertyID = 0x29 // byte: CONNACK
	PropSharedSubscriptionAvailable     PropertyID = 0x2A // byte: CONNACK
)

// String returns the name of the property in small letters, such as "topic-alias".
func (id PropertyID) String() string {
	switch id {
	case PropPayloadFormatIndicator:
		return "payload-format-indicator"
	case PropMessageExpiryInterval:
		return "message-expiry-interval"
	case PropContentType:
		return "content-type"
	case PropResponseTopic:
		return "response-topic"
	case PropCorrelationData:
		return "correlation-data"
	case PropSubscriptionIdentifier:
		return "subscription-identifier"
	case PropSessionExpiryInterval:
		return "session-expiry-interval"
	case PropAssignedClientIdentifier:
		return "assigned-client-identifier"
	case PropServerKeepAlive:
		return "server-keep-alive"
	case PropAuthenticationMethod:
		return "authentication-method"
	case PropAuthenticationData:
		return "authentication-data"
	case PropRequestProblemInformation:
		return "request-problem-information"
	case PropWillDelayInterval:
		return "will-delay-interval"
	case PropRequestResponseInformation:
		return "request-response-information"
	case PropResponseInformation:
		return "response-information"
	case PropServerReference:
		return "server-reference"
	case PropReasonString:
		return "reason-string"
	case PropReceiveMaximum:
		return "receive-maximum"
	case PropTopicAliasMaximum:
		return "topic-alias-maximum"
	case PropTopicAlias:
		return "topic-alias"
	case PropMaximumQoS:
		return "maximum-qos"
	case PropRetainAvailable:
		return "retain-available"
	case PropUserProperty:
		return "user-property"
	case PropMaximumPacketSize:
		return "maximum-packet-size"
	case PropWildcardSubscriptionAvailable:
		return "wildcard-subscription-available"
	case PropSubscriptionIdentifierAvailable:
		return "subscription-identifier-available"
	case PropSharedSubscriptionAvailable:
		return "shared-subscription-available"
	}
	return "property-" + strconv.Itoa(int(id))
}

// propertyKind is the data type of a property's value (section 1.5).
type propertyKind uint8

const (
	kindNone propertyKind = iota // no such property
	kindByte
	kindUint16
	kindUint32
	kindUvarint
	kindBinary // a length in two bytes and that many
	kindString // the same, text
	kindPair   // two strings
)

// kind returns the data type of the property.
func (id PropertyID) kind() propertyKind {
	switch id {
	case PropPayloadFormatIndicator, PropRequestProblemInformation, PropRequestResponseInformation, PropMaximumQoS,
		PropRetainAvailable, PropWildcardSubscriptionAvailable, PropSubscriptionIdentifierAvailable,
		PropSharedSubscriptionAvailable:
		return kindByte
	case PropServerKeepAlive, PropReceiveMaximum, PropTopicAliasMaximum, PropTopicAlias:
		return kindUint16
	case PropMessageExpiryInterval, PropSessionExpiryInterval, PropWillDelayInterval, PropMaximumPacketSize:
		return kindUint32
	case PropSubscriptionIdentifier:
		return kindUvarint
	case PropCorrelationData, PropAuthenticationData:
		return kindBinary
	case PropContentType, PropResponseTopic, PropAssignedClientIdentifier, PropAuthenticationMethod,
		PropResponseInformation, PropServerReference, PropReasonString:
		return kindString
	case PropUserProperty:
		return kindPair
	}
	return kindNone
}

// size returns how many bytes a value of kind k at the front of b takes, 0 when it is not all there or not well formed.
func (k propertyKind) size(b []byte) int {
	n := 0
	switch k {
	case kindByte:
		n = 1
	case kindUint16:
		n = 2
	case kindUint32:
		n = 4
	case kindUvarint:
		_, n, _ = codec.PeekUvarint28(b)
	case kindBinary, kindString:
		n = size16(b)
	case kindPair:
		if n = size16(b); n > 0 {
			value := size16(b[n:])
			if value == 0 {
				return 0
			}
			n += value
		}
	}
	if n > len(b) {
		return 0
	}
	return n
}

// size16 returns the size of a length in two bytes and what follows it, 0 when it is not all there.
func size16(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return 0
	}
	return n
}

// Property is one property of a list of [Properties]. It aliases the list.
type Property struct {
	ID    PropertyID
	value []byte // as on the wire, of the size that ID.kind tells
}

// Uint returns the value of a property that is a number: a byte, an integer of two or four bytes or a variable byte
// integer. For others it is 0.
func (p Property) Uint() uint32 {
	switch p.ID.kind() {
	case kindByte:
		return uint32(p.value[0])
	case kindUint16:
		return uint32(binary.BigEndian.Uint16(p.value))
	case kindUint32:
		return binary.BigEndian.Uint32(p.value)
	case kindUvarint:
		v, _, _ := codec.PeekUvarint28(p.value)
		return v
	}
	return 0
}

// Bytes returns the value of a property that is a string or binary data, nil for others. It aliases the list.
func (p Property) Bytes() []byte {
	switch p.ID.kind() {
	case kindBinary, kindString:
		return p.value[2:]
	}
	return nil
}

// User returns the name and the value of a user property, nil for others. They alias the list.
func (p Property) User() (name, value []byte) {
	if p.ID != PropUserProperty || len(p.value) == 0 {
		return nil, nil
	}
	n := size16(p.value)
	return p.value[2:n:n], p.value[n+2:]
}

// String returns the name and the value in text, such as `topic-alias=7` or `user-property="k":"v"`. Of authentication
// data it tells the length only.
func (p Property) String() string { return string(p.appendText(nil)) }

func (p Property) appendText(dst []byte) []byte {
	dst = append(dst, p.ID.String()...)
	dst = append(dst, '=')
	switch p.ID.kind() {
	case kindPair:
		name, value := p.User()
		dst = strconv.AppendQuote(dst, string(name))
		dst = append(dst, ':')
		return strconv.AppendQuote(dst, string(value))
	case kindString:
		return strconv.AppendQuote(dst, string(p.Bytes()))
	case kindBinary:
		if p.ID == PropAuthenticationData {
			return appendSecret(dst, p.Bytes())
		}
		return appendBlob(dst, p.Bytes())
	}
	return strconv.AppendUint(dst, uint64(p.Uint()), 10)
}
