package mqtt

import "fmt"

// ReasonCode is a reason code of version 5 (section 2.4). Codes from 0x80 on are failures. Codes of earlier versions
// are translated by the codec.
type ReasonCode uint8

// The reason codes.
const (
	ReasonSuccess                             ReasonCode = 0x00
	ReasonNormalDisconnection                 ReasonCode = 0x00
	ReasonGrantedQoS0                         ReasonCode = 0x00
	ReasonGrantedQoS1                         ReasonCode = 0x01
	ReasonGrantedQoS2                         ReasonCode = 0x02
	ReasonDisconnectWithWill                  ReasonCode = 0x04
	ReasonNoMatchingSubscribers               ReasonCode = 0x10
	ReasonNoSubscriptionExisted               ReasonCode = 0x11
	ReasonContinueAuthentication              ReasonCode = 0x18
	ReasonReauthenticate                      ReasonCode = 0x19
	ReasonUnspecifiedError                    ReasonCode = 0x80
	ReasonMalformedPacket                     ReasonCode = 0x81
	ReasonProtocolError                       ReasonCode = 0x82
	ReasonImplementationSpecificError         ReasonCode = 0x83
	ReasonUnsupportedProtocolVersion          ReasonCode = 0x84
	ReasonClientIdentifierNotValid            ReasonCode = 0x85
	ReasonBadUserNameOrPassword               ReasonCode = 0x86
	ReasonNotAuthorized                       ReasonCode = 0x87
	ReasonServerUnavailable                   ReasonCode = 0x88
	ReasonServerBusy                          ReasonCode = 0x89
	ReasonBanned                              ReasonCode = 0x8A
	ReasonServerShuttingDown                  ReasonCode = 0x8B
	ReasonBadAuthenticationMethod             ReasonCode = 0x8C
	ReasonKeepAliveTimeout                    ReasonCode = 0x8D
	ReasonSessionTakenOver                    ReasonCode = 0x8E
	ReasonTopicFilterInvalid                  ReasonCode = 0x8F
	ReasonTopicNameInvalid                    ReasonCode = 0x90
	ReasonPacketIdentifierInUse               ReasonCode = 0x91
	ReasonPacketIdentifierNotFound            ReasonCode = 0x92
	ReasonReceiveMaximumExceeded              ReasonCode = 0x93
	ReasonTopicAliasInvalid                   ReasonCode = 0x94
	ReasonPacketTooLarge                      ReasonCode = 0x95
	ReasonMessageRateTooHigh                  ReasonCode = 0x96
	ReasonQuotaExceeded                       ReasonCode = 0x97
	ReasonAdministrativeAction                ReasonCode = 0x98
	ReasonPayloadFormatInvalid                ReasonCode = 0x99
	ReasonRetainNotSupported                  ReasonCode = 0x9A
	ReasonQoSNotSupported                     ReasonCode = 0x9B
	ReasonUseAnotherServer                    ReasonCode = 0x9C
	ReasonServerMoved                         ReasonCode = 0x9D
	ReasonSharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ReasonConnectionRateExceeded              ReasonCode = 0x9F
	ReasonMaximumConnectTime                  ReasonCode = 0xA0
	ReasonSubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	ReasonWildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// IsError reports whether c is a failure.
func (c ReasonCode) IsError() bool { return c >= 0x80 }

// String returns the name that the standard gives the code. 0x00, which has several, is "Success", 0x01 and 0x02 are
// "Granted QoS 1" and "Granted QoS 2".
func (c ReasonCode) String() string {
	switch c {
	case ReasonSuccess:
		return "Success"
	case ReasonGrantedQoS1:
		return "Granted QoS 1"
	case ReasonGrantedQoS2:
		return "Granted QoS 2"
	case ReasonDisconnectWithWill:
		return "Disconnect with Will Message"
	case ReasonNoMatchingSubscribers:
		return "No matching subscribers"
	case ReasonNoSubscriptionExisted:
		return "No subscription existed"
	case ReasonContinueAuthentication:
		return "Continue authentication"
	case ReasonReauthenticate:
		return "Re-authenticate"
	}
	if name := c.failure(); name != "" {
		return name
	}
	return fmt.Sprintf("reason code 0x%02X", uint8(c))
}

// failure returns the name of a failure, "" when c is none.
func (c ReasonCode) failure() string {
	switch c {
	case ReasonUnspecifiedError:
		return "Unspecified error"
	case ReasonMalformedPacket:
		return "Malformed Packet"
	case ReasonProtocolError:
		return "Protocol Error"
	case ReasonImplementationSpecificError:
		return "Implementation specific error"
	case ReasonUnsupportedProtocolVersion:
		return "Unsupported Protocol Version"
	case ReasonClientIdentifierNotValid:
		return "Client Identifier not valid"
	case ReasonBadUserNameOrPassword:
		return "Bad User Name or Password"
	case ReasonNotAuthorized:
		return "Not authorized"
	case ReasonServerUnavailable:
		return "Server unavailable"
	case ReasonServerBusy:
		return "Server busy"
	case ReasonBanned:
		return "Banned"
	case ReasonServerShuttingDown:
		return "Server shutting down"
	case ReasonBadAuthenticationMethod:
		return "Bad authentication method"
	case ReasonKeepAliveTimeout:
		return "Keep Alive timeout"
	case ReasonSessionTakenOver:
		return "Session taken over"
	case ReasonTopicFilterInvalid:
		return "Topic Filter invalid"
	case ReasonTopicNameInvalid:
		return "Topic Name invalid"
	case ReasonPacketIdentifierInUse:
		return "Packet Identifier in use"
	case ReasonPacketIdentifierNotFound:
		return "Packet Identifier not found"
	case ReasonReceiveMaximumExceeded:
		return "Receive Maximum exceeded"
	case ReasonTopicAliasInvalid:
		return "Topic Alias invalid"
	}
	return c.limit()
}

// limit returns the name of a failure from 0x95 on, most of which are limits and features that are not there.
func (c ReasonCode) limit() string {
	switch c {
	case ReasonPacketTooLarge:
		return "Packet too large"
	case ReasonMessageRateTooHigh:
		return "Message rate too high"
	case ReasonQuotaExceeded:
		return "Quota exceeded"
	case ReasonAdministrativeAction:
		return "Administrative action"
	case ReasonPayloadFormatInvalid:
		return "Payload format invalid"
	case ReasonRetainNotSupported:
		return "Retain not supported"
	case ReasonQoSNotSupported:
		return "QoS not supported"
	case ReasonUseAnotherServer:
		return "Use another server"
	case ReasonServerMoved:
		return "Server moved"
	case ReasonSharedSubscriptionsNotSupported:
		return "Shared Subscriptions not supported"
	case ReasonConnectionRateExceeded:
		return "Connection rate exceeded"
	case ReasonMaximumConnectTime:
		return "Maximum connect time"
	case ReasonSubscriptionIdentifiersNotSupported:
		return "Subscription Identifiers not supported"
	case ReasonWildcardSubscriptionsNotSupported:
		return "Wildcard Subscriptions not supported"
	}
	return ""
}

// ValidFor reports whether the standard lets packets of type t carry c in version 5. Whether a client or only a server
// may say it is not considered. It is false for packets without a reason code.
func (c ReasonCode) ValidFor(t PacketType) bool {
	const ackFailures = 1<<(ReasonUnspecifiedError-0x80) | 1<<(ReasonImplementationSpecificError-0x80) |
		1<<(ReasonNotAuthorized-0x80)
	switch t {
	case TypeConnack:
		return c.in(1<<ReasonSuccess, connackFailures)
	case TypePuback, TypePubrec:
		return c.in(1<<ReasonSuccess|1<<ReasonNoMatchingSubscribers, ackFailures|
			1<<(ReasonTopicNameInvalid-0x80)|1<<(ReasonPacketIdentifierInUse-0x80)|
			1<<(ReasonQuotaExceeded-0x80)|1<<(ReasonPayloadFormatInvalid-0x80))
	case TypePubrel, TypePubcomp:
		return c == ReasonSuccess || c == ReasonPacketIdentifierNotFound
	case TypeSuback:
		return c.in(1<<ReasonGrantedQoS0|1<<ReasonGrantedQoS1|1<<ReasonGrantedQoS2, ackFailures|
			1<<(ReasonTopicFilterInvalid-0x80)|1<<(ReasonPacketIdentifierInUse-0x80)|
			1<<(ReasonQuotaExceeded-0x80)|1<<(ReasonSharedSubscriptionsNotSupported-0x80)|
			1<<(ReasonSubscriptionIdentifiersNotSupported-0x80)|1<<(ReasonWildcardSubscriptionsNotSupported-0x80))
	case TypeUnsuback:
		return c.in(1<<ReasonSuccess|1<<ReasonNoSubscriptionExisted, ackFailures|
			1<<(ReasonTopicFilterInvalid-0x80)|1<<(ReasonPacketIdentifierInUse-0x80))
	case TypeDisconnect:
		return c.in(1<<ReasonNormalDisconnection|1<<ReasonDisconnectWithWill, disconnectFailures)
	case TypeAuth:
		return c.in(1<<ReasonSuccess|1<<ReasonContinueAuthentication|1<<ReasonReauthenticate, 0)
	}
	return false
}

// in reports whether c is in one of two sets of bits: codes from 0x00 and from 0x80 on.
func (c ReasonCode) in(success, failure uint64) bool {
	if c >= 0x80 {
		return failure>>(c-0x80)&1 != 0
	}
	return success>>c&1 != 0
}

const (
	// 0x80 to 0x8A and some more (section 3.2.2.2).
	connackFailures = 1<<(ReasonBanned-0x80+1) - 1 |
		1<<(ReasonBadAuthenticationMethod-0x80) | 1<<(ReasonTopicNameInvalid-0x80) | 1<<(ReasonPacketTooLarge-0x80) |
		1<<(ReasonQuotaExceeded-0x80) | 1<<(ReasonPayloadFormatInvalid-0x80) | 1<<(ReasonRetainNotSupported-0x80) |
		1<<(ReasonQoSNotSupported-0x80) | 1<<(ReasonUseAnotherServer-0x80) | 1<<(ReasonServerMoved-0x80) |
		1<<(ReasonConnectionRateExceeded-0x80)

	// 0x93 to 0xA2 and some more (section 3.14.2.1).
	disconnectFailures = 1<<(ReasonWildcardSubscriptionsNotSupported-0x80+1) - 1<<(ReasonReceiveMaximumExceeded-0x80) |
		1<<(ReasonUnspecifiedError-0x80) | 1<<(ReasonMalformedPacket-0x80) | 1<<(ReasonProtocolError-0x80) |
		1<<(ReasonImplementationSpecificError-0x80) | 1<<(ReasonNotAuthorized-0x80) | 1<<(ReasonServerBusy-0x80) |
		1<<(ReasonServerShuttingDown-0x80) | 1<<(ReasonKeepAliveTimeout-0x80) | 1<<(ReasonSessionTakenOver-0x80) |
		1<<(ReasonTopicFilterInvalid-0x80) | 1<<(ReasonTopicNameInvalid-0x80)
)

// ReturnCode returns the byte that stands for c in a CONNACK of version v: c itself in version 5, one of the return
// codes 0 to 5 before (MQTT 3.1.1 section 3.2.2.3). The return code is the nearest in meaning: refusals for reasons of
// load or of place are "server unavailable", for reasons of identity "not authorized". ok is false when there is none;
// a server then closes the connection without a CONNACK [MQTT311-3.2.2-6].
func (c ReasonCode) ReturnCode(v Version) (code byte, ok bool) {
	if v >= Version5 {
		return byte(c), c.ValidFor(TypeConnack)
	}
	switch c {
	case ReasonSuccess:
		return 0, true
	case ReasonUnsupportedProtocolVersion:
		return 1, true
	case ReasonClientIdentifierNotValid:
		return 2, true
	case ReasonServerUnavailable, ReasonServerBusy, ReasonServerShuttingDown, ReasonUnspecifiedError,
		ReasonImplementationSpecificError, ReasonQuotaExceeded, ReasonUseAnotherServer, ReasonServerMoved,
		ReasonConnectionRateExceeded:
		return 3, true
	case ReasonBadUserNameOrPassword:
		return 4, true
	case ReasonNotAuthorized, ReasonBanned, ReasonBadAuthenticationMethod:
		return 5, true
	}
	return 0, false
}

// fromReturnCode is the reverse of ReturnCode for versions before 5.
func fromReturnCode(code byte) (c ReasonCode, ok bool) {
	switch code {
	case 0:
		return ReasonSuccess, true
	case 1:
		return ReasonUnsupportedProtocolVersion, true
	case 2:
		return ReasonClientIdentifierNotValid, true
	case 3:
		return ReasonServerUnavailable, true
	case 4:
		return ReasonBadUserNameOrPassword, true
	case 5:
		return ReasonNotAuthorized, true
	}
	return 0, false
}
