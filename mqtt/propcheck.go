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
		n := 0
		if kind := id.kind(); kind < kindBinary {
			n, err = id.checkNumber(b[1:], kind)
		} else {
			n, err = id.checkBytes(b[1:], kind)
		}
		if err != nil {
			return 0, err
		}
		b = b[1+n:]
	}
	return seen, nil
}

// checkNumber checks the number at the front of b and returns its size.
func (id PropertyID) checkNumber(b []byte, kind propertyKind) (n int, err error) {
	const positive propertySet = 1<<PropReceiveMaximum | 1<<PropMaximumPacketSize | 1<<PropSubscriptionIdentifier
	n = kind.size(b)
	switch {
	case n == 0:
		return 0, errCut(id)
	case kind == kindByte && b[0] > 1:
		return 0, errProtocol(id.String() + " is neither 0 nor 1")
	case positive.has(id) && slices.Max(b[:n]) == 0:
		return 0, errProtocol(id.String() + " is 0")
	case id == PropTopicAlias && b[0]|b[1] == 0: // [MQTT-3.3.2-8]
		return 0, &Error{Code: ReasonTopicAliasInvalid, Reason: id.String() + " is 0"}
	}
	return n, nil
}

// checkBytes checks the binary data, the string or the two strings at the front of b and returns their size.
func (id PropertyID) checkBytes(b []byte, kind propertyKind) (n int, err error) {
	n = size16(b)
	if n == 0 {
		return 0, errCut(id)
	}
	if kind == kindBinary {
		return n, nil
	}
	if !validText(b[2:n]) {
		return 0, errText(id)
	}
	switch {
	case kind == kindPair:
		value := size16(b[n:])
		if value == 0 {
			return 0, errCut(id)
		}
		if !validText(b[n+2 : n+value]) {
			return 0, errText(id)
		}
		n += value
	case id == PropResponseTopic && (n == 2 || checkName(b[2:n]) != nil):
		return 0, errProtocol(id.String() + " is not a topic name")
	}
	return n, nil
}

func errCut(id PropertyID) error { return errMalformed(id.String() + " is cut or not well formed") }

func errText(id PropertyID) error {
	return errMalformed(id.String() + " is not a UTF-8 encoded string")
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
