package mqtt

// Disconnect is the DISCONNECT packet (section 3.14). Before version 5 only clients send it, and it has no reason and
// no properties.
type Disconnect struct {
	Reason     ReasonCode
	Properties Properties
}

// Auth is the AUTH packet of version 5 (section 3.15).
type Auth struct {
	Reason     ReasonCode
	Properties Properties
}
