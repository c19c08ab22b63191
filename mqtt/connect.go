package mqtt

// Connect is the CONNECT packet (section 3.1). The decoder allocates its strings and slices, they may be kept.
type Connect struct {
	Version    Version // protocol level; chooses the format of the whole packet
	CleanStart bool    // Clean Session in 3.1 and 3.1.1
	KeepAlive  uint16  // seconds, 0 is off
	ClientID   string
	// Will is nil without a will message.
	Will *Will
	// Username and Password count when HasUsername and HasPassword are set. MQTT 3.1 and 3.1.1 allow a password only
	// beside a user name.
	Username    string
	Password    []byte
	HasUsername bool
	HasPassword bool
	Properties  Properties // version 5 only
}

// Will is the will message of a CONNECT packet (sections 3.1.2.5 and 3.1.3.2).
type Will struct {
	Topic      string
	Payload    []byte
	QoS        QoS
	Retain     bool
	Properties Properties // version 5 only
}
