package mqtt

import "fmt"

// Error is the error of this protocol: a reason code, words for people, and who said it. A server's backend returns
// one to choose the code that goes on the wire.
type Error struct {
	Code   ReasonCode
	Reason string // for people; sent as the reason string of version 5 when the peer asked for problem information
	Remote bool   // the peer said it
	Err    error  // the cause, may be nil
}

// Error returns the code's name, the reason and the cause.
func (e *Error) Error() string {
	s := "mqtt: "
	if e.Remote {
		s = "mqtt: peer: "
	}
	s += e.Code.String()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code and no other detail, so that
// errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) asks for a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Reason == "" && t.Err == nil
}

func errMalformed(reason string) error { return &Error{Code: ReasonMalformedPacket, Reason: reason} }

func errProtocol(reason string) error { return &Error{Code: ReasonProtocolError, Reason: reason} }

func errTopicName(reason string) error { return &Error{Code: ReasonTopicNameInvalid, Reason: reason} }

func errTooLarge() error {
	return &Error{Code: ReasonPacketTooLarge, Reason: "packet is too large"}
}
