package mqtt

import (
	"slices"

	"github.com/quartet-mq/quartet/codec"
)

// propertySet is a set of properties, bit by identifier.
type propertySet uint64

// The properties that each packet may have (section 2.2.2.2).
const (
	// Those of an application message, in PUBLISH and in a will.
	messageProps propertySet = 1<<PropPayloadFormatIndicator | 1<<PropMessageExpiryInterval | 1<<PropContentType |
		1<<PropResponseTopic | 1<<PropCorrelationData | 1<<PropUserProperty
	publishProps = messageProps | 1<<PropSubscriptionIdentifier | 1<<PropTopicAlias
	willProps    = messageProps | 1<<PropWillDelayInterval

	// Those with which both ends tell their limits.
	limitProps propertySet = 1<<PropSessionExpiryInterval | 1<<PropReceiveMaximum | 1<<PropMaximumPacketSize |
		1<<PropTopicAliasMaximum
	authenticationProps propertySet = 1<<PropAuthenticationMethod | 1<<PropAuthenticationData

	connectProps = limitProps | authenticationProps | 1<<PropRequestResponseInformation |
		1<<PropRequestProblemInformation | 1<<PropUserProperty
	connackProps = limitProps | authenticationProps | 1<<PropMaximumQoS | 1<<PropRetainAvailable |
		1<<PropAssignedClientIdentifier | 1<<PropReasonString | 1<<PropUserProperty |
		1<<PropWildcardSubscriptionAvailable | 1<<PropSubscriptionIdentifierAvailable |
		1<<PropSharedSubscriptionAvailable | 1<<PropServerKeepAlive | 1<<PropResponseInformation |
		1<<PropServerReference

	// Those of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
	ackProps propertySet = 1<<PropReasonString | 1<<PropUserProperty

	subscribeProps   propertySet = 1<<PropSubscriptionIdentifier | 1<<PropUserProperty
	unsubscribeProps propertySet = 1 << PropUserProperty
	disconnectProps              = ackProps | 1<<PropSessionExpiryInterval | 1<<PropServerReference
	authProps                    = ackProps | authenticationProps
)

// has reports whether id is in the set.
func (s propertySet) has(id PropertyID) bool { return s>>id&1 != 0 }

// check walks over properties that must be among s and returns which there are. Those of a PUBLISH may have several
// subscription identifiers, every packet several user properties; another one that comes twice is a protocol error.
func (s propertySet) check(b Properties) (seen propertySet, err error) {
	once := s &^ (1 << PropUserProperty)
	if s.has(PropTopicAlias) {
		once &^= 1 << PropSubscriptionIdentifier
	}
	for len(b) > 0 {
		id := PropertyID(b[0])
		if !s.has(id) {
			return 0, errMalformed(id.String() + " is not a property of this packet")
		}
		if (seen & once).has(id) {
			return 0, errProtocol(id.String() + " comes twice")
		}
		seen |= 1 << id
		kind := id.kind()
		n := kind.size(b[1:])
		if n == 0 {
			return 0, errMalformed(id.String() + " is cut or not well formed")
		}
		value := b[1 : n+1]
		b = b[n+1:]
		switch {
		case kind == kindByte:
			if value[0] > 1 {
				return 0, errProtocol(id.String() + " is neither 0 nor 1")
			}
		case kind < kindBinary:
			err = id.checkNumber(value)
		case kind > kindBinary:
			err = id.checkText(value)
		}
		if err != nil {
			return 0, err
		}
	}
	return seen, nil
}

// checkNumber checks the value of a property that is a number of more than a byte.
func (id PropertyID) checkNumber(value []byte) error {
	const positive propertySet = 1<<PropReceiveMaximum | 1<<PropTopicAlias | 1<<PropMaximumPacketSize |
		1<<PropSubscriptionIdentifier
	if positive.has(id) && slices.Max(value) == 0 {
		return errProtocol(id.String() + " is 0")
	}
	return nil
}

// checkText checks the value of a property that is one string or two.
func (id PropertyID) checkText(value []byte) error {
	n := size16(value)
	text := value[2:n]
	if id == PropResponseTopic {
		if len(text) == 0 || validText(text) && checkName(text) != nil {
			return errProtocol(id.String() + " is not a topic name")
		}
	}
	if !validText(text) || n < len(value) && !validText(value[n+2:]) {
		return errMalformed(id.String() + " is not a UTF-8 encoded string")
	}
	return nil
}

// checkFor is check for a packet that is to be sent in version v, which may have no properties at all.
func (s propertySet) checkFor(p Properties, v Version) (seen propertySet, err error) {
	if err := checkVersion(v); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if v < Version5 {
		return 0, errProtocol("MQTT " + v.String() + " has no properties")
	}
	return s.check(p)
}

// read reads the length and the properties of a packet of version 5; nothing before version 5. What it returns aliases
// the input. A failure of r is the caller's to see.
func (s propertySet) read(r *codec.Reader, v Version) (p Properties, seen propertySet, err error) {
	if v < Version5 {
		return nil, 0, nil
	}
	p = r.Bytes(int(r.Uvarint28()))
	if len(p) == 0 {
		return nil, 0, nil
	}
	seen, err = s.check(p)
	return p, seen, err
}

// checkAuthentication returns an error for authentication data without a method.
func (s propertySet) checkAuthentication() error {
	if s.has(PropAuthenticationData) && !s.has(PropAuthenticationMethod) {
		return errProtocol("authentication data without an authentication method")
	}
	return nil
}
