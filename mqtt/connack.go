package mqtt

// Connack is the CONNACK packet (section 3.2). Reason is a version 5 reason code for every version; the codec
// translates the return codes of 3.1 and 3.1.1 in both directions.
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode
	Properties     Properties // version 5 only
}
