package mqtt

// Early says whether a packet may travel in early data (0-RTT), which somebody who recorded it can send to a server a
// second time. A profile for that is what RFC 9001, section 5.6, demands of a protocol over QUIC. Greater values are
// less dangerous; the zero value is EarlyNever.
type Early uint8

// The classes of [EarlyData]. A client sends what its class does not allow when the handshake is complete; a server does
// not look at it before.
const (
	// EarlyNever: only after the handshake. It ends something or cannot be repeated, or it carries credentials, which
	// early data protects without forward secrecy: PUBLISH of QoS 2, all acknowledgements, DISCONNECT, AUTH, and a
	// CONNECT with a password or an authentication method.
	EarlyNever Early = iota
	// EarlyOptIn: a repetition is a message more, for an application that has said that it can live with that: PUBLISH of
	// QoS 0, for example of absolute values, and of QoS 1, better with a message expiry interval.
	EarlyOptIn
	// EarlyGuarded: only where the listener takes early data at most once (RFC 8446, section 8). CONNECT takes a session
	// over from the client that has it now, may end it, and sends a will; UNSUBSCRIBE takes away what may have been
	// subscribed since.
	EarlyGuarded
	// EarlySafe: a repetition changes nothing but what is sent to whoever repeats it: SUBSCRIBE and PINGREQ.
	EarlySafe
)

// String returns "never", "opt-in", "guarded" or "safe".
func (e Early) String() string {
	switch e {
	case EarlyOptIn:
		return "opt-in"
	case EarlyGuarded:
		return "guarded"
	case EarlySafe:
		return "safe"
	}
	return "never"
}

// EarlyData returns the class of a packet that a client sends. Packets of a server are EarlyNever.
func EarlyData(p Packet) Early {
	switch p := p.(type) {
	case *Connect:
		if p.HasPassword || len(p.Password) > 0 || p.Properties.Has(PropAuthenticationMethod) {
			return EarlyNever
		}
		return EarlyGuarded
	case *Publish:
		if p.QoS < QoS2 {
			return EarlyOptIn
		}
	case *Subscribe, *Pingreq:
		return EarlySafe
	case *Unsubscribe:
		return EarlyGuarded
	}
	return EarlyNever
}
