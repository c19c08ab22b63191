package mqttserver

// Result is what became of a message in [Conn.Publish] or [Conn.Offer].
type Result uint8

const (
	// Sent: the message is in the output buffer, or held by a barrier until it is durable. At QoS 1 and 2
	// Session.Settled follows, on this connection or a later one of the session.
	Sent Result = iota + 1
	// Dropped: a message of QoS 0 found the output beyond its hard limit. It is counted.
	Dropped
	// Refused: the message was not taken, because the client's receive maximum is reached or its output is beyond the
	// limit. Session.Ready will be called.
	Refused
	// TooLarge: the message exceeds the client's maximum packet size. It is counted as dropped, and not in flight.
	TooLarge
	// Closed: the connection has ended or is about to.
	Closed
	// Gone: the data stream has ended or is about to. The session is told, see [StreamSession].
	Gone
)

// String returns the name of the constant in lower case.
func (r Result) String() string {
	switch r {
	case Sent:
		return "sent"
	case Dropped:
		return "dropped"
	case Refused:
		return "refused"
	case TooLarge:
		return "too large"
	case Closed:
		return "closed"
	case Gone:
		return "gone"
	}
	return "unknown"
}
