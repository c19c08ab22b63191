package mqtt

// Puback is the PUBACK packet, the answer to a QoS 1 PUBLISH (section 3.4). Before version 5 it has no reason and no
// properties.
type Puback struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubrec is the PUBREC packet, the first answer to a QoS 2 PUBLISH (section 3.5).
type Pubrec struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubrel is the PUBREL packet, the answer to PUBREC (section 3.6).
type Pubrel struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}

// Pubcomp is the PUBCOMP packet, the end of a QoS 2 delivery (section 3.7).
type Pubcomp struct {
	ID         uint16
	Reason     ReasonCode
	Properties Properties
}
